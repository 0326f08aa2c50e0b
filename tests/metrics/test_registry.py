"""What the registry says of a metric is true of its function."""

from __future__ import annotations

from typing import Annotated

import pytest
import torch

import seewhy
from networks import Cnn
from registries import forgotten
from seewhy import Metric
from seewhy.metrics import METRICS, faithfulness, iou, metrics_of, quality, register_metric, sanity
from seewhy.metrics.localization import box_masks
from seewhy.metrics.registry import GIVEN, bare, list_metrics, metric
from seewhy.notes import Note
from seewhy.options import Range


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


def test_spelled_and_built_metrics_are_the_same_thing():
    built = Metric("iou", threshold=0.3)
    for spelled in ("iou(threshold=0.3)", " iou( threshold = .30 )", "iou(threshold=3e-1)"):
        assert metric(spelled) == built
        assert hash(metric(spelled)) == hash(built)
    assert str(built) == "iou(threshold=0.3)"
    assert metric(str(built)) == built == metric(built)
    assert built != Metric("iou")
    assert metric(iou) == Metric("iou")
    assert built.higher_is_better
    assert (built.range, built.needs, built.region) == ((0, 1), ("saliency", "masks"), "masks")
    assert metric("insertion(delete_with=0.5, steps=3)") == metric(
        "insertion(steps=3,delete_with=.5)"
    )


def test_metrics_in_their_shortest_spelling_each_once():
    asked = ["iou", "iou(threshold=0.5)", Metric("iou", threshold=1), "iou(threshold=1.0)", iou]
    assert [str(one) for one in metrics_of(asked)] == ["iou", "iou(threshold=1.0)"]
    asked = ["insertion", "insertion(steps=4)", "insertion(steps=32)"]
    assert [str(one) for one in metrics_of(asked)] == ["insertion", "insertion(steps=4)"]
    four = [str(one) for one in metrics_of(asked, {"steps": 4})]
    assert four == ["insertion", "insertion(steps=32)"]
    road = "road(removed=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])"
    assert [str(one) for one in metrics_of([road])] == ["road"]


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("iou(treshold=0.3)", "metric 'iou' has no option 'treshold'; did you mean 'threshold'"),
        ("iou(threshold=3)", "threshold=3; it should be a finite number, at least 0 and at most 1"),
        ("gini(power=2)", "metric 'gini' has no option 'power'; it takes none"),
        ("insertion(steps=0)", "steps=0; it should be a whole number, at least 1"),
        ("road(removed=[0.5, 1])", "removed="),
        ("insertion(steps=[])", "steps=()"),
        ("iou+gradual", "metrics take no refinements"),
        ("iou(", "cannot read the metric 'iou(': '(' was never closed"),
        ("iou(0.3)", "name each option"),
        (7, "metric is a int; it should be a name such as 'gini'"),
        (torch.relu, "relu is no metric yet: put @seewhy.metrics.register_metric"),
    ],
)
def test_errors_are_those_of_methods(spelled, message):
    with pytest.raises((ValueError, TypeError)) as error:
        metric(spelled)
    assert message in str(error.value)


def test_a_tensor_cannot_be_written_into_a_table():
    with pytest.raises(ValueError, match="insert_into is a tensor"):
        Metric("insertion", insert_into=torch.zeros(3, 1, 1))


def test_every_option_has_an_annotation_that_its_default_fits():
    for name, measure in METRICS.items():
        Metric(name, **measure.options)
        for option in measure.options:
            with pytest.raises(ValueError, match=f"{option}="):
                Metric(name, **{option: object()})


def test_a_metrics_own_options_come_before_those_of_its_needs():
    """Both functions get one value, which both allow; by default it is the metric's own."""
    with forgotten():

        @register_metric("a test", higher_is_better=True)
        def strict(iou, *, threshold: Annotated[float, Range(least=0.8)] = 0.9):
            return iou

        assert metric("strict").defaults == {"threshold": 0.9}
        for outside in (0.5, 1.5):
            with pytest.raises(ValueError, match=f"threshold={outside}; it should be"):
                metric(f"strict(threshold={outside})")
        metrics = [strict, "iou(threshold=0.9)"]
        one, other = seewhy.evaluate("scenes:resnet", "scenes:1", ["random"], metrics).summary()
        assert one.mean == other.mean


def test_a_function_becomes_a_metric():
    with forgotten():

        @register_metric("a test", "1F", higher_is_better=False, range=(0, 9))
        def peak(saliency, score, power=2.0):
            """The maximum."""

        found = metric("peak(power=3)")
        assert found.function is peak
        assert metric(peak) == metric("peak")
        assert (found.higher_is_better, found.range, found.passes) == (False, (0, 9), "1F")
        assert (found.source, found.summary) == ("a test", "The maximum.")
        assert found.defaults == {"power": 2.0}
        assert "peak" in list_metrics()

        def gini(saliency):
            """Mine."""

        with pytest.warns(Note, match="the metric 'gini' of seewhy.metrics.quality is replaced"):
            register_metric("mine", higher_is_better=True)(gini)

    def lost(saliency, mask):
        """Needs what there is not."""

    with pytest.raises(ValueError, match=r"'lost' needs 'mask', .* did you mean 'masks'"):
        register_metric("a test", higher_is_better=True)(lost)

    def score_of_photo(score):
        """Has no size."""

    with pytest.raises(ValueError, match="'score', which has no size of a photo"):
        register_metric("a test", higher_is_better=True, size="photo")(score_of_photo)
    assert not {"lost", "peak", "score_of_photo"} & {*METRICS}
    assert {bare(need) for one in METRICS.values() for need in one.all_needs} >= {*GIVEN}
