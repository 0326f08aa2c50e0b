"""Faithfulness metrics against the definitions' own numbers and four libraries' numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from reference import relative_error
from seewhy.metrics import faithfulness, metric, sanity

CASES = ["tiny_mobilenet_x64_b3", "tiny_resnet_basic_x65x57", "tiny_vgg_x64_b3"]


class Setup:
    """One network with its images, maps and the numbers expected of them."""

    def __init__(self, oracles, name, dtype=torch.float64):
        case = oracles[f"metrics/faithfulness_{name}"]
        self.model = oracles.model(case, dtype)
        self.inputs = oracles.inputs(case, dtype)
        self.numbers = oracles.tensors(case)
        self.maps = self.numbers["maps"].to(dtype)
        self.classes = case["targets"]
        self.score = faithfulness.class_probability(self.model, self.classes)

    def logit(self, images, index):
        with torch.no_grad():
            return self.model(images).gather(1, torch.tensor(self.classes)[index][:, None])[:, 0]


@pytest.fixture(scope="module", params=CASES)
def setup(request, oracles):
    return Setup(oracles, request.param)


@pytest.fixture(scope="module", params=CASES)
def single(request, oracles):
    return Setup(oracles, request.param, torch.float32)


def test_confidences_drop_and_increase(setup):
    expected = setup.numbers
    pair = faithfulness.confidences(setup.score, setup.inputs, setup.maps)
    drop = faithfulness.average_drop(*pair)
    assert relative_error(pair.original, expected["prob.f64"]) < 1e-10
    assert relative_error(pair.masked, expected["prob_masked.f64"]) < 1e-10
    assert relative_error(drop, expected["average_drop.f64"]) < 1e-10
    assert torch.equal(faithfulness.increase(*pair).long(), expected["increase"])
    # torch-cam averages over the batch and adds 1e-7 to the probability.
    torchcam = ((pair.original - pair.masked).relu() / (pair.original + 1e-7)).mean()
    assert relative_error(torchcam[None], expected["torchcam.avg_drop"].double()) < 1e-6
    assert abs(drop.mean() - expected["torchcam.avg_drop"]) < 1e-5
    # RefineCAM gives percent, and the sum over a batch.
    assert relative_error(100 * drop, expected["refinecam.average_drop_percent"].double()) < 1e-5
    assert relative_error(100 * drop.sum()[None], expected["refinecam.average_drop_batch"]) < 1e-5


def test_average_drop_is_relative_where_pytorch_grad_cam_is_absolute(setup):
    pair = faithfulness.confidences(setup.score, setup.inputs, setup.maps)
    absolute = faithfulness.average_drop(*pair) * pair.original
    expected = setup.numbers["pgc.drop_softmax"].double()
    torch.testing.assert_close(absolute, expected, rtol=1e-5, atol=1e-6)
    raised = faithfulness.increase(*pair).float()
    assert torch.equal(raised, setup.numbers["pgc.increase_softmax"])


def test_any_score_will_do(setup):
    original, masked = faithfulness.confidences(setup.logit, setup.inputs, setup.maps)
    change = setup.numbers["pgc.change_logit"].double()
    torch.testing.assert_close(masked - original, change, rtol=1e-4, atol=1e-5)


def test_average_gain_and_win_in_closed_form():
    original = torch.tensor([0.5, 0.5, 1.0, 0.0])
    masked = torch.tensor([0.75, 0.25, 1.0, 0.1])
    torch.testing.assert_close(
        faithfulness.average_gain(original, masked), torch.tensor([0.5, 0.0, 0.0, 0.1])
    )
    torch.testing.assert_close(
        faithfulness.average_drop(original, masked), torch.tensor([0.0, 0.5, 0.0, 0.0])
    )
    assert faithfulness.win(masked, torch.tensor([0.7, 0.3, 1.0, 0.0])).tolist() == [1, 0, 0, 1]
    assert not faithfulness.win(masked, masked * (1 - 3e-6)).any()  # a network's rounding


def test_a_share_of_what_is_no_probability_is_none():
    """Of a regression: nothing can be lost of a negative value, nor won beyond 1."""
    original, masked = torch.tensor([-2.0, 3.0]), torch.tensor([-5.0, 4.0])
    assert faithfulness.average_drop(original, masked).isnan().tolist() == [True, False]
    assert faithfulness.average_gain(original, masked).isnan().tolist() == [False, True]


def brightness(images, index):
    """A score that needs no network: the mean of the first channel."""
    return images[:, 0].mean((1, 2))


@pytest.mark.parametrize("name", ["average_drop", "increase", "average_gain", "win", "adcc"])
def test_what_a_veil_can_game_carries_the_caution(name):
    assert "shows nearly all of the photo" in metric(name).caution


def test_signed_maps_are_shown_by_their_positive_part():
    """What speaks against the class is hidden, not shown through a veil."""
    inputs = torch.rand(3, 2, 8, 8)
    signed = torch.randn(3, 8, 8)
    shown = faithfulness.explanation_maps(inputs, signed)
    assert torch.equal(shown, faithfulness.explanation_maps(inputs, signed.clamp_min(0)))
    assert not shown[:, 0][signed <= 0].any()
    torch.testing.assert_close(shown.amax((2, 3)), (inputs * (signed > 0)[:, None] * (
        signed / signed.amax((1, 2), keepdim=True))[:, None]).amax((2, 3)))  # fmt: skip
    pair = faithfulness.confidences(brightness, inputs, signed)
    torch.testing.assert_close(pair.masked, brightness(shown, None))
    # Nothing is shown of a map without a positive part.
    assert not faithfulness.explanation_maps(inputs, -signed.abs()).any()


def test_half_drop_in_closed_form():
    """Of a bright half and a dark one the map shows either; how it is scaled plays no part."""
    inputs = torch.full((2, 3, 4, 6), 0.2)
    inputs[:, :, :, 3:] = 0.8
    maps = torch.zeros(2, 4, 6)
    maps[0, :, 3:], maps[1, :, :3] = 1e-3, 5.0
    for scaled in (maps, maps - 3, 7 * maps):
        half = faithfulness.half_confidences(brightness, inputs, scaled)
        torch.testing.assert_close(half, torch.tensor([0.4, 0.1]))
        drop = faithfulness.half_drop(brightness(inputs, None), half)
        torch.testing.assert_close(drop, torch.tensor([0.2, 0.8]))


def test_single_deletion_ranks_patches_by_what_each_is_worth():
    """Patches of a 7 x 9 image that differ in brightness: in that order, its reverse, and none."""
    inputs = torch.zeros(3, 1, 7, 9)
    inputs[:, 0, :4, :5], inputs[:, 0, :4, 5:] = 1.0, 2.0
    inputs[:, 0, 4:, :5], inputs[:, 0, 4:, 5:] = 3.0, 5.0
    maps = torch.stack([inputs[0, 0], -inputs[0, 0], torch.zeros(7, 9)])
    found = faithfulness.single_deletion(brightness, inputs, maps, side=2)
    torch.testing.assert_close(found.double(), torch.tensor([1.0, -1.0, 0.0]).double())
    with pytest.raises(ValueError, match="side=8; a map of 7 x 9 pixels"):
        faithfulness.single_deletion(brightness, inputs, maps, side=8)
    with pytest.raises(ValueError, match=r"shape \(3, 9\); it should be \(B, H, W\)"):
        faithfulness.single_deletion(brightness, inputs[:, :, 0], maps[:, 0])


def test_single_deletion_costs_a_forward_per_patch():
    seen = []
    inputs = torch.rand(2, 3, 8, 8)

    def score(images, index):
        seen.append(len(images))
        return images.mean((1, 2, 3))

    faithfulness.single_deletion(score, inputs, torch.rand(2, 8, 8))
    assert sum(seen) == 2 * 17


@pytest.mark.parametrize("fill", ["zero", "blur"])
def test_curves_of_equal_steps(setup, fill):
    expected = setup.numbers
    curves = faithfulness.insertion_deletion(
        setup.score,
        setup.inputs,
        setup.maps,
        steps=16,
        insert_into="blur" if fill == "blur" else 0.0,
        batch_size=7,
    )
    pixels = setup.maps[0].numel()
    assert torch.equal((curves.pixels * pixels).round().long(), expected["own.counts"])
    inserted = expected[f"own.insertion_{fill}.curve.f64"]
    assert relative_error(curves.insertion, inserted) < 1e-10
    assert relative_error(curves.deletion, expected["own.deletion_zero.curve.f64"]) < 1e-10
    area = expected[f"own.insertion_{fill}.auc"]
    assert relative_error(faithfulness.insertion(curves), area) < 1e-9
    assert relative_error(faithfulness.deletion(curves), expected["own.deletion_zero.auc"]) < 1e-9


@pytest.mark.parametrize("fill", ["zero", "blur"])
def test_curves_with_torch_cams_steps(single, fill):
    pixels = single.maps[0].numel()
    counts = [*range(0, pixels, -(-pixels // 20)), pixels]
    filled = "blur" if fill == "blur" else 0.0
    curves = faithfulness.insertion_deletion(
        single.score,
        single.inputs,
        single.maps,
        steps=counts,
        insert_into=filled,
        delete_with=filled,
    )
    for name, area in (("insertion", faithfulness.insertion), ("deletion", faithfulness.deletion)):
        assert relative_error(area(curves), single.numbers[f"torchcam.{name}_auc_{fill}"]) < 1e-5


def test_curves_with_refine_cams_steps(single):
    pixels = single.maps[0].numel()
    counts = [int(pixels * share) for share in torch.linspace(0, 1, 30, dtype=torch.float64)]
    curves = faithfulness.insertion_deletion(single.score, single.inputs, single.maps, steps=counts)
    assert relative_error(curves.insertion, single.numbers["refinecam.insertion_curve"]) < 1e-5
    assert relative_error(curves.deletion, single.numbers["refinecam.deletion_curve"]) < 1e-5


def test_curves_take_any_fill(setup):
    grey = setup.inputs.mean((2, 3), keepdim=True)
    curves = faithfulness.insertion_deletion(
        setup.score, setup.inputs, setup.maps, steps=4, insert_into=grey, delete_with=0.25
    )
    everyone = torch.arange(len(setup.inputs))
    start = setup.score(grey.expand_as(setup.inputs), everyone)
    end = setup.score(torch.full_like(setup.inputs, 0.25), everyone)
    torch.testing.assert_close(curves.insertion[:, 0], start)
    torch.testing.assert_close(curves.deletion[:, -1], end)
    assert torch.equal(curves.insertion[:, -1], curves.deletion[:, 0])


@pytest.mark.parametrize(("name", "share"), [("morf80", 0.2), ("lerf20", 0.8), ("morf30", 0.7)])
def test_road_probabilities(single, name, share):
    curves = faithfulness.road_curves(
        single.score, single.inputs, single.maps, removed=[share], noise=0.0
    )
    scores = curves.most_first if name.startswith("morf") else curves.least_first
    expected = single.numbers[f"road.{name}.prob"]
    torch.testing.assert_close(scores[:, 0], expected, rtol=2e-4, atol=5e-6)


@pytest.mark.parametrize("kind", ["softmax", "logit"])
def test_road_combined(single, kind):
    score = single.score if kind == "softmax" else single.logit
    curves = faithfulness.road_curves(
        score, single.inputs, single.maps, removed=[0.2, 0.4, 0.6, 0.8], noise=0.0, batch_size=5
    )
    original = score(single.inputs, torch.arange(len(single.inputs)))
    got = {
        "combined": faithfulness.road(curves),
        "morf_avg": curves.most_first.mean(1) - original,
        "lerf_avg": curves.least_first.mean(1) - original,
    }
    for name, value in got.items():
        assert relative_error(value, single.numbers[f"road.{name}_{kind}"]) < 5e-5


def test_road_removes_what_lies_at_or_above_a_quantile():
    maps = torch.randperm(49, generator=torch.Generator().manual_seed(0)).view(1, 7, 7).double()
    shares = [place / 20 for place in range(1, 20)]
    curves = faithfulness.road_curves(
        lambda images, index: images.mean((1, 2, 3)), torch.rand(1, 1, 7, 7), maps, removed=shares
    )
    expected = [int((maps >= np.quantile(maps, 1 - share)).sum()) for share in shares]
    assert (49 * curves.removed).round().int().tolist() == expected


def test_road_noise_lies_on_imputed_pixels_only_and_repeats():
    seen = []

    def score(images, index):
        seen.append(images)
        return images.mean((1, 2, 3))

    inputs = torch.rand(2, 3, 20, 20)
    maps = torch.rand(2, 20, 20)
    options = {"removed": [0.5], "noise": 0.1}
    first = faithfulness.road_curves(score, inputs, maps, **options)
    second = faithfulness.road_curves(score, inputs, maps, **options)
    clean = faithfulness.road_curves(score, inputs, maps, removed=[0.5], noise=0.0)
    assert torch.equal(first.most_first, second.most_first)
    noise = seen[0] - seen[2]
    assert not torch.equal(first.most_first, clean.most_first)
    missing = (seen[2] != inputs.repeat_interleave(2, 0)).all(1, keepdim=True)
    assert missing.float().mean() == pytest.approx(0.5, abs=0.01)
    assert (noise[~missing.expand_as(noise)] == 0).all()
    assert noise[missing.expand_as(noise)].std() == pytest.approx(0.1, rel=0.1)
    other = faithfulness.road_curves(score, inputs, maps, **options, seed=1)
    assert not torch.equal(first.most_first, other.most_first)


def test_images_do_not_know_each_other(oracles):
    both = Setup(oracles, CASES[0])
    one = slice(1, 2)
    score = faithfulness.class_probability(both.model, both.classes[one])

    def values(score, inputs, maps):
        pair = faithfulness.confidences(score, inputs, maps)
        curves = faithfulness.insertion_deletion(score, inputs, maps, steps=4, batch_size=3)
        road = faithfulness.road_curves(score, inputs, maps, removed=[0.3, 0.7], batch_size=5)
        areas = faithfulness.insertion(curves), faithfulness.deletion(curves)
        return torch.stack([faithfulness.average_drop(*pair), *areas, faithfulness.road(road)])

    together = values(both.score, both.inputs, both.maps)[:, one]
    alone = values(score, both.inputs[one], both.maps[one])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


def test_the_network_is_left_as_it_was_and_its_batches_are_small():
    sizes = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5))

        def forward(self, x):
            sizes.append(len(x))
            assert not self.training
            assert not torch.is_grad_enabled()
            return {"logits": self.body(x)}

    model = Net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    score = faithfulness.class_probability(model, [3, 1], "sigmoid", batch_size=4)
    images = torch.randn(10, 3, 2, 2)
    index = torch.tensor([0, 1] * 5)
    values = score(images, index)
    assert sizes == [4, 4, 2]
    assert model.training
    assert model.body[2].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        logits = model.eval()(images)["logits"]
    expected = logits.sigmoid()[torch.arange(10), torch.tensor([3, 1])[index]]
    torch.testing.assert_close(values, expected)


def test_the_sweep_costs_two_forwards_per_step():
    count = 0

    def score(images, index):
        nonlocal count
        count += len(images)
        assert len(images) <= 8
        return images.mean((1, 2, 3))

    inputs, maps = torch.rand(3, 3, 16, 16), torch.rand(3, 16, 16)
    faithfulness.insertion_deletion(score, inputs, maps, steps=10, batch_size=8)
    assert count == 3 * (2 * 10 + 1)


def test_effect_correlation_ranks_regions():
    saliency = torch.zeros(4, 4, 9)
    saliency[:, 1, [1, 4, 7]] = torch.tensor([1.0, 3.0, 2.0])
    thirds = torch.zeros(3, 4, 9, dtype=torch.bool)
    for i in range(3):
        thirds[i, :, 3 * i : 3 * i + 3] = True
    effects = [torch.tensor([0.1, 9.0, 0.2]), torch.tensor([5.0, -1.0, 2.0]), torch.tensor([1.0])]
    regions = [thirds, thirds, thirds[:1], thirds[:0]]
    values = faithfulness.effect_correlation(saliency, regions, [*effects, torch.zeros(0)])
    torch.testing.assert_close(values[:2], torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert values[2:].isnan().all()


def test_errors_say_what_is_wrong():
    def score(images, index):
        return images.mean((1, 2, 3))

    inputs, maps = torch.rand(2, 3, 16, 16), torch.rand(2, 16, 16)
    with pytest.raises(ValueError, match="inputs has shape"):
        faithfulness.confidences(score, inputs, torch.rand(2, 8, 8))
    with pytest.raises(ValueError, match="steps=0"):
        faithfulness.insertion_deletion(score, inputs, maps, steps=0)
    with pytest.raises(ValueError, match="rise from 0 to all 256"):
        faithfulness.insertion_deletion(score, inputs, maps, steps=[0, 10, 200])
    with pytest.raises(ValueError, match="above 0 and below 1"):
        faithfulness.road_curves(score, inputs, maps, removed=[20, 40])
    with pytest.raises(ValueError, match="insert_into='median'; it should be 'black' or"):
        faithfulness.insertion_deletion(score, inputs, maps, insert_into="median")
    for wrong in (lambda images, index: images, lambda images, index: 0.5):
        for measured in (
            faithfulness.confidences,
            faithfulness.half_confidences,
            faithfulness.insertion_deletion,
            faithfulness.single_deletion,
            sanity.infidelity,
        ):
            with pytest.raises(ValueError, match=r"score returned .* one per image, \(\d+,\)"):
                measured(wrong, inputs, maps)
    with pytest.raises(ValueError, match="'softmax' or 'sigmoid'"):
        faithfulness.class_probability(nn.Identity(), [0], "tanh")
    with pytest.raises(ValueError, match="always 1"):
        faithfulness.class_probability(nn.Linear(3, 1), [0])(torch.rand(2, 3), torch.tensor([0, 0]))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_is_graded_as_in_single(half) -> None:
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    inputs, maps = torch.rand(1, 3, 256, 256), torch.rand(1, 256, 256)

    def grades(dtype: torch.dtype) -> torch.Tensor:
        score = faithfulness.class_probability(pooled.to(dtype), [1])
        images = inputs.to(dtype)
        curves = faithfulness.insertion_deletion(score, images, maps, steps=4)
        imputed = faithfulness.road_curves(score, images, maps, removed=(0.5,))
        return torch.cat(
            [
                faithfulness.insertion(curves),
                faithfulness.deletion(curves),
                faithfulness.road_most_first(imputed),
            ]
        )

    torch.testing.assert_close(grades(half), grades(torch.float32), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([0, 7], "class 7 does not exist in the network; give 0 to 3"),
        ([-1, 0], "class -1 does not exist"),
        ([0], "classes holds 1 classes, and there is an image 1"),
        (2, "classes is 2; give one class index per explained image"),
        ([0.0, 1.0], "give one class index"),
        ([True, False], "give one class index"),
    ],
)
def test_classes_that_do_not_fit_are_named(classes, said) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(ValueError, match=said):
        faithfulness.class_probability(network, classes)(torch.rand(2, 3, 2, 2), torch.arange(2))
