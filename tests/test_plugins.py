"""Plugins: loaded by name, by entry point, in other processes; and what they may not break."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import seewhy
from registries import forgotten
from seewhy.aside import Aside
from seewhy.cli import app
from seewhy.metrics import metric
from seewhy.naming import METHODS, method
from seewhy.notes import Note
from seewhy.plugins import load_plugins, on_path

MODULE = '''
import torch

import seewhy
from seewhy.data.load import register_dataset
from seewhy.data.scenes import CATEGORIES
from seewhy.metrics import register_metric
from seewhy.models.load import register_models
from seewhy.naming import method, refinement


@method("of a test", "0")
def sevens(probe, *, by=7.0):
    """Sevens."""
    return torch.full((len(probe.inputs), *probe.size), by)


@refinement("of a test", "0")
def doubled(probe, method):
    """Twice."""
    return 2 * method(probe)


@register_metric("of a test", higher_is_better=False, range=(0, 100))
def height(saliency, *, plus: float = 0.0):
    """The map's maximum."""
    return saliency.flatten(1).amax(1) + plus


@register_dataset("shelf", folder=False)
def shelf(count, *, seed: int = 0):
    return seewhy.load_dataset(f"scenes:{count}", seed=seed)


@register_models("rack", names=lambda: ["a", "b"])
def rack(name, *, pretrained, num_classes):
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)]
    module = torch.nn.Sequential(*body, torch.nn.Flatten(), torch.nn.Linear(4, len(CATEGORIES)))
    return seewhy.LoadedModel(module, seewhy.Preprocess(32, 32), CATEGORIES)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a plugin; all that it registers is forgotten afterwards."""
    (tmp_path / "sevens_plugin.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    with forgotten():
        yield tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def test_everything_that_a_plugin_registers_works_by_name(folder):
    before = list(sys.path)
    arguments = ("evaluate", "shelf:2", "--plugin", "sevens_plugin", "--model", "rack:a",
                 "--method", "sevens(by=2.0)+doubled", "--metric", "height,height(plus=1.5)",
                 "--json")  # fmt: skip
    found = [json.loads(line) for line in run(*arguments).splitlines() if line.startswith("{")]
    assert {one["metric"]: one["mean"] for one in found} == {"height": 4, "height(plus=1.5)": 5.5}
    assert {one["method"] for one in found} == {"sevens(by=2.0)+doubled"}
    assert sys.path == before
    assert {"rack:a", "rack:b"} <= set(seewhy.list_models())
    (listed,) = [x for x in json.loads(run("metrics", "--json")) if x["name"] == "height"]
    assert listed["options"] == {"plus": "0.0"}
    assert listed["higher_is_better"] is False


def test_a_file_and_a_folder(folder):
    (folder / "tools").mkdir()
    (folder / "sevens_plugin.py").rename(folder / "tools" / "sevens_plugin.py")
    load_plugins(["tools/sevens_plugin.py"])
    assert "sevens" in METHODS
    load_plugins(["sevens_plugin"], folder / "tools")


def test_modules_are_looked_for_in_the_folder_of_now(tmp_path, monkeypatch):
    """Also after another was the working folder."""
    for name in ("before", "now"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}_here.py").write_text("")
        monkeypatch.chdir(tmp_path / name)
        with on_path(Path()):
            assert importlib.import_module(f"{name}_here")


def test_a_module_may_change_the_path(tmp_path):
    """One that takes its folder off the path again ended in an error from inside."""
    (tmp_path / "leaves_path.py").write_text("import sys\nsys.path.pop(0)\n")
    before = [*sys.path]
    with on_path(tmp_path):
        assert importlib.import_module("leaves_path")
    assert sys.path == before


def test_two_files_of_one_name_are_told_apart(folder):
    (folder / "tools").mkdir()
    for name in ("sevens_plugin.py", "json.py"):
        (folder / "tools" / name).write_text("")
    load_plugins(["sevens_plugin"])
    load_plugins(["./sevens_plugin.py"])
    for name in ("tools/sevens_plugin.py", "tools/json.py"):
        with pytest.raises(ValueError, match=r"another module of this name is loaded already"):
            load_plugins([name])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such module, neither on Python's path nor in "),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("raise SystemExit('done')", "SystemExit: done"),
        ("def f(:", "SyntaxError"),
        ("raise RuntimeError('x' * 1_000_000)", "RuntimeError: xxx"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_says_why(folder, content, reason):
    if content is not None:
        (folder / "wrong_plugin.py").write_text(content)
    said = run("methods", "--plugin", "wrong_plugin", code=2)
    assert "plugin 'wrong_plugin': " in said
    assert reason in " ".join(said.split())
    assert len(said) < 6_000, "what would take minutes to be highlighted is cut off"


def test_taking_a_name_is_noted_and_repeating_oneself_is_not():
    with forgotten():

        def grad_cam(probe):
            """Another."""

        with pytest.warns(Note, match=r"the method 'grad_cam' of seewhy\.methods\.cam is replaced"):
            method("none", "0")(grad_cam)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Note)
            method("none", "0")(grad_cam)
        assert METHODS["grad_cam"].function is grad_cam


def names(state: None) -> Iterator[object]:
    yield "sevens" in METHODS, metric("height(plus=1)").name


def nothing() -> None:
    return None


def test_a_process_beside_this_one_has_the_plugins_of_this_one(folder):
    load_plugins(["sevens_plugin"])
    aside = Aside(nothing)
    try:
        assert list(aside.stream(names)) == [(True, "height")]
    finally:
        aside.close()


PLUGINS = {"sevens": "sevens_plugin", "broken": "no_such_module_at_all", "ending": "ending_plugin"}


def test_installed_plugins_need_no_option_and_a_broken_one_costs_no_other(folder):
    (folder / "ending_plugin.py").write_text("raise SystemExit(0)")
    for name, value in PLUGINS.items():
        about = folder / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[seewhy.plugins]\n{name} = {value}\n")
    code = (
        "import seewhy.aside, seewhy.plugins as p;"
        "print('sevens' in seewhy.list_methods(), p.INSTALLED);"
        "print(*seewhy.aside.Aside(dict).stream(iter))"
    )
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True {'sevens': '1.0'}"
    # Once, although the process aside has loaded them, too.
    assert done.stderr.count("the plugin 'broken' (no_such_module_at_all) is left out") == 1
    assert "the plugin 'ending' (ending_plugin) is left out: SystemExit: 0" in done.stderr
