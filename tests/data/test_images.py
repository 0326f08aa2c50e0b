"""Decoding of every kind of photo, the network's input, and the way back to the photo."""

from __future__ import annotations

import importlib
import io
import os
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seewhy.data.finding import find_images
from seewhy.data.geometry import Geometry
from seewhy.data.images import ImageError, load_image
from seewhy.data.preprocess import Preprocess
from seewhy.models import import_torchvision

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


# -- decoding ---------------------------------------------------------------------------------


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


# -- finding ----------------------------------------------------------------------------------


def test_find_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "b.JPG",
        "a.png",
        "deep/er/c.webp",
        "notes.txt",
        ".hidden.png",
        ".git/d.png",
        "x[1].gif",
    ]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"?")
    (tmp_path / "folder.png").mkdir()

    def found(*given: str) -> list[str]:
        paths = find_images([str(tmp_path / name) for name in given])
        return [path.relative_to(tmp_path).as_posix() for path in paths]

    everything = ["a.png", "b.JPG", "deep/er/c.webp", "x[1].gif"]
    assert found("") == everything
    assert found("**/*") == everything
    assert found("*.png") == ["a.png"]
    assert found("d*") == ["deep/er/c.webp"]
    assert found("x[1].gif") == ["x[1].gif"]
    assert found("notes.txt") == ["notes.txt"], "named outright"
    assert found("b.JPG", "a.png", "deep/../a.png", "") == everything
    monkeypatch.chdir(tmp_path)
    assert find_images("a.png") == [Path("a.png")]
    assert find_images(["a.png", tmp_path / "a.png"]) == [Path("a.png")]
    for nothing in ("missing.jpg", "*.tiff", "*.txt", "folder.png"):
        with pytest.raises(ImageError, match=r"^\S*" + nothing.replace("*", r"\*")):
            found("a.png", nothing)


# -- preprocessing ----------------------------------------------------------------------------


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


# -- geometry ---------------------------------------------------------------------------------

sides = st.integers(1, 70)
geometries = st.builds(
    lambda resize, crop, size: Preprocess(resize, crop).geometry(size),
    st.none() | st.integers(8, 60) | st.tuples(sides, sides),
    st.none() | st.integers(1, 80) | st.tuples(sides, sides),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
)


@given(geometries)
@settings(max_examples=100, deadline=None)
def test_points_round_trip(geometry: Geometry) -> None:
    points = torch.rand(5, 2, dtype=torch.float64) * torch.tensor(geometry.original)
    there = geometry.points_to_input(points)
    assert torch.allclose(geometry.points_to_original(there), points, atol=1e-9)
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


def test_environment_of_pillow_is_untouched(tmp_path: Path) -> None:
    from PIL import ImageFile

    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, os.getcwd()
    load_image(noise(4, 4))
    with pytest.raises(ImageError):
        load_image(tmp_path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, os.getcwd())
