"""The CAM family against the reference implementations' numbers and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import seewhy
from reference import relative_error
from seewhy import Method, Probe
from seewhy.methods import cam
from seewhy.methods.guidance import global_guidance

PYTORCH_GRAD_CAM = {
    "GradCAM": Method("grad_cam"),
    "GradCAMPlusPlus": Method("grad_cam_plus_plus"),
    "XGradCAM": Method("xgrad_cam"),
    "HiResCAM": Method("hires_cam"),
    "LayerCAM": Method("layer_cam"),
    "EigenCAM": Method("eigen_cam"),
    "EigenGradCAM": Method("eigen_grad_cam"),
}
# torch-cam's Grad-CAM++ (raw.GradCAMpp) never divides and so is not Grad-CAM++.
TORCH_CAM = {
    "GradCAM": Method("grad_cam"),
    "XGradCAM": Method("xgrad_cam", eps=1e-8),
    "LayerCAM": Method("layer_cam"),
}
CASES = [
    "pgc_tiny_convnext_x65x57_features-3",
    "pgc_tiny_densenet_x64_b3_features-denseblock2",
    "pgc_tiny_resnet_basic_x65x57_layer4",
    "pgc_tiny_vgg_x64_b3_features-9",
    "pgc_tiny_vit_x64_b3_blocks-1-norm1",
    "torchcam_tiny_resnet_basic_x65x57_layer4",
    "torchcam_tiny_vgg_x64_b3_features-9",
]
DTYPES = {"tol_f64": torch.float64, "tol_f32": torch.float32}


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_reference_numbers(oracles, name, precision):
    case = oracles[f"cam/{name}"]
    expected = oracles.tensors(case)
    inputs = oracles.inputs(case, DTYPES[precision])[case["params"]["images"]]
    model = oracles.model(case, DTYPES[precision])
    probe = Probe(model, inputs, case["targets"], case["params"]["layer"])
    family = PYTORCH_GRAD_CAM if name.startswith("pgc") else TORCH_CAM
    compared = 0
    for reference, method in family.items():
        key = f"raw.{reference}.f64"
        if key not in expected:
            continue
        tolerance = case["tensors"][key][precision]
        maps = method(probe)
        for found, raw in zip(maps, expected[key], strict=True):
            # The references' principal components have an arbitrary sign.
            signs = (1, -1) if "Eigen" in reference else (1,)
            errors = [relative_error(found, (sign * raw).relu()) for sign in signs]
            assert min(errors) <= tolerance, reference
        compared += 1
    assert compared >= len(family) - 2  # the references have no Eigen-CAM on some networks
    if "activations.f64" in expected:
        for key, found in (("activations", probe.activations()), ("gradients", probe.gradients())):
            tolerance = case["tensors"][f"{key}.f64"][precision]
            assert relative_error(found, expected[f"{key}.f64"]) <= tolerance


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", ["inplace_tiny_vgg_x32_b2", "inplace_tiny_vgg_x65x57"])
def test_a_layer_before_an_inplace_relu_is_itself(oracles, name, inplace):
    """The references mix values from before and after the ReLU; ours are both from before it."""
    case = oracles[f"cam/{name}"]
    probe = Probe(
        oracles.model(case, inplace=inplace),
        oracles.inputs(case),
        case["targets"],
        case["params"]["layer"],
    )
    expected = oracles.tensors(case)["own.act-pre_grad-pre"].relu()
    assert relative_error(Method("grad_cam")(probe), expected) <= 1e-10


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64).relu()
    g = torch.randn(2, 4, 5, 6, generator=generator, dtype=torch.float64)
    return a, g


def test_cams_agree_where_theory_says_so(maps):
    a, g = maps
    constant = g.mean((2, 3), keepdim=True).expand_as(g)
    assert torch.allclose(cam.grad_cam(a, constant), cam.hires_cam(a, constant))
    assert torch.allclose(cam.xgrad_cam(a, constant), cam.grad_cam(a, constant), rtol=1e-5)
    assert torch.allclose(cam.layer_cam(a, g.abs()), cam.hires_cam(a, g.abs()))


@pytest.mark.parametrize("zero", ["activations", "gradients"])
def test_no_evidence_gives_zero_maps(maps, zero):
    a, g = (
        torch.zeros_like(m) if zero == name else m
        for name, m in zip(("activations", "gradients"), maps, strict=True)
    )
    for name in seewhy.list_methods():
        function = getattr(cam, name, None)
        if function is None or (name == "eigen_cam" and zero == "gradients"):
            continue
        found = function(a, g, eps=0.0) if name == "grad_cam_plus_plus" else function(a, g)
        assert torch.equal(found, torch.zeros_like(found)), name


def test_grad_cam_plus_plus_without_eps_ignores_the_scale_of_gradients(maps):
    """The published weights are homogeneous in G up to exp-score factors; eps breaks that."""
    a, g = maps
    small = cam.grad_cam_plus_plus(a, g * 1e-12, eps=0.0)
    flat = cam.weighted((g.relu() / 2).sum((2, 3)), a) * 1e-12  # α -> 1/2 as G -> 0
    assert torch.allclose(small, flat, rtol=1e-6)


def test_xgrad_cam_without_eps_is_the_map_of_the_channels_that_are_active(maps):
    """A channel that is zero all over, as many are behind a ReLU, has no weight; not 0/0."""
    a, g = maps
    dead = a * torch.tensor([1, 0, 1, 0])[:, None, None]
    alive = cam.xgrad_cam(a[:, ::2], g[:, ::2], eps=0.0)
    assert torch.allclose(cam.xgrad_cam(dead, g, eps=0.0), alive)
    assert alive.any()


@pytest.mark.parametrize(("h", "w"), [(3, 2), (9, 11)])
def test_principal_component_is_that_of_the_svd(h, w):
    """Both ways of taking it, by places and by channels, against a plain SVD."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 10, h, w, generator=generator, dtype=torch.float64)
    found = cam.principal_component(x)
    for image, component in zip(x, found, strict=True):
        flat = image.flatten(1).T
        flat = flat - flat.mean(0)
        u, s, _ = torch.linalg.svd(flat, full_matrices=False)
        expected = (u[:, 0] * s[0]).reshape(h, w)
        same = (component * expected).sum().sign()
        assert torch.allclose(component, expected * same)
        assert (component * image.mean(0)).sum() - component.sum() * image.mean() >= 0


