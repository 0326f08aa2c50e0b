"""RISE and occlusion against TorchRay's numbers, Captum, and networks whose answer is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import seewhy
from networks import Cnn, Segmenter, Wrapped, images, seeded
from reference import relative_error
from seewhy import Method, Probe
from seewhy.core.targets import Probability, Segment
from seewhy.methods.perturbation import _random_masks, mean_of_masks, responses


@pytest.mark.parametrize("precision", ["tol_f64", "tol_f32"])
@pytest.mark.parametrize("name", ["tiny_resnet_basic_x32_b2", "tiny_vgg_x65x57"])
def test_rise_with_the_reference_masks(oracles, name, precision):
    """TorchRay takes the sigmoid of the logit, and does not divide by the masks' probability."""
    case = oracles[f"torchray/rise_{name}"]
    dtype = torch.float64 if precision == "tol_f64" else torch.float32
    expected = oracles.tensors(case)
    masks = expected["masks"].to(dtype)
    targets = Probability(tuple(case["targets"]), "sigmoid")
    probe = Probe(oracles.model(case, dtype), oracles.inputs(case, dtype), targets)

    def shown(part):
        return masks[part, None]

    found = mean_of_masks(responses(probe, "RISE", (), shown, len(masks)), shown)
    tolerance = case["tensors"]["target.f64"][precision]
    assert relative_error(found[:, None], expected["target.f64"]) <= tolerance
    for c in range(3):
        other = probe.with_target(Probability(c, "sigmoid"))
        maps = mean_of_masks(responses(other, "RISE", (), shown, len(masks)), shown)
        tolerance = case["tensors"]["all_classes"]["tol_f32"]
        assert relative_error(maps[0], expected["all_classes"][0, c]) <= tolerance


class Corner(nn.Module):
    """Class 0 counts the light in the upper left quarter, class 1 in the rest."""

    def forward(self, x):
        light = x.mean(1)
        h, w = light.shape[1] // 2, light.shape[2] // 2
        here = light[:, :h, :w].sum((1, 2))
        return torch.stack([here, light.sum((1, 2)) - here], 1)


def test_rise_finds_the_evidence():
    """For a linear score the map is, up to noise, a constant plus the masked light nearby."""
    x = torch.ones(1, 3, 32, 48, dtype=torch.float64)
    probe = Probe(Corner(), x, 0)
    found = Method("rise", masks=3000, cells=6, centred=False)(probe)[0]
    inside, outside = found[4:12, 4:20].mean(), found[20:, 28:].mean()
    assert inside > 1.05 * outside
    total = 16 * 24
    assert abs(outside / (total * 0.5) - 1) < 0.05  # the mean score of the masked images
    centred = Method("rise", masks=3000, cells=6)(probe)[0]
    assert centred[4:12, 4:20].mean() > 20 * centred[20:, 28:].mean().abs()
    flat = _random_masks(x, 3000, 6, 0.5, 0)(slice(0, 3000))[:, 0, 0].mean(0)
    rest = (found - centred) / flat
    assert torch.allclose(rest, rest.mean().expand_as(rest))  # a multiple of the masks' mean


def test_random_masks_have_the_mean_asked_for():
    x = torch.zeros(1, 3, 30, 44, dtype=torch.float64)
    masks = _random_masks(x, 4000, 5, 0.3, seed=1)
    some = torch.cat([masks(slice(0, 1500)), masks(slice(1500, 4000))])
    assert some.shape == (4000, 1, 1, 30, 44)
    assert 0 <= some.min() <= some.max() <= 1 + 1e-9
    assert (some.mean(0) - 0.3).abs().max() < 0.03
    assert torch.equal(masks(slice(7, 9)), some[7:9])
    assert not torch.equal(some, _random_masks(x, 4000, 5, 0.3, seed=2)(slice(0, 4000)))


def forwards_of(model):
    sizes = []
    model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    return sizes


def test_forwards_are_shared_by_all_targets():
    model, x = seeded(Cnn), images(2)
    sizes = forwards_of(model)
    probe = Probe(model, x, 0)
    for target in range(5):
        Method("rise", masks=30)(probe.with_target(target))
    assert sum(sizes) == 2 * (1 + 30)
    for target in range(5):
        Method("occlusion", patch=16, stride=16)(probe.with_target(target))
    assert sum(sizes) == 2 * (1 + 30 + 4)


