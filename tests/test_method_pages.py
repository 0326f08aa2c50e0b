"""The pages of docs/methods: in step with the code, and complete."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import seewhy

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "methods"
NAMES = sorted({*seewhy.list_methods(), *seewhy.list_refinements()})


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_method_pages", ROOT / "scripts" / "make_method_pages.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_text_is_what_the_script_writes(script):
    texts = script.texts()
    stale = [name for name, text in texts.items() if (FOLDER / name).read_text() != text]
    assert not stale, "run: python scripts/make_method_pages.py --text"
    assert {path.name for path in FOLDER.glob("*.md")} == set(texts)


def test_every_method_has_notes_and_nothing_else_has(script):
    written = script.notes()
    assert sorted(written) == NAMES
    for name, note in written.items():
        assert set(note) == {"title", "use", "avoid"}, name
        assert all(text.strip().endswith(".") for text in (note["use"], note["avoid"])), name


@pytest.mark.parametrize("name", NAMES)
def test_pages_have_a_small_picture_that_shows_something(name):
    path = FOLDER / "images" / f"{name}.jpg"
    assert path.stat().st_size < 120 * 1024
    picture = Image.open(path).convert("L")
    low, high = picture.crop((0, picture.height // 2, *picture.size)).getextrema()
    assert high - low > 100


def test_pages_tell_of_each_option(script):
    for name, entry in script.entries().items():
        page = (FOLDER / f"{name}.md").read_text()
        for option in entry.options:
            assert f"| `{option}` |" in page
        for target in re.findall(r"\]\(([^)]+)\)", page):
            assert (FOLDER / target).exists(), target


def test_pages_fit_on_a_shelf():
    assert sum(path.stat().st_size for path in (FOLDER / "images").iterdir()) < 3 * 2**20
