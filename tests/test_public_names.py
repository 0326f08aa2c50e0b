"""Public names: what `import seewhy` offers, and that no package hides behind a function."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import seewhy


def test_no_module_is_hidden_by_a_function_of_the_same_name():
    for module in pkgutil.walk_packages(seewhy.__path__, "seewhy."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name, module in sys.modules.items():
        if name.startswith("seewhy."):
            parent, _, leaf = name.rpartition(".")
            assert getattr(sys.modules[parent], leaf) is module, f"{name} is hidden"


@pytest.mark.parametrize(
    ("package", "above"),
    [
        ("core", ("data", "models", "methods", "metrics", "evaluation", "draw", "cli", "app")),
        ("data", ("models", "methods", "metrics", "evaluation", "draw", "cli", "app")),
        ("models", ("methods", "metrics", "evaluation", "draw", "cli", "app")),
    ],
)
def test_arrows_point_one_way(package, above):
    for path in (Path(seewhy.__file__).parent / package).rglob("*.py"):
        imported = set(re.findall(r"(?:from|import) seewhy\.(\w+)", path.read_text()))
        assert not imported & set(above), path


def test_the_map_names_every_module():
    root = Path(seewhy.__file__).parent
    page = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text()
    for path in root.iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            assert f"`{path.name}`" in page, path
        if (path / "__init__.py").exists():
            assert f"`{path.name}/`" in page, path
    for path in (root / "core").glob("[a-z]*.py"):
        assert f"`{path.stem}`" in page, path


def test_lists_name_what_there_is():
    assert {"grad_cam", "tsgb", "gig_cam"} <= set(seewhy.list_methods())
    assert {"gradual", "multiscale"} <= set(seewhy.list_refinements())
    assert {"pointing_game", "average_drop"} <= set(seewhy.list_metrics())
    assert "scenes:resnet" in seewhy.list_models()
    assert set(seewhy.__all__) <= set(dir(seewhy))
