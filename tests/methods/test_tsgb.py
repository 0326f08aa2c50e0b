"""TSGB against the numbers of the authors' code, and where we differ from it on purpose."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from networks import Cnn
from reference import Oracles, relative_error
from seewhy import Probe, explain
from seewhy.core.rules import applying
from seewhy.core.targets import Segment
from seewhy.core.walk import gradients
from seewhy.methods.tsgb import _balance, _Weighted, rules, selective, tsgb

MAPS = [
    f"tsgb/tiny_{name}"
    for name in (
        "vgg_x64_b3",
        "vgg_x65x57",
        "resnet_basic_x64_b3",
        "resnet_basic_x65x57",
        "resnet_bottleneck_x64_b3",
        "densenet_x64_b3",
        "densenet_x65x57",
        "mobilenet_x64_b3",
    )
]
AUTHORS = {"groups": "joint", "activations": "gradient", "signed": True}
DTYPES = {torch.float64: "f64", torch.float32: "f32"}


class Passes(nn.Module):
    """A network that counts its forward passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.forwards = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        return self.network(x)


# ------------------------------------------------------------- the authors' numbers


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case_id", MAPS)
def test_maps(oracles: Oracles, case_id: str, dtype: torch.dtype, inplace: bool) -> None:
    case = oracles[case_id]
    tensor, kind = f"map.{DTYPES[dtype]}", DTYPES[dtype]
    expected = oracles.tensors(case)[tensor]
    model = Passes(oracles.model(case, dtype, inplace))
    probe = Probe(model, oracles.inputs(case, dtype))
    maps = [
        tsgb(probe.with_target(list(targets)), **AUTHORS)
        for targets in zip(*case["targets"], strict=True)
    ]
    assert model.forwards == 2  # the scores, and one rule pass for all targets
    tolerance = case["tensors"][tensor][f"tol_{kind}"]
    assert relative_error(torch.stack(maps, 1), expected) <= tolerance


