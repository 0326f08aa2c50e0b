"""Excitation backprop against TorchRay's numbers, and that it is a probability."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import Cnn
from reference import Oracles, relative_error
from seewhy import explain

CASES = {
    "torchray/ebp_tiny_vgg_x64_b3": "copy",
    "torchray/ebp_tiny_vgg_x65x57": "share",  # has no skip connections
    "torchray/ebp_tiny_resnet_basic_x64_b3": "copy",
    "torchray/ebp_tiny_resnet_basic_x64_b3_eltwise": "share",
}
METHODS = {"excitation_backprop": "ebp", "contrastive_excitation_backprop": "cebp"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case_id", CASES)
def test_torchray(oracles: Oracles, case_id: str, dtype: torch.dtype, method: str) -> None:
    case = oracles[case_id]
    expected = oracles.tensors(case)
    model, x = oracles.model(case, dtype), oracles.inputs(case, dtype)
    for layer in case["params"]["saliency_layers"]:
        name = f"{method}(skip='{CASES[case_id]}')"
        found = explain(model, x, name, case["targets"], layer=layer, size="layer")
        tensor = f"{METHODS[method]}.{layer}.f64"
        tolerance = case["tensors"][tensor]["tol_f64" if dtype == torch.float64 else "tol_f32"]
        assert relative_error(found[:, None], expected[tensor]) <= tolerance


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.LeakyReLU, nn.Tanh])
def test_excitation_is_a_probability(activation: type[nn.Module]) -> None:
    """With non-negative images and no paddings to lose anything in, down to the input itself.

    The second layer is so strong that ReLU6 and tanh are saturated.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        activation(),
        nn.Conv2d(8, 8, 2),
        activation(),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    ).double()
    with torch.no_grad():
        model[2].weight.mul_(50)
    x = torch.rand(2, 3, 21, 21, dtype=torch.float64)
    found = explain(model, x, "excitation_backprop(at_input=True)", [0, 3])
    assert (found >= 0).all()
    assert torch.allclose(found.sum((1, 2)), torch.ones(2, dtype=found.dtype))


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(8), nn.GroupNorm(1, 8), nn.GroupNorm(4, 8), nn.InstanceNorm2d(8),
             nn.LayerNorm([8, 20, 20]), nn.RMSNorm([8, 20, 20])]
)  # fmt: skip
def test_norms_pass_all_of_a_probability_on(norm: nn.Module) -> None:
    torch.manual_seed(0)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    model = nn.Sequential(nn.Conv2d(3, 8, 2), norm, nn.ReLU(), *pool)
    found = explain(model, torch.rand(2, 3, 21, 21), "excitation_backprop(at_input=True)", 1)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2))


class Gated(nn.Module):
    """Scales its maps by constants, by a number per channel and by their own sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.head = nn.Conv2d(3, 8, 2), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv((x * 3 + 1).div(torch.tensor([2.0, 3.0, 4.0])[:, None, None]))
        x = F.relu(x * torch.sigmoid(x)) / x.norm(dim=1, keepdim=True)
        x *= self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]
        return self.head(x.mean((2, 3)))


def test_gates_and_constants_take_nothing_of_a_probability() -> None:
    torch.manual_seed(0)
    found = explain(Gated(), torch.rand(2, 3, 9, 9), "excitation_backprop(at_input=True)", 1)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2))


class Branches(nn.Module):
    """Two regions of the image, one for each of two classes, beside an unrelated offset."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.relu(F.avg_pool2d(x, (1, 4))).flatten(1)
        return F.linear(pooled, torch.tensor([[1.0, -1.0], [-1.0, 1.0]])) + 7


def test_by_hand() -> None:
    x = torch.tensor([1.0, 3.0, 0.0, 0.0, 2.0, 2.0, 4.0, 0.0]).view(1, 1, 1, 8)
    plain = explain(Branches(), x, "excitation_backprop(at_input=True)", 0)
    assert torch.allclose(plain.flatten(), torch.tensor([0.25, 0.75, 0, 0, 0, 0, 0, 0]))
    contrast = explain(Branches(), x, "contrastive_excitation_backprop(at_input=True)", 1)
    assert torch.allclose(contrast.flatten(), torch.tensor([0, 0, 0, 0, 0.25, 0.25, 0.5, 0]))


def test_negative_inputs_get_no_share_and_cost_no_other_its_own() -> None:
    """Class 0 has 3 x 1 + 1 x 2 of excitation; with -1 x 5 it would have nothing to divide by."""
    x = torch.tensor([3.0, -1.0, 1.0, -2.0]).view(1, 1, 1, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 5.0, 2.0, -1.0], [1.0, -5.0, -1.0, -3.0]]))
    plain = explain(model, x, "excitation_backprop(at_input=True)", 0)
    assert torch.allclose(plain.flatten(), torch.tensor([0.6, 0, 0.4, 0]))
    contrast = explain(model, x, "contrastive_excitation_backprop(at_input=True)", 1)
    assert torch.allclose(
        contrast.flatten(), torch.tensor([1.0, 0, 0, 0])
    )  # [1, 0, 0, 0] - [0, 0, 1, 0]


