"""The network's input of a photo, as torchvision would make it."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from seewhy.data.images import ImageError
from seewhy.data.preprocess import Preprocess
from seewhy.models import import_torchvision


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def transforms() -> ModuleType:
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    import_torchvision()
    return importlib.import_module("torchvision.transforms")


SETTINGS = [
    (256, 224, "bilinear"),
    (232, (160, 201), "bicubic"),
    ((97, 64), None, "lanczos"),
    (33, 64, "bilinear"),
    (None, (61, 150), "nearest"),
    (40, (41, 39), "nearest"),
    (None, None, "bilinear"),
]


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(("resize", "crop", "interpolation"), SETTINGS)
@pytest.mark.parametrize("size", [(120, 91), (75, 200), (64, 64)])
def test_input_equals_torchvision(transforms, size, resize, crop, interpolation, channels) -> None:
    mean, std = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)) if channels == 3 else ((0.45,), (0.22,))
    mode = transforms.InterpolationMode(interpolation)
    steps = [transforms.Grayscale()] if channels == 1 else []
    steps += [transforms.Resize(resize, mode)] if resize else []
    steps += [transforms.CenterCrop(crop)] if crop else []
    steps += [transforms.ToTensor(), transforms.Normalize(mean, std)]
    photo = noise(*size)
    preprocess = Preprocess(resize, crop, mean, std, interpolation, channels)
    actual, expected = preprocess(photo), transforms.Compose(steps)(photo)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)
    assert actual.shape[1:] == preprocess.geometry(photo).input[::-1]


def test_unnormalize_gives_the_picture_that_the_network_saw() -> None:
    photo = noise(50, 40)
    preprocess = Preprocess(crop=30)
    assert preprocess.unnormalize(preprocess(photo)).tobytes() == (
        photo.crop((10, 5, 40, 35)).tobytes()
    )
    grey = Preprocess(mean=(0.5,), std=(0.2,), channels=1)
    assert grey.unnormalize(grey(photo)).tobytes() == photo.convert("L").tobytes()
    with pytest.raises(ValueError, match=r"tensor is \(1, 3, 9, 9\); give \(3, h, w\)"):
        preprocess.unnormalize(torch.zeros(1, 3, 9, 9))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"resize": 0}, "resize=0"),
        ({"crop": (3, -1)}, r"crop=\(3, -1\)"),
        ({"mean": (0.5,)}, r"mean=\(0.5,\); give 3 values"),
        ({"std": (1.0, 0.0, 1.0)}, "std=.*positive"),
        ({"channels": 4}, "channels=4"),
        ({"interpolation": "cubic"}, "interpolation='cubic'; give one of"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Preprocess(**options)  # type: ignore[arg-type]


def test_elongated_photo_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ImageError, match="1x9000000 pixels would be resized to 224x2016000000"):
        Preprocess(resize=224, crop=224).geometry((1, 9_000_000))