@pytest.mark.parametrize("find", [cam.leading, cam.leading_by_squaring])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leading_eigenvectors(find, dtype):
    """By their definition and by NumPy: matrices of every rank, equal eigenvalues, zeros, NaN."""
    draw = torch.Generator().manual_seed(0)
    matrices = []
    for rank in (1, 3, 12):
        factor = torch.randn(12, rank, generator=draw, dtype=dtype)
        matrices.append(factor @ factor.mT)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=draw, dtype=dtype))[0]
    for spectrum in ([5, 5, 1], [5, 4.999, 1], [1e-20, 1e-21, 0]):
        padded = torch.zeros(12, dtype=dtype)
        padded[:3] = torch.tensor(spectrum, dtype=dtype)
        matrices.append(basis * padded @ basis.mT)
    matrices += [torch.zeros(12, 12, dtype=dtype), torch.full((12, 12), torch.nan, dtype=dtype)]
    values, vectors = find(torch.stack(matrices))
    for matrix, value, vector in zip(matrices[:6], values, vectors, strict=False):
        expected = np.linalg.eigvalsh(matrix.double().numpy())
        assert abs(float(value) - expected[-1]) <= 1e-5 * expected[-1]
        assert torch.allclose(vector.norm(), torch.ones((), dtype=dtype))
        assert (matrix @ vector - value * vector).norm() <= 1e-4 * value
        if expected[-2] < 0.9 * expected[-1]:
            own = np.linalg.eigh(matrix.double().numpy())[1][:, -1]
            assert abs(abs(vector.double().numpy() @ own) - 1) <= 1e-5
    assert values[6] == 0
    assert vectors[6].isfinite().all()
    assert values[7].isnan()


def test_a_decomposition_that_does_not_converge_costs_nothing(maps, monkeypatch):
    expected = cam.eigen_grad_cam(*maps)

    def fails(matrices):
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    assert torch.allclose(cam.eigen_grad_cam(*maps), expected, atol=1e-6)


@pytest.mark.parametrize("guidance", ["global", "channel"])
@pytest.mark.parametrize("weights", ["mean", "plus_plus"])
def test_global_guidance_by_loops(maps, guidance, weights):
    a, g = maps
    found = global_guidance(a, g, guidance=guidance, weights=weights)
    expected = torch.zeros_like(found)
    for b in range(len(a)):
        alpha = g[b].mean((1, 2))
        if weights == "plus_plus":
            alpha = cam.grad_cam_plus_plus_weights(a, g)[b]
        for k in range(a.shape[1]):
            guide = sum(a[b, j] * g[b, j] for j in ([k] if guidance == "channel" else range(4)))
            expected[b] += alpha[k] * guide.clamp_min(0) * a[b, k]
    assert torch.allclose(found, expected.relu())


@pytest.mark.parametrize("scale", [1, 1e-9])
def test_guided_weights_by_loops(maps, scale):
    """Each weight times the cosine between the guidance map and the channel; 0 for an empty one."""
    a, g = maps[0].clone(), maps[1] * scale
    a[0, 2], a[1] = 0, -a[1].abs() * g[1].sign()  # an empty channel, an image without guidance
    found = global_guidance(a, g, guidance="weights")
    assert found[0].any()
    assert not found[1].any()
    for b in range(len(a)):
        guide = (a[b] * g[b]).sum(0).clamp_min(0)
        total = torch.zeros_like(guide)
        for k in range(a.shape[1]):
            lengths = guide.norm() * a[b, k].norm()
            cosine = (guide * a[b, k]).sum() / lengths if lengths > 0 else 0
            total += g[b, k].mean() * cosine * a[b, k]
        assert torch.allclose(found[b] / scale, total.clamp_min(0) / scale)


def test_global_guidance_is_grad_cam_times_the_guidance_map(maps):
    a, g = maps
    guide = (a * g).sum(1).relu()
    assert torch.allclose(global_guidance(a, g), guide * cam.grad_cam(a, g))
    # Behind a global average pooling and a Linear the gradient is the same at every place.
    even = g.mean((2, 3), keepdim=True).expand_as(g)
    assert torch.allclose(global_guidance(a, even), cam.grad_cam(a, even) ** 2)


def test_global_guidance_is_silent_where_the_score_gains_nothing(maps):
    a, g = maps
    assert (global_guidance(a, g)[cam.hires_cam(a, g) == 0] == 0).all()


def test_several_layers_are_averaged_after_upsampling(oracles):
    case = oracles["cam/pgc_tiny_vgg_x64_b3_features-9"]
    model, x = oracles.model(case), oracles.inputs(case)
    layers = ["features.4", "features.9"]
    both = seewhy.explain(model, x, "layer_cam", 1, layer=layers)
    apart = [seewhy.explain(model, x, "layer_cam", 1, layer=layer) for layer in layers]
    assert torch.allclose(both, (apart[0] + apart[1]) / 2)
