"""Rows against the metrics' own arithmetic done by hand, and jobs that meet trouble."""

from __future__ import annotations

import csv
import json
import re
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import seewhy
from networks import Cnn, Segmenter, seeded
from registries import forgotten
from seewhy.bench.report import write_report
from seewhy.bench.store import Run
from seewhy.cli import common
from seewhy.cli.evaluate import tell
from seewhy.core.probe import Probe
from seewhy.data.dataset import Annotation, Dataset, Sample
from seewhy.data.images import ImageError
from seewhy.data.load import load_dataset
from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes import CATEGORIES, Scenes, export
from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.protocols import protocol
from seewhy.evaluation.rows import Answers, Row
from seewhy.evaluation.run import read
from seewhy.evaluation.task import Task
from seewhy.metrics import gini, metric, register_metric
from seewhy.models import LoadedModel
from seewhy.naming import METHODS, Entry
from seewhy.naming import method as named

CHEAP = ["grad_cam", "gradient"]


@pytest.fixture(scope="module")
def model():
    """A small untrained network that knows the scenes' categories."""
    net = seeded(Cnn, classes=len(CATEGORIES))
    return LoadedModel(net, Preprocess(resize=40, crop=32), CATEGORIES, "small", "sigmoid")


def table(evaluation):
    return {(r.image, r.target, r.method, r.metric): r.value for r in evaluation.rows}


def test_values_by_hand(model):
    """Pointing game, energy, drop, increase of three scenes, from maps made one by one."""
    metrics = ["pointing_game", "energy_pointing_game", "mass_accuracy", "average_drop", "increase"]
    found = table(seewhy.evaluate(model, "scenes:3", CHEAP, metrics, tolerance=5))
    scenes = Scenes(3)
    pairs = [(scene, label) for scene in scenes for label in dict.fromkeys(scene.labels)]
    assert len(found) == len(pairs) * len(CHEAP) * len(metrics)
    for scene, label in pairs:
        x = model.preprocess(scene.image)[None]
        k = CATEGORIES.index(label)
        own = [name == label for name in scene.labels]
        for method in CHEAP:
            (map_,) = seewhy.explain(model.module, x, method, k)
            with torch.no_grad():
                shown = map_.clamp_min(0)
                scaled = (shown - shown.min()) / (shown.max() - shown.min()).clamp_min(1e-30)
                before, after = model.module(torch.cat([x, x * scaled]))[:, k].sigmoid().tolist()
            # The photo of 128 pixels is resized to 40, of which the middle 32 are seen: input
            # pixel i lies under the photo's pixel (i + 4.5) * 3.2.
            centres = ((torch.arange(32) + 4.5) * 3.2).tolist()
            boxes = scene.boxes[own]
            in_box = torch.tensor([[any(
                x0 <= px < x1 and y0 <= py < y1 for x0, y0, x1, y1 in boxes
            ) for px in centres] for py in centres])  # fmt: skip
            mask = torch.from_numpy(scene.masks[own].any(0))
            in_mask = torch.tensor([[mask[int(py), int(px)] for px in centres] for py in centres])
            energy = map_.clamp_min(0)
            total = energy.sum().clamp_min(1e-30)
            peak = divmod(int(map_.argmax()), 32)
            at = torch.tensor([centres[i] for i in peak])
            expected = {
                "energy_pointing_game": float((energy * in_box).sum() / total),
                "mass_accuracy": float((energy * in_mask).sum() / total),
                "average_drop": max(0, before - after) / before,
                "increase": float(after > before),
            }
            key = (scene.key, label, method)
            for name, value in expected.items():
                assert found[*key, name] == pytest.approx(value, abs=1e-5), (key, name)
            # The upsampled map peaks within one input pixel of the map's own peak.
            distance = (mask.nonzero() + 0.5 - at).norm(dim=1).min()
            if distance < 5 - 3.2 or distance > 5 + 3.2:
                assert found[*key, "pointing_game"] == float(distance < 5), key


def test_layouts_agree(model, tmp_path):
    """The scenes exported as COCO and VOC give what the scenes give, up to JPEG's loss."""
    pytest.importorskip("pycocotools")
    metrics = ["energy_pointing_game", "average_drop"]
    direct = seewhy.evaluate(model, "scenes:3", CHEAP, metrics)
    for layout in ("voc", "coco"):
        root = export(tmp_path / layout, 3, layout)
        found = seewhy.evaluate(model, f"{layout}:{root}", CHEAP, metrics)
        assert [r.target for r in found.rows] == [r.target for r in direct.rows]
        assert [r.difficult for r in found.rows] == [r.difficult for r in direct.rows]
        for ours, theirs in zip(found.rows, direct.rows, strict=True):
            assert ours.value == pytest.approx(theirs.value, abs=0.05)


def test_results_do_not_depend_on_the_batch(model):
    metrics = ["pointing_game", "average_drop", "deletion", "target_selectivity", "coherency"]
    one, four = (
        seewhy.evaluate(model, "scenes:4", CHEAP, metrics, steps=4, batch_size=size)
        for size in (1, 4)
    )
    assert table(one).keys() == table(four).keys()
    for key, value in table(one).items():
        assert table(four)[key] == pytest.approx(value, abs=1e-4), key


# Of grids of photos, in test_grids.py.
@pytest.mark.parametrize("name", [n for n in seewhy.list_metrics() if n != "grid_pointing"])
def test_every_metric_can_be_asked(model, name):
    found = seewhy.evaluate(model, "scenes:2", CHEAP, [name], steps=4)
    assert not found.failures
    assert {row.method for row in found.rows} == set(CHEAP)
    low, high = metric(name).range
    assert all(low <= row.value <= high for row in found.rows)


