"""What every method of the comparison set owes, whatever it computes."""

from __future__ import annotations

import pytest
import torch

import seewhy
from networks import Cnn, Failing, Wrapped, images, seeded
from untouched import assert_same, state

METHODS = [
    "ablation_cam",
    "cam",
    "edges",
    "finer_cam",
    "full_grad",
    "is_cam(steps=2)",
    "occlusion(patch=12)",
    "rise(masks=30)",
    "score_cam",
    "shapley_cam",
    "smooth_grad_cam_plus_plus(samples=2)",
    "ss_cam(samples=2)",
]
NEEDS_THE_NETWORK = [method for method in METHODS if method != "edges"]


def maps_of(model, x, **kwargs):
    return seewhy.explain(model, x, METHODS, 4, layer="relu", **kwargs)


@pytest.mark.parametrize("relu", ["module", "inplace", "functional"])
def test_the_model_is_left_as_it_was(relu):
    model = seeded(Cnn, relu).train()
    model.bn1.eval()
    model.conv1.requires_grad_(False)
    before = state(model)
    # A functional ReLU is no layer, and behind another there is no CAM.
    methods = [name for name in METHODS if name != "cam" or relu != "functional"]
    seewhy.explain(model, images(), methods, 1, layer="bn2" if relu == "functional" else "relu")
    assert_same(before, state(model))


@pytest.mark.parametrize("method", NEEDS_THE_NETWORK)
def test_a_network_that_breaks_is_left_as_it_was(method):
    model = seeded(Failing).train()
    before = state(model)
    with pytest.raises(RuntimeError, match="the network broke"):
        seewhy.explain(model, images(), method, 1)
    assert_same(before, state(model))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradient_contexts_and_frozen_parameters(context):
    model, x = seeded(Cnn, "inplace"), images()
    expected = maps_of(model, x)
    model.requires_grad_(False)
    with context():
        inside = maps_of(model, x.clone())
    for name in METHODS:
        assert torch.allclose(inside[name], expected[name], atol=1e-6)
        assert not inside[name].requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision(dtype):
    maps = maps_of(seeded(Cnn).to(dtype), images().to(dtype))
    for name, found in maps.items():
        assert found.dtype == dtype, name
        assert torch.isfinite(found).all(), name
        assert found.any(), name


@pytest.mark.parametrize(("size", "channels"), [((33, 47), 1), ((31, 30), 7)])
def test_odd_sizes_and_any_number_of_channels(size, channels):
    model = seeded(Cnn, channels=channels)
    maps = maps_of(model, images(2, size, channels))
    assert all(found.shape == (2, *size) for found in maps.values())


def test_outputs_that_are_no_tensor():
    x = images()
    model = seeded(Wrapped, "dict")
    expected = maps_of(model.net, x)
    found = seewhy.explain(model, x, METHODS, 4, layer="net.relu")
    for name in METHODS:
        assert torch.allclose(found[name], expected[name], atol=1e-6), name


def test_the_inputs_are_not_changed():
    x = images()
    copy = x.clone()
    maps_of(seeded(Cnn, "inplace"), x)
    assert torch.equal(x, copy)