@pytest.mark.parametrize("dtype", DTYPES)
def test_maps_with_separate_groups(oracles: Oracles, dtype: torch.dtype) -> None:
    case = oracles["tsgb/tiny_mobilenet_x64_b3"]
    expected = oracles.tensors(case)["map_grouped.f64"][:, 1]
    model, targets = oracles.model(case, dtype), [row[1] for row in case["targets"]]
    found = explain(
        model, oracles.inputs(case, dtype), "tsgb(activations='gradient', signed=True)", targets
    )
    assert relative_error(found, expected) < (1e-10 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relevance_at_convolution_outputs(oracles: Oracles, dtype: torch.dtype) -> None:
    case = oracles["tsgb/layers_tiny_resnet_basic"]
    expected = {
        name.removeprefix("grad_out."): tensor
        for name, tensor in oracles.tensors(case).items()
        if name.startswith("grad_out.")
    }
    assert len(expected) == 14
    exact = Probe(oracles.model(case), oracles.inputs(case), layer=list(expected))
    model, x = oracles.model(case, dtype), oracles.inputs(case, dtype)
    probe = selective(Probe(model, x, case["targets"][0], layer=list(expected)))
    for layer, gradient in expected.items():
        if dtype == torch.float64:
            assert relative_error(probe.gradients(layer)[0], gradient) < 1e-7
        # A gradient y / x where x is nearly zero has no digits in single precision; relevance does.
        found = probe.gradients(layer) * probe.activations(layer)
        assert relative_error(found[0], gradient * exact.activations(layer)[0]) < 3e-5


def test_gradients_at_convolution_inputs(oracles: Oracles) -> None:
    case = oracles["tsgb/layers_tiny_vgg"]
    expected, x = oracles.tensors(case), oracles.inputs(case)
    before = {"features.3": "features.2", "features.6": "features.5", "features.8": "features.7"}
    model = oracles.model(case, inplace=False)
    probe = selective(Probe(model, x, case["targets"][0], layer=list(before.values())))
    for convolution, layer in before.items():
        assert (
            relative_error(probe.gradients(layer)[0], expected[f"grad_total.{convolution}"]) < 1e-5
        )


def test_map_at_a_layer(oracles: Oracles) -> None:
    case = oracles["tsgb/layers_tiny_vgg"]
    model, x = oracles.model(case), oracles.inputs(case)
    found = explain(
        model, x, "tsgb(signed=True)", case["targets"][0], layer="features.5", size="layer"
    )
    activations = model.features[:6](x)
    gradient = oracles.tensors(case)["grad_total.features.6"]
    assert relative_error(found, (activations * gradient).sum(1).detach()) < 1e-5


UNITS = ["conv3", "conv7s2", "conv1s2", "conv3d2", "conv_rect", "conv_groups2", "conv_depthwise_s2"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "unit", [*UNITS, "avgpool2", "avgpool3s2p1", "bn", "linear", "linear_signed"]
)
def test_single_layers(oracles: Oracles, unit: str, dtype: torch.dtype) -> None:
    case = oracles["tsgb/unit_rules"]
    tensors, params = oracles.tensors(case), case["params"]["layers"].get(unit, {})
    data = {
        name.removeprefix(f"{unit}."): tensor.to(dtype)
        for name, tensor in tensors.items()
        if name.startswith(f"{unit}.")
    }
    x = data["x"].requires_grad_()
    with applying(rules("joint")):
        if unit.startswith("conv"):
            geometry = [params[key] for key in ("stride", "padding", "dilation", "groups")]
            y = F.conv2d(x, data["w"], data.get("b"), *geometry)
        elif unit.startswith("avgpool"):
            y = F.avg_pool2d(x, params["kernel"], params["stride"], params["padding"])
        elif unit == "bn":
            y = F.batch_norm(x, data["mean"], data["var"], data["w"], data["b"])
        else:
            y = F.linear(x, data["w"], data["b"])
    kind = DTYPES[dtype]
    assert relative_error(y.detach(), tensors[f"{unit}.y.f64"]) < 1e-5
    if unit.startswith("linear"):
        found = _balance(data["grad_out"], _Weighted(F.linear, x, data["w"]), 1.0)
    else:
        (found,) = gradients(y * data["grad_out"], [x])
    expected = tensors[f"{unit}.grad_in.{kind}"]
    tolerance = case["tensors"][f"{unit}.grad_in.{kind}"][f"tol_{kind}"]
    assert relative_error(found, expected) <= tolerance


# ------------------------------------------------------------------- where we differ


def test_classes_without_active_negative_weights_are_finite(oracles: Oracles) -> None:
    tensors = oracles.tensors(oracles["tsgb/unit_rules"])
    x = tensors["linear_degenerate.x"].double().requires_grad_()
    w = tensors["linear_degenerate.w"].double()
    positive, negative = w.clamp(min=0), w.clamp(max=0)
    for row in range(2):
        for unit in range(2):
            chosen = torch.zeros(len(x), len(w)).double()
            chosen[row, unit] = 1
            gradient = _balance(chosen, _Weighted(F.linear, x, w), 1.0)
            found, balance = gradient[row], x[row].detach() @ negative[unit]
            beta = 0 if balance == 0 else x[row].detach() @ positive[unit] / balance.abs()
            assert torch.allclose(found, positive[unit] + beta * negative[unit])
            assert found.isfinite().all()


@pytest.mark.parametrize("tiny", [0.0, -1e-10, 1e-10, -1.0001e-10, 1e-30])
@pytest.mark.parametrize("layer", ["batch_norm", "avg_pool2d"])
def test_tiny_values_do_not_blow_up(layer: str, tiny: float) -> None:
    x = torch.full((1, 1, 2, 4), 0.5, dtype=torch.float64)
    x[0, 0, 0, 0] = tiny
    x.requires_grad_()
    with applying(rules("joint")):
        if layer == "batch_norm":
            one = torch.ones(1, dtype=torch.float64)
            y = F.batch_norm(x, 0.2 * one, one, one, one)
        else:
            y = F.avg_pool2d(x, 2)
    (gradient,) = gradients(y, [x])
    assert gradient[0, 0, 0, 0] == 0
    assert gradient[0, 0, 1, 1] > 0


def test_batch_norm_keeps_its_own_eps() -> None:
    x = torch.rand(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    bn = nn.BatchNorm2d(2, eps=0.7).double().eval()
    with applying(rules("joint")):
        y = bn(x)
    assert torch.equal(y, bn(x))
    (gradient,) = gradients(y, [x])
    assert torch.allclose(gradient * x, y)


def test_average_pools_keep_their_options() -> None:
    x = torch.rand(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    pool = nn.AvgPool2d(2, padding=1, ceil_mode=True, count_include_pad=False)
    with applying(rules("joint")):
        y = pool(x)
    assert torch.equal(y, pool(x))
    (gradient,) = gradients(y, [x])
    (expected,) = torch.autograd.grad(pool(x), x, y.detach())
    assert torch.allclose(gradient * x, expected)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (4, 1), (2, 3), (4, 2)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_string_padding_is_the_same_as_zeros(kernel: int, dilation: int) -> None:
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 3, kernel, 1, dtype=torch.float64)
    before = dilation * (kernel - 1) // 2
    padded = F.pad(x.detach(), (0, 0, before, dilation * (kernel - 1) - before)).requires_grad_()
    found = []
    for image, padding in ((x, "same"), (padded, "valid"), (padded, 0)):
        with applying(rules("joint")):
            y = F.conv2d(image, w, padding=padding, dilation=dilation)
        found.append(gradients(y.square(), [image])[0])
    same, valid, none = found
    assert torch.equal(valid, none)
    assert torch.allclose(same, valid[:, :, before : before + 9], rtol=1e-12)


class Head(nn.Module):
    """Two convolutions and a classifier of one kind or another, with the same weights."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        linear = nn.Linear(6, 4)
        nn.init.constant_(linear.bias, 9)  # so that a ReLU behind it is active everywhere
        if kind == "registered first":
            self.head: nn.Module = linear
        self.body = nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, padding=1), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.kind = kind
        if kind.startswith("convolution"):
            self.head = nn.Conv2d(6, 4, 1)
            self.head.load_state_dict(
                {"weight": linear.weight[..., None, None], "bias": linear.bias}
            )
        elif kind != "registered first":
            self.head = linear
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "convolution":
            return self.pool(self.head(self.body(x))).flatten(1)
        if self.kind == "convolution, ReLU":  # as SqueezeNet
            return self.pool(F.relu(self.head(self.body(x)))).flatten(1)
        if self.kind == "convolution, pooled":
            return self.head(self.pool(self.body(x))).flatten(1)
        return self.head(self.pool(self.body(x)).flatten(1))


@pytest.mark.parametrize(
    "kind", ["registered first", "convolution, pooled", "convolution", "convolution, ReLU"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_classifier_is_found_wherever_it_stands(kind: str, dtype: torch.dtype) -> None:
    model, x = Head(kind).to(dtype), torch.rand(2, 3, 12, 10, dtype=dtype)
    reference = Head("linear").to(dtype)
    reference.body.load_state_dict(model.body.state_dict())
    reference.head.load_state_dict(
        {
            name: p.reshape(reference.head.get_parameter(name).shape)
            for name, p in model.head.state_dict().items()
        }
    )
    counted = Passes(model)
    found, expected = explain(counted, x, "tsgb"), explain(reference, x, "tsgb")
    assert counted.forwards == 1
    assert expected.abs().amax() > 1e-4
    assert relative_error(found, expected) < (1e-12 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("target", [1, 2, 3])
def test_an_activation_behind_the_classifier_is_passed_over(target: int) -> None:
    """As in SqueezeNet: also where a class's ReLU is off, its evidence is balanced."""
    model, plain = Head("convolution, ReLU").double(), Head("convolution").double()
    plain.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 12, 10, dtype=torch.float64)
    before = plain.head(plain.body(x))[:, target]
    with torch.no_grad():
        for head in (model.head, plain.head):
            head.bias[target] -= before.median()  # type: ignore[union-attr]
    on = plain.head(plain.body(x))[:, target] > 0
    assert 0.2 < on.double().mean() < 0.8
    found, expected = explain(model, x, "tsgb", target), explain(plain, x, "tsgb", target)
    assert expected.abs().amax() > 1e-6
    assert relative_error(found, expected) < 1e-12


def test_the_relevance_of_the_classifier_is_balanced(oracles: Oracles) -> None:
    case = oracles["tsgb/tiny_resnet_basic_x64_b3"]
    model, x = oracles.model(case), oracles.inputs(case)
    found = explain(model, x, "tsgb(signed=True)", 2, layer="layer4", size="layer")
    assert found.abs().amax() > 1e-2
    assert torch.allclose(found.sum((1, 2)), torch.zeros(3, dtype=found.dtype), atol=1e-12)


def test_the_balance_can_be_lowered() -> None:
    """Without it, negative weights take nothing away, and no relevance is negative."""
    model, x = Head("linear").double(), torch.rand(2, 3, 12, 10, dtype=torch.float64)
    full, none = (explain(model, x, f"tsgb(signed=True, balance={b})", 1) for b in (1, 0))
    half = explain(model, x, "tsgb(signed=True, balance=0.5)", 1)
    assert torch.allclose((full + none) / 2, half)
    assert full.min() < 0 <= none.min()
    with pytest.raises(ValueError, match="balance=-1"):
        explain(model, x, "tsgb(balance=-1)", 1)


HEADS: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "behind a pool": lambda: (nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 8, 1)),
    "over all places": lambda: (nn.Identity(), nn.Conv2d(6, 8, 4)),
    "over all places and a border": lambda: (nn.Identity(), nn.Conv2d(6, 8, 6, padding=1)),
    "in groups": lambda: (nn.Identity(), nn.Conv2d(6, 8, 4, groups=2)),
}