@pytest.mark.parametrize("method", ["rise(masks=50)", "occlusion(patch=8)"])
def test_maps_depend_neither_on_other_images_nor_on_the_chunks(method):
    model, x = seeded(Cnn).double(), images(3).double()
    together = seewhy.explain(model, x, method, [0, 2, 4])
    for i, target in enumerate([0, 2, 4]):
        alone = seewhy.explain(model, x[i : i + 1], method, target)
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)
    small = seewhy.explain(model, x, method[:-1] + ", batch_size=7)", [0, 2, 4])
    assert torch.allclose(small, together)


@pytest.mark.parametrize(("patch", "stride"), [(8, 8), (9, 4), (5, 3)])
@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_occlusion_is_captums(patch, stride, baseline):
    captum = pytest.importorskip("captum.attr")
    model, x = seeded(Cnn).double(), images(2, (32, 37)).double()
    expected = captum.Occlusion(model).attribute(
        x, (3, patch, patch), (3, stride, stride), baselines=baseline, target=3
    )
    probe = Probe(model, x, 3)
    found = Method("occlusion", patch=patch, stride=stride, baseline=baseline)(probe)
    assert torch.allclose(found, expected[:, 0].double(), atol=1e-6)  # Captum's is float32


def test_occlusion_of_one_pixel_is_its_own_share_of_a_linear_score():
    x = images(2, (10, 12)).double()
    found = Method("occlusion", patch=1)(Probe(Corner(), x, 0))
    expected = x.mean(1)
    expected[:, 5:] = 0
    expected[:, :, 6:] = 0
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("size", [(24, 60), (60, 24)])
def test_cells_of_rises_masks_have_the_shape_of_the_image(size):
    """Masks are linear between the middles of cells: along a side they bend there alone."""
    masks = _random_masks(torch.zeros(1, 3, *size).double(), 20, 3, 0.5, 0)(slice(0, 20))[:, 0, 0]
    for side, length in enumerate(size):
        apart = 4 / 3 * length / 3  # RISE's code stretches 3 cells over 4 thirds of a side
        bends = masks.movedim(side + 1, -1).diff(n=2).abs().amax(1) > 1e-9
        for mask in bends:
            places = mask.nonzero().flatten().double()
            off = (places - places[0] + apart / 2) % apart - apart / 2
            assert off.abs().max() <= 2
        assert bends.any(0).sum() > 6, "and each mask is shifted on its own"


@pytest.mark.parametrize("size", [(24, 48), (48, 24)])
def test_occlusions_patch_is_a_sixth_of_the_shorter_side(size):
    model, x = seeded(Cnn).double(), images(2).double()
    probe = Probe(model, F.interpolate(x, size), 1, black=(-2.0, -1.9, -1.8))
    expected = Method("occlusion", patch=4, stride=2)(probe)
    assert torch.equal(Method("occlusion")(probe), expected)
    black = Method("occlusion", patch=4, baseline="black")(probe)
    own = Method("occlusion", patch=4, baseline=(-2.0, -1.9, -1.8))(probe)
    assert torch.equal(black, own)
    assert not torch.allclose(black, expected)


def test_baselines_of_occlusion():
    model, x = seeded(Cnn).double(), images(2).double()
    probe = Probe(model, x, 3)
    own = Method("occlusion", patch=8, baseline=x)(probe)
    assert torch.allclose(own, torch.zeros_like(own), atol=1e-12)
    blurred = Method("occlusion", patch=8, baseline="blurred")(probe)
    assert not torch.allclose(blurred, Method("occlusion", patch=8)(probe))


def test_outputs_that_are_no_class_scores():
    x = images(2)
    segment = Segment(1, torch.ones(32, 32, dtype=torch.bool))
    maps = seewhy.explain(seeded(Segmenter), x, "occlusion(patch=8)", segment)
    assert maps.shape == (2, 32, 32)
    model = seeded(Wrapped, "dict")
    expected = seewhy.explain(model.net, x, "rise(masks=20)", [1, 2])
    assert torch.equal(seewhy.explain(model, x, "rise(masks=20)", [1, 2]), expected)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("rise(masks=0)", "masks=0"),
        ("rise(keep=1.0)", "keep=1.0"),
        ("occlusion(patch=33)", "patch=33"),
        ("occlusion(patch=4, stride=5)", "stride=5"),
        ("occlusion(baseline='pink')", "baseline='pink'"),
    ],
)
def test_options_out_of_range(method, message):
    with pytest.raises(ValueError, match=message):
        seewhy.explain(seeded(Cnn), images(), method, 1)
