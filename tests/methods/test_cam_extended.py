"""CAM, Finer-CAM, Shapley-CAM and Smooth Grad-CAM++ against references and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seewhy
from networks import Cnn, images, seeded
from reference import relative_error
from seewhy import Method, Probe
from seewhy.core.targets import Contrast, Probability
from seewhy.methods.cam import grad_cam_plus_plus, weighted, weights_of_derivatives
from seewhy.naming import parse

DTYPES = {"tol_f64": torch.float64, "tol_f32": torch.float32}
PGC = [
    "pgc_tiny_convnext_x65x57_features-3",
    "pgc_tiny_densenet_x64_b3_features-denseblock2",
    "pgc_tiny_resnet_basic_x65x57_layer4",
    "pgc_tiny_vgg_x64_b3_features-9",
]
TORCH_CAM = ["torchcam_tiny_resnet_basic_x65x57_layer4", "torchcam_tiny_vgg_x64_b3_features-9"]


def probe_of(oracles, case, target=None, precision="tol_f64"):
    return Probe(
        oracles.model(case, DTYPES[precision]),
        oracles.inputs(case, DTYPES[precision])[case["params"]["images"]],
        case["targets"] if target is None else target,
        case["params"]["layer"],
    )


def check(oracles, case, reference, maps, precision="tol_f64"):
    key = f"raw.{reference}.f64"
    expected = oracles.tensors(case)[key].relu()
    for found, raw in zip(maps, expected, strict=True):
        assert relative_error(found, raw) <= case["tensors"][key][precision], reference


# ---------------------------------------------------------------------- CAM


@pytest.mark.parametrize("precision", DTYPES)
def test_cam(oracles, precision):
    case = oracles[f"cam/{TORCH_CAM[0]}"]
    found = Method("cam")(probe_of(oracles, case, precision=precision))
    key = "raw.CAM.f64"
    assert relative_error(found, oracles.tensors(case)[key]) <= case["tensors"][key][precision]


def test_cam_is_grad_cam_before_its_relu_times_the_number_of_places():
    model, x = seeded(Cnn).double(), images().double()
    found = seewhy.explain(model, x, "cam", 1, layer="relu", size="layer")
    grad_cam = seewhy.explain(model, x, "grad_cam", 1, layer="relu", size="layer")
    assert torch.allclose(found.relu(), grad_cam * 64)
    assert (found < 0).any()
    weights = model.head.weight[1].detach()
    activations = Probe(model, x, 1, "relu").activations()
    assert torch.allclose(found, torch.einsum("k,bkhw->bhw", weights, activations))


@pytest.mark.parametrize(("layer", "target"), [("conv1", 1), ("bn2", 1), ("relu", Probability(1))])
def test_heads_without_a_cam(layer, target):
    with pytest.raises(ValueError, match="CAM needs global average pooling"):
        seewhy.explain(seeded(Cnn), images(), "cam", target, layer=layer)


def test_a_linear_that_tells_places_apart_has_no_cam():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.LazyLinear(5))
    model(images())
    with pytest.raises(ValueError, match="CAM needs global average pooling"):
        seewhy.explain(model, images(), "cam", 1, layer="0")


# ---------------------------------------------------------------------- Finer-CAM


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", TORCH_CAM)
def test_finer_cam(oracles, name, precision):
    case = oracles[f"cam/{name}"]
    maps = Method("finer_cam")(probe_of(oracles, case, precision=precision))
    check(oracles, case, "FinerCAM", maps, precision)


def weighted_by_probability(classes, strength):
    """pytorch-grad-cam's target, in which each nearby class counts by its probability."""

    def score(outputs):
        rows = torch.arange(len(outputs))
        own = outputs[rows, classes]
        nearest = (outputs - own[:, None]).abs().argsort(1)[:, 1:4].detach()
        weights = outputs.softmax(1).gather(1, nearest)
        differences = own[:, None] - strength * outputs.gather(1, nearest)
        return (weights * differences).sum(1) / (weights.sum(1) + 1e-9)

    return score


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("base", ["GradCAM", "HiResCAM"])
@pytest.mark.parametrize("name", PGC[1:])
def test_the_other_reference_weights_classes_by_probability(oracles, name, base, strength):
    case = oracles[f"cam/{name}"]
    probe = probe_of(oracles, case, weighted_by_probability(case["targets"], strength))
    maps = Method({"GradCAM": "grad_cam", "HiResCAM": "hires_cam"}[base])(probe)
    check(oracles, case, f"FinerCAM_{base}_a{strength}", maps)


@pytest.mark.parametrize("base", ["layer_cam", "xgrad_cam(eps=0.1)", "grad_cam+smooth(samples=2)"])
def test_finer_cam_of_two_classes_is_their_contrast(base):
    model, x = seeded(Cnn, classes=2).double(), images().double()
    found = Method("finer_cam", references=1, strength=1.0, base=base)(Probe(model, x, 0))
    assert torch.allclose(found, parse(base)(Probe(model, x, Contrast(0, 1))))


def test_finer_cam_costs_one_forward():
    model, x = seeded(Cnn), images()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    seewhy.explain(model, x, ["grad_cam", "finer_cam", "shapley_cam", "cam"], layer="relu")
    assert len(calls) == 1


@pytest.mark.parametrize("method", ["finer_cam", "shapley_cam"])
def test_methods_that_need_a_class(method):
    with pytest.raises(ValueError, match="explains one class per image, not Probability"):
        seewhy.explain(seeded(Cnn), images(), method, Probability(1))


