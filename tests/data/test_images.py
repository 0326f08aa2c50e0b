"""Decoding of every kind of photo."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from seewhy.data.images import ImageError, load_image
from seewhy.notes import Note

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


XRAY = np.array([[200, 2050, 3900]], dtype=np.uint16)  # 12 bits, as most X-rays have


@pytest.mark.parametrize("kind", ["array", "PNG", "TIFF", "int32"])
def test_xrays_are_shown_by_their_real_range_and_say_so(kind: str) -> None:
    source: bytes | np.ndarray = XRAY
    if kind in ("PNG", "TIFF"):
        source = encoded(Image.fromarray(XRAY), kind)
    elif kind == "int32":
        source = encoded(Image.fromarray(XRAY.astype(np.int32)), "TIFF")
    with pytest.warns(Note, match=r"values are 200 .* to 3900 .*--window LOW HIGH"):
        image = load_image(source)
    assert np.asarray(image)[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_values_below_zero_are_shown_by_their_real_range() -> None:
    hounsfield = np.array([[-1024, 1000, 3024]], dtype=np.int16)
    with pytest.warns(Note, match="-1024"):
        assert np.asarray(load_image(hounsfield))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.warns(Note, match="are 7 "):
        assert load_image(np.full((2, 2), 7, np.uint16)).getpixel((0, 0)) == (0, 0, 0)


def test_a_window_clips_and_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in (XRAY, encoded(Image.fromarray(XRAY)), XRAY.astype(np.float32)):
            image = load_image(source, window=(1050, 3050))
            assert np.asarray(image)[0, :, 0].tolist() == [0, 128, 255]
        grey = Image.fromarray(np.array([[0, 100, 200]], np.uint8))
        assert np.asarray(load_image(grey, window=(100, 200)))[0, :, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("window", [(3, 3), (5, 1), (0, np.inf), (np.nan, 1)])
def test_a_window_without_width_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ImageError, match=r"window .* black below white"):
        load_image(XRAY, window=window)


def test_a_window_is_for_grey_values(tmp_path: Path) -> None:
    noise(4, 4).save(tmp_path / "colour.png")
    for source in (tmp_path / "colour.png", np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(ImageError, match="has colours"):
            load_image(source, window=(0, 9))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_white_is_zero_the_image_is_inverted(tmp_path: Path, dtype: type) -> None:
    tifffile = pytest.importorskip("tifffile", reason="writes MinIsWhite, which Pillow cannot")
    full = np.iinfo(dtype).max
    tifffile.imwrite(
        tmp_path / "x.tif", np.array([[0, full // 2, full]], dtype), photometric="miniswhite"
    )
    shown = np.asarray(load_image(tmp_path / "x.tif"))[0, :, 0].tolist()
    assert shown in ([255, 128, 0], [255, 127, 0])


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
        (np.full((2, 2), 7.5), "or a window LOW HIGH"),
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
    with pytest.raises(ImageError, match=r"bytes: more than .* at most 5,000,000 are read"):
        load_image(bomb, max_pixels=5_000_000)
    with pytest.raises(ImageError, match=r"bytes: .*exceeds limit"):
        load_image(bomb, max_pixels=10**10)


# -- large photos -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "rotated", "transparent", "palette", "array"])
def test_large_photos_are_shrunk_to_the_same_picture(kind: str) -> None:
    small = noise(40, 30)
    photo = small.resize((1600, 1200), Image.Resampling.BICUBIC)
    source: bytes | np.ndarray
    size = (200, 150)
    if kind == "array":
        source = np.asarray(photo)
    elif kind == "JPEG":
        source = encoded(photo, "JPEG", quality=95)
    elif kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        source = encoded(photo.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    elif kind == "transparent":
        photo.putalpha(255)
        source = encoded(photo)
    else:
        source = encoded(photo.quantize() if kind == "palette" else photo)
    with pytest.warns(Note, match=r"pixels, shrunk to \d+x\d+ while it is read"):
        image = load_image(source, shrink=30_000)
    assert image.mode == "RGB"
    assert image.size == size
    expected = load_image(source).resize(size, Image.Resampling.LANCZOS)
    difference = np.asarray(image, float) - np.asarray(expected)
    assert np.abs(difference).mean() < 2
    assert load_image(source, shrink=1600 * 1200).size == (1600, 1200)


def test_a_broken_image_that_pillow_has_opened(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(encoded(noise(64, 64), "JPEG")[:900])
    with (
        Image.open(tmp_path / "cut.jpg") as mine,
        pytest.raises(ImageError, match=r"cut\.jpg: cannot"),
    ):
        load_image(mine)


def test_an_open_image_of_the_users_is_not_shrunk_itself(tmp_path: Path) -> None:
    noise(640, 480).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as mine:
        assert load_image(mine, shrink=5000).size == (81, 61)
        assert mine.size == (640, 480)


def test_a_photo_of_97_megapixels_takes_little_memory(tmp_path: Path) -> None:
    """Decoded in full it has 291 MB."""
    Image.new("RGB", (12080, 8040), (90, 60, 30)).save(tmp_path / "large.jpg")
    code = """
