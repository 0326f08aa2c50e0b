"""A viewer with the bundled network and one that knows a thousand classes, served in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("gradio", reason="the viewer's extra, seewhy[app], is not installed")

from viewers import THOUSAND, served

from seewhy.app.query import Network, Photo, png
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import Scenes
from seewhy.models import LoadedModel, load_model


@pytest.fixture(scope="session")
def networks() -> dict[str, Network]:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    many = nn.Sequential(*layers, nn.Linear(8, 1000)).eval()
    squares = LoadedModel(many, Preprocess(resize=40, crop=32), THOUSAND, "test:thousand")
    return {
        "scenes:resnet": Network(load_model("scenes:resnet")),
        "thousand": Network(squares, "a.safetensors"),
    }


@pytest.fixture(scope="session")
def scene() -> Photo:
    image = Scenes(16, size=160)[15].image.crop((0, 20, 160, 140))
    return Photo(png(image), "clock.png", image.size)


@pytest.fixture(scope="session")
def photo_file(scene: Photo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / scene.name
    scene.image.save(path)
    return path


@pytest.fixture(scope="session")
def address(networks: dict[str, Network]) -> Iterator[str]:
    """Where a viewer listens."""
    with served(networks) as where:
        yield where
