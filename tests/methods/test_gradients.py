"""Gradient methods against TorchRay's numbers and Captum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks import Cnn
from reference import Oracles, relative_error
from seewhy import Probe, explain
from seewhy.methods.gradients import GUIDED

CASES = ["torchray/backprop_tiny_resnet_basic_x65x57", "torchray/backprop_tiny_vgg_x64_b3"]
SALIENCY = {
    "gradient": "gradient.saliency",
    "guided_backprop": "guided.saliency",
    "deconvnet": "deconvnet.saliency",
    "linear_approximation": "linear_approx.input.f64",
    "input_x_gradient": "linear_approx.input.f64",
}


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case_id", CASES)
def test_saliency(oracles: Oracles, case_id: str, dtype: torch.dtype, inplace: bool) -> None:
    case = oracles[case_id]
    expected = oracles.tensors(case)
    model, x = oracles.model(case, dtype, inplace), oracles.inputs(case, dtype)
    found = explain(model, x, list(SALIENCY), case["targets"])
    for method, tensor in SALIENCY.items():
        stored_exactly = tensor.endswith("f64") and dtype == torch.float64
        tolerance = 1e-10 if stored_exactly else 1e-7 if dtype == torch.float64 else 1e-5
        assert relative_error(found[method][:, None], expected[tensor]) < tolerance, method


@pytest.mark.parametrize("case_id", CASES)
def test_at_a_layer(oracles: Oracles, case_id: str) -> None:
    case = oracles[case_id]
    expected = oracles.tensors(case)
    model, x, targets = oracles.model(case), oracles.inputs(case), case["targets"]
    layer = case["params"]["grad_cam_layer"]
    linear = explain(model, x, "linear_approximation", targets, layer=layer, size="layer")
    assert relative_error(linear[:, None], expected["linear_approx.layer.f64"]) < 1e-10
    combined = explain(model, x, "guided_grad_cam", targets, layer=layer)
    product = expected["grad_cam.resized.f64"] * expected["guided.saliency"]
    assert relative_error(combined[:, None], product) < 1e-6


def test_several_layers_are_averaged() -> None:
    model, x = Cnn().double(), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    both = explain(model, x, "linear_approximation", 1, layer=["bn1", "bn2"])
    each = [explain(model, x, "linear_approximation", 1, layer=layer) for layer in ("bn1", "bn2")]
    assert torch.allclose(both, (each[0] + each[1]) / 2)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_captum(method: str) -> None:
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    model, x = Cnn().double().eval(), torch.randn(2, 3, 20, 24, dtype=torch.float64)
    model.relu1 = nn.ReLU()  # Captum's hooks want a module of its own for each ReLU
    model.activate = lambda features: (model.relu if features.shape[1] == 6 else model.relu1)(
        features
    )
    peer = {"guided_backprop": captum.GuidedBackprop, "deconvnet": captum.Deconvolution}[method]
    expected = peer(model).attribute(x.clone().requires_grad_(), target=torch.tensor([1, 3]))
    assert relative_error(explain(model, x, method, [1, 3]), expected.abs().amax(1)) < 1e-12


class Activated(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), activation, nn.Conv2d(8, 8, 3), activation)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
@pytest.mark.parametrize(
    "activation",
    [nn.ReLU6(), nn.ReLU6(inplace=True), nn.Hardtanh(0, 100, inplace=True), nn.LeakyReLU(0)],
)
def test_other_rectifiers_count_as_relus(method: str, activation: nn.Module) -> None:
    x = torch.rand(1, 3, 12, 12)  # small enough for no activation to reach the upper end
    expected = explain(Activated(nn.ReLU()), x, method, 1)
    assert not torch.equal(expected, explain(Activated(nn.ReLU()), x, "gradient", 1))
    assert torch.equal(explain(Activated(activation), x, method, 1), expected)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "guided_grad_cam"])
def test_relus_that_write_into_a_view_count(method: str) -> None:
    class Flat(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)).view_as(x)

    x = torch.randn(2, 3, 12, 12)
    expected = explain(Activated(nn.ReLU()), x, method, 1)
    assert relative_error(explain(Activated(Flat(inplace=True)), x, method, 1), expected) < 1e-6


def test_guided_backprop_passes_only_active_and_positive_signals() -> None:
    """By hand: of the four ReLUs one is inactive and one gets a negative gradient."""

    class Hand(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            hidden = F.relu(x * torch.tensor([2.0, -1.0, 3.0, 5.0]).view(1, 1, 1, 4))
            return (hidden * torch.tensor([1.0, 1.0, -1.0, 2.0]).view(1, 1, 1, 4)).sum((2, 3))

    x = torch.ones(1, 1, 1, 4)
    gradient = Probe(Hand(), x, 0).with_backward(GUIDED).input_gradient
    assert gradient.flatten().tolist() == [2, 0, 0, 10]
    assert explain(Hand(), x, "deconvnet", 0).flatten().tolist() == [2, 1, 0, 10]
    assert explain(Hand(), x, "input_x_gradient", 0).flatten().tolist() == [2, 0, -3, 10]


def test_one_pass_for_all_gradients() -> None:
    """And what one changes in it does not reach the others."""
    model, x, names = Cnn(), torch.randn(2, 3, 16, 16), [*SALIENCY, "guided_grad_cam", "grad_cam"]
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    alone = {name: explain(model, x, name, 1) for name in names}
    handle = model.register_forward_hook(count)
    together = explain(model, x, names, 1)
    handle.remove()
    assert passes == 1
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("method", [*SALIENCY, "guided_grad_cam"])
def test_images_of_a_batch_are_independent(method: str) -> None:
    model, x = Cnn(), torch.randn(3, 3, 16, 16)
    together = explain(model, x, method, [0, 1, 2])
    for i in range(3):
        alone = explain(model, x[i : i + 1], method, i)
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-4, atol=1e-8)
