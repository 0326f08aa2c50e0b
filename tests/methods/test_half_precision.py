"""Maps of real networks in half precision are those of float32, on a CPU and on an accelerator."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

import seewhy
from every import EVERY, OF_ATTENTION
from networks import Cnn, images, seeded
from seewhy import load_model
from seewhy.data.samples import sample_photos
from seewhy.data.scenes import CATEGORIES, Scenes
from seewhy.methods.perturbation import mean_of_masks

CHEAP = [
    "grad_cam",
    "grad_cam_plus_plus",
    "layer_cam",
    "eigen_cam",
    "global_guidance",
    "tsgb",
    "excitation_backprop",
    "contrastive_excitation_backprop",
    "grad_cam+gradual",
    "grad_cam+detail",
]
ACCELERATOR = torch.accelerator.current_accelerator(check_available=True)
DEVICES = ["cpu"] if ACCELERATOR is None else ["cpu", ACCELERATOR.type]
PRECISIONS = ["float16", "bfloat16", "autocast"]
# Less is asked where the network's own rounding is what shows: in a plain gradient, and in products
# of early layers' maps.
HALVES = {"gradient": 0.98, "grad_cam+refine_cam": 0.9}
# On guided paths rounding decides what comes first: another path, another map.
BY_ROUNDING = ("gig_cam", "guided_integrated_gradients")
# Hundreds of passes: on an accelerator only.
LONG = ("score_cam", "ss_cam", "is_cam", "rise", "occlusion")


@pytest.fixture(scope="module")
def photos():
    """The default network, two photos, and the maps of their classes in float32."""
    model = load_model()
    photos = [sample_photos()[name] for name in ("chelsea", "coffee")]
    images = torch.stack([model.preprocess(photo.image) for photo in photos])
    classes = [model.class_index(photo.classes[0]) for photo in photos]
    return model.module, images, classes, seewhy.explain(model.module, images, CHEAP, classes)


def scene(network, methods, size=None):
    model = load_model(network)
    images = model.preprocess(Scenes(2)[1].image)[None]
    images = images if size is None else F.interpolate(images, size=size)
    target = CATEGORIES.index("bird")
    # The module alone, as below: it does not know what a black pixel is either.
    return model.module, images, target, seewhy.explain(model.module, images, methods, target)


@pytest.fixture(scope="module")
def convolutions():
    """The bundled ResNet, a small scene, and all maps in float32."""
    left_out = BY_ROUNDING if ACCELERATOR else BY_ROUNDING + LONG
    methods = [name for name in EVERY if not name.startswith(left_out)]
    return scene("scenes:resnet", [*methods, "occlusion(patch=24)"], size=64)


@pytest.fixture(scope="module")
def attention():
    """The bundled transformer, a scene, and the maps of its attention in float32."""
    return scene("scenes:vit", OF_ATTENTION)


def assert_alike(question, precision, device, least):
    model, images, target, expected = question
    context = nullcontext()
    model, images = copy.deepcopy(model).to(device), images.to(device)
    if precision == "autocast":
        context = torch.autocast(device, torch.bfloat16)
    else:
        dtype = getattr(torch, precision)
        model, images = model.to(dtype), images.to(dtype)
    with context:
        found = seewhy.explain(model, images, [*expected], target)
    worse = {}
    for method, maps in found.items():
        assert maps.isfinite().all(), method
        enough = min(least, HALVES.get(method, 1)) if precision != "float32" else least
        for one, wanted in zip(maps.float().cpu(), expected[method], strict=True):
            correlation = float(
                torch.corrcoef(torch.stack([one.flatten(), wanted.flatten()]))[0, 1]
            )
            if not correlation >= enough:
                worse[method] = correlation
    assert not worse


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", ["photos", "convolutions", "attention"])
def test_maps_are_those_of_float32(network, precision, device, request):
    assert_alike(request.getfixturevalue(network), precision, device, 0.99)


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("network", ["photos", "convolutions", "attention"])
def test_maps_of_an_accelerator_are_those_of_a_cpu(network, device, request):
    assert_alike(request.getfixturevalue(network), "float32", device, 0.999)


@pytest.mark.parametrize(
    "method", ["grad_cam_plus_plus", "smooth_grad_cam_plus_plus(samples=2)", "xgrad_cam", "cam"]
)
def test_small_gradients_and_large_sums_leave_no_half_empty(method):
    """On a large grid a gradient's square is 0 in float16, and a channel's sum infinite."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3),
    )  # fmt: skip
    images = 40 * torch.randn(1, 3, 96, 96).abs()
    expected = seewhy.explain(model, images, [method], 1)
    assert expected[method].any()
    assert_alike((model, images, 1, expected), "float16", "cpu", 0.99)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_thousands_of_masks_are_added_up_in_single_precision(dtype):
    scores = torch.full((4000, 1), 60.0, dtype=dtype)

    def shown(part):
        return torch.ones(part.stop - part.start, 1, 1, 2, 2, dtype=dtype)

    found = mean_of_masks(scores, shown)
    assert found.dtype == dtype
    assert (found == 60).all()


