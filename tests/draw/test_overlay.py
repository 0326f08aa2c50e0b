"""Maps as pictures and files, checked pixel by pixel against closed forms and matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from seewhy.draw import colorize, contour, overlay, save_saliency
from seewhy.draw.overlays import colour_scale
from seewhy.maps import normalize

GREEN = (30, 160, 60)


def photo(width: int = 96, height: int = 64, colour: tuple[int, int, int] = GREEN) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def plateaus(*values: float, side: int = 32) -> torch.Tensor:
    """A map of broad vertical bands, so that no value is an outlier."""
    return torch.tensor(values).repeat_interleave(side).expand(side, -1).clone()


def test_values_that_are_not_finite_are_counted() -> None:
    map = torch.zeros(3, 4)
    map[0, 0], map[1, 1] = torch.nan, -torch.inf
    for function in (
        normalize,
        colorize,
        lambda m: overlay(photo(), m),
        lambda m: contour(photo(), m),
    ):
        with pytest.raises(ValueError, match="2 of 12 saliency values are not finite"):
            function(map)


@pytest.mark.parametrize("factor", [2.0**200, 2.0**-200])
def test_double_precision_is_drawn_beyond_the_range_of_single(factor: float) -> None:
    map = torch.linspace(0, 1, 48, dtype=torch.float64).view(6, 8)
    for draw in (colorize, lambda m: overlay(photo(), m), lambda m: contour(photo(), m)):
        assert draw(map * factor) == draw(map)


# -- colorize ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cmap", ["inferno", "viridis", "cividis"])
def test_colours_are_those_of_matplotlib(cmap: str) -> None:
    picture = pixels(colorize(plateaus(-2, 1, 4, 6), cmap))
    expected = matplotlib.colormaps[cmap]([0, 3 / 8, 6 / 8, 1], bytes=True)[:, :3].astype(int)
    assert np.abs(picture[0, ::32] - expected).max() <= 4
    assert np.abs(picture[0, [0, -1]] - expected[[0, -1]]).max() == 0


def test_signed_colours_are_centred_at_zero() -> None:
    picture = pixels(colorize(plateaus(-1, 0, 4), signed=True))
    expected = matplotlib.colormaps["coolwarm"]([3 / 8, 0.5, 1.0], bytes=True)[:, :3].astype(int)
    assert np.abs(picture[0, ::32] - expected).max() <= 4


def test_one_outlier_does_not_darken_the_rest() -> None:
    map = plateaus(0, 1)
    spiked = map.clone()
    spiked[5, 5] = 1e6
    difference = pixels(colorize(map)) != pixels(colorize(spiked))
    assert np.argwhere(difference.any(-1)).tolist() == [[5, 5]]


def test_a_map_with_few_salient_pixels_is_not_empty() -> None:
    map = torch.zeros(100, 100)
    map[7, 9] = 3
    picture = pixels(colorize(map))
    assert (picture[7, 9] == pixels(colorize(plateaus(0, 1)))[0, -1]).all()
    assert (picture[0, 0] == picture[50, 50]).all()
    assert colorize(torch.zeros(4, 6)).size == (6, 4)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"saliency is \(1, 4, 4\); give one map \(H, W\)"):
        colorize(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="cmap='hot-dog'"):
        colorize(torch.zeros(4, 4), "hot-dog")
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        overlay(photo(), torch.zeros(4, 4), alpha=1.5)
    with pytest.raises(ValueError, match=r"levels=\(0.5, 1\)"):
        contour(photo(), torch.zeros(4, 4), levels=(0.5, 1))
    for seen in (torch.ones(96, 64, dtype=torch.bool), torch.ones(64, 96)):
        for draw in (overlay, contour):
            with pytest.raises(ValueError, match=r"seen is .*; give \(64, 96\), torch.bool"):
                draw(photo(), torch.zeros(4, 4), seen=seen)


# -- overlay ----------------------------------------------------------------------------------


def test_opacity_follows_saliency() -> None:
    map = torch.linspace(0, 1, 96).expand(64, -1)
    picture = pixels(overlay(photo(), map, alpha=1))
    top = matplotlib.colormaps["inferno"](1.0, bytes=True)[:3]
    faded = picture[0, 0]
    assert (picture[0, -1] == top).all(), "the most salient is all colour"
    assert np.argmax(faded) == 1, "the least salient is still the green photo"
    assert 0.8 < faded.sum() / sum(GREEN) < 1, "a little darker"
    assert np.ptp(faded / faded.sum() - np.array(GREEN) / sum(GREEN)) < 0.02, "and of its colour"
    assert (pixels(overlay(photo(), map, alpha=0)) == faded).all()


def test_a_plateau_keeps_its_gradation() -> None:
    """What is high nearly everywhere is spread, in order; a map with few high values is not."""
    high = torch.linspace(0.7, 1, 96).expand(64, -1).clone()
    high[:, :2] = 0
    scale = colour_scale(high)
    assert scale.power > 3
    brightness = pixels(overlay(photo(), high)).sum(-1)[32, 4:]
    assert (np.diff(brightness) >= -2).all()
    assert brightness[-1] - brightness[0] > 120
    few = torch.zeros(64, 96)
    few[20:30, 20:40] = 1
    assert colour_scale(few).power == 1
    assert colour_scale(torch.ones(8, 8)).power == 1


def test_low_saliency_keeps_the_photo_readable() -> None:
    stripes = photo(colour=(220, 220, 220))
    stripes.paste((40, 40, 40), (0, 0, 48, 64))
    picture = pixels(overlay(stripes, torch.zeros(7, 7)))
    assert picture[0, 90].sum() - picture[0, 5].sum() > 0.6 * 3 * 180


def test_what_is_salient_can_be_recognised_beneath_its_colours() -> None:
    """Fine light and shade shows through at full strength; what is large takes the map's colour."""
    striped = pixels(photo(colour=(128, 128, 128)))
    striped[:, ::4] += 60
    striped[:, 2::4] -= 60
    striped[:16] = 40
    image = Image.fromarray(striped.astype(np.uint8))
    map = torch.ones(64, 96)
    map[0, 0] = 0
    drawn = pixels(overlay(image, map, alpha=0.85))
    fine = drawn[40].sum(-1)
    assert fine[48] - fine[50] > 0.6 * 2 * 60  # of yellow, blue alone has room to grow lighter
    flat = pixels(overlay(photo(), map, alpha=1))[40, 48]
    assert np.abs(pixels(overlay(image, map, alpha=1))[4, 48] - flat).max() <= 2, "dark, not fine"


