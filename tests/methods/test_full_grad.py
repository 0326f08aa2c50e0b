"""FullGrad: completeness, the reference's numbers, and a single layer by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seewhy
from networks import Cnn, images, seeded
from reference import relative_error
from seewhy import Method, Probe
from seewhy.maps import upsample
from seewhy.methods.full_grad import collected

CASES = ["tiny_resnet_basic_x65x57", "tiny_vgg_x64_b3"]


def products_of(probe):
    found = {}
    gradient = collected(probe, lambda index, product: found.update({index: product}))
    return gradient, [found[index] for index in sorted(found)]


@pytest.mark.parametrize("relu", ["module", "inplace", "functional"])
def test_nothing_of_the_score_is_left_out(relu):
    """Σ input ⊙ gradient + Σ bias ⊙ gradient + the Linear's bias is the score."""
    model, x = seeded(Cnn, relu).double(), images().double()
    probe = Probe(model, x, [0, 2, 4])
    gradient, products = products_of(probe)
    assert len(products) == 4
    total = (gradient * x).sum((1, 2, 3)) + sum(p.sum((1, 2, 3)) for p in products)
    assert torch.allclose(total + model.head.bias[[0, 2, 4]], probe.score)


@pytest.mark.parametrize("name", CASES)
def test_bias_gradients_of_the_reference(oracles, name):
    case = oracles[f"cam/fullgrad_{name}"]
    expected = oracles.tensors(case)
    x = oracles.inputs(case)
    probe = Probe(oracles.model(case), x, case["targets"])
    gradient, products = products_of(probe)
    assert len(products) == len(case["params"]["layers"])
    for layer, product in zip(case["params"]["layers"], products, strict=True):
        key = f"biasgrad.{layer}"
        assert relative_error(product.abs().sum(1), expected[key]) <= 1e-5, layer
    # The reference scales every channel by itself before the sum.
    size = x.shape[-2:]

    def each_channel_scaled(product):
        strength = product.abs()
        strength = strength - strength.amin((2, 3), keepdim=True)
        strength = strength / (strength.amax((2, 3), keepdim=True) + 1e-7)
        return upsample(strength.flatten(0, 1), size).view(*product.shape[:2], *size).sum(1)

    total = sum(each_channel_scaled(product) for product in [gradient * x, *products])
    assert relative_error(total, expected["sum"][:, 0].double()) <= 2e-5
    ours = Method("full_grad")(probe)
    assert relative_error(ours, expected["sum"][:, 0].double()) > 0.05


def test_one_convolution_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2 * 6 * 4, 1)).double()
    x = torch.rand(2, 1, 6, 4, dtype=torch.float64)
    found = seewhy.explain(model, x, "full_grad", 0)
    weight = model[2].weight.view(2, 6, 4).detach()
    gradient = torch.einsum("khw,k->hw", weight, model[0].weight.view(2).detach())

    def scaled(values):
        return (values.abs() - values.abs().min()) / (values.abs().max() - values.abs().min())

    for image, map_ in zip(x, found, strict=True):
        biases = scaled(weight * model[0].bias.detach()[:, None, None]).sum(0)
        assert torch.allclose(map_, scaled(gradient * image[0]) + biases)


def test_cost_is_one_forward_and_one_backward():
    model, x = seeded(Cnn), images()
    passes = []
    model.register_forward_hook(lambda *_: passes.append("forward"))
    model.conv1.register_full_backward_hook(lambda *_: passes.append("backward"))
    Method("full_grad")(Probe(model, x, 1))
    assert passes.count("backward") == 1
    assert passes.count("forward") == 1


def test_a_map_does_not_depend_on_the_other_images():
    model, x = seeded(Cnn).double(), images(3).double()
    together = seewhy.explain(model, x, "full_grad", [0, 2, 4])
    for i, target in enumerate([0, 2, 4]):
        alone = seewhy.explain(model, x[i : i + 1], "full_grad", target)
        assert torch.allclose(together[i : i + 1], alone)


def test_networks_without_convolutions_are_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    with pytest.raises(ValueError, match="none of the functions"):
        seewhy.explain(model, images(), "full_grad", 1)


@pytest.mark.parametrize("count", [1, 2])
def test_networks_that_look_at_crops_are_refused(count):
    class Crops(Cnn):
        def forward(self, x):
            crops = torch.stack([x[..., :24], x[..., 8:]], 1)
            return super().forward(crops.flatten(0, 1)).view(len(x), 2, -1).mean(1)

    with pytest.raises(ValueError, match=f"takes {2 * count} rows for {count} images"):
        seewhy.explain(seeded(Crops), images(count), "full_grad", 1)
