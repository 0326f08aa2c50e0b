"""What the registry says of a metric is true of its function."""

from __future__ import annotations

import pytest
import torch

from networks import Cnn
from seewhy.metrics import faithfulness, quality, sanity
from seewhy.metrics.localization import box_masks
from seewhy.metrics.registry import list_metrics, metric


@pytest.fixture(scope="module")
def given():
    """Everything that metrics need, of four small images."""
    torch.manual_seed(0)
    model = Cnn().eval()
    inputs = torch.randn(4, 3, 32, 32)
    saliency, other = torch.rand(2, 4, 32, 32)
    boxes = [torch.tensor([[18.0, 20, 31, 30]])] * 4
    score = faithfulness.class_probability(model, [0, 1, 2, 3])

    def explain(images, index):
        return images.abs().sum(1)

    given = {
        "saliency": saliency,
        "other_target_saliency": other,
        "masked_saliency": explain(inputs * saliency[:, None], None),
        "inputs": inputs,
        "boxes": boxes,
        "masks": box_masks(boxes, (32, 32)),
        "score": score,
        "explain": explain,
        "curves": faithfulness.insertion_deletion(score, inputs, saliency, steps=4),
        "road_curves": faithfulness.road_curves(score, inputs, saliency, removed=[0.5]),
        "cascade": sanity.randomization_cascade(model, lambda network: saliency),
        "regions": [torch.rand(3, 32, 32) > 0.5] * 4,
        "effects": [torch.rand(3)] * 4,
        **faithfulness.confidences(score, inputs, saliency)._asdict(),
    }
    given["half"] = faithfulness.half_confidences(score, inputs, saliency)
    given["other_method_masked"] = given["masked"].flip(0)
    given["coherency"] = quality.coherency(saliency, given["masked_saliency"])
    given["complexity"] = quality.complexity(saliency)
    given["average_drop"] = faithfulness.average_drop(given["original"], given["masked"])
    return given


@pytest.mark.parametrize("name", list_metrics())
def test_values_are_one_per_image_and_in_range(given, name):
    described = metric(name)
    values = described.function(*[given[need] for need in described.needs])
    low, high = described.range
    assert values.shape == (4,)
    assert ((values >= low) & (values <= high)).all()
    assert described.name == name
    assert described.source


def test_better_maps_score_better(given):
    """Where the truth is known, the stated direction holds: a perfect map against its opposite."""
    masks = given["masks"]
    perfect, opposite = masks.float(), 1 - masks.float()
    for name in ("pointing_game", "energy_pointing_game", "mass_accuracy", "rank_accuracy", "iou"):
        described = metric(name)
        good, bad = (described.function(map_, masks).mean() for map_ in (perfect, opposite))
        assert (good > bad) == described.higher_is_better
    box = metric("box_iou")
    assert (box.function(perfect, given["boxes"]) == 1).all()


def test_an_unknown_name_gives_the_nearest_or_all():
    with pytest.raises(ValueError, match="no metric 'pointing'; did you mean 'pointing_game'"):
        metric("pointing")
    with pytest.raises(ValueError, match="no metric 'x'; there are adcc, average_drop"):
        metric("x")
