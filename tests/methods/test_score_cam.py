"""Score-CAM and its variants against the references' numbers, each with the reference's masks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import seewhy
from networks import Cnn, images, seeded
from reference import relative_error
from seewhy import Method, Probe
from seewhy.core.targets import Contrast, Probability
from seewhy.methods.cam import weighted
from seewhy.methods.score_cam import channel_masks, score_weights
from seewhy.naming import parse
from untouched import Calls

DTYPES = {"tol_f64": torch.float64, "tol_f32": torch.float32}


def scale(maps, eps=1e-8):
    low = maps.amin((2, 3), keepdim=True)
    return (maps - low) / (maps.amax((2, 3), keepdim=True) - low + eps)


def pytorch_grad_cam_masks(activations, size):
    """Upsampled with align_corners=True, then scaled."""
    return scale(F.interpolate(activations, size, mode="bilinear", align_corners=True))


def torch_cam_masks(activations, size):
    """Scaled, then upsampled, which leaves no mask at 0 or 1 everywhere that it should be."""
    return F.interpolate(scale(activations), size, mode="bilinear", align_corners=False)


def probe_of(oracles, case, precision="tol_f64"):
    inputs = oracles.inputs(case, DTYPES[precision])[case["params"]["images"]]
    model = oracles.model(case, DTYPES[precision])
    return Probe(model, inputs, case["targets"], case["params"]["layer"])


def check(oracles, case, precision, reference, samples, change, masks_of):
    probe = probe_of(oracles, case, precision)
    (layer,) = probe.layers
    weights = score_weights(probe, layer, reference, (), samples, change, "auto", masks_of)
    found = weighted(weights, probe.activations())
    key = f"raw.{reference}.f64"
    expected = oracles.tensors(case)[key].relu()
    tolerance = case["tensors"][key][precision]
    if f"weights.{reference}.f64" in case["tensors"]:  # these were rounded to float32
        tolerance = max(tolerance, case["tensors"][f"weights.{reference}.f64"][precision])
    assert relative_error(found, expected) <= tolerance


def unchanged(masks, samples, channels):
    return masks


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize(
    ("name", "masks_of"),
    [
        ("pgc_tiny_densenet_x64_b3_features-denseblock2", pytorch_grad_cam_masks),
        ("pgc_tiny_resnet_basic_x65x57_layer4", pytorch_grad_cam_masks),
        ("pgc_tiny_vgg_x64_b3_features-9", pytorch_grad_cam_masks),
        ("pgc_tiny_vit_x64_b3_blocks-1-norm1", pytorch_grad_cam_masks),
        ("torchcam_tiny_mobilenet_x32_b2_features-2", torch_cam_masks),
        ("torchcam_tiny_resnet_basic_x65x57_layer4", torch_cam_masks),
        ("torchcam_tiny_vgg_x64_b3_features-9", torch_cam_masks),
    ],
)
def test_score_cam(oracles, name, masks_of, precision):
    case = oracles[f"cam/{name}"]
    check(oracles, case, precision, "ScoreCAM", 1, unchanged, masks_of)


@pytest.mark.parametrize(
    "name", ["torchcam_tiny_mobilenet_x32_b2_features-2", "torchcam_tiny_vgg_x32_b2_features-4"]
)
def test_ss_cam_with_the_reference_noise(oracles, name):
    case = oracles[f"cam/{name}"]
    expected = oracles.tensors(case)
    draws = torch.cat([expected[f"noise.SSCAM.{i}"] for i in range(2)]).double()

    def noisy(masks, samples, channels):
        return masks + draws[samples, channels][:, None]

    check(oracles, case, "tol_f64", "SSCAM", 2, noisy, torch_cam_masks)


@pytest.mark.parametrize(
    "name", ["torchcam_tiny_resnet_basic_x65x57_layer4", "torchcam_tiny_vgg_x64_b3_features-9"]
)
def test_is_cam_with_the_reference_factors(oracles, name):
    """torch-cam's factors are running sums, 1/4, 3/4, 6/4 and 10/4 of four steps."""

    def growing(masks, samples, channels):
        factors = torch.tensor([1, 3, 6, 10]).to(masks) / 4
        return masks * factors[samples][:, None, None, None]

    case = oracles[f"cam/{name}"]
    check(oracles, case, "tol_f64", "ISCAM", 4, growing, torch_cam_masks)


def test_masks_are_upsampled_and_then_scaled():
    activations = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    activations[1, 2] = 7.0
    masks = channel_masks(activations, torch.Size((17, 23)))
    assert masks.shape == (2, 3, 17, 23)
    assert (masks.amin((2, 3)) == 0).all()
    tops = masks.amax((2, 3)).flatten()
    assert torch.equal(tops, torch.tensor([1.0] * 5 + [0.0], dtype=torch.float64))
    large = F.interpolate(activations, (17, 23), mode="bilinear")
    low, high = large[0, 0].min(), large[0, 0].max()
    assert torch.allclose(masks[0, 0], (large[0, 0] - low) / (high - low))


