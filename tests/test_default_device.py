"""`torch.set_default_device` is a setting of the user's program: nothing is drawn or put there.

On a machine without an accelerator "meta" stands for another device: it mixes with no other, too.
"""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import seewhy
from every import EVERY, OF_ATTENTION
from networks import Attending, Cnn, images, seeded
from seewhy import Preprocess, metrics


@pytest.mark.parametrize(("build", "names"), [(Cnn, EVERY), (Attending, OF_ATTENTION)])
def test_maps(build, names):
    model, x = seeded(build), images()
    expected = seewhy.explain(model, x, names, [1, 2, 3])
    with torch.device("meta"):
        found = seewhy.explain(model, x, names, [1, 2, 3])
    assert [name for name in names if not torch.equal(found[name], expected[name])] == []


def test_photos():
    model = seewhy.LoadedModel(seeded(Cnn), Preprocess((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3))
    photo = Image.linear_gradient("L").convert("RGB")
    (expected,) = seewhy.explain_photos(model, photo, ["grad_cam", "rise(masks=20)"], 1)
    with torch.device("meta"):
        (found,) = seewhy.explain_photos(model, photo, ["grad_cam", "rise(masks=20)"], 1)
    for one, other in zip(found.explanations, expected.explanations, strict=True):
        assert torch.equal(one.saliency, other.saliency)


def test_metrics():
    model, x, maps = seeded(Cnn), images(), images(channels=1)[:, 0]
    score = metrics.class_probability(model, torch.tensor([1, 2, 3]))

    def values():
        def explain(images, index):
            return images.mean(1)

        return [
            metrics.max_sensitivity(explain, x, maps),
            metrics.infidelity(score, x, maps),
            *metrics.road_curves(score, x, maps, removed=(0.3, 0.6))[1:],
            *metrics.insertion_deletion(score, x, maps, steps=3),
        ]

    expected = values()
    with torch.device("meta"):
        found = values()
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
