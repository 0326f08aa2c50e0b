"""What a release says of itself agrees; a built wheel installs alone and explains a photo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import yaml
from PIL import Image

import seewhy

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_has_a_section_in_the_changelog_and_is_the_one_to_cite():
    assert "version" in PROJECT["dynamic"]
    assert f"\n## {seewhy.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == seewhy.__version__


def test_the_addresses_are_those_of_the_project():
    repository = PROJECT["urls"]["Repository"]
    owner = repository.removeprefix("https://github.com/").partition("/")[0]
    site = PROJECT["urls"]["Documentation"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["repository-code"], cited["url"]) == (repository, site)
    texts = [
        *ROOT.glob("*.md"),
        *ROOT.glob("*.y*ml"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / ".github").rglob("*.yml"),
    ]
    texts += [ROOT / "llms.txt", *(ROOT / "notebooks").glob("*.ipynb")]
    for path in texts:
        text = path.read_text()
        for other in re.findall(r"github\.com/([\w-]+)/seewhy\b", text):
            assert other == owner, path
        for other in re.findall(r"https://([\w-]+)\.github\.io/seewhy", text):
            assert f"https://{other}.github.io/seewhy/" == site, path


def test_each_supported_python_is_classified_and_tested():
    tested = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    versions = tested["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert [
        one.removeprefix("Programming Language :: Python :: ")
        for one in PROJECT["classifiers"]
        if re.search(r":: 3\.\d+$", one)
    ] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_each_dependency_with_a_known_version_is_pinned():
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {plain(line.partition("==")[0]) for line in lines if "==" in line}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    names = {plain(re.split(r"[\[<>=!~ ]", one)[0]) for group in groups for one in group}
    assert names - {"seewhy"} <= pinned


def test_every_template_goes_into_the_wheel():
    """By the build itself, which leaves out what git ignores."""
    pytest.importorskip("hatchling", reason="the build's own package is not installed")
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(ROOT))
    taken = {Path(file.distribution_path) for file in builder.recurse_included_files()}
    templates = sorted((ROOT / "src" / "seewhy" / "templates").iterdir())
    assert len(templates) >= 9
    assert {Path("seewhy", "templates", path.name) for path in templates} <= taken


@pytest.mark.skipif(
    "SEEWHY_DIST" not in os.environ, reason="installs PyTorch anew, minutes: `make check-build`"
)
def test_the_wheel_installs_alone_and_explains_a_photo_offline(tmp_path):
    (wheel,) = (ROOT / os.environ["SEEWHY_DIST"]).glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    there = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run(
        [there / "python", "-m", "pip", "install", "-q", *constraints, wheel], check=True
    )
    Image.effect_noise((300, 200), 80).convert("RGB").save(tmp_path / "photo.png")
    # A proxy that refuses everything: what still wanted the network would fail.
    offline = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    keep = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> str:
        return subprocess.run(
            [there / "seewhy", *words],
            cwd=tmp_path, env={**keep, **offline}, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    assert run("--version") == f"seewhy {seewhy.__version__}\n"
    run("explain", "photo.png", "--out", "out")
    assert Image.open(tmp_path / "out" / "photo.gallery.png").width > 300