class Counting(nn.Module):
    """Counts the images that go forward, after the black one whose outputs are checked first."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.images = net, -1

    def forward(self, x):
        self.images += len(x)
        return self.net(x)


def test_passes_are_shared(model):
    """One pass for all maps; one per method for all that reads the explanation maps."""
    counting = Counting(model.module)
    counted = replace(model, module=counting)
    scenes = load_dataset("scenes:3")
    pairs = sum(len(sample.annotations) for sample in scenes)
    local = ["pointing_game", "energy_pointing_game", "gini"]
    cams = ["grad_cam", "layer_cam", "xgrad_cam"]
    seewhy.evaluate(counted, scenes, cams, local)
    assert counting.images == 3
    counting.images = -1
    masked = ["average_drop", "increase", "win", "average_gain"]
    seewhy.evaluate(counted, scenes, cams, local + masked)
    assert counting.images == 3 + pairs * len(cams)
    counting.images = -1
    seewhy.evaluate(counted, scenes, cams, [*local, *masked, "coherency", "adcc"])
    assert counting.images == 3 + pairs * len(cams)
    counting.images = -1
    seewhy.evaluate(counted, scenes, cams[:1], ["insertion", "deletion"], steps=5)
    assert counting.images == 3 + pairs * (2 * 5 + 1)
    counting.images = -1
    seewhy.evaluate(counted, scenes, cams[:1], ["infidelity"])
    assert counting.images == 3 + pairs * 50  # the images themselves are not asked again


@pytest.mark.parametrize(
    ("spelled", "number"),
    [
        ("average_drop", 1),
        ("half_drop", 1),
        ("average_gain", 1),
        ("increase", 1),
        ("adcc", 1),
        ("single_deletion(side=3)", 3),
        ("infidelity(samples=4)", 4),
        ("max_sensitivity(samples=4)", 4),
        ("road(removed=[0.5])", 1),
        ("target_selectivity", 1),
    ],
)
def test_metrics_cost_the_passes_that_they_say(model, spelled, number):
    counting = Counting(model.module)
    scenes = load_dataset("scenes:1")
    seewhy.evaluate(replace(model, module=counting), scenes, "grad_cam", spelled)
    cost = {"0": 0, "1F": 1, "1E": 1, "SF": number, "SE": number, "2SF": 2 * number}
    cost["S²F"] = number**2
    pairs = sum(len(sample.annotations) for sample in scenes)
    assert counting.images == 1 + pairs * cost[metric(spelled).passes]


class Detections(nn.Module):
    """A list of what was found in each image, as torchvision's detectors return it."""

    def forward(self, x):
        return [{"scores": one.mean(0).flatten()[:3]} for one in x]


class Mask(nn.Conv2d):
    """One score per pixel, whose softmax over the classes is always 1."""

    def __init__(self) -> None:
        super().__init__(3, 1, 1)


SHARES = ", for a segmentation network scores.log_softmax"


@pytest.mark.parametrize(
    ("network", "returned", "such"),
    [
        (Segmenter, r"\(1, 4, 32, 32\)", SHARES),
        (Mask, r"\(1, 1, 32, 32\)", "; see"),
        (Detections, "a list", "; see"),
    ],
)
def test_a_network_without_a_score_per_class_is_refused_at_once(network, returned, such):
    """Once, and not for each image; advice about targets would be none here."""
    loaded = LoadedModel(seeded(network), Preprocess(resize=40, crop=32), name="dense")
    words = f"dense returns {returned}, .*one score per class, .* whose forward returns that{such}"
    with pytest.raises(ValueError, match=words):
        seewhy.evaluate(loaded, "scenes:2")


