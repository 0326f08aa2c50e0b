"""Arguments of the wrong kind are named by the function that was called."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy
from networks import Cnn, images, seeded
from seewhy import draw, metrics, trust
from seewhy.models.metadata import read_classes

SCORED = (lambda images, index: images.mean((1, 2, 3)), torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8))
CONTRAST = "contrastive_excitation_backprop"
PHOTO, MAP = Image.new("RGB", (16, 12)), torch.rand(12, 16)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: seewhy.normalize([1.0]), "saliency"),
        (lambda: seewhy.normalize(torch.rand(3)), "saliency"),
        (lambda: seewhy.normalize(torch.empty(2, 2, device="meta")), "saliency"),
        (lambda: seewhy.normalize(torch.eye(2).to_sparse()), "saliency"),
        (lambda: seewhy.normalize(MAP, 0), "sides"),
        (lambda: seewhy.normalize(MAP[:, :0]), "saliency"),
        (lambda: metrics.complexity(torch.rand(1, 0, 8)), "saliency"),
        (lambda: metrics.gini(torch.eye(2)[None].to_sparse()), "saliency"),
        (lambda: metrics.average_drop(0.5, 0.4), "original"),
        (lambda: metrics.adcc(0.5, 0.5, 0.5), "coherency"),
        (lambda: metrics.insertion_deletion(*SCORED, steps=[]), "steps"),
        (lambda: metrics.insertion_deletion(*SCORED, steps="4"), "steps"),
        (lambda: metrics.road_curves(*SCORED, removed=()), "removed"),
        (lambda: metrics.road_curves(*SCORED, seed=-1), "seed"),
        (lambda: metrics.infidelity(*SCORED, fraction=2.0), "fraction"),
        (lambda: metrics.infidelity(*SCORED, []), "perturbations"),
        (lambda: metrics.max_sensitivity(*SCORED, []), "perturbations"),
        (lambda: metrics.square_removals(SCORED[1], samples=0), "samples"),
        (lambda: metrics.uniform_noise(SCORED[1], float("nan")), "radius"),
        (lambda: metrics.iou(MAP[None], MAP[None] > 0, float("nan")), "threshold"),
        (lambda: metrics.hits(torch.zeros(1, 2), MAP[None] > 0, -1), "tolerance"),
        (lambda: metrics.hits(torch.zeros(1, 3), MAP[None] > 0), "points"),
        (lambda: metrics.box_masks([], (8, 8)), "boxes"),
        (lambda: metrics.box_masks([torch.zeros(1, 4)], (-1, 8)), "size"),
        (lambda: metrics.randomization_cascade(seeded(Cnn), lambda _: MAP[None], []), "layers"),
        (lambda: metrics.randomization_cascade(nn.ReLU(), lambda _: MAP[None]), "no weights"),
        (lambda: seewhy.overlay(PHOTO, "map"), "saliency"),
        (lambda: seewhy.overlay(PHOTO, MAP, alpha=None), "alpha"),
        (lambda: seewhy.overlay(PHOTO, MAP, cmap=["inferno"]), "cmap"),
        (lambda: seewhy.overlay(PHOTO, MAP, signed=MAP), "signed"),
        (lambda: seewhy.overlay(PHOTO, MAP, seen=[True]), "seen"),
        (lambda: draw.contour("photo.jpg", MAP), "image"),
        (lambda: draw.contour(PHOTO, MAP, ()), "levels"),
        (lambda: draw.save_saliency(None, MAP), "path"),
        (lambda: draw.overlay_signal(torch.rand(8), torch.rand(8), width=0), "width"),
        (lambda: draw.overlay_volume(None, torch.rand(2, 2, 2)), "volume"),
        (lambda: trust.hide(PHOTO, [[True]]), "region"),
        (lambda: seewhy.load_dataset(None), "spec"),
        (lambda: seewhy.list_models(["timm"]), "zoo"),
        (lambda: seewhy.load_model("scenes:resnet", weights=3), "weights"),
        (lambda: seewhy.load_model("scenes:resnet", device="nowhere"), "device"),
        (lambda: seewhy.load_image(PHOTO, shrink=0), "shrink"),
        (lambda: seewhy.load_image(PHOTO, max_pixels="all"), "max_pixels"),
        (lambda: seewhy.load_image(PHOTO.convert("L"), window=3), "window"),
        (lambda: seewhy.load_image(PHOTO.convert("L"), window=(1,)), "window"),
        (lambda: seewhy.explain_photos("scenes:resnet", PHOTO, window="narrow"), "window"),
        (lambda: seewhy.load_model("scenes:resnet", classes=3), "classes"),
        (lambda: seewhy.load_model("scenes:resnet", preprocess={"men": 0.5}), "mean"),
        (lambda: trust.examine("scenes:resnet", PHOTO, "grad_cam"), "model"),
        (lambda: trust.examine(seewhy.LoadedModel(seeded(Cnn)), "photo.jpg", "tsgb"), "photo"),
        (lambda: seewhy.LoadedModel(Cnn), "module"),
        (lambda: seewhy.LoadedModel(seeded(Cnn), classes="ant"), "classes"),
        (lambda: seewhy.LoadedModel(seeded(Cnn), classes=3), "classes"),
        (lambda: seewhy.Method(None), "method"),
        (lambda: seewhy.Method("grad_cam") + "gradual", "gradual"),
        (lambda: seewhy.Method("grad_cam") + seewhy.Method("tsgb"), "tsgb"),
        (lambda: seewhy.Probe(seeded(Cnn), images()).at_scale(0), "scale"),
        (lambda: seewhy.Probe(seeded(Cnn), images()).at_scale(float("nan")), "scale"),
        (lambda: seewhy.Probe(seeded(Cnn), images()).maps("tsgb"), "methods"),
        (lambda: seewhy.Preprocess()("photo.jpg"), "photo"),
        (lambda: seewhy.explain_photos("scenes:resnet", ""), "path of a photo is empty"),
        (lambda: seewhy.evaluate("scenes:resnet", "scenes:1", folder=3), "folder"),
        (lambda: seewhy.evaluate("scenes:resnet", "scenes:1", advance=3), "advance"),
        (lambda: seewhy.Metric(3), "metric"),
        (lambda: seewhy.explain(seeded(Cnn), images(), "gradient\udc80"), "method"),
        (lambda: seewhy.explain(seeded(Cnn), images(), size=np.arange(2)), "size"),
        (lambda: seewhy.explain(seeded(Cnn), images(), layer=[0]), "layer"),
        (lambda: seewhy.explain(seeded(Cnn), images(), "tsgb", layer="conv1#0"), "call, from 1"),
        (lambda: seewhy.explain(seeded(Cnn), images(), layer="conv1#"), "call, from 1"),
        (
            lambda: seewhy.explain(seeded(Cnn), images(), CONTRAST, layer="conv1#2"),
            "called 1 times",
        ),
        (lambda: seewhy.explain_photos(seewhy.LoadedModel(seeded(Cnn)), PHOTO, layer=[]), "layer"),
        (
            lambda: seewhy.explain_photos(
                seewhy.LoadedModel(seeded(Cnn)), PHOTO, batch_size=float("nan")
            ),
            "batch_size",
        ),
    ],
)
def test_the_argument_is_named(call, named):
    with pytest.raises((ValueError, TypeError), match=named):
        call()


@pytest.mark.parametrize("kind", [iter, np.array, lambda names: dict(enumerate(names)).values()])
def test_names_are_taken_from_whatever_lists_them(kind):
    names = ("ant", "bee")
    assert seewhy.LoadedModel(seeded(Cnn), classes=kind(names)).classes == names
    assert read_classes(kind(names)) == read_classes({0: "ant", 1: "bee"}) == ("classes", names)


def test_numbers_of_numpy_and_torch_are_taken():
    assert seewhy.load_image(PHOTO, shrink=np.int64(8), max_pixels=np.int64(999)).width < 16
    file = BytesIO()
    PHOTO.save(file, "PNG")
    plain = seewhy.overlay(file, MAP, alpha=0.5, signed=True)
    alike = seewhy.overlay(PHOTO, MAP, alpha=np.float32(0.5), signed=(MAP > 0).any())
    assert plain == alike
    levels = [np.float64(0.5)]
    assert draw.contour(PHOTO, MAP, levels) == draw.contour(PHOTO, MAP, (0.5,))


def test_arrays_are_taken_where_several_values_are():
    plain = metrics.insertion_deletion(*SCORED, steps=[0, 32, 64])
    for steps in (np.array([0, 32, 64]), torch.tensor([0, 32, 64]), 2.0):
        found = metrics.insertion_deletion(*SCORED, steps=steps)
        assert torch.equal(found.deletion, plain.deletion)
    boxes = torch.rand(1001, 1, 4).cumsum(-1) * 4  # of more images than an option has values
    assert metrics.box_masks(boxes, (8, 8)).equal(metrics.box_masks(list(boxes), (8, 8)))
