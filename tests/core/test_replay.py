"""The tail: replayed scores against those of the whole network, and heads that are affine."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from networks import Branching, Cnn, images, replaced, seeded
from seewhy import Probe, explain
from seewhy.core.targets import Contrast, Probability
from untouched import Calls


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
@pytest.mark.parametrize("expected_before", [True, False])
@pytest.mark.parametrize("factory", [Cnn, Branching])
def test_the_tail_equals_the_network_with_another_output(factory, layer, expected_before):
    model, x = seeded(factory, "inplace").double(), images().double()
    probe = Probe(model, x, [0, 2, 4], layer)
    if expected_before:
        probe.expect("tail")
    maps = torch.stack([probe.activations() * factor for factor in (0.0, 0.5, 1.0, 2.0)])
    scores = probe.tail()(maps)
    assert not scores.requires_grad
    for found, altered in zip(scores, maps, strict=True):
        expected = replaced(model, layer, x, altered)
        assert torch.allclose(found, expected[[0, 1, 2], [0, 2, 4]])


def test_a_tail_that_was_expected_costs_no_forward_pass():
    model, x = seeded(Cnn), images()
    calls = Calls(model)
    before = Calls(model.conv1)
    probe = Probe(model, x, 1, "bn1").expect("tail")
    tail = probe.tail()
    tail(probe.activations().repeat(7, 1, 1, 1, 1))
    probe.with_target(Contrast(0, 1)).tail()(probe.activations()[None])
    assert calls.count == before.count == 1


@pytest.mark.parametrize("target", [3, Contrast(0, 1), Probability(2)])
def test_targets_of_one_pass_have_their_own_tail(target):
    model, x = seeded(Cnn).double(), images().double()
    first = Probe(model, x, 0, "conv1").expect("tail")
    first.tail()
    probe = first.with_target(target)
    scores = probe.tail()(probe.activations()[None])
    assert torch.allclose(scores[0], probe.score)


@pytest.mark.parametrize("name", ["tiny_vgg_x64_b3_features-9", "tiny_vit_x64_b3_blocks-1-norm1"])
def test_tails_of_reference_networks(oracles, name):
    case = oracles[f"cam/pgc_{name}"]
    probe = Probe(
        oracles.model(case), oracles.inputs(case), case["targets"], case["params"]["layer"]
    ).expect("tail")
    scores = probe.tail()(probe.activations().repeat(2, 1, 1, 1, 1))
    assert torch.allclose(scores, probe.score.expand(2, -1), rtol=1e-10)


def test_what_a_network_hides_is_an_error_and_not_a_wrong_score():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    class Hiding(Cnn):
        def forward(self, x):
            features = self.features(x)
            return self.head((Double.apply(features) + 0.5 * features).mean((2, 3)))

    probe = Probe(seeded(Hiding), images(), 1, "bn2")
    with pytest.raises(ValueError, match="cannot be replayed"):
        probe.tail()


def test_what_is_written_past_the_record_is_an_error():
    """The gradient would be right, and all scores too small."""

    class AddOne(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.add_(1)

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    class Writing(Cnn):
        def forward(self, x):
            doubled = 2 * self.bn2(self.conv2(self.activate(self.conv1(x))))
            AddOne.apply(doubled)
            return self.head(doubled.mean((2, 3)))

    probe = Probe(seeded(Writing), images(), 1, "bn2")
    with pytest.raises(ValueError, match="cannot be replayed"):
        probe.tail()


# ---------------------------------------------------------------------- affine heads


class Head(nn.Module):
    """A convolution, and the head that a test wants."""

    def __init__(self, head) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3, stride=4)
        self.linear = nn.Linear(6, 5)
        self.classifier = nn.Conv2d(6, 5, 1)
        self.head = head

    def forward(self, x):
        return self.head(self, self.body(x))


HEADS = {
    "pooling + Linear": (True, lambda m, a: m.linear(a.mean((2, 3)))),
    "AdaptiveAvgPool2d": (True, lambda m, a: m.linear(F.adaptive_avg_pool2d(a, 1).flatten(1))),
    "scaled": (True, lambda m, a: 3 * m.linear(a.mean((2, 3))) - 1),
    "pooled 2 x 2": (True, lambda m, a: m.linear(F.avg_pool2d(a, 2)[:, :, 0, 0])),
    "convolution": (True, lambda m, a: m.classifier(a).mean((2, 3))),
    "dropout": (True, lambda m, a: m.linear(F.dropout(a.mean((2, 3)), 0.5, training=False))),
    "ReLU": (False, lambda m, a: m.linear(a.relu().mean((2, 3)))),
    "square": (False, lambda m, a: m.linear((a * a).mean((2, 3)))),
    "max": (False, lambda m, a: m.linear(a.amax((2, 3)))),
    "product": (False, lambda m, a: m.linear(a.mean((2, 3))) * a.mean((1, 2, 3))[:, None]),
    "divided": (False, lambda m, a: m.linear(a.mean((2, 3)) / a.std((2, 3)))),
    "softmax": (False, lambda m, a: m.linear(a.mean((2, 3))).softmax(1)),
}


@pytest.mark.parametrize("name", HEADS)
def test_affine_heads(name):
    affine, head = HEADS[name]
    model, x = seeded(Head, head).double(), images().double()
    probe = Probe(model, x, 2, "body")
    assert probe.affine() == affine
    other = torch.randn_like(probe.activations())
    scores = replaced(model, "body", x, other)[:, 2]
    change = (probe.gradients() * (other - probe.activations())).sum((1, 2, 3))
    assert torch.allclose(probe.score + change, scores) == affine


@pytest.mark.parametrize("register", ["full_backward_hook", "full_backward_pre_hook"])
@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_backward_hooks_of_the_user_change_no_tail(layer, register):
    plain, hooked, x = seeded(Cnn).double(), seeded(Cnn).double(), images().double()
    for module in hooked.modules():
        getattr(module, f"register_{register}")(lambda *_: None)
    expected = explain(plain, x, "ablation_cam", 1, layer=layer)
    assert torch.equal(explain(hooked, x, "ablation_cam", 1, layer=layer), expected)
    probe = Probe(hooked, x, [0, 2, 4], layer)
    scores = probe.tail()(0.5 * probe.activations()[None])
    expected = replaced(plain, layer, x, 0.5 * probe.activations())
    assert torch.allclose(scores[0], expected[[0, 1, 2], [0, 2, 4]])


def test_backward_hooks_of_the_user_leave_an_affine_head_affine():
    plain, hooked, x = seeded(Cnn).eval(), seeded(Cnn).eval(), images()
    for module in hooked.modules():
        module.register_full_backward_hook(lambda *_: None)
    assert torch.equal(explain(hooked, x, "cam", 1), explain(plain, x, "cam", 1))
