"""Checks of maps whose truth is known by construction, and what they must not disturb."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import seewhy
from networks import Cnn, Segmenter, seeded
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import Scenes
from seewhy.metrics import (
    average_drop,
    class_probability,
    confidences,
    deletion,
    insertion,
    insertion_deletion,
    target_selectivity,
)
from seewhy.models import LoadedModel, load_model
from seewhy.trust import CHECKS, examine
from seewhy.trust.checks import case_of, check, last_layers
from seewhy.trust.lights import THRESHOLDS

SIDE = 24
OWN = (slice(16, 22), slice(15, 21))  # the pixels that class 0 reads, and those of class 1
OTHER = (slice(2, 8), slice(2, 8))
SQUARE = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def patches(classes: int = 2, multi_label: bool = True) -> LoadedModel:
    """A linear network of which each class reads the brightness of one patch, and nothing else."""
    linear = nn.Linear(3 * SIDE * SIDE, classes)
    weight = torch.zeros(classes, 3, SIDE, SIDE)
    for row, patch in zip(weight, (OWN, OTHER), strict=False):
        row[:, *patch] = 0.3
    linear.weight.data = weight.flatten(1)
    linear.bias.data.fill_(-6.0)
    module = nn.Sequential(nn.Flatten(), linear).eval()
    activation = "sigmoid" if multi_label else "softmax"
    return LoadedModel(module, SQUARE, ("left", "right")[:classes], "patches", activation)


def photo() -> Image.Image:
    """White patches on speckled grey, whose edges are everywhere."""
    pixels = np.random.default_rng(0).integers(60, 190, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[OWN] = pixels[OTHER] = 255
    return Image.fromarray(pixels)


def lights(*arguments, **options) -> dict[str, str]:
    return {found.name: found.light for found in examine(*arguments, **options)}


def test_the_true_map_is_green_in_everything():
    checks = list(examine(patches(), photo(), "input_x_gradient", "left"))
    assert tuple(found.name for found in checks) == CHECKS
    assert {found.light for found in checks} == {"green"}, checks
    assert all(found.rule == str(THRESHOLDS[found.name]) for found in checks)


@pytest.mark.parametrize("name", ["insertion and deletion", "confidence drop", "blind baselines"])
def test_the_inverse_is_red_and_the_other_targets_map_is_not_green(name):
    case = case_of(patches(), photo(), "input_x_gradient", "left")
    assert check(case, name).light == "green"
    assert check(replace(case, saliency=-case.saliency), name).light == "red"
    other = case_of(patches(), photo(), "input_x_gradient", "right")
    assert check(replace(case, saliency=other.saliency), name).light != "green"


def test_what_speaks_against_the_class_is_not_shown_with_what_speaks_for_it():
    """By its least and largest value, all of a signed map but its minimum would be shown."""
    case = case_of(patches(), photo(), "input_x_gradient", "left")
    expected = check(case, "confidence drop")
    against = torch.full_like(case.saliency, -100.0)
    found = check(
        replace(case, saliency=case.saliency.where(case.saliency > 0, against)), "confidence drop"
    )
    assert (found.value, found.light) == (expected.value, "green")
    wrong = torch.where(case.saliency > 0, -1.0, -100.0)
    assert check(replace(case, saliency=wrong), "confidence drop").light == "red"


@pytest.mark.parametrize("method", ["edges", "center_gaussian", "random"])
def test_maps_that_know_nothing_of_the_network_are_red(method):
    found = lights(patches(), photo(), method, "left")
    assert found["target selectivity"] == found["randomised layers"] == "red"
    assert found["insertion and deletion"] != "green"
    assert found["blind baselines"] != "green"


def test_the_sentence_of_insertion_and_deletion_tells_what_two_pictures_say():
    model, picture = patches(), photo()
    inputs = model.preprocess(picture)[None]
    marked = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    marked[12:, 12:] = True  # a quarter of the pixels, all of the own patch among them
    case = case_of(model, picture, "input_x_gradient", "left")
    found = check(replace(case, saliency=marked[None].float()), "insertion and deletion")
    with torch.no_grad():
        whole = model.module(inputs)[0, 0].sigmoid()
        hidden = model.module(inputs * ~marked)[0, 0].sigmoid()
    assert "only the 25 % of the picture" in found.sentence
    assert "gives 100 % of its confidence in “left”" in found.sentence
    assert hidden / whole < 0.01
    assert "hiding that part leaves under 1 %" in found.sentence


def test_values_are_the_metrics_on_what_the_network_took_in():
    """On a photo that is not square, of which the network sees a crop."""
    model = load_model("scenes:resnet")
    model = replace(model, preprocess=replace(model.preprocess, resize=140, crop=128))
    picture = Scenes(50, size=200)[15].image.resize((320, 200))
    found = {one.name: one for one in examine(model, picture, "grad_cam", "clock", steps=4)}
    inputs = model.preprocess(picture)[None]
    index = model.class_index("clock")
    maps = seewhy.explain(model.module, inputs, "grad_cam", index)
    score = class_probability(model.module, [index], "sigmoid")
    curves = insertion_deletion(score, inputs, maps, steps=4)
    whole = score(inputs, torch.tensor([0]))
    expected = (insertion(curves) - deletion(curves)) / whole
    shown = found["insertion and deletion"]
    assert shown.value == pytest.approx(float(expected), abs=1e-5)
    axis, inserted, deleted = shown.curves.values()
    assert axis == pytest.approx([step / 4 for step in range(5)])
    assert inserted == pytest.approx(curves.insertion[0].tolist(), abs=1e-5)
    assert deleted == pytest.approx(curves.deletion[0].tolist(), abs=1e-5)
    drop = average_drop(*confidences(score, inputs, maps))
    assert found["confidence drop"].value == pytest.approx(float(drop), abs=1e-5)
    other = seewhy.explain(model.module, inputs, "grad_cam", model.class_index("umbrella"))
    correlation = float(target_selectivity(maps, other))
    assert found["target selectivity"].value == pytest.approx(correlation, abs=1e-5)
    assert "“umbrella”" in found["target selectivity"].sentence
    assert found["randomised layers"].picture.size == picture.size


def test_amber_does_not_say_that_half_the_confidence_is_nearly_enough():
    case = case_of(patches(), photo(), "input_x_gradient", "left")
    dim = torch.zeros_like(case.saliency)
    dim[:, *OWN], dim[:, 0, 0] = 6 / 32.4, 1.0  # which brings the logit to 0
    found = check(replace(case, saliency=dim), "confidence drop")
    assert (found.value, found.light) == (pytest.approx(0.5, abs=1e-3), "amber")
    assert "only part" in found.sentence


def test_no_sentence_says_minus_zero():
    case = case_of(patches(), photo(), "input_x_gradient", "left")
    other = case.explain(case.model.module, 1)
    other -= other.mean()
    apart = torch.eye(SIDE)[None] - 1 / SIDE
    apart -= other * (other * apart).sum() / other.square().sum()
    nearly = apart / apart.norm() - 1e-3 * other / other.norm()
    found = check(replace(case, saliency=nearly), "target selectivity")
    assert found.value == pytest.approx(-1e-3, abs=1e-5)
    assert "correlation of 0.00" in found.sentence


def test_the_picture_of_a_large_photo_is_small():
    found = {one.name: one for one in examine(patched_up(), Image.new("RGB", (2000, 900)), "edges")}
    assert found["randomised layers"].picture is None  # a black photo has no edges: grey
    speckled = Image.effect_noise((2000, 900), 90).convert("RGB")
    found = {one.name: one for one in examine(patched_up(), speckled, "edges")}
    assert found["randomised layers"].picture.size == (640, 288)


def patched_up() -> LoadedModel:
    return replace(patches(), preprocess=replace(SQUARE, resize=(SIDE, SIDE)), activation="softmax")


# ---------------------------------------------------------------------- lights


@pytest.mark.parametrize("name", CHECKS)
@given(a=st.floats(-1, 1), b=st.floats(-1, 1))
def test_a_better_value_never_has_a_worse_light(name, a, b):
    rule = THRESHOLDS[name]
    better, worse = (max(a, b), min(a, b)) if rule.higher else (min(a, b), max(a, b))
    order = ("red", "amber", "green")
    assert order.index(rule.light(better)) >= order.index(rule.light(worse))


@pytest.mark.parametrize("name", CHECKS)
def test_every_light_can_be_had_and_the_rule_tells_where_it_changes(name):
    rule = THRESHOLDS[name]
    values = torch.linspace(-1, 1, 2001).tolist()
    assert {rule.light(value) for value in values} == {"green", "amber", "red"}
    assert rule.light(rule.green) == "green"
    assert f"{rule.green:.2f}" in str(rule)
    assert f"{rule.red:.2f}" in str(rule)
    assert "\n" not in str(rule)


# ---------------------------------------------------------------------- what cannot be said


def test_a_class_that_the_network_does_not_see_is_grey():
    dark = photo()
    dark.paste((40, 40, 40), (15, 16, 21, 22))
    checks = list(examine(patches(), dark, "input_x_gradient", "left"))
    assert {found.light for found in checks} == {"grey"}
    assert all(found.value is None for found in checks)
    assert all("does not recognise “left” here (under 1 %)" in found.sentence for found in checks)


def test_a_constant_map_is_grey():
    case = case_of(patches(), photo(), "input_x_gradient", "left")
    flat = replace(case, saliency=torch.full_like(case.saliency, 0.3))
    checks = [check(flat, name) for name in CHECKS]
    assert {found.light for found in checks} == {"grey"}
    assert all("is constant" in found.sentence for found in checks)


def test_a_network_with_one_output_tells_two_classes_apart():
    model = replace(patches(1), activation=None)
    found = lights(model, photo(), "input_x_gradient")
    assert found.pop("target selectivity") == "grey"
    assert set(found.values()) == {"green"}
    case = case_of(model, photo(), "input_x_gradient")
    assert (case.target, case.name) == (1, "“left”")
    against = case_of(model, photo(), "input_x_gradient", 0)
    assert against.name == "“not left”"
    assert against.probability == pytest.approx(1 - case.probability, abs=1e-6)
    assert torch.equal(against.saliency, -case.saliency)
    images = torch.rand(3, *case.inputs.shape[1:])
    total = case.score(images, torch.zeros(3).long()) + against.score(images, torch.zeros(3).long())
    assert torch.allclose(total, torch.ones(3))


def test_plain_numbers_are_no_probabilities():
    found = {
        one.name: one
        for one in examine(replace(patches(1), activation="none"), photo(), "input_x_gradient")
    }
    assert found["insertion and deletion"].light == "grey"
    assert "plain numbers" in found["insertion and deletion"].sentence


def test_no_plain_number_is_too_low_to_be_checked_or_per_cent():
    model = replace(patches(), activation="none")
    model.module[1].bias.data.fill_(-90.0)
    found = {one.name: one for one in examine(model, photo(), "input_x_gradient", "left")}
    assert "plain numbers" in found["insertion and deletion"].sentence
    assert found["target selectivity"].light == found["randomised layers"].light == "green"
    assert "the highest other output, “right” (-5" in found["target selectivity"].sentence


def test_scores_that_are_not_finite_on_changed_pictures_are_grey():
    class Standardised(nn.Module):
        def forward(self, x):
            return (x - x.mean((1, 2, 3), True)) / x.std((1, 2, 3), keepdim=True)

    model = patches()
    model.module.insert(0, Standardised())  # what is all of one colour has no deviation
    found = {one.name: one for one in examine(model, photo(), "input_x_gradient", "left")}
    for name in ("insertion and deletion", "blind baselines"):
        assert (found[name].value, found[name].light) == (None, "grey")
        assert "not finite" in found[name].sentence


def test_a_network_without_parameters_has_learned_nothing():
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) * 5

    model = LoadedModel(Mean().eval(), SQUARE, name="mean")
    found = {one.name: one for one in examine(model, photo(), "input_x_gradient")}
    assert found["randomised layers"].light == "grey"
    assert "no parameters" in found["randomised layers"].sentence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "grad_can"}, "did you mean"),
        ({"method": "edges", "target": 2}, "class 2"),
        ({"method": "edges", "target": "middle"}, "middle"),
        ({"method": "edges", "layer": "nothing"}, "nothing"),
        ({"method": "edges", "steps": 3}, "steps=3"),
    ],
)
def test_bad_input_is_told_before_the_first_check(arguments, message):
    with pytest.raises(ValueError, match=message):
        examine(patches(), photo(), **arguments)


def test_a_class_out_of_range_where_classes_have_no_names():
    with pytest.raises(ValueError, match="class 2 is out of range"):
        examine(replace(patches(), classes=()), photo(), "edges", 2)


def test_a_segmentation_network_is_refused():
    model = LoadedModel(seeded(Segmenter), SQUARE, name="segmenter")
    with pytest.raises(ValueError, match=r"1, 4, 24, 24\), and this needs one score per class"):
        examine(model, photo(), "edges", 0)


# ---------------------------------------------------------------------- nothing is disturbed


def state(module: nn.Module) -> dict[str, object]:
    return {
        "weights": copy.deepcopy(module.state_dict()),
        "modes": [part.training for part in module.modules()],
        "asked": [(p.requires_grad, p.grad) for p in module.parameters()],
        "hooks": [len(part._forward_hooks) for part in module.modules()],
    }


def assert_same(module: nn.Module, before: dict[str, object]) -> None:
    after = state(module)
    torch.testing.assert_close(after.pop("weights"), before.pop("weights"), rtol=0, atol=0)
    assert after == before


def cnn() -> LoadedModel:
    """Left in train mode, with some parameters frozen."""
    module = seeded(Cnn)
    module.head.weight.data *= 20  # so that one class is likely
    module.conv1.requires_grad_(False)
    return LoadedModel(module.train(), replace(SQUARE, resize=(32, 32)), name="cnn")


@pytest.mark.parametrize("taken", [0, 1, 4, 5])
def test_the_network_is_unchanged_wherever_one_stops(taken):
    model = cnn()
    before = state(model.module)
    checks = examine(model, photo(), "grad_cam+gradual", steps=4)
    for _ in range(taken):
        next(checks)
    checks.close()
    assert_same(model.module, before)


class Tired(Cnn):
    """Works for some passes, then never again."""

    left = 0

    def forward(self, x):
        type(self).left -= 1
        if self.left < 0:
            raise RuntimeError("the network broke")
        return super().forward(x)


def test_the_network_is_unchanged_where_it_breaks_and_the_sentence_says_why():
    module = seeded(Tired)
    module.head.weight.data *= 20
    model = LoadedModel(module.train(), replace(SQUARE, resize=(32, 32)), name="tired")
    before = state(module)
    Tired.left = 2
    found = list(examine(model, photo(), "gradient", steps=4))
    assert {one.light for one in found} == {"grey"}
    assert all("the network broke" in one.sentence for one in found)
    assert_same(module, before)


def test_two_threads_examine_one_network():
    model = load_model("scenes:resnet")
    picture = Scenes(50)[15].image
    before = state(model.module)
    asked = [("grad_cam", "clock"), ("tsgb", "umbrella")]

    def values(question):
        return [found.value for found in examine(model, picture, *question, steps=4)]

    alone = [values(question) for question in asked]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(values, asked))
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert_same(model.module, before)


def test_the_layer_may_be_named_or_handed_over():
    model, picture = load_model("scenes:resnet"), Scenes(50)[15].image
    named = list(examine(model, picture, "grad_cam", "clock", layer="layer3", steps=4))
    handed = examine(model, picture, "grad_cam", "clock", layer=model.module.layer3, steps=4)
    assert [one.value for one in named] == [one.value for one in handed]
    chosen = examine(model, picture, "grad_cam", "clock", steps=4)
    assert [one.value for one in named] != [one.value for one in chosen]


def test_checks_are_the_same_under_inference_mode():
    model = patches()
    expected = [one.value for one in examine(model, photo(), "input_x_gradient", steps=4)]
    with torch.inference_mode():
        found = [one.value for one in examine(model, photo(), "input_x_gradient", steps=4)]
    assert None not in expected
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_last_layers():
    def last(module: nn.Module, inputs: torch.Tensor) -> str:
        return last_layers(LoadedModel(module.eval(), SQUARE, name="net"), inputs)

    images = torch.rand(1, 3, 128, 128)
    cnn = seeded(Cnn)
    assert last(cnn, images) == "head"
    assert last(nn.Sequential(nn.Identity(), cnn, nn.Dropout()), images) == "1.head"
    cnn.for_training = nn.Linear(8, 5)  # no score depends on it
    assert last(cnn, images) == "head"
    assert last(load_model("scenes:vgg").module, images) == "classifier"
    assert last(nn.Linear(2, 2), torch.rand(1, 2)) == ""
    with torch.inference_mode():
        assert last(cnn, images.clone()) == "head"