class Mixed(torch.nn.Module):
    """A network that switches autocast on by itself, and returns single precision."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.body(x).float()


@pytest.mark.parametrize("pooled", [False, True])
def test_networks_that_switch_autocast_on_by_themselves(pooled):
    torch.manual_seed(0)
    behind = [torch.nn.Conv2d(16, 16, 1), torch.nn.ReLU()] if pooled else []
    body = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), *behind, torch.nn.Flatten(), torch.nn.Linear(16, 8),
        torch.nn.ReLU(), torch.nn.Linear(8, 3),
    )  # fmt: skip
    methods = ["tsgb", "ablation_cam", "excitation_backprop", "grad_cam+refine_cam"]
    images = torch.randn(2, 3, 32, 32)
    expected = seewhy.explain(body, images, methods, 1)
    assert_alike((Mixed(body), images, 1, expected), "float32", "cpu", 0.98)


class Inside(torch.nn.Module):
    """A network that runs under autocast wherever it is called."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.body(x)


@pytest.mark.parametrize(
    ("build", "methods"),
    [
        (Cnn, EVERY),
        (lambda: load_model("scenes:vit").module, OF_ATTENTION),
    ],
)
def test_the_callers_autocast_is_for_the_network_alone(build, methods):
    """Maps are those of a network that switches it on by itself, to the last bit."""
    model, x = seeded(build), images(2, (32, 32) if build is Cnn else (96, 96))
    expected = seewhy.explain(Inside(model), x, methods, 1)
    with torch.autocast("cpu", torch.bfloat16):
        found = seewhy.explain(model, x, methods, 1)
        assert torch.is_autocast_enabled("cpu")
    for name in methods:
        assert torch.equal(found[name], expected[name]), name


def test_a_target_of_ones_own_runs_under_the_callers_autocast():
    """As it would behind the network: with weights of its own, which are in float32."""
    model, x = seeded(Cnn), images(2)
    head = torch.randn(5, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        maps = seewhy.explain(model, x, "grad_cam", lambda outputs: outputs @ head)
    expected = seewhy.explain(model, x, "grad_cam", lambda outputs: outputs @ head)
    assert torch.allclose(maps.float(), expected, atol=0.02 * float(expected.max()))


def test_a_probe_keeps_the_autocast_under_which_it_was_made():
    """It runs the network when it is first read, which may be under another one."""
    model, x = seeded(Cnn), images(2)
    outside = seewhy.Probe(model, x, 1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = seewhy.Probe(model, x, 1)
        assert outside.score.dtype == torch.float32
        assert outside.with_inputs(x).score.dtype == torch.float32
        assert outside.outputs_of(x).dtype == torch.float32
    assert inside.score.dtype == torch.bfloat16
    assert inside.with_inputs(x).score.dtype == torch.bfloat16
