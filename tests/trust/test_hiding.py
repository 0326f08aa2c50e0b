"""Hiding parts of photos, and what the network says then."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from networks import Cnn, Segmenter, seeded
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import Scenes
from seewhy.metrics import linear_imputation
from seewhy.models import LoadedModel, load_model
from seewhy.trust import effects, hide
from seewhy.trust.hiding import GREY

FILLS = ["grey", "blur", "inpaint"]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


def blob(width: int, height: int) -> torch.Tensor:
    region = torch.zeros(height, width, dtype=torch.bool)
    region[height // 5 : height // 2, width // 4 : width // 2] = True
    region[height // 2, 3] = True  # and a single pixel elsewhere
    return region


def pixels(photo: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(photo))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size", [(40, 30), (1013, 337)])
def test_only_the_region_changes(fill, size):
    photo, region = noise(*size), blob(*size)
    kept = pixels(photo).clone()
    hidden = hide(photo, region, fill)
    assert hidden.mode == "RGB"
    assert hidden.size == photo.size
    assert torch.equal(pixels(hidden)[~region], kept[~region])
    assert not torch.equal(pixels(hidden)[region], kept[region])
    assert torch.equal(pixels(photo), kept)  # the photo itself is not painted on


def test_grey_is_grey():
    photo, region = noise(40, 30), blob(40, 30)
    assert (pixels(hide(photo, region))[region] == torch.tensor(GREY)).all()


@pytest.mark.parametrize("size", [(40, 30), (1013, 337)])
def test_nothing_that_is_hidden_shines_through_the_inpainting(size):
    """Whatever lies below, the result is the same."""
    photo, region = noise(*size), blob(*size)
    other = Image.composite(noise(*size, seed=1), photo, Image.fromarray(region.numpy()))
    first, second = hide(photo, region, "inpaint"), hide(other, region, "inpaint")
    assert torch.equal(pixels(first), pixels(second))


def test_inpainting_is_the_linear_imputation():
    photo, region = noise(40, 30), blob(40, 30)
    planes = pixels(photo).permute(2, 0, 1)[None].double()
    expected = linear_imputation(planes, region[None])[0].permute(1, 2, 0)
    found = pixels(hide(photo, region, "inpaint")).double()
    assert (found - expected).abs().max() <= 0.51  # rounded to whole levels


@pytest.mark.parametrize("fill", ["blur", "inpaint"])
def test_one_colour_stays_one_colour(fill):
    photo = Image.new("RGB", (1013, 337), (200, 90, 31))
    assert torch.equal(pixels(hide(photo, blob(1013, 337), fill)), pixels(photo))


def test_inpainting_with_all_but_a_line_hidden_takes_the_lines_colour():
    photo = noise(900, 600)
    photo.paste((10, 200, 60), (0, 300, 900, 301))
    region = torch.ones(600, 900, dtype=torch.bool)
    region[300] = False
    found = pixels(hide(photo, region, "inpaint"))
    assert (found - torch.tensor((10, 200, 60))).int().abs().max() <= 1


@pytest.mark.parametrize("fill", FILLS)
def test_an_empty_region_leaves_the_photo(fill):
    photo = noise(40, 30)
    hidden = hide(photo, torch.zeros(30, 40, dtype=torch.bool), fill)
    assert torch.equal(pixels(hidden), pixels(photo))


@pytest.mark.parametrize(
    ("region", "fill", "message"),
    [
        (torch.zeros(40, 30, dtype=torch.bool), "grey", r"give \(30, 40\)"),
        (torch.zeros(30, 40), "grey", "float32"),
        (torch.zeros(30, 40, dtype=torch.bool), "red", "fill='red'"),
        (torch.ones(30, 40, dtype=torch.bool), "inpaint", "whole photo"),
    ],
)
def test_what_cannot_be_hidden(region, fill, message):
    with pytest.raises(ValueError, match=message):
        hide(noise(40, 30), region, fill)


@pytest.mark.parametrize("name", ["scenes:resnet", "scenes:vgg"])
def test_effects_are_two_forwards(name):
    model = load_model(name)
    scene = Scenes(50)[15]
    photo = scene.image
    own = torch.from_numpy(scene.masks[scene.labels.index("clock")])
    hidden = hide(photo, own, "grey")
    model.module.train()
    found = effects(model, photo, hidden, top=18)
    assert model.module.training
    model.module.eval()
    with torch.no_grad():
        before, after = (
            model.module(model.preprocess(p)[None])[0].sigmoid() for p in (photo, hidden)
        )
    assert sorted(one.class_index for one in found) == list(range(18))
    for one in found:
        assert one.name == model.classes[one.class_index]
        assert one.before == pytest.approx(float(before[one.class_index]), abs=1e-5)
        assert one.after == pytest.approx(float(after[one.class_index]), abs=1e-5)
    # The few that are asked for are the likeliest on either picture.
    peaks = [max(one.before, one.after) for one in found]
    assert peaks == sorted(peaks, reverse=True)
    assert effects(model, photo, hidden, top=3) == found[:3]
    with pytest.raises(ValueError, match="top=-1; it should be a whole number, at least 1"):
        effects(model, photo, hidden, top=-1)
    clock = next(one for one in found if one.name == "clock")
    assert clock.before > 0.9 > 0.5 > clock.after  # it is what the network goes by


def test_effects_of_a_network_with_one_label_are_shares_of_one():
    model = LoadedModel(seeded(Cnn), Preprocess(resize=(32, 32)), name="tiny")
    found = effects(model, noise(60, 40), noise(60, 40, seed=1), top=50)
    assert len(found) == 5
    assert sum(one.before for one in found) == pytest.approx(1)
    assert sum(one.after for one in found) == pytest.approx(1)


def test_effects_need_pictures_of_one_size_and_one_score_per_class():
    model = LoadedModel(seeded(Segmenter), Preprocess(resize=(32, 32)), name="segmenter")
    with pytest.raises(ValueError, match="one size"):
        effects(model, noise(60, 40), noise(40, 60))
    with pytest.raises(ValueError, match="one score per class"):
        effects(model, noise(60, 40), noise(60, 40))
