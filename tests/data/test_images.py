"""Decoding of every kind of photo, the network's input, and the way back to the photo."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seewhy.data.images import ImageError, load_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path) -> None:
    photo = noise(9, 7)
    path = tmp_path / "a.png"
    photo.save(path)
    with path.open("rb") as stream:
        sources = [path, str(path), path.read_bytes(), stream, photo, np.asarray(photo)]
        loaded = [load_image(source) for source in sources]
        assert not stream.closed
    for image in loaded:
        assert image.mode == "RGB"
        assert image.tobytes() == photo.tobytes()
    assert loaded[4] is not photo


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_shows_the_photo_upright(orientation: int) -> None:
    upright = noise(6, 4)
    undo = {  # the stored pixels for which the tag demands the opposite turn
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load_image(encoded(stored, exif=exif))
    assert image.size == (6, 4)
    assert image.tobytes() == upright.tobytes()
    assert load_image(image).tobytes() == upright.tobytes(), "turned once, not twice"


def test_broken_exif_does_not_cost_the_photo() -> None:
    photo = noise(5, 5)
    assert load_image(encoded(photo, exif=b"Exif\0\0broken")).tobytes() == photo.tobytes()


def test_transparency_is_laid_over_white() -> None:
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    grey = Image.new("LA", (2, 1), (0, 255))
    grey.putpixel((1, 0), (0, 0))
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    keyed = Image.new("RGB", (2, 1), RED)
    keyed.putpixel((1, 0), (1, 2, 3))

    assert [load_image(encoded(rgba)).getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]
    assert load_image(encoded(half)).getpixel((0, 0)) == (127, 127, 127)
    assert [load_image(encoded(grey)).getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), WHITE]
    for data in (
        encoded(palette, transparency=1),
        encoded(palette, "GIF", transparency=1),
        encoded(keyed, transparency=(1, 2, 3)),
    ):
        assert [load_image(data).getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 256, 1000, 32768, 65535]], dtype=np.uint16)
    expected = np.round(values / 257).astype(np.uint8)[0]
    sources: list[bytes | np.ndarray] = [values]
    sources += [encoded(Image.fromarray(values), format) for format in ("PNG", "TIFF", "PPM")]
    sources.append(encoded(Image.fromarray(values.astype(np.int32)), "TIFF"))
    big_endian = b"MM\0*\0\0\0\x08" + bytes.fromhex(
        "0008"
        "0100000300000001000500000101000300000001000100000102000300000001001000000103000300000001"
        "0001000001060003000000010001000001110004000000010000006e01160003000000010001000001170004"
        "000000010000000a00000000"
    )
    sources.append(big_endian + values.astype(">u2").tobytes())
    for source in sources:
        grey = np.asarray(load_image(source))[0]
        assert (grey == grey[:, :1]).all()
        assert np.abs(grey[:, 0].astype(int) - expected).max() == 0


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    cv2 = pytest.importorskip("cv2", reason="writes 16-bit RGB, which Pillow cannot")
    bgr = np.array([[[0, 32768, 65535]]], dtype=np.uint16)
    data = cv2.imencode(".png", bgr)[1].tobytes()
    assert load_image(data).getpixel((0, 0)) == (255, 128, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_colour_spaces(mode: str) -> None:
    photo = Image.new("RGB", (8, 8), WHITE)
    photo.paste((0, 0, 0), (0, 0, 4, 8))
    pixels = np.asarray(load_image(photo.convert(mode)))
    assert pixels.shape == (8, 8, 3)
    assert (pixels[:, :4] == 0).all()
    assert (pixels[:, 4:] == 255).all()


def test_cmyk_jpeg() -> None:
    colours = [RED, (0, 255, 0), (0, 0, 255), WHITE, (0, 0, 0)]
    for colour in colours:
        cmyk = Image.new("RGB", (8, 8), colour).convert("CMYK")
        pixel = load_image(encoded(cmyk, "JPEG", quality=95)).getpixel((4, 4))
        assert np.abs(np.subtract(pixel, colour)).max() <= 3


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animation_gives_its_first_frame(format: str) -> None:
    first, second = Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), (0, 0, 255))
    data = encoded(first, format, save_all=True, append_images=[second])
    pixel = load_image(data).getpixel((1, 1))
    assert np.abs(np.subtract(pixel, RED)).max() <= 3


def test_float_arrays_span_zero_to_one() -> None:
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float16)
    assert np.asarray(load_image(values))[0, :, 0].tolist() == [0, 128, 255]
    assert load_image(values[..., None]).size == (3, 1)
    assert load_image(np.zeros((2, 3, 4))).getpixel((0, 0)) == WHITE, "alpha 0 over white"


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.full((2, 2), 7.5), "values from 7.5 to 7.5; give 0 to 1"),
        (np.full((2, 2), np.nan), "values from nan"),
        (np.zeros((3, 9, 9)), r"shape \(3, 9, 9\); give \(H, W\)"),
        (np.zeros((0, 4)), "no pixels"),
        (np.zeros((4, 4), dtype=np.int64), "dtype int64"),
        (np.full((2, 2), -1, dtype=np.int32), "values from -1"),
    ],
)
def test_unusable_arrays_are_named(array: np.ndarray, what: str) -> None:
    with pytest.raises(ImageError, match=what):
        load_image(array)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    whole = encoded(noise(64, 64), "JPEG")
    broken = {
        "empty.jpg": (b"", "empty"),
        "text.png": (b"I am not a picture", "not an image"),
        "cut.jpg": (whole[: len(whole) // 2], "cannot be decoded"),
        "cut.png": (encoded(noise(64, 64))[:3000], "cannot be decoded"),
        "cut.webp": (encoded(noise(64, 64), "WEBP")[:500], "cannot be decoded|not an image"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    }
    for name, (data, what) in broken.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError, match=what) as caught:
            load_image(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="not an image"):
        load_image(b"")
    with pytest.raises(TypeError, match="source is Tensor"):
        load_image(torch.zeros(3, 4, 4))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_never_raise_anything_else(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]))
    raw = bytearray(encoded(noise(12, 10), format))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert load_image(bytes(raw), max_pixels=10_000).mode == "RGB"
    except ImageError:
        pass


def test_size_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = noise(20, 10)
    assert load_image(photo, max_pixels=200).size == (20, 10)
    data = encoded(photo)

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    with pytest.raises(ImageError, match=r"bytes: 20x10 pixels; at most 199"):
        load_image(data, max_pixels=199)
    bomb = b"P5 50000 50000 255\n"
    with pytest.raises(ImageError, match=r"bytes: .*exceeds limit"):
        load_image(bomb)


def test_environment_of_pillow_is_untouched(tmp_path: Path) -> None:
    from PIL import ImageFile

    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, os.getcwd()
    load_image(noise(4, 4))
    with pytest.raises(ImageError):
        load_image(tmp_path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, os.getcwd())
