"""Sanity metrics against the definitions' own numbers, Quantus, Captum and closed forms."""

from __future__ import annotations

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max as captum_sensitivity
from torch import nn

from networks import Cnn
from reference import relative_error
from seewhy.metrics import quality, sanity


def gradient_map(model, images, classes):
    """The largest absolute gradient of the logit over the channels."""
    images = images.detach().requires_grad_()
    logits = model(images).gather(1, torch.as_tensor(classes)[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, images)
    return gradient.abs().amax(1)


@pytest.mark.parametrize("name", ["tiny_convnext", "tiny_vgg"])
def test_max_sensitivity(oracles, name):
    case = oracles[f"metrics/max_sensitivity_{name}"]
    numbers, model, inputs = oracles.tensors(case), oracles.model(case), oracles.inputs(case)
    classes = torch.tensor(case["targets"])

    def explain(images, index):
        return gradient_map(model, images, classes[index])

    saliency = explain(inputs, torch.arange(2))
    assert relative_error(saliency, numbers["saliency"]) < 1e-9
    noise = numbers["perturbations"].double()
    value = sanity.max_sensitivity(explain, inputs, saliency, noise)
    assert relative_error(value, numbers["max_sensitivity"]) < 1e-9
    assert relative_error(value, numbers["quantus.max_sensitivity"]) < 1e-6


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = Cnn().double().eval()
    inputs = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    classes = torch.tensor([2, 0, 4])

    def logit(images, index):
        with torch.no_grad():
            return model(images).gather(1, classes[index][:, None])[:, 0]

    return model, inputs, classes, logit


def test_max_sensitivity_equals_captums(small):
    model, inputs, classes, _ = small
    noise = list(sanity.uniform_noise(inputs, radius=0.3, samples=6))

    def explain(images, index):
        return gradient_map(model, images, classes[index])

    ours = sanity.max_sensitivity(explain, inputs, explain(inputs, torch.arange(3)), noise)

    def captums(images, target):
        images = images[0] if isinstance(images, tuple) else images
        with torch.enable_grad():
            return (gradient_map(model, images, target),)

    theirs = captum_sensitivity(
        captums,
        inputs,
        lambda copies: copies + torch.stack(noise).repeat(3, 1, 1, 1),  # six of each image in a row
        n_perturb_samples=6,
        target=classes,
    )
    torch.testing.assert_close(ours, theirs)


def test_infidelity_equals_captums(small):
    model, inputs, classes, logit = small
    saliency = torch.rand(3, 16, 16, dtype=torch.float64)
    changes = list(sanity.square_removals(inputs, samples=9))
    ours = sanity.infidelity(logit, inputs, saliency, changes)

    def replay(expanded, _=None):  # nine copies of each image in a row
        change = torch.stack(changes, 1).flatten(0, 1)
        return change, expanded - change

    theirs = captum_infidelity(
        model,
        replay,
        inputs,
        saliency[:, None].expand_as(inputs),
        target=classes,
        n_perturb_samples=9,
        normalize=True,
    )
    torch.testing.assert_close(ours, theirs.detach())


def test_a_linear_models_weights_are_faithful_at_any_scale():
    weights = torch.randn(8, 8, dtype=torch.float64)
    inputs = torch.randn(2, 1, 8, 8, dtype=torch.float64)

    def score(images, index):
        return (images[:, 0] * weights).sum((1, 2)) + 5

    right = sanity.infidelity(score, inputs, 7 * weights.expand(2, 8, 8))
    wrong = sanity.infidelity(score, inputs, weights.flip(0).expand(2, 8, 8))
    torch.testing.assert_close(right, torch.zeros_like(right))
    assert (wrong > 0.1).all()
    constant = sanity.infidelity(score, inputs, torch.zeros(2, 8, 8, dtype=torch.float64))
    assert (constant >= wrong).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_saliency_has_no_unit(scale):
    """Its squares vanish or overflow in single precision."""
    weight, images = torch.rand(2, 2, 3, 8, 8)

    def score(images, index):
        return (images.tanh() * weight[index]).flatten(1).sum(1) / 100

    def values(factor):
        def explain(images, index):
            return factor * (images * weight[index]).sum(1)

        saliency = explain(images, torch.arange(2))
        sensitivity = sanity.max_sensitivity(explain, images, saliency)
        return torch.stack([sensitivity, sanity.infidelity(score, images, saliency)])

    torch.testing.assert_close(values(scale), values(1.0))


def test_perturbations_are_what_they_say():
    inputs = torch.rand(2, 3, 12, 20) + 1
    noise = torch.stack(list(sanity.uniform_noise(inputs, radius=0.5, samples=40)))
    assert noise.shape == (40, 3, 12, 20)
    assert noise.abs().max() <= 0.5
    assert noise.std() == pytest.approx(0.5 / 3**0.5, rel=0.02)
    for removed in sanity.square_removals(inputs, fraction=0.5, samples=20):
        gone = inputs - removed == 0
        rows, columns = gone.any(3).sum(2), gone.any(2).sum(2)
        assert (rows == 6).all()
        assert (columns == 6).all()
        assert (gone.sum((2, 3)) == 36).all()
        assert torch.equal(removed[~gone], torch.zeros_like(removed[~gone]))


def test_a_map_of_zeros_has_no_relative_change():
    saliency = torch.zeros(1, 4, 4)
    value = sanity.max_sensitivity(lambda x, index: saliency + 1, torch.rand(1, 1, 4, 4), saliency)
    assert value.isnan().all()


def test_randomization_spares_the_users_model(small):
    model, inputs, *_ = small
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []

    def explain(network):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        if len(seen) == 3:
            raise RuntimeError("the explanation failed")
        return inputs.sum(1)

    with pytest.raises(RuntimeError, match="explanation failed"):
        sanity.randomization_cascade(model, explain)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert model.training


def test_randomization_goes_from_the_output_down_and_keeps_the_scale(small):
    model, inputs, classes, _ = small
    states = []

    def explain(network):
        states.append({name: value.detach().clone() for name, value in network.named_parameters()})
        return gradient_map(network, inputs, classes)

    cascade = sanity.randomization_cascade(model, explain)
    assert cascade.layers == ["head", "bn2", "conv2", "bn1", "conv1"]
    assert cascade.correlation.shape == (5, 3)
    for step, earlier, later in zip(cascade.layers, states[:-1], states[1:], strict=True):
        changed = {
            name.split(".")[0] for name in later if not torch.equal(earlier[name], later[name])
        }
        assert changed <= {step}
        assert changed or step.startswith("bn")  # fresh batch norms have no spread to draw from
    old, new = states[0]["conv2.weight"], states[-1]["conv2.weight"]
    assert new.std() == pytest.approx(old.std().item(), rel=0.1)
    again = sanity.randomization_cascade(model, explain)
    assert torch.equal(again.correlation, cascade.correlation)


def test_randomization_tells_an_edge_detector_from_an_explanation(small):
    model, inputs, classes, _ = small
    edges = sanity.randomization_cascade(model, lambda network: inputs.diff(dim=3).abs().sum(1))
    gradient = sanity.randomization_cascade(model, lambda net: gradient_map(net, inputs, classes))
    ones = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(sanity.parameter_randomization(edges), ones)
    assert (sanity.parameter_randomization(gradient) < 0.7).all()


def test_randomization_of_named_parts_takes_all_inside():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), nn.Conv2d(4, 2, 1))
    inputs = torch.rand(2, 3, 9, 9)
    changed = []

    def explain(network):
        pairs = zip(model.named_parameters(), network.parameters(), strict=True)
        changed.append({name for (name, old), new in pairs if not torch.equal(old, new)})
        with torch.no_grad():
            return network(inputs).sum(1)

    sanity.randomization_cascade(model, explain, layers=["1", "0"])
    head = {"1.weight", "1.bias"}
    body = {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"}
    assert changed == [set(), head, head | body]
    with pytest.raises(ValueError, match="names '7'"):
        sanity.randomization_cascade(model, explain, layers=["7"])


def test_target_selectivity_is_the_correlation_of_two_targets():
    cat, dog = torch.zeros(2, 8, 8), torch.zeros(2, 8, 8)
    cat[:, :4], dog[:, 4:] = 1, 1
    dog[1] = 3 * cat[1] + 2
    torch.testing.assert_close(sanity.target_selectivity(cat, dog), torch.tensor([-1.0, 1.0]))
    assert torch.equal(sanity.target_selectivity(cat, dog), quality.pearson(cat, dog))