@pytest.mark.parametrize("balance", [1.0, 0.8])
@pytest.mark.parametrize("name", HEADS)
def test_a_convolution_with_a_single_window_is_a_fully_connected_layer(
    name: str, balance: float
) -> None:
    """As in MobileNetV3, V4 and GhostNet: written as Linear or as Conv2d, the map is the same.

    All channels of its only window together have no relevance behind a balanced classifier, so
    shares of it would be zero, or what rounding makes of that.
    """
    torch.manual_seed(0)
    before, convolution = HEADS[name]()
    body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), before)
    end = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))
    written = nn.Sequential(body, convolution, end).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        cells = body(x).shape[1:]
        linear = nn.Linear(cells.numel(), 8).double()
        columns = torch.eye(cells.numel(), dtype=torch.float64).view(-1, *cells)
        linear.bias.copy_(convolution(0 * columns[:1]).flatten())
        linear.weight.copy_(convolution(columns).flatten(1).T - linear.bias[:, None])
    expected = nn.Sequential(body, nn.Flatten(), linear, end)
    maps = explain(written, x, f"tsgb({balance=})", 1)
    assert relative_error(maps, explain(expected, x, f"tsgb({balance=})", 1)) < 1e-12
    assert (maps.amax((1, 2)) > 1e-6).all()


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_may_be_the_classifier(kernel: int) -> None:
    """A map per class: its last convolution is balanced, whatever its size."""
    torch.manual_seed(0)
    head = nn.Conv2d(6, 3, kernel, padding=kernel // 2)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), head).double()
    x = torch.rand(2, 3, 9, 8, dtype=torch.float64)
    found = explain(model, x, "tsgb(signed=True)", Segment(1, torch.ones(9, 8) > 0), layer="1")
    assert torch.allclose(found.sum((1, 2)), torch.zeros(2).double(), atol=1e-12)
    assert found.abs().max() > 1e-3


ACTIVATIONS = [
    nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardtanh(), nn.LeakyReLU(), nn.PReLU(),
    nn.ELU(), nn.SELU(), nn.CELU(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Tanh(),
]  # fmt: skip


@pytest.mark.parametrize("behind", ["input", "convolution"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activations_keep_relevance(activation: nn.Module, behind: str) -> None:
    """All that a next layer gives back reaches what is before, also where it saturates."""
    activation.double()
    x = 8 * torch.randn(2, 4, 6, 6, dtype=torch.float64)
    x.requires_grad_()
    body = nn.Conv2d(4, 4, 1).double()
    with applying(rules()):
        before = body(x) if behind == "convolution" else x.clone()
        y = activation(before)
        z = F.conv2d(y, torch.ones(1, 4, 1, 1).double())
    (at_x,) = gradients(z, [x])
    assert torch.allclose((at_x * x).sum(), z.sum())
    if behind == "input":
        shares = (y.abs() / y.abs().sum(1, keepdim=True)).nan_to_num(0)
        assert torch.allclose(at_x * x, shares * z, atol=1e-9)


@pytest.mark.parametrize(
    "gate",
    [
        lambda x: torch.sigmoid(x.flip(1)) * x,
        lambda x: x * F.hardsigmoid(x.flip(1)),
        lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
        lambda x: x.mean((2, 3), keepdim=True) * x,
        lambda x: x * torch.full((4, 1, 1), -0.5).double(),
        lambda x: 3.0 * x,
    ],
)
def test_gates_take_no_relevance(gate: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    for before in (nn.Identity(), nn.Conv2d(4, 4, 1, bias=False).double()):
        with applying(rules()):
            out = gate(before(x))
        (found,) = gradients(out * weights, [x])
        if isinstance(before, nn.Identity):
            assert torch.allclose(found * x, out * weights)
        assert torch.allclose((found * x).sum(1), (out * weights).sum(1))


@pytest.mark.parametrize(
    "norm", [lambda: nn.GroupNorm(2, 8), lambda: nn.InstanceNorm2d(8, affine=True)]
)
@pytest.mark.parametrize("method", ["tsgb", "excitation_backprop"])
def test_other_norms_are_batch_norms_with_the_statistics_of_the_image(method, norm) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 20, 20, dtype=torch.float64)

    def network(make: Callable[[], nn.Module]) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), make(), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), make(),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        ).double().eval()  # fmt: skip

    model, same = network(norm), network(lambda: nn.BatchNorm2d(8))
    values = x
    with torch.no_grad():
        for own, other in zip(model, same, strict=True):
            for name, value in own.named_parameters():
                value.copy_(value + torch.rand_like(value) / 4)
                other.get_parameter(name).copy_(value)
            if isinstance(other, nn.BatchNorm2d):
                groups = values.reshape(getattr(own, "num_groups", 8), -1)
                for to, found in (
                    (other.running_mean, groups.mean(1)),
                    (other.running_var, groups.var(1, unbiased=False)),
                ):
                    to.copy_(found.repeat_interleave(8 // len(groups)))
            values = own(values)
    assert torch.allclose(explain(model, x, method, 1), explain(same, x, method, 1), atol=1e-12)


@pytest.mark.parametrize("method", ["tsgb", "contrastive_excitation_backprop"])
def test_classifiers_of_tokens_before_images_are_refused(method) -> None:
    class TokensFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.patches(x).relu().flatten(2).permute(2, 0, 1)).mean(0)

    with pytest.raises(ValueError, match=r"tokens first .* \(L, B, D\)"):
        explain(TokensFirst(), torch.rand(3, 3, 16, 16), method, 1)


@pytest.mark.parametrize("layer", [F.linear, F.conv1d])
def test_a_layer_with_computed_weights_has_its_ordinary_gradient(
    layer: Callable[..., Tensor],
) -> None:
    x = torch.rand(3, 4, requires_grad=True)
    arguments = (torch.rand(2, 4), x, x[:, 0])
    if layer is F.conv1d:
        arguments = (arguments[0][..., None], x[..., None], x[:, 0])
    with applying(rules()):
        (found,) = gradients(layer(*arguments), [x])
    (expected,) = torch.autograd.grad(layer(*arguments).sum(), x)
    assert torch.equal(found, expected)


class Heads(nn.Module):
    """Convolutions beside each other, whose maps are the classes: two for each."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.heads = nn.ModuleList(nn.Conv2d(8, 2, 3, padding=1) for _ in range(heads))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).relu()
        return torch.cat([head(x) for head in self.heads], 1).mean((2, 3))


def test_each_of_many_heads_is_a_classifier() -> None:
    """The first heads had no map where four more followed, whose inputs alone were kept."""
    torch.manual_seed(0)
    model, x = Heads(6).eval(), torch.rand(2, 3, 32, 32)
    few = Heads(2).eval()
    few.load_state_dict({key: model.state_dict()[key] for key in few.state_dict()})
    for target in range(4):
        found = explain(model, x, "tsgb", target)
        assert found.amax() > 0
        torch.testing.assert_close(found, explain(few, x, "tsgb", target))


def test_layer_norm_lets_relevance_through() -> None:
    """Of which its ordinary gradient, being orthogonal to the input, lets through none."""
    norm = nn.LayerNorm(5, elementwise_affine=False, eps=1e-12).double()
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 5, dtype=torch.float64)
    (ordinary,) = torch.autograd.grad((norm(x) * weights).sum(), x)
    assert ((ordinary * x).sum(1).abs() < 1e-8).all()
    with applying(rules("joint")):
        y = norm(x)
    assert torch.equal(y, norm(x))
    (gradient,) = gradients(y * weights, [x])
    assert torch.allclose((gradient * x).sum(1), (y * weights).sum(1))


# -------------------------------------------------------------------------- properties


class Mixed(nn.Module):
    """All kinds of neighbours that a convolution can have."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=groups)
        self.squeeze = nn.Conv2d(12, 12, 1)
        self.norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(20, 5)
        for norm in (self.stem[1], self.norm):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.running_mean, -0.3, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x), inplace=True), 3, 2, 1)
        y = F.relu6(self.grouped(F.relu(self.deep(x))))
        y = self.norm(y * torch.sigmoid(self.squeeze(y.mean((2, 3), keepdim=True))))
        y = torch.cat([x, y], 1)
        y += y.flip(1)
        return self.head(F.hardswish(F.avg_pool2d(y, 2)).mean((2, 3)))


