"""`torch.set_default_dtype` is a setting of the user's program: no map depends on it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import seewhy
from networks import Cnn, images, seeded
from seewhy import Preprocess, fills, metrics
from seewhy.data.dataset import Annotation, Dataset, Sample
from seewhy.evaluation.grids import _cell
from seewhy.evaluation.rows import Row
from seewhy.naming import METHODS, REFINEMENTS
from seewhy.trust import examine

CHEAP = {
    "rise": "rise(masks=20)",
    "gig_cam": "gig_cam(steps=2, baseline='random')",
    "guided_integrated_gradients": "guided_integrated_gradients(steps=2)",
    "integrated_gradients": "integrated_gradients(steps=3, baseline=(0.1, 0.2, 0.3))",
    "ss_cam": "ss_cam(samples=2)",
    "is_cam": "is_cam(steps=3)",
    "occlusion": "occlusion(patch=9, baseline=0.1)",
}
NAMES = [
    *(
        CHEAP.get(name, name)
        for name, entry in sorted(METHODS.items())
        if name != "cam" and not entry.function.__module__.endswith("attention")
    ),
    *(f"layer_cam+{name}" for name in sorted(REFINEMENTS)),
    "integrated_gradients(steps=3, rule='gauss_legendre', baseline='random')",
    "layer_cam+refine_cam(mix='exp_mean')",
]


@pytest.fixture
def float64():
    def switch(to: torch.dtype = torch.float64) -> None:
        torch.set_default_dtype(to)

    usual = torch.get_default_dtype()
    yield switch
    torch.set_default_dtype(usual)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def test_maps(float64):
    for model, x in ((seeded(Cnn), images()), (seeded(Cnn).double(), images().double())):
        usual = seewhy.explain(model, x, NAMES, 1)
        float64()
        found = seewhy.explain(model, x, NAMES, 1)
        torch.set_default_dtype(torch.float32)
        assert [name for name in NAMES if not same(usual[name], found[name])] == []


def test_fills(float64):
    kinds = ["random", "blurred", "darkest", 0.1, (0.1, 0.2, 0.3)]
    x = images()
    usual = [fills.filled(x, kind, 3) for kind in kinds]
    float64()
    assert all(map(same, usual, [fills.filled(x, kind, 3) for kind in kinds]))


def test_networks_photos_and_checks(float64):
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels)

    def all_of_it() -> tuple[list[torch.Tensor], list[object]]:
        model = seewhy.load_model("scenes:resnet")
        (answer,) = seewhy.explain_photos(model, [photo], ["grad_cam+smooth(samples=2)"])
        assert not answer.failures
        said = examine(model, photo, "grad_cam", steps=4)
        checks = [(one.name, one.value, one.light, one.curves) for one in said]
        return [*model.module.parameters(), *(one.saliency for one in answer.explanations)], checks

    (tensors, checks) = all_of_it()
    float64()
    (found, checked) = all_of_it()
    assert all(map(same, tensors, found))
    assert checked == checks


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_evaluations(float64, dtype):
    model = seewhy.LoadedModel(seeded(Cnn), Preprocess((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3))
    photo, mask = Image.linear_gradient("L").convert("RGB"), torch.ones(256, 256).tril().bool()
    one = Sample("one", photo, (Annotation(None, torch.tensor([[0, 0, 200.0, 200]]), mask),))
    data = Dataset("own", ("one",), lambda key: one)
    asked = ["iou", "rank_accuracy", "half_drop", "box_iou", "pointing_game"]

    def rows() -> tuple[Row, ...]:
        return seewhy.evaluate(model, data, "random", asked).rows

    usual = rows()
    float64(dtype)
    assert rows() == usual


def test_masks_ranks_and_grids(float64):
    boxes = [torch.tensor([[0, 0, 301.0, 1]])]
    maps = images(1)[:, 0], images(1)[:, 1]
    usual = metrics.box_masks(boxes, (1, 320)), metrics.spearman(*maps)
    float64(torch.bfloat16)
    assert all(
        map(torch.equal, usual, (metrics.box_masks(boxes, (1, 320)), metrics.spearman(*maps)))
    )
    model = seewhy.LoadedModel(seeded(Cnn).float(), Preprocess((32, 32)))
    with warnings.catch_warnings(action="error"):
        assert _cell(model, (32, 32), 2) == (32, 32)