def test_a_classifier_at_each_place_contrasts_as_one_behind_the_pool() -> None:
    """They are the same function, if the score reads all places (those with positive values)."""
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(6, 4, 1), nn.Linear(6, 4)
    with torch.no_grad():
        conv.bias.fill_(9)
        linear.weight.copy_(conv.weight.flatten(1))
    pool = nn.AdaptiveAvgPool2d(1)
    each = nn.Sequential(nn.Identity(), conv, nn.ReLU(), pool, nn.Flatten())
    behind = nn.Sequential(nn.Identity(), pool, nn.Flatten(), linear)
    x = torch.rand(2, 6, 5, 7)
    name = "contrastive_excitation_backprop(at_input=True)"
    expected = explain(behind, x, name, [1, 3])
    assert expected.any()
    assert torch.allclose(explain(each, x, name, [1, 3]), expected, atol=1e-7)

    class OneByOne(nn.Module):
        def forward(self, x: Tensor) -> Tensor:  # without an axis of images
            return torch.stack([conv(one).relu().mean((1, 2)) for one in x])

    assert torch.allclose(explain(OneByOne(), x, name, [1, 3]), expected, atol=1e-7)


def test_opposite_classes_exclude_each_other() -> None:
    """Two classes with opposite weights: where one has contrast the other has none."""
    model, x = Cnn(classes=2), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        model.head.weight[1] = -model.head.weight[0]
    a, b = (
        explain(model, x, "contrastive_excitation_backprop", c, layer="bn2", size="layer")
        for c in (0, 1)
    )
    assert a.any()
    assert b.any()
    assert not (a * b).any()


def test_a_network_with_nothing_to_contrast_is_refused() -> None:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="there is none; use 'excitation_backprop'"):
        explain(pool, torch.rand(1, 3, 4, 4), "contrastive_excitation_backprop(at_input=True)", 0)


def test_the_stage_before_the_last_is_the_default(oracles: Oracles) -> None:
    case = oracles["tsgb/tiny_resnet_bottleneck_x64_b3"]
    model, x = oracles.model(case), oracles.inputs(case)
    found = explain(model, x, "excitation_backprop", 1, size="layer")
    named = explain(model, x, "excitation_backprop", 1, size="layer", layer="layer2")
    assert torch.equal(found, named)  # layers 3 and 4 have the same resolution
    assert torch.allclose(found.sum((1, 2)), torch.ones(3, dtype=found.dtype), atol=0.02)


def test_unknown_skips_are_refused() -> None:
    with pytest.raises(ValueError, match=r"skip=.*it should be 'share' or 'copy'"):
        explain(Cnn(), torch.rand(1, 3, 16, 16), "excitation_backprop(skip='half')", 0)


def test_a_function_may_be_written_in_several_ways() -> None:
    """A pool as means, a Linear as a product, and arguments of a convolution by their names."""

    class Spelled(Cnn):
        def features(self, x: Tensor) -> Tensor:
            for conv in (self.conv1, self.conv2):
                x = F.conv2d(x, conv.weight, bias=conv.bias, stride=2, padding=1).relu()
            return x

        def forward(self, x: Tensor) -> Tensor:
            x = self.features(x).mean(-1).mean(axis=2)  # as NumPy calls it
            return torch.addmm(self.head.bias, x, self.head.weight.T)

    class Plain(Spelled):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))

    class Tokens(Spelled):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.features(x).flatten(2).transpose(1, 2).mean(1))

    x, maps = torch.randn(2, 3, 16, 16), []
    for network in (Spelled, Tokens, Plain):
        torch.manual_seed(0)
        maps.append(explain(network(), x, "contrastive_excitation_backprop(at_input=True)", 1))
    torch.testing.assert_close(maps[:2], maps[2:] * 2)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_added_to_all_images_counts_the_same_in_a_batch_and_alone(method: str) -> None:
    """The positions of patches have the shape of a single image's tokens."""

    class Placed(Cnn):
        def features(self, x: Tensor) -> Tensor:
            x = self.conv1(x)
            return (x + torch.linspace(-1, 1, x[0].numel()).view_as(x[:1])).relu()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv2(self.features(x)).relu().mean((2, 3)))

    torch.manual_seed(0)
    model, x = Placed(), torch.rand(2, 3, 16, 16)
    together = explain(model, x, f"{method}(at_input=True)", 1)
    alone = explain(model, x[:1], f"{method}(at_input=True)", 1)
    torch.testing.assert_close(together[:1], alone)
