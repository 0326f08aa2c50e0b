"""Examples, experiments, scripts and benchmarks are run too seldom to notice that a name moved."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    file
    for folder in ("benchmarks", "examples", "experiments", "scripts")
    for file in (ROOT / folder).rglob("*.py")
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_they_import_of_the_package_is_there(file):
    found = [
        (node.module, name.name)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "seewhy"
        for name in node.names
    ]
    assert not [f"{module}.{name}" for module, name in found if not is_there(module, name)]


def test_experiments_and_benchmarks_read_their_arguments():
    """Asked for --help, they would begin, which takes hours or replaces the pictures in docs/."""
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if file.parent.name in ("benchmarks", "experiments") and "__main__" in text:
            assert re.search(r"argparse|from timing import", text), file.name


def is_there(module: str, name: str) -> bool:
    """Whether `from module import name` works."""
    if hasattr(import_module(module), name):
        return True
    try:
        import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


def test_faults_that_are_planted_by_name_still_have_their_place(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    named = import_module("mutations").NAMED
    assert len(named) > 5
    for file, old, new in named:
        text = (ROOT / "src" / "seewhy" / file).read_text(encoding="utf-8")
        assert text.count(old) > 0, f"{file} has no {old!r}"
        ast.parse(text.replace(old, new))
