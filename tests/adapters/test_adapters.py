"""Adapters: the other libraries' own results, the user's network untouched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import seewhy
from networks import Cnn, Wrapped, images, seeded
from seewhy import Probe
from seewhy.adapters import captum, pytorch_grad_cam, torch_cam
from seewhy.adapters.quantus import explain_func
from seewhy.core.targets import Of, Probability
from seewhy.maps import normalize
from seewhy.models import ModelError
from seewhy.models.packages import import_zoo
from seewhy.naming import METHODS
from untouched import assert_same, state


@pytest.fixture(autouse=True)
def registry():
    """What a test registers is forgotten behind it."""
    known = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(known)


def need(package):
    try:
        return import_zoo(package)
    except ModelError as error:
        pytest.skip(str(error))


# ---------------------------------------------------------------------- as Seewhy methods


@pytest.mark.parametrize(
    ("algorithm", "own"), [("Saliency", "gradient"), ("InputXGradient", "input_x_gradient")]
)
def test_captum_gradients(algorithm, own):
    need("captum")
    model, x = seeded(Cnn, "inplace"), images()
    options = {"abs": False} if algorithm == "Saliency" else {}
    found = seewhy.explain(model, x, captum.as_method(algorithm, **options), [0, 2, 4])
    probe = Probe(model, x, [0, 2, 4])
    expected = probe.input_gradient * (x if own == "input_x_gradient" else 1)
    assert torch.allclose(found, expected.sum(1), atol=1e-6)


def test_captum_layers_are_the_probes():
    need("captum")
    model, x = seeded(Cnn), images()
    method = captum.as_method("LayerGradCam", relu_attributions=True)
    assert str(method) == "captum_LayerGradCam"
    assert "captum_LayerGradCam" in seewhy.list_methods()
    found = seewhy.explain(model, x, method, [0, 2, 4], layer="bn2", size="layer")
    expected = seewhy.explain(model, x, "grad_cam", [0, 2, 4], layer="bn2", size="layer")
    assert torch.allclose(found, expected, atol=1e-6)


class Last(torch.nn.Module):
    """A network whose layer `norm` gives maps with their channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 4, 4)
        self.norm = torch.nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 1)).relu().mean((1, 2))


def test_captum_layers_that_it_cannot_read_are_refused():
    """It would sum up rows instead of channels, and knows nothing of calls."""
    need("captum")
    method = captum.as_method("LayerGradientXActivation")
    with pytest.raises(ValueError, match=r"takes one layer with .*norm \(channels_last\)"):
        seewhy.explain(seeded(Last), images(), method, 1, layer="norm")
    with pytest.raises(ValueError, match=r"takes one layer with .*bn1 .*, bn2"):
        seewhy.explain(seeded(Cnn), images(), method, 1, layer=["bn1", "bn2"])
    with pytest.raises(ValueError, match="Captum hooks modules, and 'relu' is called 2 times"):
        seewhy.explain(seeded(Cnn), images(), method, 1, layer="relu#2")


@pytest.mark.parametrize(
    ("algorithm", "options", "why"),
    [
        ("NoiseTunnel", {}, "NoiseTunnel.*explains no network by itself"),
        ("MSE", {}, "MSE.*explains no network by itself"),
        ("LayerAttribution", {}, "LayerAttribution.*computes nothing"),
        ("LayerActivation", {}, "LayerActivation.*unexpected keyword argument 'target'"),
        ("NeuronGradient", {}, "NeuronGradient.*'neuron_selector'"),
        ("LLMAttribution", {}, "LLMAttribution.*'tokenizer'"),
        ("Occlusion", {}, "Occlusion.*missing a required argument: 'sliding_window_shapes'"),
        ("IntegratedGradients", {"n_step": 3}, "unexpected keyword argument 'n_step'"),
    ],
)
def test_captum_classes_that_cannot_be_asked_are_refused_at_once(algorithm, options, why):
    need("captum")
    with pytest.raises(ValueError, match=why):
        captum.as_method(algorithm, **options)