class Moody(nn.Module):
    """Breaks on dark photos."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        if (x.mean((1, 2, 3)) < -1.5).any():
            raise RuntimeError("too dark")
        return self.net(x)


def poisoned(dataset: Dataset) -> Dataset:
    """The second photo is black and the third cannot be read."""

    def read(key: str):
        sample = dataset.read(key)
        if key == dataset.keys[1]:
            return replace(sample, image=sample.image.point(lambda value: 0))
        if key == dataset.keys[2]:
            raise ImageError(f"photos/{key}.jpg: cut off")
        return sample

    return replace(dataset, read=read)


def test_a_poisoned_image_fails_alone(model):
    moody = replace(model, module=Moody(model.module))
    dataset = load_dataset("scenes:4")
    found = seewhy.evaluate(moody, poisoned(dataset), CHEAP, ["gini"])
    assert found.images == 4
    assert {row.image for row in found.rows} == {dataset.keys[0], dataset.keys[3]}
    reasons = {one.image: one.reason for one in found.failures}
    assert reasons == {
        dataset.keys[1]: "too dark",
        dataset.keys[2]: f"photos/{dataset.keys[2]}.jpg: cut off",
    }
    healthy = seewhy.evaluate(model, dataset, CHEAP, ["gini"])
    expected = table(healthy)
    assert all(expected[key] == pytest.approx(v, abs=1e-6) for key, v in table(found).items())


def test_samples_whose_rows_would_be_taken_for_others_fail_alone(model):
    """The first ended in a KeyError; of the second a summary counted one value of a label alone."""
    photo = Image.new("RGB", (40, 40))
    annotations = {
        "a": [Annotation(None)],
        "b": [Annotation("cat"), Annotation("dog"), Annotation("cat")],
        "c": [Annotation(None)],
        "d": [],
    }

    def read(key):
        return Sample(key.replace("a", "c"), photo, tuple(annotations[key]))

    found = seewhy.evaluate(model, Dataset("own", ("a", "b", "c", "d"), read), "random", "gini")
    assert [row.image for row in found.rows] == ["c"]
    assert {one.image: one.reason for one in found.failures} == {
        "a": "the sample of 'a' was read with the key 'c'",
        "b": "b: has 2 annotations of 'cat'; give one with all its objects",
    }
    assert found.left_out == {"no category is annotated in the image": 1}


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"boxes": [[0, 0, 9, 9]]}, "boxes=[[0, 0, 9, 9]]; it should be a dense tensor"),
        ({"boxes": torch.zeros(1, 3)}, "boxes=tensor([[0., 0., 0.]]); give finite numbers, (n, 4)"),
        ({"boxes": torch.full((1, 4), torch.nan)}, "give finite numbers, (n, 4)"),
        ({"mask": torch.ones(3, 3) > 0}, "mask is (3, 3); the photo is (30, 40)"),
        ({"label": 3}, "label=3; it should be a name, or None"),
        (None, "the sample of 'a' was read as None; give a Sample"),
    ],
)
def test_annotations_that_cannot_be_those_of_the_photo_are_named(model, about, reason):
    def read(key):
        photo = Image.new("RGB", (40, 30))
        return about and Sample(key, photo, (Annotation(**{"label": None, **about}),))

    (failure,) = seewhy.evaluate(model, Dataset("own", ("a",), read), "random", "gini").failures
    assert reason in failure.reason


def test_reading_ahead_gives_the_same_samples_in_the_same_order(model):
    dataset = poisoned(load_dataset("scenes:7"))
    task = Task(model, dataset, (), ())

    def seen(ahead):
        batches = [*read(task, dataset.keys, 2, ahead=ahead)]
        assert [len(batch) for batch in batches] == [2, 2, 2, 1]
        return [one for batch in batches for one in batch]

    for one, other in zip(seen(True), seen(False), strict=True):
        if isinstance(other, Answers):
            assert one == other
        else:
            assert one[0].key == other[0].key
            assert torch.equal(one[1], other[1])


def test_no_more_than_the_next_batch_is_read_ahead(model):
    dataset, asked = load_dataset("scenes:20"), []

    def noted(key):
        asked.append(key)
        return dataset.read(key)

    task = Task(model, replace(dataset, read=noted), (), ())
    batches = read(task, dataset.keys, 3, ahead=True)
    next(batches)
    batches.close()  # waits for what has begun
    assert 3 <= len(asked) <= 6


def test_a_method_that_refuses_costs_the_others_nothing(model):
    """They keep their batches, and their values; a method that refuses some images has the rest."""
    dataset, batches = load_dataset("scenes:4"), []

    with forgotten():

        @named("a test", "F")
        def refusing(probe: Probe) -> Tensor:
            raise ValueError("not this network")

        @named("a test", "F")
        def choosy(probe: Probe) -> Tensor:
            if (probe.inputs == model.preprocess(dataset[1].image)).flatten(1).all(1).any():
                raise ValueError("not this image")
            return probe.inputs.mean(1).abs()

        @named("a test", "F")
        def watching(probe: Probe) -> Tensor:
            batches.append(len(probe.inputs))
            return probe.inputs.mean(1).abs()

        some = ["refusing", "watching", *CHEAP]
        found = seewhy.evaluate(model, dataset, some, ["gini"], batch_size=4)
        assert set(batches) == {4}
        alone = seewhy.evaluate(model, dataset, some[1:], ["gini"], batch_size=4)
        assert found.rows == alone.rows
        assert {(one.image, one.method, one.reason) for one in found.failures} == {
            (key, "refusing", "not this network") for key in dataset.keys
        }
        found = seewhy.evaluate(model, dataset, ["choosy", *CHEAP], ["gini"], batch_size=4)
        assert {(one.image, one.method) for one in found.failures} == {(dataset.keys[1], "choosy")}
        of_choosy = {row.image for row in found.rows if row.method == "choosy"}
        assert of_choosy == {*dataset.keys} - {dataset.keys[1]}


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("broken", ["raises", "nan"])
def test_a_method_that_fails_for_a_target_has_the_others(model, broken, batch_size):
    """No other value changes, but for those that compare with the one that is not there."""
    failing: set[int] = set()

    with forgotten():

        @named("a test", "F")
        def fragile(probe: Probe) -> Tensor:
            classes = torch.tensor(probe.target.classes).reshape(-1)
            bad = torch.tensor([one in failing for one in classes.tolist()])
            if broken == "raises" and bad.any():
                raise ValueError("not this class")
            pixels = torch.arange(32 * 32).reshape(32, 32)
            maps = probe.inputs.mean(1).abs() + (pixels % (classes[:, None, None] + 2) == 0)
            return maps.where(~bad[:, None, None], torch.nan)

        # The comparison with other methods, of other targets, and one that asks for more maps.
        metrics = ["gini", "mass_accuracy", "win", "target_selectivity", "max_sensitivity"]
        asked = (model, "scenes:3", ["fragile", *CHEAP], metrics)
        whole = table(seewhy.evaluate(*asked, batch_size=batch_size))
        failing |= {CATEGORIES.index("icecream"), CATEGORIES.index("bird")}
        found = seewhy.evaluate(*asked, batch_size=batch_size)

    lost = {(scene.key, label) for scene in Scenes(3) for label in scene.labels}
    lost = {pair for pair in lost if pair[1] in ("icecream", "bird")}
    reason = "not this class" if broken == "raises" else "its map has values that are not finite"
    assert {(one.image, one.target, one.method, one.reason) for one in found.failures} == {
        (*pair, "fragile", reason) for pair in lost
    }
    values = table(found)
    # Two targets in the last image: nothing is left to compare the other one with.
    alone = {key for key in whole if key[0] == Scenes(3)[2].key and key[3] == "target_selectivity"}
    gone = {key for key in whole if key[2] == "fragile" and key[:2] in lost}
    gone |= {key for key in alone if key[2] == "fragile"}
    assert values.keys() == whole.keys() - gone
    compared = {key for key in whole if key[3] == "win" and key[:2] in lost}
    compared |= {key for key in whole if key[2:] == ("fragile", "target_selectivity")}
    for key in values.keys() - compared:
        assert values[key] == pytest.approx(whole[key], abs=1e-5), key


def ended(*_: object) -> None:
    sys.exit("told to")


def test_what_ends_the_process_fails_alone(model):
    """A method or a metric that would; a signal's handler does."""
    with forgotten():

        @named("a test", "F")
        def ending(probe: Probe) -> Tensor:
            sys.exit(3)

        @register_metric("a test", higher_is_better=True)
        def last(saliency):
            sys.exit(4)

        @named("a test", "F")
        def signalled(probe: Probe) -> Tensor:
            signal.raise_signal(signal.SIGTERM)
            return probe.inputs.mean(1)

        found = seewhy.evaluate(model, "scenes:2", ["ending", "random"], ["gini", last])
        assert {(row.method, row.metric) for row in found.rows} == {("random", "gini")}
        assert {(one.method, one.reason) for one in found.failures} == {
            ("ending", "ending ends the process (SystemExit: 3)"),
            ("random", "last: it ends the process (SystemExit: 4)"),
        }
        before = signal.signal(signal.SIGTERM, ended)
        try:
            with pytest.raises(SystemExit, match="told to"):
                seewhy.evaluate(model, "scenes:2", ["signalled"], ["gini"])
        finally:
            signal.signal(signal.SIGTERM, before)


