"""From a dataset to rows: every method's maps, made once, graded by every metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

import seewhy.methods  # noqa: F401 - registers methods and refinements
from seewhy.core.probe import Probe
from seewhy.data.class_map import ClassMap, classes_by_name, plain
from seewhy.data.dataset import Annotation, Dataset, Sample
from seewhy.evaluation.evidence import LOCALIZATION, Batch, Evidence, Pair, region_of, unasked
from seewhy.evaluation.rows import Answers, Omission, Row
from seewhy.metrics import Metric, difficult
from seewhy.models import LoadedModel
from seewhy.naming import Method
from seewhy.printable import printable


@dataclass(frozen=True, eq=False)
class Question:
    """What is evaluated; see `seewhy.evaluate` for the parts."""

    model: LoadedModel
    dataset: Dataset
    methods: tuple[Method, ...]
    metrics: tuple[Metric, ...]
    class_map: ClassMap | None = None
    layer: str | Sequence[str] | None = None
    top: int | None = None
    tolerance: float | None = None
    steps: int = 32


def answers(question: Question, keys: Sequence[str], batch_size: int) -> Iterator[Answers]:
    """The answers of the samples of `keys`, one by one as they come.

    An image that cannot be read, or on which the network or a method fails, is answered by
    omissions; the others of its batch are not touched by that.
    """
    classes = classes_of(question)
    model = question.model
    for start in range(0, len(keys), batch_size):
        readable: list[tuple[Sample, Tensor]] = []
        for key in keys[start : start + batch_size]:
            try:
                sample = question.dataset.read(key)
                readable.append((sample, model.preprocess(sample.image).to(model.device)))
            except Exception as error:  # a dataset may be anyone's, too
                yield Answers(key, (), (Omission(key, "", "", _reason(error), True),))
        for _, group in groupby(readable, key=lambda one: one[1].shape):
            samples, inputs = zip(*group, strict=True)
            yield from _answers(question, classes, samples, torch.stack(inputs))


def _answers(
    question: Question,
    classes: Callable[[str], tuple[int, ...]],
    samples: Sequence[Sample],
    inputs: Tensor,
) -> Iterator[Answers]:
    """Answers for a batch; where it fails as a whole, each image is tried by itself."""
    try:
        found = _answer_together(question, classes, samples, inputs)
    except Exception as error:  # networks and methods are anyone's, and so are their errors
        reason = _reason(error)
    else:
        yield from found
        return
    # Outside of the handler, where the error no longer holds the batch in memory.
    if len(samples) == 1:
        key = samples[0].key
        yield Answers(key, (), (Omission(key, "", "", reason, True),))
        return
    for place, sample in enumerate(samples):
        yield from _answers(question, classes, [sample], inputs[place : place + 1])


def _answer_together(
    question: Question,
    classes: Callable[[str], tuple[int, ...]],
    samples: Sequence[Sample],
    inputs: Tensor,
) -> list[Answers]:
    """The answers of one batch. Its first error is raised, unless it has a single image."""
    omissions: list[Omission] = []
    rows: list[Row] = []
    black = question.model.preprocess.black
    probe = Probe(question.model.module, inputs, None, question.layer, black=black)
    probe.expect_for(question.methods)
    pairs = []
    for place, sample in enumerate(samples):
        own, left_out = _pairs(question, classes, place, sample, probe.logits[place])
        pairs.append(own)
        omissions += left_out

    # The first target of every image, then the second: each round shares the one forward pass.
    rounds = [[own for own in pairs if len(own) > turn] for turn in range(max(map(len, pairs)))]
    asked = [[own[turn] for own in some] for turn, some in enumerate(rounds)]
    flat = [pair for some in asked for pair in some]
    if not flat:
        return _by_image(samples, rows, omissions)
    probes = []
    for some in asked:
        targets = dict.fromkeys(range(len(samples)), 0) | {p.place: p.class_index for p in some}
        probes.append(probe.with_target(question.model.target(list(targets.values()))))
    batch = Batch(
        question.model,
        flat,
        inputs[[pair.place for pair in flat]],
        region=question.dataset.region,
        cells=question.dataset.grid > 0,
        layer=question.layer,
        explain_again=any({"masked_saliency", "coherency"} & {*m.needs} for m in question.metrics),
        tolerance=question.tolerance,
        steps=question.steps,
    )

    @contextmanager
    def noted(method: Method, about: str = "") -> Iterator[None]:
        """An error on a single image leaves out no more than what it concerns."""
        try:
            yield
        except Exception as error:
            if len(samples) > 1:
                raise
            reason = f"{about}{_reason(error)}"
            omissions.append(Omission(samples[0].key, "", str(method), reason, True))

    evidence: dict[Method, Evidence] = {}
    for method in question.methods:
        with noted(method):
            maps = [
                batch.maps(method, one)[[pair.place for pair in some]]
                for one, some in zip(probes, asked, strict=True)
            ]
            saliency = torch.cat(maps)
            if not saliency.isfinite().all():  # others, which compare themselves with it, go on
                raise ValueError("its map has values that are not finite")
            evidence[method] = Evidence(batch, method, saliency, evidence)
    for method, found in evidence.items():
        for metric in question.metrics:
            with noted(method, f"{metric.name}: "):
                for one in _graded(flat, method, metric, found):
                    rows.append(one) if isinstance(one, Row) else omissions.append(one)
    return _by_image(samples, rows, list(dict.fromkeys(omissions)))


def _graded(
    pairs: Sequence[Pair], method: Method, metric: Metric, evidence: Evidence
) -> Iterator[Row | Omission]:
    """A row for each pair, or why it has none: the metric cannot be asked, or is no number."""
    values, curves = evidence.values(metric).tolist(), evidence.scores(metric).tolist()
    unknown = any(map(math.isnan, values))
    askable = evidence.askable(metric) if unknown else [True] * len(pairs)
    for pair, value, curve, asked in zip(pairs, values, curves, askable, strict=True):
        key, target = pair.sample.key, _label(pair.annotation)
        if not math.isnan(value):
            yield Row(
                key,
                target,
                pair.class_index,
                pair.probability,
                pair.difficult,
                str(method),
                metric.name,
                value,
                tuple(curve),
            )
        elif asked:
            reason = f"{metric.name}: not a number, as what the network answers is none"
            yield Omission(key, target, str(method), reason, True)
        else:  # but for an empty map, of any method
            own = str(method) if metric.name == "max_sensitivity" else ""
            yield Omission(
                key, target, own, f"{metric.name}: {unasked(metric.name, pair.annotation)}", False
            )


def _by_image(
    samples: Sequence[Sample], rows: Sequence[Row], omissions: Sequence[Omission]
) -> list[Answers]:
    return [
        Answers(
            sample.key,
            tuple(row for row in rows if row.image == sample.key),
            tuple(one for one in omissions if one.image == sample.key),
        )
        for sample in samples
    ]


def _pairs(
    question: Question,
    classes: Callable[[str], tuple[int, ...]],
    place: int,
    sample: Sample,
    logits: Tensor,
) -> tuple[list[Pair], list[Omission]]:
    """What can be explained in an image, and what is left out."""
    pairs, left_out = [], []
    probabilities = question.model.probabilities(logits)
    if len(logits) == 1:  # which tells two classes apart
        logits = probabilities
    geometry = question.model.preprocess.geometry(sample.image)
    localized = any(metric.name in LOCALIZATION for metric in question.metrics)

    def leave_out(annotation: Annotation, reason: str) -> None:
        left_out.append(Omission(sample.key, _label(annotation), "", reason, False))

    for annotation in sample.annotations:
        if annotation.label is None:
            index = int(logits.argmax())
        else:
            fitting = [i for i in classes(annotation.label) if i < len(logits)]
            if not fitting:
                leave_out(annotation, "the network has no class for this category")
                continue
            index = max(fitting, key=lambda i: float(logits[i]))
        if question.top is not None and int((logits > logits[index]).sum()) >= question.top:
            leave_out(annotation, f"not among the network's {question.top} likeliest classes")
            continue
        if localized and not _seen(geometry.boxes_to_input(annotation.boxes)):
            leave_out(annotation, "it lies outside of the network's input")
            continue
        hard = _difficult(sample, annotation)
        probability = float(probabilities[index])
        pairs.append(Pair(place, sample, annotation, index, probability, hard, geometry))
    return pairs, left_out


def _seen(boxes: Tensor) -> bool:
    """Whether any of the boxes on the input has an area; True where there are no boxes."""
    return not len(boxes) or bool((boxes[:, 2:] > boxes[:, :2]).all(1).any())


def _difficult(sample: Sample, annotation: Annotation) -> bool:
    region = region_of(annotation, sample.image.size, "boxes")
    if region is None:
        return False
    others = torch.tensor([len(sample.annotations) > 1])
    return bool(difficult(region[None], others))


def classes_of(question: Question) -> Callable[[str], tuple[int, ...]]:
    """The network's classes of a label: by the map given, else the dataset's, else by name."""
    given = question.class_map or question.dataset.classes
    named = classes_by_name(question.model.names) if given is None else {}

    def classes(label: str) -> tuple[int, ...]:
        if given is not None:
            return given.get(label, ())
        return named.get(plain(label), ())

    return classes


def _label(annotation: Annotation) -> str:
    return printable(annotation.label or "")


def _reason(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__