def test_map_of_any_size_is_stretched_over_the_photo() -> None:
    coarse = torch.zeros(4, 6)
    coarse[1, 4] = 1  # centre at x = 72, y = 24 of 96 x 64
    for dtype in (torch.float16, torch.float64):
        change = pixels(overlay(photo(), coarse.to(dtype)))
        change = np.abs(change - change[-1, 0]).sum(-1)
        y, x = np.nonzero(change > 0.6 * change.max())
        assert abs(x.mean() + 0.5 - 72) < 1
        assert abs(y.mean() + 0.5 - 24) < 1


def test_photos_and_maps_of_any_kind(tmp_path: Path) -> None:
    map = torch.rand(16, 24, generator=torch.Generator().manual_seed(0))
    photo().save(tmp_path / "photo.png")
    expected = overlay(photo(), map).tobytes()
    for image in (tmp_path / "photo.png", str(tmp_path / "photo.png"), np.asarray(photo())):
        assert overlay(image, map.numpy()).tobytes() == expected
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        overlay(tmp_path / "gone.png", map)


def test_signed_overlay_tells_for_from_against() -> None:
    grey = photo(colour=(128, 128, 128))
    red, middle, blue = pixels(overlay(grey, plateaus(2, 0, -2), signed=True))[20, [5, 48, 90]]
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    assert np.ptp(middle) <= 2


def test_what_was_not_seen_is_bleached_and_takes_no_part() -> None:
    seen = torch.zeros(64, 96, dtype=torch.bool)
    seen[:, 24:72] = True
    map = torch.rand(64, 96, generator=torch.Generator().manual_seed(0))
    other = map.where(seen, 1e5)
    for draw in (overlay, contour):
        plain, picture = pixels(draw(photo(), map)), pixels(draw(photo(), map, seen=seen))
        assert (pixels(draw(photo(), map, seen=torch.ones_like(seen))) == plain).all()
        outside = picture[~seen.numpy()]
        if draw is overlay:
            assert (pixels(draw(photo(), other, seen=seen)) == picture).all()
            assert np.ptp(outside, axis=1).max() == 0, "grey"
            assert np.ptp(outside[:, 0]) > 20, "hatched"
        assert outside.mean() > 180, "bleached"
        assert picture[seen.numpy()].mean() < 140
    assert overlay(photo(), map, seen=torch.zeros_like(seen)).size == (96, 64)


def test_nothing_that_was_given_is_changed() -> None:
    image, map = photo(), torch.rand(64, 96, requires_grad=True)
    seen = torch.rand(64, 96) > 0.3
    before = image.tobytes(), map.detach().clone(), seen.clone()
    overlay(image, map, seen=seen)
    contour(image, map, seen=seen)
    assert image.tobytes() == before[0]
    assert torch.equal(map, before[1])
    assert torch.equal(seen, before[2])


