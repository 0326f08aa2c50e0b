"""Maps of a real network in half precision are those of float32."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch

import seewhy
from seewhy import load_model
from seewhy.data.samples import sample_photos

METHODS = [
    "grad_cam",
    "grad_cam_plus_plus",
    "layer_cam",
    "eigen_cam",
    "global_guidance",
    "tsgb",
    "grad_cam+gradual",
    "grad_cam+detail",
]


@pytest.fixture(scope="module")
def question():
    """The default network, two photos, and the maps of their classes in float32."""
    model = load_model()
    photos = [sample_photos()[name] for name in ("chelsea", "coffee")]
    images = torch.stack([model.preprocess(photo.image) for photo in photos])
    classes = [model.class_index(photo.classes[0]) for photo in photos]
    return model.module, images, classes, seewhy.explain(model, images, METHODS, classes)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "autocast"])
def test_maps_are_those_of_float32(question, precision):
    model, images, classes, expected = question
    context = nullcontext()
    if precision == "autocast":
        context = torch.autocast("cpu", torch.bfloat16)
    else:
        dtype = getattr(torch, precision)
        model, images = copy.deepcopy(model).to(dtype), images.to(dtype)
    with context:
        found = seewhy.explain(model, images, METHODS, classes)
    for method, maps in found.items():
        assert maps.isfinite().all(), method
        for one, wanted in zip(maps.float(), expected[method], strict=True):
            both = torch.stack([one.flatten(), wanted.flatten()])
            assert torch.corrcoef(both)[0, 1] >= 0.99, method
