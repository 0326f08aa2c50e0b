"""Targets for networks of every shape of output: the score is what a person means by the class."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from networks import Cnn, Segmenter, images, seeded
from seewhy import explain, explain_photos
from seewhy.core.targets import Class, Contrast, Predicted
from seewhy.data.preprocess import Preprocess
from seewhy.models import LoadedModel


def loaded(module: nn.Module, activation: str | None = None) -> LoadedModel:
    return LoadedModel(module, activation=activation)  # type: ignore[arg-type]


def scores(model: LoadedModel, asked: object, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.target(asked)(model.module(x))  # type: ignore[arg-type]


def test_classifiers_keep_their_plain_targets() -> None:
    model = LoadedModel(seeded(Cnn), classes=tuple("abcde"))
    outputs = model.module(images())
    assert model.target("c").resolve(outputs) == Class(2)
    assert model.target(4).resolve(outputs) == Class(4)
    assert model.target([0, 1, 2]).resolve(outputs) == Class((0, 1, 2))
    assert model.target(None).resolve(outputs) == Predicted().resolve(outputs)
    assert model.target(Predicted(2)).resolve(outputs) == Predicted(2).resolve(outputs)
    assert model.target(Contrast(0, 1)) == Contrast(0, 1)


def test_a_single_logit_speaks_for_one_class_and_against_the_other() -> None:
    model, x = loaded(seeded(Cnn, classes=1)), images()
    with torch.no_grad():
        z = model.module(x)[:, 0]
    assert z.max() > z.min()
    assert torch.equal(scores(model, 1, x), z)
    assert torch.equal(scores(model, 0, x), -z)
    assert torch.equal(scores(model, None, x), z.abs())
    assert torch.equal(scores(model, Predicted(2), x), -z.abs())
    assert torch.equal(scores(model, [0, 1, 0], x), z * torch.tensor([-1, 1, -1]))
    for wrong in (2, Predicted(3)):
        with pytest.raises(ValueError, match="out of range"):
            scores(model, wrong, x)


def test_its_map_is_that_of_the_logit() -> None:
    model, x = loaded(seeded(Cnn, classes=1)), images()
    positive = explain(model.module, x, "gradient", 0)
    assert torch.equal(explain(model.module, x, "gradient", model.target(1)), positive)
    against = explain(model.module, x, "input_x_gradient", model.target(0))
    assert torch.equal(against, -explain(model.module, x, "input_x_gradient", 0))


def test_a_regression_has_one_output_and_no_other_side() -> None:
    model, x = loaded(seeded(Cnn, classes=1), "none"), images()
    with torch.no_grad():
        values = model.module(x)[:, 0]
    for asked in (None, 0):
        assert torch.equal(scores(model, asked, x), values)
    with pytest.raises(ValueError, match="the model has 1 classes"):
        scores(model, 1, x)


def test_a_class_of_a_segmentation_network_is_its_region() -> None:
    model, x = loaded(seeded(Segmenter)), images()
    with torch.no_grad():
        maps = model.module(x)["out"]
    winners = maps.argmax(1)
    for index in range(4):
        for place, score in enumerate(scores(model, index, x)):
            inside = winners[place] == index
            own = maps[place, index][inside] if inside.any() else maps[place, index]
            assert float(score) == pytest.approx(float(own.mean()), abs=1e-5)
    largest = torch.tensor([row.bincount(minlength=4).argmax() for row in winners.flatten(1)])
    predicted = model.target(None).resolve({"out": maps})
    assert predicted.classes == tuple(largest.tolist())  # type: ignore[attr-defined]
    # The region is that of the photo, also when other pictures are looked at later.
    assert torch.allclose(predicted({"out": maps * 0 + 3}), torch.full((3,), 3.0))
    smaller = nn.functional.interpolate(maps, scale_factor=0.5)
    assert predicted({"out": smaller}).shape == (3,)


def test_the_predicted_class_has_the_largest_region_not_the_largest_logits() -> None:
    maps = torch.zeros(1, 3, 4, 4)
    maps[:, 0] = 1
    maps[:, 1, 0] = 100
    asked = loaded(nn.Identity()).target
    assert asked(None).resolve(maps).classes == (0,)  # type: ignore[attr-defined]
    assert asked(Predicted(2)).resolve(maps).classes == (1,)  # type: ignore[attr-defined]
    assert float(scores(loaded(nn.Identity()), 2, maps)) == 0  # it has no region: the whole picture


def test_one_channel_masks_and_masks_of_several_classes() -> None:
    logits = torch.full((1, 1, 4, 4), -2.0)
    logits[..., :1] = 3
    mask = loaded(nn.Identity())
    assert float(scores(mask, 1, logits)) == pytest.approx(3)
    assert float(scores(mask, 0, logits)) == pytest.approx(2)
    assert mask.target(None).resolve(logits).classes == (0,)  # type: ignore[attr-defined]
    both = torch.cat([logits, logits + 4], 1)
    several = loaded(nn.Identity(), "sigmoid")
    assert float(scores(several, 0, both)) == pytest.approx(3)
    assert float(scores(several, 1, both)) == pytest.approx((4 * 7 + 12 * 2) / 16)
    assert several.target(None).resolve(both).classes == (1,)  # type: ignore[attr-defined]
    depth = loaded(nn.Identity(), "none")
    assert float(scores(depth, None, logits)) == pytest.approx((4 * 3 - 12 * 2) / 16)


def test_of_plain_maps_the_predicted_one_is_first_in_the_table() -> None:
    """It was the first output, as all of them have the whole picture."""
    outputs = torch.tensor([[1.0, 4.0, 2.0], [5.0, 3.0, 4.0]])[:, :, None, None].expand(2, 3, 4, 4)
    model = loaded(nn.Identity(), "none")
    tops = [[index for index, _, _ in model.top(one)] for one in outputs]
    assert tops == [[1, 2, 0], [0, 2, 1]]
    for rank in (1, 2, 3):
        found = model.target(Predicted(rank)).resolve(outputs)
        assert found.classes == tuple(top[rank - 1] for top in tops)  # type: ignore[attr-defined]


def test_outputs_without_classes() -> None:
    with pytest.raises(ValueError, match=r"returned \(2, 3, 4\); a class needs scores"):
        scores(loaded(nn.Identity()), None, torch.zeros(2, 3, 4))


def test_maps_are_independent_of_the_batch() -> None:
    for module in (seeded(Segmenter), seeded(Cnn, classes=1)):
        model, x = loaded(module), images()
        together = explain(model.module, x, "grad_cam", model.target(None))
        alone = [explain(model.module, one[None], "grad_cam", model.target(None)) for one in x]
        torch.testing.assert_close(together, torch.cat(alone))


class Ended(nn.Module):
    """A network that ends with an activation of its own."""

    def __init__(self, end: nn.Module, classes: int) -> None:
        super().__init__()
        self.net, self.end = seeded(Cnn, classes=classes), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.net(x))


@pytest.mark.parametrize(
    ("end", "classes", "own"),
    [
        (nn.Softmax(1), 5, "softmax"),
        (nn.Sigmoid(), 5, "sigmoid"),
        (nn.Sequential(nn.Sigmoid(), nn.Flatten(0)), 1, "sigmoid"),
        (nn.LogSoftmax(1), 5, None),  # a softmax of which is right
        (nn.Identity(), 5, None),
    ],
)
@pytest.mark.parametrize("method", ["grad_cam", "occlusion", "random"])
def test_a_network_that_ends_with_an_activation_is_named(end, classes, own, method) -> None:
    model = LoadedModel(Ended(end, classes), Preprocess((32, 32)), name="ended")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        explain_photos(model, Image.new("RGB", (40, 40), "teal"), method)
        silent = replace(model, activation="none")
        explain_photos(silent, Image.new("RGB", (40, 40), "teal"), method)
    wanted = [f"ended ends with a {own} of its own"] if own else []
    assert [str(one.message).partition(", so")[0] for one in told] == wanted