def test_captum_methods_that_patch_the_network():
    need("captum")
    model, x = seeded(Cnn).train(), images()
    model.requires_grad_(False)
    before = state(model)
    guided = captum.as_method("GuidedBackprop", name="captum_guided")
    with pytest.warns(UserWarning, match="hooks"):
        found = seewhy.explain(model, x, guided, 1)
    assert found.shape == (3, 32, 32)
    assert_same(before, state(model))


@pytest.mark.parametrize(
    ("algorithm", "own"),
    [("GradCAM", "grad_cam"), ("XGradCAM", "xgrad_cam"), ("LayerCAM", "layer_cam")],
)
def test_both_cam_libraries_agree_with_our_maps(algorithm, own):
    need("pytorch_grad_cam")
    need("torchcam")
    model, x = seeded(Cnn), images()
    where = {"layer": "bn2", "size": "layer"}
    expected = seewhy.explain(model, x, own, [0, 2, 4], **where)
    found = seewhy.explain(model, x, torch_cam.as_method(algorithm), [0, 2, 4], **where)
    assert torch.allclose(found, expected, atol=1e-6)
    scaled = seewhy.explain(model, x, pytorch_grad_cam.as_method(algorithm), [0, 2, 4], **where)
    assert scaled.shape == x[:, 0].shape
    assert 0 <= scaled.min() <= scaled.max() <= 1
    # It scales, resizes with OpenCV and scales again: the peak stays.
    peaks = normalize(seewhy.explain(model, x, own, [0, 2, 4], layer="bn2"))
    assert (scaled - peaks).abs().max() < 0.02


@pytest.mark.filterwarnings("ignore:Exception ignored in.*BaseCAM")
def test_what_the_documentation_says_of_pytorch_grad_cams_options():
    need("pytorch_grad_cam")
    from pytorch_grad_cam import GradCAM, ShapleyCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    page = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text(encoding="utf-8")
    (mirrored,) = re.findall(r"`aug_smooth=True` \| `\"(.+?)\"`", page)
    (shapley,) = re.findall(r"`(shapley_cam.*?)`", page)
    model, x = seeded(Cnn).eval(), images()
    targets = [ClassifierOutputTarget(number) for number in (0, 2, 4)]
    found = GradCAM(model, [model.bn2])(x, targets, aug_smooth=True)
    own = seewhy.explain(model, x, mirrored, [0, 2, 4], layer="bn2")
    for one, other in zip(torch.from_numpy(found), own, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.99
    found = ShapleyCAM(model, [model.bn2])(x, targets)
    own = normalize(seewhy.explain(model, x, shapley, [0, 2, 4], layer="bn2"))
    assert (torch.from_numpy(found) - own).abs().max() < 0.02


@pytest.mark.filterwarnings("ignore:Exception ignored in.*BaseCAM")
def test_pytorch_grad_cam_replaces_modules_of_a_copy():
    need("pytorch_grad_cam")
    model, x = seeded(Cnn).train(), images(2)
    model.requires_grad_(False)
    before = state(model)
    for algorithm in ("AblationCAM", "GradCAM", "FullGrad"):
        maps = seewhy.explain(model, x, pytorch_grad_cam.as_method(algorithm), 1, layer="bn2")
        assert maps.shape == (2, 32, 32)
    refined = pytorch_grad_cam.as_method("RefineCAM")
    assert seewhy.explain(model, x, refined, 1, layer=["bn1", "bn2"]).shape == (2, 32, 32)
    with pytest.raises(TypeError):
        seewhy.explain(model, x, pytorch_grad_cam.as_method("GradCAM", nonsense=1), 1, layer="bn2")
    with pytest.raises(ValueError, match="'relu' is called 2 times"):
        seewhy.explain(model, x, pytorch_grad_cam.as_method("GradCAM"), 1)
    assert_same(before, state(model))


def test_token_grids_need_no_reshape_transform(oracles):
    need("pytorch_grad_cam")
    need("torchcam")
    case = oracles["cam/pgc_tiny_vit_x64_b3_blocks-1-norm1"]
    model, x = oracles.model(case, torch.float32), oracles.inputs(case, torch.float32)
    where = {"layer": case["params"]["layer"]}
    expected = seewhy.explain(model, x, "grad_cam", case["targets"], **where)
    found = seewhy.explain(model, x, torch_cam.as_method("GradCAM"), case["targets"], **where)
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.max()))
    scaled = seewhy.explain(
        model, x, pytorch_grad_cam.as_method("GradCAM"), case["targets"], **where
    )
    assert (scaled - normalize(expected)).abs().max() < 0.02