@pytest.mark.parametrize("groups", ["joint", "separate"])
def test_one_channel_carries_what_gradients_would(groups: str) -> None:
    """Double precision takes the long way at batch norms, single precision the short one."""
    model, x = Mixed(groups=4), torch.randn(2, 3, 32, 28)
    short = tsgb(Probe(model, x, 1), groups=groups, signed=True)
    long = tsgb(Probe(model.double(), x.double(), 1), groups=groups, signed=True)
    assert relative_error(short, long) < 1e-4


def test_images_of_a_batch_are_independent() -> None:
    model, x = Mixed().double(), torch.randn(3, 3, 32, 32, dtype=torch.float64)
    together = explain(model, x, "tsgb", [0, 1, 2])
    for i in range(3):
        alone = explain(model, x[i : i + 1], "tsgb", i)
        assert relative_error(together[i : i + 1], alone) < 1e-10


class Apart(Cnn):
    """Its classifier is asked of other rows than the images of the batch."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "twice":
            return super().forward(torch.cat([x, x])).view(2, len(x), -1).mean(0)
        if self.how == "one by one":
            return torch.cat([super(Apart, self).forward(one[None]) for one in x])
        rows = self.features(x).mean((2, 3))
        return torch.stack([self.head(row) for row in rows])


@pytest.mark.parametrize("how", ["twice", "one by one", "without a batch"])
@pytest.mark.parametrize("name", ["tsgb", "contrastive_excitation_backprop(at_input=True)"])
def test_the_classifier_may_see_other_rows_than_the_images(name: str, how: str) -> None:
    x, plain, apart = torch.randn(3, 3, 16, 16), Cnn(), Apart(how)
    apart.load_state_dict(plain.state_dict())
    torch.testing.assert_close(
        explain(apart, x, name, 1), explain(plain, x, name, 1), rtol=1e-3, atol=1e-6
    )


def test_weights_of_convolutions_matter_only_through_the_activations() -> None:
    """Scaling a convolution under a batch norm that undoes it changes nothing."""
    model, x = Cnn().double(), torch.rand(1, 3, 16, 16, dtype=torch.float64)
    before = explain(model, x, "tsgb", 1)
    with torch.no_grad():
        for value in (model.conv1.weight, model.conv1.bias, model.bn1.running_mean):
            value.mul_(4)
        model.bn1.running_var.mul_(16).add_(15 * model.bn1.eps)
    assert relative_error(explain(model, x, "tsgb", 1), before) < 1e-8


def test_the_positive_part_is_shown() -> None:
    model, x = Mixed(), torch.randn(2, 3, 32, 32)
    signed = explain(model, x, "tsgb(signed=True)", 1)
    assert signed.min() < 0
    assert torch.equal(explain(model, x, "tsgb", 1), signed.clamp(min=0))


class Convolutions(TorchDispatchMode):
    """Counts convolutions by real weights, which have more than one input channel per group."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = {"convolution": 0, "convolution_backward": 0}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.split(".")[0]
        if name in self.counts:
            weight = args[1] if name == "convolution" else args[2]
            self.counts[name] += weight.shape[1] > 1
        return func(*args, **(kwargs or {}))


