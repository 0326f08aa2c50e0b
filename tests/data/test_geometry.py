"""The way from a photo to the network's input and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seewhy.data.finding import find_images
from seewhy.data.geometry import Geometry
from seewhy.data.images import load_image
from seewhy.data.preprocess import Preprocess

WHITE = (255, 255, 255)

sides = st.integers(1, 70)
geometries = st.builds(
    lambda resize, crop, size: Preprocess(resize, crop).geometry(size),
    st.none() | st.integers(8, 60) | st.tuples(sides, sides),
    st.none() | st.integers(1, 80) | st.tuples(sides, sides),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
)


@given(geometries)
@settings(max_examples=100, deadline=None)
def test_the_photos_corners_are_those_of_the_resized_photo(geometry: Geometry) -> None:
    corners = geometry.points_to_input(torch.tensor([[0, 0], geometry.original]))
    left_top = -torch.tensor(geometry.offset)
    assert torch.allclose(corners[0], left_top.float())
    assert torch.allclose(corners[1], (left_top + torch.tensor(geometry.resized)).float())


@given(geometries)
@settings(max_examples=100, deadline=None)
def test_a_ramp_comes_back_as_the_matching_ramp(geometry: Geometry) -> None:
    width, height = geometry.input
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5,
        torch.arange(width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    back, seen = geometry.input_to_original(torch.stack([x, y, 3 * x - 2 * y]))
    for row in range(0, geometry.original[1], 7):
        for column in range(0, geometry.original[0], 5):
            point = torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64)
            px, py = geometry.points_to_input(point).tolist()
            inside = 0 <= px < width and 0 <= py < height
            if min(abs(px), abs(px - width), abs(py), abs(py - height)) > 1e-6:
                assert bool(seen[row, column]) == inside
            if not seen[row, column]:
                assert back[:, row, column].tolist() == [0, 0, 0]
                continue
            # half a pixel of border knows no slope
            px, py = min(max(px, 0.5), width - 0.5), min(max(py, 0.5), height - 0.5)
            expected = torch.tensor([px, py, 3 * px - 2 * py], dtype=torch.float64)
            assert torch.allclose(back[:, row, column], expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_without_a_crop_it_is_the_ordinary_bilinear_upsampling(dtype: torch.dtype) -> None:
    map = torch.rand(2, 7, 7, dtype=dtype)
    back, seen = Preprocess(resize=(224, 200)).geometry((331, 127)).input_to_original(map)
    expected = torch.nn.functional.interpolate(map[None].double(), (127, 331), mode="bilinear")[0]
    assert back.dtype == dtype
    assert seen.all()
    assert torch.allclose(back.double(), expected, atol=1e-6 if dtype != torch.float16 else 2e-3)
    alone, _ = Preprocess(resize=(224, 200)).geometry((331, 127)).input_to_original(map[1])
    assert torch.equal(alone, back[1])


def test_crop_leaves_margins_unseen_and_padding_nothing() -> None:
    cut = Preprocess(crop=(4, 6)).geometry((10, 4))
    back, seen = cut.input_to_original(torch.ones(4, 6))
    assert seen.tolist() == [[False] * 2 + [True] * 6 + [False] * 2] * 4
    assert torch.equal(back, seen.float())

    padded = Preprocess(crop=9).geometry((5, 4))
    assert padded.offset == (-2, -2)
    map = torch.zeros(9, 9)
    map[2:6, 2:7] = 1
    back, seen = padded.input_to_original(map)
    assert seen.all()
    assert (back == 1).all()


def test_boxes_are_clipped_to_the_input() -> None:
    geometry = Preprocess(resize=20, crop=20).geometry((80, 40))
    boxes = torch.tensor([[0, 0, 80, 40], [20, 10, 30, 20], [0, 0, 10, 10], [60, 0, 80, 40]])
    expected = [[0, 0, 20, 20], [0, 5, 5, 10], [0, 0, 0, 5], [20, 0, 20, 20]]
    assert geometry.boxes_to_input(boxes).tolist() == expected
    assert geometry.boxes_to_input(boxes[:0]).shape == (0, 4)


def test_mask_to_input_is_the_nearest_resize_and_crop() -> None:
    mask = torch.rand(2, 31, 53, generator=torch.Generator().manual_seed(0)) > 0.5
    preprocess = Preprocess(resize=24, crop=(30, 20), interpolation="nearest")
    geometry = preprocess.geometry((53, 31))
    expected = [
        np.asarray(Image.fromarray(m.numpy().astype(np.uint8))
        .resize(geometry.resized, Image.Resampling.NEAREST)
        .crop((geometry.offset[0], -3, geometry.offset[0] + 20, 27)))
        for m in mask
    ]  # fmt: skip
    actual = geometry.mask_to_input(mask)
    assert actual.dtype == torch.bool
    assert np.array_equal(actual.numpy().astype(np.uint8), np.stack(expected))
    with pytest.raises(ValueError, match=r"mask is \(53, 31\); the photo wants \(..., 31, 53\)"):
        geometry.mask_to_input(torch.zeros(53, 31))
    with pytest.raises(ValueError, match=r"map is \(4, 4\), torch.int64"):
        geometry.input_to_original(torch.zeros(4, 4, dtype=torch.long))


def test_a_square_on_a_real_photo_comes_back_where_it_was(shared: Path) -> None:
    for path in find_images([shared / "real" / "coco" / "images", shared / "real" / "imagenet"])[
        ::20
    ]:
        photo = load_image(path).point(lambda value: value // 3)  # no white of its own
        side = min(photo.size) // 8
        left, top = photo.width // 2 - 2 * side, photo.height // 2 + side // 2
        painted = photo.copy()
        painted.paste(WHITE, (left, top, left + side, top + side))
        for preprocess in (
            Preprocess(resize=256, crop=224),
            Preprocess(resize=(224, 224), interpolation="bicubic"),
            Preprocess(resize=150, crop=(300, 256)),
        ):
            change = (preprocess(painted) - preprocess(photo)).abs().sum(0)
            back, seen = preprocess.geometry(photo).input_to_original(change)
            y, x = torch.nonzero(back > 0.5 * back.max(), as_tuple=True)
            assert back.shape == seen.shape == (photo.height, photo.width)
            expected = torch.tensor([left, top, left + side, top + side])
            found = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1])
            pixel = max(photo.width / preprocess.geometry(photo).resized[0], 1.0)
            assert (found - expected).abs().max() <= 2 * pixel + 1, path.name
