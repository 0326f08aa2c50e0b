"""`torch.set_default_device` is a setting of the user's program: nothing is drawn or put there.

On a machine without an accelerator "meta" stands for another device: it mixes with no other, too.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import seewhy
from every import EVERY, OF_ATTENTION
from networks import Attending, Cnn, images, seeded
from seewhy import Preprocess, metrics
from seewhy.data.dataset import Annotation, Dataset, Sample
from seewhy.draw import overlay, overlay_signal, overlay_volume
from seewhy.draw.legend import keys
from seewhy.evaluation import statistics
from seewhy.evaluation.grids import _cell
from seewhy.evaluation.rows import Row


@pytest.mark.parametrize(("build", "names"), [(Cnn, EVERY), (Attending, OF_ATTENTION)])
def test_maps(build, names):
    model, x = seeded(build), images()
    expected = seewhy.explain(model, x, names, [1, 2, 3])
    with torch.device("meta"):
        found = seewhy.explain(model, x, names, [1, 2, 3])
    assert [name for name in names if not torch.equal(found[name], expected[name])] == []


def test_networks_by_name():
    expected = seewhy.load_model("scenes:vgg").module.state_dict()
    with torch.device("meta"):
        found = seewhy.load_model("scenes:vgg").module.state_dict()
    assert [key for key in expected if not torch.equal(found[key], expected[key])] == []


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


def test_evaluations():
    model = seewhy.LoadedModel(seeded(Cnn), Preprocess((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3))

    photo = Image.linear_gradient("L").convert("RGB")
    mask, box = torch.ones(256, 256).tril().bool(), torch.tensor([[0, 0, 200.0, 200]])
    own = Annotation("a", box, mask), Annotation("b")
    data = Dataset("own", ("one", "two"), lambda key: Sample(key, photo, own))
    asked = ["pointing_game", "box_iou", "mass_accuracy", "half_drop"]

    def told():
        classes = {"a": [0], "b": [1]}
        found = seewhy.evaluate(model, data, ["grad_cam", "random"], asked, class_map=classes)
        return found.rows, found.omissions, repr([*found.summary(), *found.comparisons()])

    expected = told()
    with torch.device("meta"):
        assert told() == expected


def test_tests_of_many_images(monkeypatch):
    monkeypatch.setattr(statistics, "UNITS", 20)
    draw = np.random.default_rng(0)
    rows = [
        Row(f"{image}", "", 0, 0.5, False, method, "gini", draw.random())
        for image in range(statistics.UNITS + 1)
        for method in ("one", "other")
    ]
    expected = statistics.compare(rows)
    with torch.device("meta"):
        assert statistics.compare(rows) == expected


def test_grids():
    model = seewhy.LoadedModel(seeded(Cnn), Preprocess((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3))
    with torch.device("meta"), warnings.catch_warnings(action="error"):
        assert _cell(model, (32, 32), 2) == (32, 32)


def test_pictures():
    photo, map = Image.linear_gradient("L").convert("RGB"), np.eye(4)
    seen = torch.ones(256, 256, dtype=torch.bool)
    seen[:9] = False
    signal, volume = torch.rand(1, 9), torch.rand(4, 5, 6)

    def drawn():
        yield overlay(photo, map, seen=seen)
        yield overlay_signal(signal, signal[0])
        yield overlay_volume(volume, volume)
        yield from (key.swatch for key in keys(unseen=True))

    expected = list(drawn())
    with torch.device("meta"):
        found = list(drawn())
    assert found == expected
