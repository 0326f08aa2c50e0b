"""Pictures of more channels than a photo has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seewhy.data.arrays import load_array, shown
from seewhy.data.images import ImageError

VALUES = np.random.default_rng(0).integers(0, 65536, (6, 7, 5), dtype=np.uint16)
EXPECTED = VALUES / np.float32(65535)


def test_npy_and_tiff_in_either_layout(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile", reason="seewhy[tiff] is not installed")
    np.save(tmp_path / "last.npy", VALUES)
    np.save(tmp_path / "first.npy", VALUES.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "planes.tif", VALUES.transpose(2, 0, 1), photometric="minisblack")
    tifffile.imwrite(
        tmp_path / "pixels.tif", VALUES, photometric="minisblack", planarconfig="contig"
    )
    for source in (VALUES, *sorted(tmp_path.iterdir())):
        array = load_array(source, 5)
        assert array.dtype == np.float32
        assert np.allclose(array, EXPECTED)


def test_bytes_are_scaled_and_floats_are_not() -> None:
    assert load_array(np.full((2, 2, 4), 255, np.uint8), 4).max() == 1
    assert load_array(np.full((2, 2, 4), 9.5), 4).max() == 9.5


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (VALUES[..., :4], r"array: shape \(6, 7, 4\); the network takes 5 channels"),
        (VALUES[..., 0], r"shape \(6, 7\)"),
        (VALUES.astype(np.int64), "dtype int64"),
        (np.full((2, 2, 5), np.nan), "not finite"),
        (VALUES[:0], "shape"),
    ],
)
def test_unusable_arrays_are_named(array: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_array(array, 5)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.tif").write_bytes(b"II*\0broken")
    for name, message in (
        ("a.png", "no 5 channels, which the network takes; give a .npy file or a TIFF"),
        ("a.tif", "(cannot be decoded|shape)"),
        ("gone.npy", "no such file"),
    ):
        with pytest.raises(ImageError, match=rf"{name}: .*{message}"):
            load_array(tmp_path / name, 5)


def test_the_first_three_channels_are_shown() -> None:
    array = np.zeros((2, 2, 5), np.float32)
    array[0, 0] = (2, 4, 8, 99, 99)
    assert shown(array).getpixel((0, 0)) == (64, 128, 255)
    assert shown(array[..., :2]).getpixel((0, 0)) == (255, 255, 255)
