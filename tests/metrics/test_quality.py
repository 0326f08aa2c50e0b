"""Metrics of maps alone against Quantus', pytorch-grad-cam's and scipy's numbers."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from reference import relative_error
from seewhy.metrics import faithfulness, localization, quality

FAITHFULNESS = ["tiny_mobilenet_x64_b3", "tiny_resnet_basic_x65x57", "tiny_vgg_x64_b3"]


@pytest.mark.parametrize("name", ["x64_b3", "x65x57"])
def test_gini_and_entropy_equal_the_reference(oracles, name):
    numbers = oracles.tensors(oracles[f"metrics/map_statistics_{name}"])
    for kind in ("maps", "signed_maps"):
        maps = numbers[kind]
        assert relative_error(quality.gini(maps), numbers["gini"]) < 1e-10
        # Quantus scales by the largest value and adds 1e-7 to every one.
        scaled = maps.abs() / maps.abs().amax((1, 2), keepdim=True) + 1e-7
        sparseness = numbers[f"quantus.sparseness.{kind}"]
        assert relative_error(quality.gini(scaled), sparseness) < 1e-9
        assert relative_error(quality.entropy(maps), numbers[f"quantus.complexity.{kind}"]) < 1e-9


def test_sparseness_of_simple_maps():
    maps = torch.zeros(3, 10, 10)
    maps[1] = 2.0
    maps[2, 4, 7] = -3.0
    torch.testing.assert_close(quality.gini(maps), torch.tensor([0.0, 0.0, 0.99]))
    torch.testing.assert_close(quality.entropy(maps), torch.tensor([0.0, math.log(100), 0.0]))
    maps[0, :5] = 1.0
    torch.testing.assert_close(quality.complexity(maps), torch.tensor([0.5, 0.0, 0.0]))


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_coherency_complexity_and_adcc(oracles, name):
    numbers = oracles.tensors(oracles[f"metrics/faithfulness_{name}"])
    cam = numbers["adcc.cam.f64"]
    coherency = quality.coherency(cam, numbers["adcc.cam_of_masked.f64"])
    complexity = quality.complexity(cam)
    assert relative_error(coherency, numbers["adcc.coherency.f64"]) < 1e-10
    assert relative_error(complexity, numbers["adcc.complexity.f64"]) < 1e-10
    adcc = faithfulness.adcc(coherency, complexity, numbers["adcc.adcc_drop.f64"])
    assert relative_error(adcc, numbers["adcc.adcc.f64"]) < 1e-10
    pgc = quality.complexity(numbers["pgc.cams"])
    assert relative_error(pgc, numbers["pgc.complexity"]) < 2e-5
    assert relative_error(coherency.float(), numbers["pgc.coherency"]) < 1e-4


def test_adcc_is_zero_where_a_term_is():
    one, zero = torch.ones(1), torch.zeros(1)
    assert faithfulness.adcc(zero, zero, zero) == 0
    assert faithfulness.adcc(one, one, zero) == 0
    assert faithfulness.adcc(one, zero, one) == 0
    assert faithfulness.adcc(one, zero, zero) == 1


def test_correlations_equal_scipys():
    draw = torch.Generator().manual_seed(0)
    a = torch.rand(4, 9, 7, generator=draw, dtype=torch.float64)
    b = a + torch.randn(4, 9, 7, generator=draw, dtype=torch.float64)
    a[1], b[1] = a[1].mul(4).round(), b[1].mul(3).round()  # with equal values
    a[3] = 2.0
    for ours, theirs in ((quality.pearson, stats.pearsonr), (quality.spearman, stats.spearmanr)):
        values = ours(a, b)
        for i in range(3):
            assert values[i].item() == pytest.approx(theirs(a[i].ravel(), b[i].ravel()).statistic)
        assert values[3] == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_correlation_does_not_depend_on_scale(scale):
    a, b = torch.rand(2, 2, 8, 8)
    torch.testing.assert_close(quality.pearson(a * scale, b), quality.pearson(a, b))


def test_ranks_count_from_0_and_equals_share_their_mean() -> None:
    values = torch.tensor([[[3.0, 1.0], [3.0, 2.0]], [[5.0, 5.0], [5.0, 5.0]]])
    expected = [[[2.5, 0.0], [2.5, 1.0]], [[1.5, 1.5], [1.5, 1.5]]]
    assert quality.mean_ranks(values).tolist() == expected


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.uint8, torch.bool])
def test_maps_of_narrow_types_are_graded_as_in_double_precision(kind) -> None:
    draw = torch.Generator().manual_seed(0)
    maps = (200 * torch.rand(2, 90, 90, generator=draw)).to(torch.uint8)
    maps = maps > 100 if kind == torch.bool else maps.to(kind)
    exact, masks = maps.double(), torch.zeros(2, 90, 90, dtype=torch.bool)
    masks[:, 20:50, 30:70] = True
    for grade in (quality.gini, quality.entropy, quality.complexity):
        assert relative_error(grade(maps), grade(exact)) < 1e-4
    for compare in (quality.pearson, quality.spearman):
        assert relative_error(compare(maps, maps.mT), compare(exact, exact.mT)) < 1e-4
    for locate in (localization.mass_accuracy, localization.iou, localization.pointing_game):
        assert relative_error(locate(maps, masks), locate(exact, masks)) < 1e-4
    regions = [torch.stack([masks[0], ~masks[0]])] * 2
    effects = [torch.tensor([1.0, 2.0])] * 2
    assert torch.equal(
        faithfulness.effect_correlation(maps, regions, effects).double(),
        faithfulness.effect_correlation(exact, regions, effects),
    )


def test_maps_of_numpy_are_taken() -> None:
    maps = torch.rand(2, 4, 4)
    assert torch.equal(quality.gini(maps.numpy()), quality.gini(maps))


def test_maps_that_are_no_tensors_are_named() -> None:
    with pytest.raises(ValueError, match=r"saliency=\[\[.*; it should be a dense tensor.*gini"):
        quality.gini(torch.rand(1, 4, 4).tolist())
    with pytest.raises(ValueError, match=r"masks=\[\]; it should be a dense tensor"):
        localization.iou(torch.rand(1, 4, 4), [])