@pytest.fixture
def own():
    """Metrics of one's own, which are forgotten afterwards."""
    with forgotten():
        yield register_metric("a test", higher_is_better=True)


def test_a_metric_that_raises_costs_its_own_values(model, own):
    """On one image one raises; another one writes onto what it is given."""
    dataset = load_dataset("scenes:3")
    marked = model.preprocess(dataset[1].image)

    @own
    def fragile(saliency, inputs):
        for image in inputs:
            if torch.equal(image, marked):
                raise RuntimeError("not this one")
        return saliency.flatten(1).sum(1)

    @own
    def careless(saliency, masks):
        return saliency.zero_().flatten(1).sum(1) + masks.zero_().flatten(1).sum(1)

    metrics = ["gini", "iou", "average_drop", "insertion"]
    alone = seewhy.evaluate(model, dataset, CHEAP, metrics, steps=2)
    found = seewhy.evaluate(model, dataset, CHEAP, [fragile, careless, *metrics], steps=2)
    assert [row for row in found.rows if row.metric in metrics] == list(alone.rows)
    assert {row.image for row in found.rows if row.metric == "fragile"} == set(dataset.keys[::2])
    targets = {row.target for row in alone.rows if row.image == dataset.keys[1]}
    assert {(one.image, one.target, one.method, one.reason) for one in found.failures} == {
        (dataset.keys[1], target, method, "fragile: not this one")
        for target in targets
        for method in CHEAP
    }


def test_a_metric_that_raises_for_a_target_has_the_other_targets(model, own):
    @own
    def small_only(masks):
        if (masks.flatten(1).sum(1) > 50).any():
            raise RuntimeError("too large")
        return masks.flatten(1).sum(1) / 50

    @own
    def most(masks):
        return masks.flatten(1).sum(1)

    found = table(seewhy.evaluate(model, "scenes:3", ["random"], [small_only, most]))
    sizes = {key[:2]: size for key, size in found.items() if key[3] == "most"}
    small = {key for key, size in sizes.items() if size <= 50}
    assert {image for image, _ in small} & {image for image, _ in sizes.keys() - small}
    assert {key[:2] for key in found if key[3] == "small_only"} == small


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (lambda maps: maps.sum(), r"its function returned \(\); it should be one value per image"),
        (lambda maps: maps.sum(1), r"its function returned \(\d, 32\)"),
        (lambda maps: [1.0], "its function returned list"),
        (lambda maps: maps.sum((1, 2)) / 0, "inf is no finite number$"),
    ],
)
def test_a_metric_that_returns_something_else_says_so(model, own, returned, what):
    def odd(saliency):
        return returned(saliency)

    own(odd)
    found = seewhy.evaluate(model, "scenes:1", ["random"], ["odd", "gini"])
    assert {row.metric for row in found.rows} == {"gini"}
    failure, *_ = found.failures
    assert re.search(f"odd: {what}", failure.reason)


def test_options_make_columns_of_their_own(model):
    asked = ["iou", "iou(threshold=0.50)", seewhy.Metric("iou", threshold=0.2), gini, "insertion",
             "insertion(steps=3)", "pointing_game", "pointing_game(tolerance=1)"]  # fmt: skip
    found = seewhy.evaluate(model, "scenes:2", ["gradient"], asked, steps=2, tolerance=20)
    columns = ["iou", "iou(threshold=0.2)", "gini", "insertion", "insertion(steps=3)",
               "pointing_game", "pointing_game(tolerance=1)"]  # fmt: skip
    assert list(dict.fromkeys(row.metric for row in found.rows)) == columns
    values = {name: [row.value for row in found.rows if row.metric == name] for name in columns}
    assert {len(row.curve) for row in found.rows if row.metric == "insertion(steps=3)"} == {4}
    assert {len(row.curve) for row in found.rows if row.metric == "insertion"} == {3}
    for plain, options in (("insertion", {"steps": 3}), ("pointing_game", {"tolerance": 1})):
        (spelled,) = (name for name in columns if name.startswith(f"{plain}("))
        other = seewhy.evaluate(model, "scenes:2", ["gradient"], [plain], **options)
        assert [row.value for row in other.rows] == values[spelled]
    for place, row in enumerate(row for row in found.rows if row.metric == "iou"):
        scene = next(one for one in Scenes(2) if one.key == row.image)
        (map_,) = seewhy.explain(
            model.module, model.preprocess(scene.image)[None], "gradient", row.class_index
        )
        mask = torch.from_numpy(scene.masks[[one == row.target for one in scene.labels]].any(0))
        at = [int((i + 4.5) * 3.2) for i in range(32)]
        mask = mask[at][:, at]
        for name, threshold in (("iou", 0.5), ("iou(threshold=0.2)", 0.2)):
            part = map_.clamp_min(0) / map_.max() >= threshold
            expected = float((part & mask).sum() / (part | mask).sum())
            assert values[name][place] == pytest.approx(expected, abs=0.02)
    assert {one.metric for one in found.summary()} == set(columns)


def test_black_pixels_are_those_of_the_network(model):
    """They were the mean colour, which is 0 in the network's input."""
    black = model.preprocess.black
    asked = [
        "deletion(delete_with='black', steps=4)",
        f"deletion(delete_with={black}, steps=4)",
        "deletion(steps=4)",
        "single_deletion(fill='black')",
        f"single_deletion(fill={black})",
    ]
    found = seewhy.evaluate(model, "scenes:2", "grad_cam", asked)
    values = [found.values.table(name).values.tolist() for name in found.values.metrics]
    assert len(values) == 5
    assert values[0] == values[1] != values[2]
    assert values[3] == values[4]