def test_the_rule_pass_needs_no_convolution_by_the_weights(oracles: Oracles) -> None:
    case = oracles["tsgb/tiny_resnet_bottleneck_x64_b3"]
    model, x = oracles.model(case, torch.float32), oracles.inputs(case, torch.float32)
    with Convolutions() as ours:
        explain(model, x, "tsgb", 1)
    layers = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert ours.counts == {"convolution": layers, "convolution_backward": 0}


TORCHVISION = [
    "vgg11_bn",
    "resnet18",
    "resnext50_32x4d",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "squeezenet1_1",
    "googlenet",
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
    "convnext_tiny",
]


class Bottlenecks(nn.Sequential):
    """Linear bottlenecks behind depthwise convolutions, as in MobileNetV2."""

    def __init__(self, keeps: bool) -> None:
        torch.manual_seed(0)

        def block() -> list[nn.Module]:
            deep = [nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6()]
            lines = [nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8)]
            return [*deep, *lines, nn.ReLU6()]

        blocks = [module for _ in range(6) for module in block()]
        end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
        super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU6(), *blocks, *end)
        for weight in (one for one in self.parameters() if one.ndim == 4):
            nn.init.uniform_(weight)  # so that not all is off at the end
        self.keeps = keeps

    def forward(self, input: Tensor) -> Tensor:
        kept = []
        for module in self:
            kept = [*kept, input] if self.keeps else []
            input = module(input)
        return input


