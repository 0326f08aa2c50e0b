"""RefineCAM against the authors' numbers and a peer's."""

from __future__ import annotations

import pytest
import torch

import seewhy
from networks import Cnn, images, seeded
from reference import relative_error
from seewhy import Method, Probe, Refinement
from seewhy.maps import normalize, upsample
from seewhy.refine.refine_cam import MIXERS

MIX = {
    "MultiplierMix": "product",
    "NthRootMultiplierMix": "geometric",
    "LogExpMix": "log_exp",
    "ExpMeanMix": "exp_mean",
}
CASES = [
    "tiny_resnet_basic_x65x57_GradCAMPlusPlus",
    "tiny_resnet_basic_x65x57_LayerCAM",
    "tiny_vgg_x64_b3_GradCAMPlusPlus",
]
METHODS = {
    "GradCAMPlusPlus": Method("grad_cam_plus_plus"),
    "LayerCAM": Method("layer_cam"),
}


def refined(oracles, case, layers, base, mix="product", dtype=torch.float32):
    model, inputs = oracles.model(case, dtype), oracles.inputs(case, dtype)
    probe = Probe(model, inputs, case["targets"], layers)
    return (METHODS[base] + Refinement("refine_cam", mix=mix))(probe)


@pytest.mark.parametrize("name", CASES)
def test_reference_numbers(oracles, name):
    case = oracles[f"refinecam/{name}"]
    expected = oracles.tensors(case)
    layers, base = case["params"]["layers_coarse_to_fine"], name.split("_")[-1]
    for key, mix in MIX.items():
        tolerance = case["tensors"][f"mix.{key}.{len(layers)}"]["tol_f32"]
        found = refined(oracles, case, layers, base, mix)
        known = expected[f"mix.{key}.{len(layers)}"]
        # Where a map falls below about 1/88, exp(1/x) overflows in the reference, which then has
        # 0 there. Our soft minima, scaled to [0, 1], are small but not 0 there.
        sound = torch.ones_like(known, dtype=torch.bool)
        if "Exp" in key:
            least = torch.stack([expected[f"layer.{layer}"] for layer in layers]).amin(0)
            sound = least > 1 / 88
            assert found[~sound].max() < 1 / 25
        assert relative_error(found[sound], known[sound]) <= tolerance, key
    for count in range(2, len(layers)):
        found = refined(oracles, case, layers[:count], base)
        assert relative_error(found, expected[f"mix.MultiplierMix.{count}"]) <= 2e-5


@pytest.mark.parametrize("network", ["tiny_resnet_basic_x65x57", "tiny_vgg_x64_b3"])
def test_a_peer(oracles, network):
    """pytorch-grad-cam scales with 1e-7 in the denominator: its maps stop short of 1 by that."""
    case = oracles[f"cam/pgc_refinecam_{network}"]
    expected = oracles.tensors(case)
    for base in METHODS:
        found = refined(oracles, case, case["params"]["layers"], base)
        key = f"final.{base}"
        assert relative_error(found, expected[key]) <= case["tensors"][key]["tol_f32"], base


def test_by_hand_with_the_networks_own_stages():
    model, x = seeded(Cnn), images(2)
    found = seewhy.explain(model, x, "layer_cam+refine_cam", 1)
    probe = Probe(model, x, 1)
    layers = [*probe.stages, *probe.layers]
    assert len(layers) == 2
    each = [
        normalize(upsample(normalize(Method("layer_cam")(Probe(model, x, 1, layer))), (32, 32)))
        for layer in layers
    ]
    assert torch.allclose(found, normalize(each[0] * each[1]), atol=1e-6)


def test_one_pass_for_all_layers():
    model, x = seeded(Cnn), images(2)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    seewhy.explain(model, x, "layer_cam+refine_cam", 1, layer=["bn1", "conv2", "relu"])
    assert len(calls) == 1


@pytest.mark.parametrize("mix", MIXERS)
def test_maps_are_those_of_each_image_alone(mix):
    model, x = seeded(Cnn), images(3)
    method = Method("layer_cam") + Refinement("refine_cam", mix=mix)
    together = seewhy.explain(model, x, method, 1)
    for index in range(3):
        alone = seewhy.explain(model, x[index : index + 1], method, 1)
        assert torch.allclose(together[index], alone[0], atol=1e-5)


def test_says_why_it_cannot_apply(oracles):
    with pytest.raises(ValueError, match="not those of a layer"):
        seewhy.explain(seeded(Cnn), images(), "gradient+refine_cam", 1)
    with pytest.raises(ValueError, match="mix='sum'"):
        seewhy.explain(seeded(Cnn), images(), "layer_cam+refine_cam(mix='sum')", 1)
    case = next(c for c in oracles.cases.values() if "vit" in c["model"]["builder"])
    model = oracles.model(case, torch.float32)
    with pytest.raises(ValueError, match="one resolution all the way"):
        seewhy.explain(model, images(1, (64, 64)), "layer_cam+refine_cam", 1)


def test_one_layer_that_was_named_takes_the_place_of_the_last():
    """Of several that were named it is these; of one the stages go before it."""
    model, x = seeded(Cnn), images()
    chosen = seewhy.explain(model, x, "layer_cam+refine_cam", 1)
    assert torch.equal(seewhy.explain(model, x, "layer_cam+refine_cam", 1, layer="relu#2"), chosen)