# -- contour ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(600, 400), (300, 1700), (128, 128)])
def test_outlines_lie_where_the_map_has_the_level(size: tuple[int, int]) -> None:
    width, height = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    # A cone whose level L is the circle of radius (1 - L) R.
    distance = torch.hypot(x - width / 2, y - height / 2)
    radius = 0.45 * min(size)
    image = photo(width, height)
    picture = pixels(contour(image, (1 - distance / radius).clamp_min(0), levels=(0.4,)))
    drawn = (picture != pixels(image)).any(-1)
    found = distance.numpy()[drawn]
    assert abs(np.median(found) - 0.6 * radius) < 0.02 * min(size)
    assert found.min() > 0.5 * radius
    assert found.max() < 0.7 * radius
    assert float(x[drawn].mean()) == pytest.approx(width / 2, abs=0.3)
    assert float(y[drawn].mean()) == pytest.approx(height / 2, abs=0.3)
    angle = np.arctan2((y - height / 2).numpy(), (x - width / 2).numpy())[drawn]
    assert len(np.unique(np.floor(angle * 20))) >= 125, "all the way round"


@pytest.mark.parametrize("grey", [0, 90, 160, 255])
def test_outlines_are_legible_on_any_photo(grey: int) -> None:
    image = photo(200, 200, (grey, grey, grey))
    bump = torch.zeros(9, 9)
    bump[3:6, 3:6] = 1
    change = np.abs(pixels(contour(image, bump)) - grey).max(-1)
    assert (change > 110).sum() > 400


def test_every_level_is_drawn_and_a_flat_map_has_none() -> None:
    map = torch.linspace(0, 1, 200).expand(100, -1)
    image = photo(200, 100)
    drawn = (pixels(contour(image, map, (0.25, 0.5, 0.75))) != pixels(image)).any(-1)[50]
    assert np.diff(drawn.astype(int)).tolist().count(1) == 3
    assert contour(image, torch.ones(10, 20)).tobytes() == image.tobytes()


def test_outlines_of_a_pixel_fine_map_are_few() -> None:
    image = photo(400, 300)
    density = torch.full((300, 400), 0.1)
    density[100:200, 150:300] = 0.6
    fine = torch.bernoulli(density, generator=torch.Generator().manual_seed(0))
    drawn = (pixels(contour(image, fine, (0.5,))) != pixels(image)).any(-1)
    y, x = np.nonzero(drawn)
    assert drawn.mean() < 0.04, "one outline, no confetti"
    assert [x.min(), y.min(), x.max(), y.max()] == pytest.approx([150, 100, 300, 200], abs=6)


# -- files ------------------------------------------------------------------------------------


def test_saliency_files_hold_the_map(tmp_path: Path) -> None:
    map = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    for name in ("a.npy", "a.npz", "A.PNG", "B.NPY", "B.NPZ"):
        save_saliency(tmp_path / name, map)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "A.PNG", "B.NPY", "B.NPZ", "a.npy", "a.npz",
    ]  # fmt: skip
    values = map.detach().float().numpy()
    assert np.array_equal(np.load(tmp_path / "a.npy"), values)
    with np.load(str(tmp_path / "B.NPZ")) as file:
        assert np.array_equal(file["saliency"], values)
    with Image.open(tmp_path / "A.PNG") as image:
        grey = np.asarray(image)
    assert grey.dtype == np.uint16
    span = values.max() - values.min()
    assert np.abs(grey / 65535 - (values - values.min()) / span).max() < 1e-5


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    for name in ("map.jpg", "map"):
        with pytest.raises(ValueError, match=r"map.*saved as \.npy, \.npz or \.png"):
            save_saliency(tmp_path / name, torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"9 of 9 .* not finite in torch\.float32"):
        save_saliency(tmp_path / "a.npy", torch.full((3, 3), 1e39, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"saliency is \(2, 3, 3\)"):
        save_saliency(tmp_path / "a.npy", torch.zeros(2, 3, 3))
    assert not list(tmp_path.iterdir())


def test_an_image_is_read_as_its_file_is(tmp_path):
    grey = np.linspace(0, 65535, 24 * 16).astype(np.uint16).reshape(16, 24)
    turned = Image.fromarray((grey // 256).astype(np.uint8))
    orientation = Image.Exif()
    orientation[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=orientation)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    clear = turned.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    saliency = torch.rand(7, 7)
    for name in ("turned.png", "deep.png", "clear.png"):
        for draw in (overlay, contour):
            with Image.open(tmp_path / name) as image:
                assert draw(image, saliency) == draw(tmp_path / name, saliency), name


def test_booleans_are_painted():
    region = torch.eye(3, dtype=torch.bool)
    assert colorize(region) == colorize(region.float())