def test_it_does_not_matter_what_a_network_keeps() -> None:
    """Before torch 2.13 nodes of Python functions ended with their tensors."""
    x = torch.rand(2, 3, 16, 16)
    maps = [explain(Bottlenecks(keeps).eval(), x, "tsgb", 1) for keeps in (True, False)]
    assert maps[0].any()
    assert torch.equal(*maps)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    from seewhy.models import load_model

    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    torch.manual_seed(0)
    model = load_model(f"torchvision:{name}", weights="random").module.train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modules = list(model.modules())
    found = explain(model, torch.randn(1, 3, 64, 48), "tsgb", 1)
    assert found.shape == (1, 64, 48)
    assert found.isfinite().all()
    # Untrained EfficientNets multiply the activations away, down to 1e-13.
    assert found.any() or name == "efficientnet_b0"
    assert list(model.modules()) == modules
    assert all(module.training and not module._forward_hooks for module in modules)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_transformers_are_refused(oracles: Oracles) -> None:
    case = oracles["forward/tiny_vit"]
    model = oracles.model(case)
    with pytest.raises(ValueError, match=r"convolutional networks.*attention.*'grad_cam'"):
        explain(model, torch.rand(1, 3, 64, 64, dtype=torch.float64), "tsgb", 0)


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="groups='each'; it should be 'separate' or 'joint'"):
        explain(Cnn(), torch.rand(1, 3, 16, 16), "tsgb(groups='each')", 0)


# ------------------------------------------------------------- strided windows


