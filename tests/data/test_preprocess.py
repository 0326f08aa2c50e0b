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
        ({"mean": (0.5,)}, r"mean=\(0.5,\); give 3 finite values"),
        ({"std": (1.0, 0.0, 1.0)}, "std=.*positive"),
        ({"resize": True}, "resize=True"),
        ({"resize": 40.5}, "resize=40.5"),
        ({"crop": 100_000}, "crop=100000; give whole pixels from 1 to 8192"),
        ({"crop": (3, 4, 5)}, "crop="),
        ({"channels": 4}, "give 4 finite values"),
        ({"channels": 0, "mean": (), "std": ()}, "channels=0"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean=.*give 3 finite values"),
        ({"std": float("inf")}, "std=inf"),
        ({"mean": "0.5"}, "mean='0.5'"),
        ({"mean": True}, "mean=True"),
        ({"mean": 127}, "do not go together"),
        ({"std": 58.4}, "do not go together"),
        ({"mean": 0.5, "std": 128}, "do not go together"),
        ({"mean": 1.5, "std": 1}, "do not go together"),
        ({"mean": 0, "std": 1000}, "do not go together"),
        ({"interpolation": "cubic"}, "interpolation='cubic'; give one of"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Preprocess(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (127, 128),  # EfficientNet-Lite
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),  # mmcv
        ((104, 117, 123), 1),  # Caffe
        (0, 255),
    ],
)
def test_values_for_pixels_from_0_to_255_are_recognised(mean, std) -> None:
    photo = noise(8, 6)
    pixels = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1).float()
    means, stds = (torch.tensor(v).expand(3)[:, None, None] for v in (mean, std))
    preprocess = Preprocess(mean=mean, std=std)
    assert torch.allclose(preprocess(photo), (pixels - means) / stds, atol=1e-4)
    assert max(preprocess.mean) <= 1


def test_black_is_what_a_black_pixel_becomes() -> None:
    for preprocess in (
        Preprocess(mean=127, std=128),
        Preprocess(),
        Preprocess(mean=0, std=1, channels=1),
    ):
        black = preprocess(Image.new("RGB", (3, 3)))[:, 1, 1]
        assert preprocess.black == pytest.approx(black.tolist())
    assert Preprocess(mean=127, std=128).black == pytest.approx((-127 / 128,) * 3)


def test_one_number_is_for_all_channels_and_lists_are_tuples() -> None:
    assert Preprocess(mean=0.5, std=0.5).mean == (0.5, 0.5, 0.5)
    assert Preprocess([4, 5], mean=[0.5] * 3) == Preprocess((4, 5), mean=(0.5,) * 3)


def test_numbers_and_arrays_of_numpy_and_torch() -> None:
    """They were refused as no three values."""
    expected = Preprocess(9, (7, 8), (0.25, 0.5, 0.75), 0.5)
    mean = np.array([0.25, 0.5, 0.75])
    assert Preprocess(np.int64(9), np.array([7, 8]), mean, np.float32(0.5)) == expected  # type: ignore[arg-type]
    lists = ([np.int32(7), 8], [*mean], [torch.tensor(0.5)] * 3)
    assert Preprocess(torch.tensor(9), *lists) == expected  # type: ignore[arg-type]
    assert Preprocess(9, (7, 8), torch.tensor(mean), 0.5) == expected  # type: ignore[arg-type]


def test_settings_in_words() -> None:
    assert str(Preprocess(256, 224, mean=0.5, std=0.25)) == (
        "shorter side to 256, centre 224x224, mean 0.5, std 0.25"
    )
    assert str(Preprocess((4, 5), channels=1, mean=0.5, std=0.2)) == (
        "squashed to 4x5, grey, mean 0.5, std 0.2"
    )


def test_arrays_of_other_channels_are_resized_and_cropped_as_photos_are() -> None:
    """Five channels, three of which are those of a photo."""
    photo = noise(50, 40)
    values = np.asarray(photo, dtype=np.float32) / 255
    array = np.concatenate([values, values[..., :2] * 7], axis=2)
    settings = {"resize": 30, "crop": (33, 20), "interpolation": "bilinear"}
    many = Preprocess(**settings, mean=0.4, std=0.2, channels=5)
    expected = Preprocess(**settings, mean=0.4, std=0.2)(photo)
    actual = many(array)
    assert actual.shape == (5, 33, 20)
    assert (actual[:3] - expected).abs().max() < 0.5 * 5 / 255 + 0.05  # photos are rounded
    assert torch.allclose(actual[3] * 0.2 + 0.4, 7 * (actual[0] * 0.2 + 0.4), atol=1e-4)
    for wrong, message in (
        (photo, r"takes 5 channels, a photo has 3; give an array \(H, W, 5\)"),
        (array[..., :4], r"shape \(40, 50, 4\); give \(H, W, 5\)"),
    ):
        with pytest.raises(ImageError, match=message):
            many(wrong)


def test_elongated_photo_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ImageError, match="1x9000000 pixels would be resized to 224x2016000000"):
        Preprocess(resize=224, crop=224).geometry((1, 9_000_000))