def test_a_metric_may_compare_with_other_methods_and_targets(model, own):
    @own
    def ahead(saliency, other_method_saliency):
        return (saliency - other_method_saliency).flatten(1).amax(1)

    @own
    def apart(saliency, other_target_saliency):
        return (saliency - other_target_saliency).abs().flatten(1).sum(1)

    @own
    def doubled_gini(gini):
        return 2 * gini

    methods = ["grad_cam", "gradient", "random"]
    found = seewhy.evaluate(model, "scenes:1", methods, [ahead, apart, doubled_gini, "gini"])
    (scene,) = Scenes(1)
    x = model.preprocess(scene.image)[None]
    classes = list(dict.fromkeys(row.class_index for row in found.rows))
    maps = {(k, m): seewhy.explain(model.module, x, m, k)[0] for k in classes for m in methods}
    assert len(classes) > 1
    for row in found.rows:
        mine = maps[row.class_index, row.method]
        if row.metric == "ahead":
            others = [maps[row.class_index, m] for m in methods if m != row.method]
            expected = sum(float((mine - one).max()) for one in others) / 2
        elif row.metric == "apart":
            others = [maps[k, row.method] for k in classes if k != row.class_index]
            expected = sum(float((mine - one).abs().sum()) for one in others) / len(others)
        else:
            expected = float(gini(mine[None])) * (2 if row.metric == "doubled_gini" else 1)
        assert row.value == pytest.approx(expected, rel=1e-4, abs=1e-6), row
    with pytest.raises(ValueError, match="the metric 'ahead' compares methods"):
        seewhy.evaluate(model, "scenes:1", ["random"], [ahead])


def test_only_targets_that_are_annotated_are_compared_with(model, own):
    """Else an unknown outline would count as an empty one."""

    @own
    def of_others(saliency, other_target_masks):
        return other_target_masks.float().mean((1, 2))

    @own
    def hit_elsewhere(saliency, other_target_mass_accuracy):
        return other_target_mass_accuracy

    half = torch.zeros(40, 40, dtype=torch.bool)
    half[:20] = True
    box = torch.tensor([[0.0, 0, 40, 40]], dtype=torch.float64)
    marked = [Annotation(CATEGORIES[n], box, half) for n in (0, 1)]
    sample = Sample("one", Image.new("RGB", (40, 40)), (*marked, Annotation(CATEGORIES[2], box)))
    bare = replace(sample, key="two", annotations=sample.annotations[1:])
    samples = {"one": sample, "two": bare}
    dataset = Dataset("some", tuple(samples), samples.__getitem__)
    found = seewhy.evaluate(model, dataset, ["random"], [of_others, hit_elsewhere])
    assert not found.failures
    values = table(found)
    assert {key[:2] for key in values} == {
        *(("one", name) for name in CATEGORIES[:3]), ("two", CATEGORIES[2])
    }  # fmt: skip
    assert {value for key, value in values.items() if key[3] == "of_others"} == {0.5}


class Flat(nn.Module):
    """No maps for the CAM family."""

    def forward(self, x):
        return x.mean((2, 3)) @ torch.ones(3, len(CATEGORIES))


def test_a_method_that_does_not_work_leaves_the_others(model):
    flat = replace(model, module=Flat())
    found = seewhy.evaluate(flat, "scenes:2", ["grad_cam", "gradient"], ["gini"])
    assert {row.method for row in found.rows} == {"gradient"}
    assert {one.method for one in found.failures} == {"grad_cam"}
    assert "found no layer with maps" in found.failures[0].reason


@pytest.mark.parametrize("folder", [None, "run"])
def test_the_others_are_compared_with_the_first_that_is_named(model, tmp_path, folder):
    """Also where it failed on the first image."""
    dataset = load_dataset("scenes:3")
    with forgotten():

        @named("a test", "F")
        def choosy(probe: Probe) -> Tensor:
            if (probe.inputs == model.preprocess(dataset[0].image)).flatten(1).all(1).any():
                raise ValueError("not this image")
            return probe.inputs.mean(1).abs()

        kept = {"folder": tmp_path / folder} if folder else {}
        found = seewhy.evaluate(model, dataset, ["choosy", *CHEAP], ["gini"], **kept)
    assert found.values.methods != found.methods == ("choosy", *CHEAP)
    assert {one.other for one in found.comparisons(found.first)} == {"choosy"}