class Strided(nn.Module):
    """Two strided convolutions of which each cell of an even image lies in one or two windows.

    padded: by the network, behind each side, as TensorFlow does; else by the convolutions.
    """

    def __init__(self, activation: type[nn.Module], groups: int, padded: bool = False) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1)) if padded else nn.Identity()
        self.stem = nn.Conv2d(3, 4, 3, 2, 0 if padded else 1)
        self.second = nn.Conv2d(4, 4, 3, 2, 0 if padded else 1, groups=groups)
        self.activation = activation()
        self.head = nn.Linear(4, 2)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1)
        # What would see the padding sees nothing, so that all outputs are equal.
        for convolution in (self.stem, self.second):
            with torch.no_grad():
                convolution.weight[:, :, 2 if padded else 0] = 0
                convolution.weight[:, :, :, 2 if padded else 0] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.second(self.pad(self.activation(self.stem(self.pad(x))))))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("padded", [False, True])
def test_strided_windows_draw_no_grid_where_activations_keep_relevance(
    groups: int, padded: bool
) -> None:
    """All is constant, so the map must be constant, too, where the image goes on around it."""
    x = torch.ones(1, 3, 32, 32)
    network = Strided(nn.ReLU6, groups, padded)
    even = explain(network, x, "tsgb", 0)[0]
    inner = even[8:-8, 8:-8]
    torch.testing.assert_close(inner, torch.full_like(inner, inner.mean().item()))
    assert inner.mean() > 0
    # On the side that is padded, the border attracts nothing; on the other, windows are missing.
    border = even[8:-8, -8:] if padded else even[8:-8, :8]
    torch.testing.assert_close(border, torch.full_like(border, inner.mean().item()))
    # Along one axis cells lie in 1 or 2 windows: the second layer gives 1, 2, 1, 2, ..., of which
    # the stem makes 1, 1 + 2, 2, 2 + 1, ...
    uneven = explain(network, x, "tsgb(strides='uneven')", 0)[0, 8:-8, 8:-8]
    assert uneven.max() / uneven.min() == pytest.approx(3 * 3, rel=1e-4)


def test_strided_windows_are_the_authors_where_all_activations_are_relus() -> None:
    x = torch.rand(1, 3, 32, 32)
    maps = {
        strides: explain(Strided(nn.ReLU, 1), x, f"tsgb(strides={strides!r})", 0)
        for strides in (None, "even", "uneven")
    }
    assert torch.equal(maps[None], maps["uneven"])
    assert not torch.allclose(maps[None], maps["even"])


@pytest.mark.parametrize(
    "block",
    [
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.BatchNorm2d(8),
        nn.AvgPool2d(2),
        nn.SiLU(),
        nn.MaxPool2d(2),
    ],
    ids=lambda block: type(block).__name__,
)
def test_checkpointed_parts_are_refused_or_right(block: nn.Module) -> None:
    """Torch would take the tensors that it makes anew for those that a rule saved."""

    class Net(nn.Module):
        def __init__(self, checkpointed: bool) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
            self.block, self.fc, self.checkpointed = block, nn.Linear(8, 5), checkpointed

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = checkpoint(self.block, x, use_reentrant=False) if self.checkpointed else block(x)
            scores: Tensor = self.fc(x.mean((2, 3)))
            return scores

    torch.manual_seed(0)
    plain, images = Net(False), torch.rand(2, 3, 33, 33)
    model = Net(True)
    model.load_state_dict(plain.state_dict())
    if isinstance(block, nn.MaxPool2d):  # it has no rule
        assert torch.equal(explain(model, images, "tsgb", 1), explain(plain, images, "tsgb", 1))
    else:
        with pytest.raises(ValueError, match="gradient checkpointing"):
            explain(model, images, "tsgb", 1)


def test_functions_of_the_network_may_hold_what_they_like() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.known = ctx.weighted = ctx.edges = ctx.walk = ctx.version = 3
            return 2 * x

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return 2 * gradient

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.head, self.custom = nn.Linear(4, 2), True

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            x = self.last(Doubled.apply(x) if self.custom else 2 * x).relu().mean((2, 3))
            scores: Tensor = self.head(x)
            return Doubled.apply(scores) if self.custom else 2 * scores

    model, x = Net(), torch.rand(2, 3, 12, 12)
    names = ["tsgb", "contrastive_excitation_backprop(at_input=True)"]
    custom = explain(model, x, names, 1)
    model.custom = False
    for name, expected in explain(model, x, names, 1).items():
        # To excitation backprop a factor of 2 is no reason to double the probability.
        scale = 1 if name == "tsgb" else 4
        torch.testing.assert_close(custom[name], scale * expected)


