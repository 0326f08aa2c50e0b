"""A user's module with networks and functions that make them."""

from __future__ import annotations

from pathlib import Path

import pytest

NETS = """
from tiny import Tiny
from torch import nn
from seewhy import LoadedModel, Preprocess
def tiny(): return Tiny().train()
def with_preprocess():
    net = Tiny()
    net.preprocess = Preprocess(resize=8, crop=7)
    return net
def loaded(): return LoadedModel(Tiny(), Preprocess(crop=5), ('a', 'b', 'c'), 'x', 'sigmoid')
def nothing(): return 3
def empty(): return Tiny().to("meta")
def needs_more(): import no_such_package_at_all
def with_torchvision():
    import torchvision
    return torchvision.models.squeezenet1_1(num_classes=4)
def grey(): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
def single(): return Tiny(1)
net = Tiny(4).train()
ready = LoadedModel(Tiny(2), Preprocess(crop=6), ('no', 'yes'))
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of one's own."""
    name = f"nets_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name