def test_layers_of_several_layouts(oracles):
    """Each is read in its own way: the patches' maps, and rows of tokens."""
    need("pytorch_grad_cam")
    need("torchcam")
    case = oracles["cam/pgc_tiny_vit_x64_b3_blocks-1-norm1"]
    model, x = oracles.model(case, torch.float32), oracles.inputs(case, torch.float32)
    (patches,) = [name for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)]
    layers = [patches, case["params"]["layer"]]
    each = [seewhy.explain(model, x, "grad_cam", case["targets"], layer=one) for one in layers]
    mean = torch.stack(each).mean(0)
    scaled = torch.stack([*map(normalize, each)]).mean(0)
    for order in (layers, layers[::-1]):
        found = seewhy.explain(
            model, x, torch_cam.as_method("GradCAM"), case["targets"], layer=order
        )
        assert torch.allclose(found, mean, atol=1e-5 * float(mean.max()))
        method = pytorch_grad_cam.as_method("GradCAM")
        assert same(seewhy.explain(model, x, method, case["targets"], layer=order), scaled)


def test_outputs_that_are_no_tensor():
    need("torchcam")
    model, x = seeded(Wrapped, "dict"), images()
    found = seewhy.explain(model, x, torch_cam.as_method("GradCAM"), 4, layer="net.bn2")
    assert torch.allclose(
        found, seewhy.explain(model, x, "grad_cam", 4, layer="net.bn2"), atol=1e-6
    )


class Heads(Cnn):
    """Two answers, of different weights and numbers of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.second = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = self.features(x).mean((2, 3))
        return {"first": self.head(pooled), "second": self.second(pooled)}


CAMS = [
    ("captum", captum, "LayerGradCam", {"relu_attributions": True}),
    ("torchcam", torch_cam, "GradCAM", {}),
    ("pytorch_grad_cam", pytorch_grad_cam, "GradCAM", {}),
]


def same(found, own):
    """Whether an adapter's Grad-CAM is ours; pytorch-grad-cam scales its own."""
    return (normalize(found) - normalize(own)).abs().max() < 0.02


@pytest.mark.parametrize(("package", "adapter", "algorithm", "options"), CAMS)
def test_the_head_that_the_target_names(package, adapter, algorithm, options):
    need(package)
    model, x = seeded(Heads), images()
    method = adapter.as_method(algorithm, **options)
    for target in (Of("second", 3), Of("second", None), Of("first", [0, 2, 4])):
        own = seewhy.explain(model, x, "grad_cam", target, layer="bn2")
        assert same(seewhy.explain(model, x, method, target, layer="bn2"), own)


@pytest.mark.parametrize(("conv", "sides"), [("Conv1d", (32,)), ("Conv3d", (8, 12, 16))])
def test_captum_on_signals_and_volumes(conv, sides):
    need("captum")
    conv = getattr(torch.nn, conv)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        conv(2, 6, 3, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(4)
    )
    x = torch.rand(2, 2, *sides)
    model(x)
    found = seewhy.explain(model, x, captum.as_method("InputXGradient"), 1)
    assert torch.allclose(found, seewhy.explain(model, x, "input_x_gradient", 1), atol=1e-6)
    cam = captum.as_method("LayerGradCam", relu_attributions=True)
    assert torch.allclose(
        seewhy.explain(model, x, cam, 1), seewhy.explain(model, x, "grad_cam", 1), atol=1e-6
    )


