"""Maps of a real network in half precision are those of float32."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch

import seewhy
from seewhy import load_model
from seewhy.data.scenes import Scenes

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
    """The default network, two pictures, and the maps in float32."""
    model = load_model()
    pictures = [Scenes(2, seed=5, size=256)[index].image for index in range(2)]
    images = torch.stack([model.preprocess(picture) for picture in pictures])
    return model.module, images, seewhy.explain(model, images, METHODS, 285)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "autocast"])
def test_maps_are_those_of_float32(question, precision):
    model, images, expected = question
    context = nullcontext()
    if precision == "autocast":
        context = torch.autocast("cpu", torch.bfloat16)
    else:
        dtype = getattr(torch, precision)
        model, images = copy.deepcopy(model).to(dtype), images.to(dtype)
    with context:
        found = seewhy.explain(model, images, METHODS, 285)
    for method, maps in found.items():
        assert maps.isfinite().all(), method
        for one, wanted in zip(maps.float(), expected[method], strict=True):
            both = torch.stack([one.flatten(), wanted.flatten()])
            assert torch.corrcoef(both)[0, 1] >= 0.99, method
