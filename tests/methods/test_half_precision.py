"""Maps of real networks in half precision are those of float32, on a CPU and on an accelerator."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch

import seewhy
from every import EVERY, OF_ATTENTION
from seewhy import load_model
from seewhy.data.samples import sample_photos
from seewhy.data.scenes import CATEGORIES, Scenes

CHEAP = [
    "grad_cam",
    "grad_cam_plus_plus",
    "layer_cam",
    "eigen_cam",
    "global_guidance",
    "tsgb",
    "grad_cam+gradual",
    "grad_cam+detail",
]
ACCELERATOR = torch.accelerator.current_accelerator(check_available=True)
DEVICES = ["cpu"] if ACCELERATOR is None else ["cpu", ACCELERATOR.type]
PRECISIONS = ["float16", "bfloat16", "autocast"]


@pytest.fixture(scope="module")
def photos():
    """The default network, two photos, and the maps of their classes in float32."""
    model = load_model()
    photos = [sample_photos()[name] for name in ("chelsea", "coffee")]
    images = torch.stack([model.preprocess(photo.image) for photo in photos])
    classes = [model.class_index(photo.classes[0]) for photo in photos]
    return model.module, images, classes, seewhy.explain(model, images, CHEAP, classes)


def scenes(network, methods):
    model = load_model(network)
    (scene,) = Scenes(1, seed=3, size=64)
    images, target = model.preprocess(scene.image)[None], CATEGORIES.index(scene.labels[0])
    return model.module, images, target, seewhy.explain(model, images, methods, target)


@pytest.fixture(scope="module")
def convolutions():
    """The bundled ResNet, a scene, and all maps in float32."""
    return scenes("scenes:resnet", EVERY)


@pytest.fixture(scope="module")
def attention():
    """The bundled transformer, a scene, and the maps of its attention in float32."""
    return scenes("scenes:vit", OF_ATTENTION)


def assert_alike(question, precision, device, least=0.99):
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
        for one, wanted in zip(maps.float().cpu(), expected[method], strict=True):
            both = torch.stack([one.flatten(), wanted.flatten()])
            correlation = float(torch.corrcoef(both)[0, 1])
            if not correlation >= least:
                worse[method] = correlation
    assert not worse


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", ["photos", "convolutions", "attention"])
def test_maps_are_those_of_float32(network, precision, device, request):
    assert_alike(request.getfixturevalue(network), precision, device)


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("network", ["photos", "convolutions", "attention"])
def test_maps_of_an_accelerator_are_those_of_a_cpu(network, device, request):
    assert_alike(request.getfixturevalue(network), "float32", device, 0.999)