def test_a_job_goes_on_where_it_was_cut_off(model, tmp_path):
    dataset = load_dataset("scenes:4")
    read = []

    def watched(key: str):
        read.append(key)
        if len(read) == 3:
            raise KeyboardInterrupt
        return dataset.read(key)

    cut = replace(dataset, read=watched)
    arguments = {"batch_size": 1, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        seewhy.evaluate(model, cut, CHEAP, ["gini"], **arguments)
    (tmp_path / "rows" / "00002.parquet.tmp").write_bytes(b"PAR1")  # it was in the middle of a file
    read[:] = []
    advanced = []
    found = seewhy.evaluate(
        model, replace(dataset, read=lambda key: read.append(key) or dataset.read(key)),
        CHEAP, ["gini"], advance=advanced.append, **arguments,
    )  # fmt: skip
    assert read == list(dataset.keys[2:])
    assert advanced == [2, 1, 1]
    assert found.rows == seewhy.evaluate(model, dataset, CHEAP, ["gini"], batch_size=1).rows
    with pytest.raises(ValueError, match=r"other settings \(config.metrics\)"):
        seewhy.evaluate(model, dataset, CHEAP, ["entropy"], **arguments)
    other = replace(model, module=Cnn(classes=len(CATEGORIES)))
    with pytest.raises(ValueError, match=r"other settings \(weights.small"):
        seewhy.evaluate(other, dataset, CHEAP, ["gini"], **arguments)
    write_report(Run.open(tmp_path), tmp_path / "page.html", images=0)
    assert "on 4 images of scenes:4, with small." in (tmp_path / "page.html").read_text()


def test_what_failed_is_tried_again(model, tmp_path):
    dataset = load_dataset("scenes:3")
    before = seewhy.evaluate(model, poisoned(dataset), CHEAP, ["gini"], folder=tmp_path)
    after = seewhy.evaluate(model, dataset, CHEAP, ["gini"], folder=tmp_path)
    assert len(before.failures) == 1
    assert not after.failures
    assert {row.image for row in after.rows} == set(dataset.keys)


def test_what_the_question_leaves_out_is_counted(model):
    dataset = load_dataset("scenes:6")
    targets = [(s.key, a.label) for s in dataset for a in s.annotations]
    known = {label: [CATEGORIES.index(label)] for label in CATEGORIES[:9]}
    found = seewhy.evaluate(model, dataset, ["random"], ["gini"], class_map=known, top=3)
    with torch.no_grad():
        logits = {s.key: model.module(model.preprocess(s.image)[None])[0] for s in dataset}
    kept = [
        (key, label)
        for key, label in targets
        if label in known and CATEGORIES.index(label) in logits[key].topk(3).indices
    ]
    assert [(row.image, row.target) for row in found.rows] == kept
    unknown = sum(label not in known for _, label in targets)
    assert found.left_out == {
        "the network has no class for this category": unknown,
        "not among the network's 3 likeliest classes": len(targets) - unknown - len(kept),
    }
    assert not found.failures


@pytest.mark.parametrize("top", [1, 2, 4, 8])
def test_top_counts_the_class_itself(model, top):
    dataset = load_dataset("scenes:12")
    expected = []
    for sample in dataset:
        with torch.no_grad():
            likeliest = model.module(model.preprocess(sample.image)[None])[0].topk(top).indices
        names = [CATEGORIES[k] for k in likeliest.tolist()]
        expected += [(sample.key, a.label) for a in sample.annotations if a.label in names]
    found = seewhy.evaluate(model, dataset, ["random"], ["gini"], top=top)
    assert {(row.image, row.target) for row in found.rows} == set(expected)


def peaked(at: tuple[int, int]) -> Entry:
    """A method whose maps are negative everywhere and highest at one input pixel (x, y)."""

    def function(probe):
        height, width = probe.inputs.shape[-2:]
        y, x = torch.arange(height)[:, None] - at[1], torch.arange(width) - at[0]
        return -(1.0 + x**2 + y**2).expand(len(probe.inputs), -1, -1)

    return Entry("peaked", function, "", "0")


@pytest.mark.parametrize(("tolerance", "hit"), [(15, 0), (19, 0), (19.5, 1)])
def test_tolerance_is_in_pixels_of_the_photo(model, monkeypatch, tolerance, hit):
    """The photo is squashed by 4 sideways: the peak is 5 pixels away on the input, 19 on it."""
    monkeypatch.setitem(METHODS, "peaked", peaked((20, 25)))
    squashing = replace(model, preprocess=Preprocess(resize=(50, 50)))
    box = Annotation(CATEGORIES[0], torch.tensor([[100.0, 0, 200, 100]]).double())
    dataset = Dataset("one", ("a",), lambda key: Sample(key, Image.new("RGB", (200, 100)), (box,)))
    found = seewhy.evaluate(squashing, dataset, ["peaked"], ["pointing_game"], tolerance=tolerance)
    assert [row.value for row in found.rows] == [hit]


@pytest.mark.parametrize(("side", "hit"), [(500, 0), (250, 1), (100, 0)])
def test_the_usual_tolerance_shrinks_with_small_photos(model, monkeypatch, side, hit):
    """15 pixels of 500 are 7.5 of 250 and 3 of 100; the peak is 20, 6 and 4 pixels off the box."""
    distance = {500: 20, 250: 6, 100: 4}[side]
    monkeypatch.setitem(METHODS, "peaked", peaked((10, 10)))
    same = replace(model, preprocess=Preprocess())
    left = 10.0 + distance
    box = Annotation(CATEGORIES[0], torch.tensor([[left, 0, side, side]]).double())
    photo = Image.new("RGB", (side, side))
    dataset = Dataset("one", ("a",), lambda key: Sample(key, photo, (box,)))
    found = seewhy.evaluate(same, dataset, ["peaked"], ["pointing_game"])
    assert [row.value for row in found.rows] == [hit]
    (row,) = seewhy.evaluate(same, dataset, ["peaked"], ["pointing_game"], tolerance=21).rows
    assert row.value == 1


def test_what_the_network_never_saw_is_not_salient(model, monkeypatch):
    """The map is negative, so that zeros outside of the crop would be its maximum."""
    monkeypatch.setitem(METHODS, "peaked", peaked((16, 16)))
    middle = Annotation(CATEGORIES[0], torch.tensor([[90.0, 40, 110, 60]]).double())
    photo = Image.new("RGB", (200, 100))
    dataset = Dataset("one", ("a",), lambda key: Sample(key, photo, (middle,)))
    found = seewhy.evaluate(model, dataset, ["peaked"], ["pointing_game"], tolerance=0)
    assert [row.value for row in found.rows] == [1]


def test_the_likeliest_of_several_classes_is_explained(model):
    (sample,) = load_dataset("scenes:1")
    everything = {label: range(len(CATEGORIES)) for label in CATEGORIES}
    found = seewhy.evaluate(model, "scenes:1", ["random"], ["gini"], class_map=everything)
    with torch.no_grad():
        logits = model.module(model.preprocess(sample.image)[None])[0]
    assert {row.class_index for row in found.rows} == {int(logits.argmax())}
    assert found.rows[0].probability == pytest.approx(float(logits.max().sigmoid()))


def test_the_difficult_subset(model):
    """Zhang et al.: boxes over less than a quarter, and another category in the image."""
    dataset = load_dataset("scenes:12")
    found = seewhy.evaluate(model, dataset, ["random"], ["gini"])
    expected = {}
    for sample in dataset:
        for one in sample.annotations:
            cells = torch.zeros(128, 128)
            for x0, y0, x1, y1 in one.boxes.long().tolist():
                cells[y0:y1, x0:x1] = 1
            hard = len(sample.annotations) > 1 and float(cells.mean()) < 0.25
            expected[sample.key, one.label] = hard
    assert {(r.image, r.target): r.difficult for r in found.rows} == expected
    assert len(set(expected.values())) == 2


def test_a_target_outside_of_the_crop_is_left_out(model):
    narrow = replace(model, preprocess=Preprocess(resize=64, crop=8))
    found = seewhy.evaluate(narrow, "scenes:4", ["random"], ["energy_pointing_game"])
    visible = {
        (sample.key, one.label)
        for sample in load_dataset("scenes:4")
        for one in sample.annotations
        if any(x0 < 72 and x1 > 56 and y0 < 72 and y1 > 56 for x0, y0, x1, y1 in one.boxes.tolist())
    }
    assert {(row.image, row.target) for row in found.rows} == visible
    assert sum(found.left_out.values()) > 0


def test_tables_on_disk(model, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    found = seewhy.evaluate(model, "scenes:2", CHEAP, ["gini", "increase"])
    files = {path.name for path in found.save(tmp_path)}
    assert files == {"rows.csv", "rows.parquet", "summary.csv", "comparisons.csv", "omissions.csv"}
    columns = parquet.read_table(tmp_path / "rows.parquet").to_pydict()
    assert columns["value"] == [row.value for row in found.rows]
    assert columns["difficult"] == [row.difficult for row in found.rows]
    with (tmp_path / "rows.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["value"]) for line in lines] == columns["value"]
    with (tmp_path / "summary.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_the_network_is_left_as_it_was(model):
    model.module.train()
    state = {name: t.clone() for name, t in model.module.state_dict().items()}
    metrics = ["parameter_randomization", "average_drop", "coherency"]
    try:
        seewhy.evaluate(model, "scenes:1", CHEAP, metrics)
        assert all(module.training for module in model.module.modules())
    finally:
        model.module.eval()
    assert all(torch.equal(t, state[name]) for name, t in model.module.state_dict().items())
    assert all(p.grad is None for p in model.module.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": []}, "methods is empty"),
        ({"methods": ["grad_camm"]}, "did you mean 'grad_cam'"),
        ({"metrics": ["pointing"]}, "there is no metric 'pointing'"),
        ({"methods": ["tsgb"], "metrics": ["win"]}, "name two at least"),
        ({"dataset": "scenes:0"}, "dataset is empty"),
        ({"top": 0}, "top=0"),
        ({"top": True}, "top=True; it should be a whole number"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, "batch_size=2.5; it should be a whole number"),
        ({"steps": 10**9}, "steps=1000000000; it should be .* at most 100,000"),
        ({"tolerance": float("nan")}, "tolerance=nan; it should be a finite number"),
        ({"layer": []}, "layer is an empty list"),
        ({"class_map": {"fish": 3}}, "class_map: 'fish' has 3; give a list of class indices"),
        ({"layer": "conv9"}, "no layer 'conv9'"),
        ({"class_map": "nowhere.json"}, "nowhere.json: no such file"),
    ],
)
def test_wrong_options_are_named(model, options, message):
    with pytest.raises(ValueError, match=message):
        seewhy.evaluate(**{"model": model, "dataset": "scenes:1", **options})


def test_numbers_of_numpy_and_torch_are_taken(model):
    def values(number, real, index):
        options = {"top": number(9), "steps": number(3), "tolerance": real(2)}
        known = {label: [index(place)] for place, label in enumerate(CATEGORIES)}
        asked = ["pointing_game", "insertion"]
        found = seewhy.evaluate(
            model, "scenes:1", "random", asked, class_map=known, batch_size=number(2), **options
        )
        return found.rows

    expected = values(int, float, int)
    assert expected
    assert values(np.int64, np.float32, np.int64) == expected
    assert values(float, float, int) == expected
    assert values(torch.tensor, torch.tensor, torch.tensor) == expected


def test_a_bare_module_needs_its_preprocessing(model):
    with pytest.raises(TypeError, match="LoadedModel"):
        seewhy.evaluate(model.module, "scenes:1")


def test_command_line(run, tmp_path):
    out = tmp_path / "graded"
    arguments = ("evaluate", "scenes:2", "--method", "grad_cam", "--method", "random",
                 "--metric", "gini", "--metric", "increase", "--out", str(out))  # fmt: skip
    shown = run(*arguments).output
    assert "scenes:resnet on 2 images of scenes:2" in shown
    assert "gini, higher is better" in shown
    assert (out / "rows.csv").is_file()
    records = [json.loads(line) for line in run(*arguments, "--json").stdout.splitlines()]
    assert {(one["metric"], one["method"]) for one in records} == {
        ("gini", "grad_cam"), ("gini", "random"), ("increase", "grad_cam"), ("increase", "random")
    }  # fmt: skip
    said = run(*arguments, "--metric", "entropy", code=2).output
    assert "other settings (config.metrics)" in said
    assert "there is no protocol 'gig'" in run(*arguments[:2], "--protocol", "gig", code=2).output
    listed = json.loads(run("metrics", "--json").stdout)
    assert [one["name"] for one in listed] == seewhy.list_metrics()
    assert "energy_pointing_game" in run("metrics").output


def test_command_line_reads_answers_as_other_commands_do(run, tmp_path):
    arguments = ("evaluate", "scenes:2", "--method", "random", "--metric", "gini", "--out")
    run(*arguments, str(tmp_path), "--activation", "none")
    with (tmp_path / "rows.csv").open() as file:
        told = [float(row["probability"]) for row in csv.DictReader(file)]
    network = seewhy.load_model("scenes:resnet", activation="none")
    found = seewhy.evaluate(network, "scenes:2", ["random"], ["gini"])
    assert told == [row.probability for row in found.rows]
    assert "(--text) is for text-image" in run(*arguments, "a", "--text", "cat", code=2).output


@pytest.mark.parametrize("columns", [20, 40, 64])
def test_command_line_leaves_nothing_out_on_a_narrow_terminal(run, tmp_path, monkeypatch, columns):
    monkeypatch.setattr(common.out, "_width", columns)
    said = run("evaluate", "scenes:2", "--metric", "gini", "--out", str(tmp_path)).stdout
    with (tmp_path / "summary.csv").open() as file:
        for one in csv.DictReader(file):
            figures = [f"{float(one[name]):.3f}" for name in ("mean", "low", "high", "class_mean")]
            row = r"^ {} +{} +{} … {} +{} ".format(one["method"], *figures)
            assert re.search(row, said, re.MULTILINE)


@pytest.mark.parametrize("method", ["grad_cam", "random"])
def test_command_line_notes_once_that_a_network_ends_with_an_activation(
    run, tmp_path, monkeypatch, method
):
    (tmp_path / "ended.py").write_text(
        "import seewhy, torch\n"
        "loaded = seewhy.load_model('scenes:resnet')\n"
        "net = torch.nn.Sequential(loaded.module, torch.nn.Softmax(1))\n"
        "model = seewhy.LoadedModel(net, loaded.preprocess, loaded.classes, 'ended')\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = ("--method", method, "--metric", "gini", "--batch-size", "1")
    told = run("evaluate", "scenes:2", "--model", "ended:model", *arguments).stderr
    assert told.count("ends with a softmax of its own") == 1


def test_command_line_without_the_benchs_packages_overwrites_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr("seewhy.bench.find_spec", lambda package: None)
    (tmp_path / "rows.csv").write_text("mine")
    said = run("evaluate", "scenes:1", "--metric", "gini", "--out", str(tmp_path), code=2).output
    assert "is not empty; name a new folder" in said
    assert (tmp_path / "rows.csv").read_text() == "mine"


def test_command_line_tells_of_failures(run, tmp_path):
    root = export(tmp_path / "voc", 2, "voc")
    broken = next((root / "VOCdevkit/VOC2012/JPEGImages").iterdir())
    broken.write_bytes(b"")
    arguments = ("evaluate", f"voc:{root}", "--method", "random", "--metric", "gini", "--out")
    shown = run(*arguments, str(tmp_path / "out"), code=1).output
    assert broken.name in shown
    assert "random" in shown


def test_protocols_print_published_figures_as_such(run, tmp_path):
    shown = run("evaluate", "scenes:1", "--protocol", "gig-cam", "--method", "gig_cam(steps=2)",
                "--out", str(tmp_path / "out")).output  # fmt: skip
    assert "Published figures are the paper's, of other networks and photos." in shown
    for figure in ("82.80", "85.90", "62.41", "59.69", "22.59", "17.04", "31.00", "21.95"):
        assert figure in shown


def test_names_like_markup_are_printed_beside_published_figures(capsys):
    papers = protocol("gig-cam")
    rows = [Row("a", "", 0, 0.5, False, papers.methods[0], "average_drop", 0.25)]
    tell(Evaluation.of([Answers("a", tuple(rows))]), "own:net[/b]", "folder:a[b]", papers)
    measured = next(line for line in capsys.readouterr().out.splitlines() if "measured" in line)
    assert measured.split()[-3:] == ["own:net[/b]", "folder:a[b]", "25.00"]


def test_a_folder_whose_name_is_too_long_is_named(run, tmp_path):
    arguments = ["scenes:1", "--metric", "gini", "--out", str(tmp_path / ("x" * 300))]
    said = run("evaluate", *arguments, code=2).output
    assert "x: File name too long; name a new folder with folder= (--out)" in said


@pytest.fixture
def run(monkeypatch):
    from typer.testing import CliRunner

    from seewhy.cli import app

    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str, code: int = 0):
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output + str(result.exception)
        return result

    return call


def test_real_pairs_are_those_of_an_independent_list(shared):
    """The photos' list, made by other code, names the pairs, their classes and probabilities."""
    pytest.importorskip("pycocotools")
    real = shared / "real"
    network = seewhy.load_model(
        "torchvision:mobilenet_v2",
        weights=real / "weights/mobilenet_v2_imagenet.safetensors",
        preprocess=Preprocess(resize=(256, 256), mean=(0.5,) * 3, std=(0.5,) * 3),
    )
    photos = seewhy.load_dataset(f"coco:{real / 'coco'}")[::4]
    found = seewhy.evaluate(
        network, photos, ["random"], ["gini"], top=5,
        class_map=real / "coco/coco_to_imagenet.json", batch_size=1,
    )  # fmt: skip
    expected = {
        (pair["file_name"], pair["category"]): (pair["imagenet_class"], pair["prob"])
        for pair in json.loads((real / "coco/pairs.json").read_text())
        if pair["file_name"] in photos.keys
    }
    assert len(expected) > 10
    assert {(row.image, row.target) for row in found.rows} == expected.keys()
    for row in found.rows:
        index, probability = expected[row.image, row.target]
        assert row.class_index == index
        # Pillow's releases decode and resize a photo to within a grey level of each other.
        assert row.probability == pytest.approx(probability, abs=2e-3)


def test_a_single_output_tells_two_classes_apart(model):
    """Both classes are graded, each by its own side of the logit."""
    binary = LoadedModel(seeded(Cnn, classes=1), model.preprocess, ("crack",), "binary")
    scenes = [scene.image for scene in Scenes(2)]

    def read(key):
        label = "crack" if key == "0" else "not crack"
        box = torch.tensor([[20.0, 20, 100, 100]], dtype=torch.float64)
        return Sample(key, scenes[int(key)], (Annotation(label, box),))

    metrics = ["energy_pointing_game", "average_drop", "deletion", "coherency"]
    found = seewhy.evaluate(binary, Dataset("two", ("0", "1"), read), CHEAP, metrics, steps=4)
    assert not found.failures
    assert len(found.rows) == 2 * len(CHEAP) * len(metrics)
    for row in found.rows:
        x = binary.preprocess(scenes[int(row.image)])[None]
        sign = 1 if row.image == "0" else -1
        with torch.no_grad():
            expected = (sign * binary.module(x)[0, 0]).sigmoid().item()
        assert row.class_index == (1 if row.image == "0" else 0)
        assert row.probability == pytest.approx(expected)
        if row.metric == "average_drop":
            (map_,) = seewhy.explain(
                binary.module, x, row.method, lambda outputs, sign=sign: sign * outputs[:, 0]
            )
            scaled = (map_ - map_.min()) / (map_.max() - map_.min()).clamp_min(1e-30)
            with torch.no_grad():
                after = (sign * binary.module(x * scaled)[0, 0]).sigmoid().item()
            assert row.value == pytest.approx(max(0, expected - after) / expected, abs=1e-5)
