"""From photos to explanations: batches, labels, and maps at their place on the photo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from networks import Cnn, seeded
from seewhy import explain, explain_photos
from seewhy.core.targets import Contrast, Predicted
from seewhy.data.preprocess import Preprocess
from seewhy.models import LoadedModel

CLASSES = ("ant", "bee", "cat", "dog", "eel")


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def model() -> LoadedModel:
    return LoadedModel(seeded(Cnn), Preprocess(resize=32), CLASSES, "test")


def test_photos_of_any_size_in_one_call_equal_single_calls(model):
    photos = [photo(60, 40), photo(60, 40, 1), photo(40, 60, 2), photo(64, 48, 3)]
    methods, targets = ["grad_cam", "hires_cam"], ["eel", None, Predicted(2)]
    together = explain_photos(model, photos, methods, targets, sources=list("abcd"))
    assert len(together) == 4
    for index, answer in enumerate(together):
        (alone,) = explain_photos(model, [photos[index]], methods, targets)
        assert len(answer.explanations) == 6
        assert [top[:2] for top in answer.top] == [top[:2] for top in alone.top]
        for one, other in zip(answer.explanations, alone.explanations, strict=True):
            assert torch.allclose(one.saliency, other.saliency, atol=1e-6)
            assert (one.target, one.method) == (other.target, other.method)
            assert one.source == "abcd"[index]
            assert one.saliency.shape == (photos[index].height, photos[index].width)


def test_labels_and_probabilities(model):
    (answer,) = explain_photos(
        model, [photo(50, 50)], ["grad_cam"], ["cat", 0, None, Predicted(3), Contrast(0, 1)]
    )
    names = [one.target for one in answer.explanations]
    assert names == ["cat", "ant", answer.top[0][1], answer.top[2][1], "Contrast(a=0, b=1)"]
    probabilities = model.module(model.preprocess(photo(50, 50))[None]).detach().softmax(1)[0]
    assert answer.explanations[0].probability == pytest.approx(float(probabilities[2]))
    assert answer.explanations[4].probability is None
    assert [top[2] for top in answer.top] == sorted(probabilities.tolist(), reverse=True)


def test_the_part_that_the_network_never_saw(model):
    cropped = LoadedModel(model.module, Preprocess(resize=40, crop=32), CLASSES, "test")
    picture = photo(80, 40)
    (answer,) = explain_photos(cropped, [picture], ["grad_cam"], [4])
    (one,) = answer.explanations
    maps = explain(model.module, cropped.preprocess(picture)[None], "grad_cam", 4)
    assert torch.allclose(one.saliency[4:36, 24:56], maps[0], atol=1e-6)
    outside = one.saliency.clone()
    outside[4:36, 24:56] = 0
    assert not outside.any()
    assert int(one.seen.sum()) == 32 * 32


def test_unknown_class(model):
    with pytest.raises(ValueError, match="no class 'zebra'"):
        explain_photos(model, [photo(40, 40)], ["grad_cam"], ["zebra"])