def test_score_cam_by_loops():
    model, x = seeded(Cnn).double(), images(2).double()
    probe = Probe(model, x, [1, 4], "relu")
    activations = probe.activations()
    masks = channel_masks(activations, x.shape[-2:])
    for b, c in enumerate([1, 4]):
        with torch.no_grad():
            scores = [model(x[b : b + 1] * mask)[0, c] for mask in masks[b]]
        weights = torch.stack(scores).softmax(0)
        expected = (weights[:, None, None] * activations[b]).sum(0).relu()
        assert torch.allclose(Method("score_cam")(probe)[b], expected)


def test_variants_that_vary_nothing_are_score_cam():
    model, x = seeded(Cnn).double(), images().double()
    expected = seewhy.explain(model, x, "score_cam", 2)
    for same in ("is_cam(steps=1)", "ss_cam(noise=0, samples=2)"):
        assert torch.allclose(seewhy.explain(model, x, same, 2), expected)
    assert not torch.allclose(seewhy.explain(model, x, "is_cam(steps=2)", 2), expected)
    assert not torch.allclose(seewhy.explain(model, x, "ss_cam(samples=2)", 2), expected)


def test_each_mask_of_ss_cam_has_noise_of_its_own():
    """Where all channels are flat, what the network sees of a white image is the noise alone."""
    model, x = seeded(Cnn).double(), torch.ones(1, 3, 32, 32).double()
    torch.nn.init.zeros_(model.conv1.weight)
    count, seen = model.conv1.out_channels, []
    model.register_forward_hook(lambda module, args, output: seen.append(args[0][:, 0].flatten(1)))
    for seed in (0, 1):
        seewhy.explain(model, x, f"ss_cam(samples=2, noise=3, seed={seed})", 1, layer="conv1")
    noise = torch.cat([each for each in seen if (each != 1).any()])
    assert len(noise) == 2 * 2 * count
    assert torch.allclose(noise.std(1), torch.tensor(3.0).double(), rtol=0.1)
    assert abs(noise.mean()) < 0.1
    alike = noise.corrcoef() - torch.eye(len(noise))
    assert alike.abs().max() < 0.2, "of other channels, samples and seeds"


def counted(model):
    sizes = []
    model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    return sizes


@pytest.mark.parametrize(
    ("method", "versions"), [("score_cam", 8), ("ss_cam(samples=3)", 24), ("is_cam(steps=5)", 40)]
)
def test_cost_is_one_forward_and_one_per_mask_for_all_targets(method, versions):
    model, x = seeded(Cnn), images(2)
    Probe(model, x).layers  # noqa: B018 - the layer is chosen
    sizes = counted(model)
    probe = Probe(model, x, 0)
    for target in (0, 1, Contrast(2, 3), Probability(4)):
        parse(method)(probe.with_target(target))
    assert sum(sizes) == 2 * (1 + versions)


def test_targets_that_share_the_forwards_have_their_own_maps():
    model, x = seeded(Cnn).double(), images(2).double()
    probe = Probe(model, x, 0)
    for target in (0, 3, Probability(4)):
        shared = Method("score_cam")(probe.with_target(target))
        assert torch.allclose(shared, Method("score_cam")(Probe(model, x, target)))


@pytest.mark.parametrize("method", ["score_cam", "ss_cam(samples=2)", "is_cam(steps=2)"])
def test_maps_depend_neither_on_other_images_nor_on_the_chunks(method):
    model, x = seeded(Cnn).double(), images(3).double()
    together = seewhy.explain(model, x, method, [0, 2, 4])
    for i, target in enumerate([0, 2, 4]):
        alone = seewhy.explain(model, x[i : i + 1], method, target)
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)
    small = method[:-1] + ", batch_size=3)" if "(" in method else f"{method}(batch_size=3)"
    assert torch.allclose(seewhy.explain(model, x, small, [0, 2, 4]), together)


def test_several_layers():
    model, x = seeded(Cnn).double(), images(2).double()
    both = seewhy.explain(model, x, "score_cam", 1, layer=["conv1", "bn2"])
    apart = [seewhy.explain(model, x, "score_cam", 1, layer=name) for name in ("conv1", "bn2")]
    assert torch.allclose(both, (apart[0] + apart[1]) / 2)


def test_no_gradient_is_asked_for():
    model, x = seeded(Cnn), images(2)
    backward = Calls(model.conv1)
    model.head.register_full_backward_hook(backward)
    seewhy.explain(model, x, "score_cam", 1, layer="bn2")
    forwards = backward.count
    assert forwards == 2  # the recorded pass and one chunk with all masks; no backward pass


def test_options_out_of_range():
    with pytest.raises(ValueError, match="steps=0"):
        seewhy.explain(seeded(Cnn), images(), "is_cam(steps=0)", 1)