class OneByOne(nn.Module):
    """Takes its images together, or each by itself, without an axis of images."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding="same")
        self.second = nn.Conv2d(8, 8, 4, 2, padding=1, groups=2)
        self.third, self.head, self.together = nn.Conv2d(8, 8, 1), nn.Linear(8, 4), True

    def scores(self, x: Tensor) -> Tensor:
        x = self.third(self.second(self.first(x).relu()).relu()).relu()
        scores: Tensor = self.head(x.mean((-2, -1)))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x) if self.together else torch.stack([self.scores(one) for one in x])


@pytest.mark.parametrize("groups", ["separate", "joint"])
def test_convolutions_may_take_an_image_by_itself(groups: str) -> None:
    torch.manual_seed(0)
    model, images = OneByOne(), torch.randn(2, 3, 16, 16)
    together = explain(model, images, f"tsgb(groups={groups!r})", 1)
    model.together = False
    alone = explain(model, images, f"tsgb(groups={groups!r})", 1)
    torch.testing.assert_close(alone, together)


def normalised(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return F.batch_norm(x, mean, std.square(), eps=1e-30)  # torch 2.11 wants one


def pools(x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 1)


# What a network may write for the first of each: (normalise, activate, gate, pool, classify).
SPELLINGS: dict[str, dict[str, Callable[..., Tensor]]] = {
    "its own mean": {
        "normalise": lambda x, mean, std: (x - mean[:, None, None]) / std[:, None, None]
    },
    "scale and shift": {
        "normalise": lambda x, mean, std: x.mul_(1 / std[:, None, None]).add_(
            -(mean / std)[:, None, None]
        )
    },
    "shift and scale": {
        "normalise": lambda x, mean, std: -(mean / std)[:, None, None] + x / std[:, None, None]
    },
    "mean less image": {
        "normalise": lambda x, mean, std: (mean[:, None, None] - x) / -std[:, None, None]
    },
    "negative": {
        "normalise": lambda x, mean, std: (1 - x - (1 - mean)[:, None, None]) / -std[:, None, None]
    },
    "SiLU": {"activate": lambda x: x * x.sigmoid()},
    "arguments by name": {"gate": lambda x, gate: torch.mul(input=x, other=gate)},
    "expanded gate": {"gate": lambda x, gate: x * gate.expand_as(x)},
    "pool of its size": {"pool": lambda x: F.avg_pool2d(x, x.shape[2:])},
    "mean": {"pool": lambda x: x.mean((2, 3), keepdim=True)},
    "product": {"classify": lambda x, weight, bias: x @ weight.T + bias},
    "addmm": {"classify": lambda x, weight, bias: torch.addmm(bias, x, weight.t())},
}


class Spelled(nn.Module):
    """A network with gates that writes some of its functions in another way."""

    def __init__(self, **spelled: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)
        self.gate, self.head = nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.spelled = {
            "normalise": normalised,
            "activate": F.silu,
            "gate": torch.mul,
            "pool": pools,
            "classify": F.linear,
            **spelled,
        }

    def forward(self, x: Tensor) -> Tensor:
        does, mean, std = self.spelled, torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
        x = does["activate"](self.first(does["normalise"](x, mean, std)))
        x = does["gate"](x, self.gate(does["pool"](x)).sigmoid())
        x = does["pool"](self.second(x).relu()).flatten(1)
        return does["classify"](x, self.head.weight, self.head.bias)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_function_may_be_written_in_several_ways(name: str) -> None:
    torch.manual_seed(1)
    x = torch.rand(2, 3, 17, 24)
    expected = explain(Spelled(), x, "tsgb", 1)
    found = explain(Spelled(**SPELLINGS[name]), x, "tsgb", 1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


class Products(TorchDispatchMode):
    """Lists the precisions of what computes gradients of layers: products without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.split(".")[0] in ("mm", "convolution_backward"):
            self.dtypes.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def test_gradients_of_a_single_window_are_precise_under_autocast() -> None:
    """As those of linear layers, which such a convolution is."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(8, 16, 2), nn.ReLU(), nn.Conv2d(16, 4, 1), nn.Flatten(),
    ).eval()  # fmt: skip
    with Products() as products, torch.autocast("cpu", torch.bfloat16):
        explain(model, torch.rand(2, 3, 32, 32), "tsgb", 1)
    assert products.dtypes
    assert {*products.dtypes} == {torch.float32}


def test_gradients_of_linear_layers_are_precise_under_autocast() -> None:
    """In halves they are less exact, and on a CPU they take many times as long."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4),
    ).eval()  # fmt: skip
    with Products() as products, torch.autocast("cpu", torch.bfloat16):
        explain(model, torch.rand(2, 3, 32, 32), "tsgb", 1)
    assert products.dtypes
    assert {*products.dtypes} == {torch.float32}