class Aged(Cnn):
    """A network that is given an age with each image."""

    def forward(self, x: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.head((self.features(x) * age[:, None, None, None].sin()).mean((2, 3)))


@pytest.mark.parametrize(("package", "adapter", "algorithm", "options"), CAMS)
def test_what_else_the_network_is_given(package, adapter, algorithm, options):
    need(package)
    model, given = seeded(Aged), {"age": torch.tensor([1.0, 4.0, 2.0]), "x": images()}
    method = adapter.as_method(algorithm, **options)
    own = seewhy.explain(model, given, "grad_cam", [0, 2, 4], layer="bn2")
    assert same(seewhy.explain(model, given, method, [0, 2, 4], layer="bn2"), own)


def test_images_that_a_library_repeats_keep_their_other_inputs():
    """Captum's GradientShap repeats each image in turn, its integrated gradients the batch."""
    need("captum")
    model, given = seeded(Aged), (images(), torch.tensor([1.0, 4.0, 2.0]))
    for algorithm, options in [
        ("GradientShap", {"baselines": torch.zeros(1, 3, 32, 32), "n_samples": 5}),
        ("IntegratedGradients", {"n_steps": 8}),
    ]:
        method = captum.as_method(algorithm, **options)
        torch.manual_seed(0)
        np.random.seed(0)  # as Captum draws
        found = seewhy.explain(model, given, method, 1)
        torch.manual_seed(0)
        np.random.seed(0)
        for index, map in enumerate(found):
            one = tuple(value[index : index + 1] for value in given)
            assert torch.allclose(seewhy.explain(model, one, method, 1)[0], map, atol=1e-6)


@pytest.mark.parametrize("adapter", [captum, pytorch_grad_cam, torch_cam])
def test_errors(adapter):
    need(adapter.__name__.rpartition(".")[2].replace("torch_cam", "torchcam"))
    wrong, right = ("Salience", "Saliency") if adapter is captum else ("GradCam", "GradCAM")
    with pytest.raises(ValueError, match=f"did you mean '{right}'"):
        adapter.as_method(wrong)
    with pytest.raises(ValueError, match="not Probability"):
        seewhy.explain(seeded(Cnn), images(), adapter.as_method(right), Probability(1), layer="bn2")
    with pytest.raises(ValueError, match="identifier"):
        adapter.as_method(right, name="my method")


# ---------------------------------------------------------------------- with their interfaces


def test_a_seewhy_method_with_captums_interface():
    need("captum")
    from captum.attr import NoiseTunnel
    from captum.metrics import sensitivity_max

    model, x = seeded(Cnn), images()
    attribution = captum.as_attribution(model, "grad_cam", layer="bn2")
    found = attribution.attribute(x, target=torch.tensor([0, 2, 4]))
    assert found.shape == x.shape
    expected = seewhy.explain(model, x, "grad_cam", [0, 2, 4], layer="bn2")
    assert torch.allclose(found.sum(1), expected, atol=1e-6)
    steady = sensitivity_max(attribution.attribute, x, perturb_radius=1e-6, target=1)
    assert (steady < 1e-2).all()
    smooth = NoiseTunnel(attribution).attribute(x, nt_samples=2, stdevs=0.0, target=1)
    assert torch.allclose(smooth, attribution.attribute(x, target=1), atol=1e-6)


def test_quantus_explain_func():
    model, x = seeded(Cnn), images()
    found = explain_func(
        model=model,
        inputs=x.double().numpy(),
        targets=np.array([0, 2, 4]),
        method="grad_cam",
        layer="bn2",
        device="cpu",
        normalise=True,
    )
    assert found.dtype == np.float32
    assert found.shape == (3, 1, 32, 32)
    expected = seewhy.explain(model, x, "grad_cam", [0, 2, 4], layer="bn2")
    assert np.allclose(found[:, 0], expected.numpy(), atol=1e-6)