@pytest.mark.parametrize(("classes", "others"), [(2, 1), (3, 2), (4, 3), (5, 3)])
def test_finer_cam_takes_as_many_classes_as_there_are_up_to_three(classes, others):
    model, x = seeded(Cnn, classes=classes), images()
    named = seewhy.explain(model, x, f"finer_cam(references={others})", 1)
    assert torch.equal(seewhy.explain(model, x, "finer_cam", 1), named)


def test_finer_cam_of_one_class_says_that_there_is_no_other():
    with pytest.raises(ValueError, match="the network has one class alone"):
        seewhy.explain(seeded(Cnn, classes=1), images(), "finer_cam", 0)


@pytest.mark.parametrize("references", [0, 5])
def test_finer_cam_needs_other_classes(references):
    with pytest.raises(ValueError, match=f"references={references}; .* (from 1 to 4|at least 1)"):
        seewhy.explain(seeded(Cnn), images(), f"finer_cam(references={references})", 1)


# ---------------------------------------------------------------------- Shapley-CAM


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", PGC)
def test_shapley_cam(oracles, name, precision):
    case = oracles[f"cam/{name}"]
    probe = probe_of(oracles, case, precision=precision)
    check(oracles, case, "ShapleyCAMReST", Method("shapley_cam")(probe), precision)
    of_score = Method("shapley_cam", utility="score")
    check(oracles, case, "ShapleyCAMLogit", of_score(probe), precision)
    softmax = probe.with_target(Probability(tuple(case["targets"])))
    check(oracles, case, "ShapleyCAMSoftmax", of_score(softmax), precision)


def test_shapley_cam_of_a_logit_behind_relus_is_grad_cam():
    model, x = seeded(Cnn).double(), images().double()
    probe = Probe(model, x, 1, "conv1")
    assert torch.equal(Method("shapley_cam", utility="score")(probe), Method("grad_cam")(probe))
    assert not torch.allclose(Method("shapley_cam")(probe), Method("grad_cam")(probe))


def test_hessian_product_is_that_of_autograd():
    model, x = seeded(Cnn).double(), images(2).double()
    probe = Probe(model, x, Probability(2), "bn2")

    def score(a):
        return model.head(a.relu().mean((2, 3))).softmax(1)[:, 2].sum()

    a = probe.activations()
    _, expected = torch.autograd.functional.hvp(score, a, a)
    assert torch.allclose(probe.hessian_product(), expected)


# ---------------------------------------------------------------------- Smooth Grad-CAM++


@pytest.mark.parametrize("name", [*TORCH_CAM, "torchcam_tiny_mobilenet_x32_b2_features-2"])
def test_smooth_grad_cam_plus_plus_with_the_reference_faults(oracles, name):
    """torch-cam: D¹ and A of the last noisy copy alone, and Σ A ⊙ D³ instead of ΣA · D³."""
    case = oracles[f"cam/{name}"]
    expected = oracles.tensors(case)
    probe = probe_of(oracles, case)
    images = case["params"]["images"]
    noisy = [
        probe.with_inputs(probe.inputs + expected[f"noise.SmoothGradCAMpp.{i}"][images].double())
        for i in range(2)
    ]
    second = sum(at.gradients() ** 2 for at in noisy) / 2
    third = sum(at.gradients() ** 3 for at in noisy) / 2
    clean = probe.activations()
    mixed = (clean * third).sum((2, 3), keepdim=True) / clean.sum((2, 3), keepdim=True)
    weights = weights_of_derivatives(
        clean, noisy[-1].gradients(), second, mixed.nan_to_num().expand_as(third), 1e-8
    )
    check(oracles, case, "SmoothGradCAMpp", weighted(weights, noisy[-1].activations()))


def test_smooth_grad_cam_plus_plus_by_hand():
    model, x = seeded(Cnn).double(), images(2).double()
    probe = Probe(model, x, 1, "bn2")
    generator = torch.Generator().manual_seed(5)
    gradients = []
    for _ in range(3):
        spread = 0.2 * torch.stack([image.max() - image.min() for image in x])
        noise = torch.randn(3, 32, 32, generator=generator).double()
        at = probe.with_inputs(x + spread[:, None, None, None] * noise)
        gradients.append(at.gradients())
    first, second, third = (sum(g**p for g in gradients) / 3 for p in (1, 2, 3))
    a = probe.activations()
    alpha = second / (2 * second + a.sum((2, 3), keepdim=True) * third + 1e-6)
    expected = torch.einsum("bk,bkhw->bhw", (alpha * first.relu()).sum((2, 3)), a).relu()
    found = Method("smooth_grad_cam_plus_plus", samples=3, noise=0.2, seed=5)(probe)
    assert torch.allclose(found, expected)


def test_smooth_grad_cam_plus_plus_without_noise_is_grad_cam_plus_plus():
    model, x = seeded(Cnn).double(), images().double()
    probe = Probe(model, x, 1, "bn2")
    found = Method("smooth_grad_cam_plus_plus", noise=0.0, samples=2)(probe)
    assert torch.allclose(found, grad_cam_plus_plus(probe.activations(), probe.gradients()))


@pytest.mark.parametrize("option", ["samples=0", "noise=-1.0"])
def test_options_out_of_range(option):
    with pytest.raises(ValueError, match=option):
        seewhy.explain(seeded(Cnn), images(), f"smooth_grad_cam_plus_plus({option})", 1)


@pytest.mark.parametrize(
    "method", ["cam", "finer_cam", "shapley_cam", "smooth_grad_cam_plus_plus(samples=2)"]
)
def test_a_map_does_not_depend_on_the_other_images(method):
    model, x = seeded(Cnn).double(), images(3).double()
    together = seewhy.explain(model, x, method, [0, 2, 4], layer="relu")
    for i, target in enumerate([0, 2, 4]):
        alone = seewhy.explain(model, x[i : i + 1], method, target, layer="relu")
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)