import resource, sys
from seewhy.data.images import PHOTO_PIXELS, load_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = load_image(sys.argv[1], shrink=PHOTO_PIXELS)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(image.width * image.height <= PHOTO_PIXELS, (after - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path / "large.jpg"],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    fits, megabytes = done.stdout.split()
    assert fits == "True"
    assert int(megabytes) < 150


# -- files that are none ----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(ImageError, match="a pipe or a device"):
            load_image(path)


def test_npy_files_hold_photos_and_run_nothing(tmp_path: Path) -> None:
    photo = noise(5, 4)
    np.save(tmp_path / "a.npy", np.asarray(photo))
    assert load_image(tmp_path / "a.npy").tobytes() == photo.tobytes()
    np.save(tmp_path / "evil.npy", np.array([print], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:90])
    sides = b"(4, 5, 3), }", b"(" + b"9" * 30 + b"4, 5, 3), }"
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "huge.npy").write_bytes(content.replace(sides[0] + b" " * 30, sides[1]))
    for name in ("evil.npy", "cut.npy", "huge.npy"):
        with pytest.raises(ImageError, match=rf"{name}: no readable \.npy file"):
            load_image(tmp_path / name)


def test_environment_of_pillow_is_untouched(tmp_path: Path) -> None:
    from PIL import ImageFile

    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, os.getcwd()
    load_image(noise(4, 4))
    with pytest.raises(ImageError):
        load_image(tmp_path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, os.getcwd())


def test_a_heif_photo_says_what_to_install_and_is_read_with_it(monkeypatch):
    photo = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + encoded(Image.new("RGB", (5, 4), "red"))

    def register() -> None:
        """As pillow-heif does, for files that hold a PNG behind their beginning."""
        opener = (lambda *_: PngImageFile(io.BytesIO(photo[28:])), lambda start: start[4] == 102)
        monkeypatch.setitem(Image.OPEN, "HEIF", opener)
        monkeypatch.setattr(Image, "ID", [*Image.ID, "HEIF"])

    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="HEIF photo; to read it, pip install pillow-heif"):
        load_image(photo)
    with pytest.raises(ImageError, match="not an image"):
        load_image(photo.replace(b"ftypheic", b"ftypisom"))
    found = SimpleNamespace(register_heif_opener=register)
    monkeypatch.setitem(sys.modules, "pillow_heif", found)
    assert load_image(photo).size == (5, 4)
    assert load_image(photo).getpixel((0, 0)) == (255, 0, 0)


def test_whole_numbers_beyond_16_million_are_told_apart():
    """They became float32, in which these are one."""
    values = np.array([[0, 10, 20]], dtype=np.int32) + 2**30
    with pytest.warns(Note, match="its values are"):
        assert np.asarray(load_image(values))[0, :, 0].tolist() == [0, 128, 255]
    asked = load_image(values.astype(float), window=(2**30, 2**30 + 20))
    assert np.asarray(asked)[0, :, 0].tolist() == [0, 128, 255]


def test_values_that_are_no_numbers_are_refused_in_a_window():
    """They became whatever the processor makes of them."""
    for source in (np.array([[0.5, np.nan]]), Image.fromarray(np.array([[0.5, np.nan]], "f4"))):
        with pytest.raises(ImageError, match="not a number"):
            load_image(source, window=(0, 1))
