"""A viewer with the bundled network and one that knows a thousand classes, served in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("gradio", reason="the viewer's extra, seewhy[app], is not installed")

from viewers import LIMITS, THOUSAND

from seewhy.app.question import Network, Photo
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
    image = Scenes(16, size=160)[15].image
    return Photo(image.crop((0, 20, 160, 140)), "clock.png")


@pytest.fixture(scope="session")
def photo_file(scene: Photo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / scene.name
    scene.image.save(path)
    return path


@pytest.fixture(scope="session")
def address(networks: dict[str, Network]) -> Iterator[str]:
    """Where a viewer listens."""
    import uvicorn

    from seewhy.app.serve import application, listen

    at = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(application(networks, LIMITS), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [at]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{at.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(10)
