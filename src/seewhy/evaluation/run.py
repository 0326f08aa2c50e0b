"""From a dataset to rows: every method's maps, made once, graded by every metric."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise, zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from seewhy.core.probe import Probe
from seewhy.data.dataset import Annotation, Sample, checked
from seewhy.evaluation.needs import Needs, Pair, Pairs, seen
from seewhy.evaluation.rows import Answers, Omission, Row
from seewhy.evaluation.task import Task, compares
from seewhy.maps import upsample
from seewhy.metrics import Metric, box_masks, difficult
from seewhy.models.loaded import check_outputs
from seewhy.naming import Method, exits_as_errors
from seewhy.printable import printable

_READERS = 4  # threads; a photo is decoded in a few milliseconds


class Round(NamedTuple):
    """One target of each image, asked at once; `places` are the images whose target is wanted."""

    probe: Probe
    places: list[int]


def answers(task: Task, keys: Sequence[str], batch_size: int) -> Iterator[Answers]:
    """The answers of the samples of `keys`, one by one as they come.

    An image that cannot be read, or on which the network or a method fails, is answered by
    omissions; the others of its batch are not touched by that.
    """
    for one in inputs_of(task, keys, batch_size):
        if isinstance(one, Answers):
            yield one
        else:
            yield from _answers(task, *one)


def in_order(
    keys: Sequence[str], found: Iterable[Answers], advance: Callable[[int], None]
) -> tuple[Answers, ...]:
    """Answers in the order of the keys; of a batch those that cannot be read come first.

    advance: called with 1 for each as it comes.
    """
    by_key = {}
    for one in found:
        by_key[one.image] = one
        advance(1)
    return tuple(by_key[key] for key in keys)


def inputs_of(
    task: Task, keys: Sequence[str], batch_size: int
) -> Iterator[tuple[list[Sample], Tensor] | Answers]:
    """Samples with the network's inputs on its device, (B, C, h, w), as many of a size together.

    What cannot be read is there as its answer, an omission.
    """
    device = task.model.device
    for batch in read(task, keys, batch_size, ahead=device.type != "cpu"):
        yield from (one for one in batch if isinstance(one, Answers))
        readable = [one for one in batch if not isinstance(one, Answers)]
        for _, group in groupby(readable, key=lambda one: one[1].shape):
            samples, inputs = zip(*group, strict=True)
            together = torch.stack(inputs)
            if device.type == "cuda":
                together = together.pin_memory()
            yield list(samples), together.to(device, non_blocking=True)


def read(
    task: Task, keys: Sequence[str], batch_size: int, *, ahead: bool
) -> Iterator[list[tuple[Sample, Tensor] | Answers]]:
    """The samples of `keys` with the network's inputs, batch by batch, on the CPU.

    What cannot be read is there as its answer, an omission.

    ahead: read the next batch in threads while the caller works with one. An accelerator would
        otherwise wait for photos; on a CPU there is nothing to gain.
    """

    def one(key: str) -> tuple[Sample, Tensor] | Answers:
        try:
            sample = checked(task.dataset.read(key), key)
            return sample, task.model.preprocess(sample.image)
        except Exception as error:  # a dataset may be anyone's, too
            return Answers.lost(key, _reason(error))

    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    if not ahead:
        yield from ([one(key) for key in batch] for batch in batches)
        return
    pool = ThreadPoolExecutor(_READERS)
    try:
        begun = (pool.map(one, batch) for batch in [*batches, []])
        for found, _ in pairwise(begun):  # when one is taken, the next has begun
            yield list(found)
    finally:
        pool.shutdown(cancel_futures=True)


def _answers(task: Task, samples: Sequence[Sample], inputs: Tensor) -> Iterator[Answers]:
    """Answers for a batch; where it fails as a whole, each image is tried by itself."""
    try:
        found = _answer_together(task, samples, inputs)
    except Exception as error:  # networks and methods are anyone's, and so are their errors
        reason = _reason(error)
    else:
        yield from found
        return
    # Outside of the handler, where the error no longer holds the batch in memory.
    if len(samples) == 1:
        yield Answers.lost(samples[0].key, reason)
        return
    for place, sample in enumerate(samples):
        yield from _answers(task, [sample], inputs[place : place + 1])


def _answer_together(task: Task, samples: Sequence[Sample], inputs: Tensor) -> list[Answers]:
    """The answers of one batch.

    Its first error is raised, unless it has a single image or the error is a method's that answers
    none of the images.
    """
    omissions: list[Omission] = []
    rows: list[Row] = []
    model = task.model
    probe = model.probe(inputs, None, task.layer).expect_for(task.methods).expect("ending")
    check_outputs(model, probe.outputs)
    pairs = []
    for place, sample in enumerate(samples):
        own, left_out = _pairs(task, place, sample, probe.logits[place])
        pairs.append(own)
        omissions += left_out

    # The first pair of every image, then the second …: rounds share the one forward pass.
    rounds: list[Round] = []
    flat: list[Pair] = []
    for some in zip_longest(*pairs):
        target = model.target([0 if pair is None else pair.class_index for pair in some])
        asked = [pair for pair in some if pair is not None]
        rounds.append(Round(probe.with_target(target), [pair.place for pair in asked]))
        flat += asked
    if not flat:
        return _by_image(samples, rows, omissions)
    at = Pairs(task, flat, inputs[[pair.place for pair in flat]])
    needs: dict[Method, Needs] = {}
    for method in task.methods:
        try:
            needs[method] = Needs(at, method, _saliency(rounds, method, at.size), needs)
            continue
        except Exception as error:
            reasons = {0: _reason(error)}
            if len(samples) > 1:
                if isinstance(error, torch.cuda.OutOfMemoryError):
                    raise  # an image alone may fit
                reasons = _refusals(rounds, method, at.size)
            if not reasons:
                raise
        # Of one image each round is a pair.
        each = list(_each(rounds, method, at.size)) if len(samples) == 1 < len(flat) else []
        maps = {place: found for place, found in enumerate(each) if isinstance(found, Tensor)}
        if maps:
            needs[method] = Needs(at.only([*maps]), method, torch.cat([*maps.values()]), needs)
            for pair, found in zip(flat, each, strict=True):
                if isinstance(found, str):
                    about = pair.sample.key, _label(pair.annotation), str(method)
                    omissions.append(Omission(*about, found, True))
            continue
        for place, reason in reasons.items():
            omissions.append(Omission(samples[place].key, "", str(method), reason, True))
    for given in needs.values():
        for metric in task.metrics:
            for one in _graded(metric, given):
                rows.append(one) if isinstance(one, Row) else omissions.append(one)
    return _by_image(samples, rows, list(dict.fromkeys(omissions)))


def _saliency(rounds: Sequence[Round], method: Method, size: tuple[int, int]) -> Tensor:
    """The method's maps of all pairs, (P, h, w); its error is raised."""
    maps = [upsample(probe.maps([method])[0].float(), size)[places] for probe, places in rounds]
    saliency = torch.cat(maps)
    if not saliency.isfinite().all():  # others, which compare themselves with it, go on
        raise ValueError("its map has values that are not finite")
    return saliency


def _each(rounds: Sequence[Round], method: Method, size: tuple[int, int]) -> Iterator[Tensor | str]:
    """The method's maps of each round by itself, or why there are none."""
    for one in rounds:
        try:
            found: Tensor | str = _saliency([one], method, size)
        except Exception as error:
            found = _reason(error)
        yield found


def _refusals(rounds: Sequence[Round], method: Method, size: tuple[int, int]) -> dict[int, str]:
    """Why the method answers none of the images, by place; empty once it may answer a pair."""
    reasons = {}
    for place in sorted({place for one in rounds for place in one.places}):
        own = [Round(one.probe.image(place), [0]) for one in rounds if place in one.places]
        try:
            _saliency(own, method, size)
        except torch.cuda.OutOfMemoryError:
            return {}
        except Exception as error:
            reasons[place] = _reason(error)
        else:
            return {}
        if len(own) > 1 and any(isinstance(one, Tensor) for one in _each(own, method, size)):
            return {}
    return reasons


def _graded(metric: Metric, needs: Needs) -> list[Row | Omission]:
    """A row for each pair, or why it has none.

    Where a metric fails on a batch, it is asked of each image by itself, and there of each pair,
    unless it compares these: its error leaves out no more than its own value there. One that
    compares methods is asked of pairs together that the same methods have answered.
    """
    if compares(metric, "method") and (answered := needs.answered):
        return [one for places in answered for one in _graded(metric, needs.only(places))]
    try:
        with exits_as_errors("it"):
            return list(_rows(metric, needs))
    except Exception as error:  # metrics are anyone's, too
        reason = f"{metric}: {_reason(error)}"
    pairs = needs.pairs.pairs
    parts: dict[int, list[int]] = {}
    for at, pair in enumerate(pairs):
        parts.setdefault(pair.place, []).append(at)
    if len(parts) == 1 and not compares(metric, "target"):
        parts = {at: [at] for at in range(len(pairs))}
    if len(parts) == 1:
        target = _label(pairs[0].annotation) if len(pairs) == 1 else ""
        return [Omission(pairs[0].sample.key, target, str(needs.method), reason, True)]
    return [one for places in parts.values() for one in _graded(metric, needs.only(places))]


def _rows(metric: Metric, needs: Needs) -> Iterator[Row | Omission]:
    values, curves = needs.values(metric).tolist(), needs.scores(metric).tolist()
    unasked = needs.unasked(metric)
    method = str(needs.method)
    for place, (pair, value, curve) in enumerate(
        zip(needs.pairs.pairs, values, curves, strict=True)
    ):
        key, target = pair.sample.key, _label(pair.annotation)
        if math.isfinite(value):
            about = (pair.class_index, pair.probability, pair.difficult)
            yield Row(key, target, *about, method, str(metric), value, tuple(curve))
        elif unasked[place]:
            yield Omission(key, target, "", f"{metric}: {unasked[place]}", False)
        elif not needs.saliency[place].any():
            yield Omission(key, target, method, f"{metric}: the map is zero everywhere", False)
        else:
            why = "" if math.isfinite(pair.probability) else ", as what the network answers is none"
            reason = f"{metric}: {value} is no finite number{why}"
            yield Omission(key, target, method, reason, True)


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
    task: Task, place: int, sample: Sample, logits: Tensor
) -> tuple[list[Pair], list[Omission]]:
    """What can be explained in an image, and what is left out."""
    pairs, left_out = [], []
    probabilities = task.model.probabilities(logits)
    if len(logits) == 1:  # which tells two classes apart
        logits = probabilities
    geometry = task.model.preprocess.geometry(sample.image)
    localized = any({"masks", "boxes"} & metric.all_needs for metric in task.metrics)

    def leave_out(annotation: Annotation, reason: str) -> None:
        left_out.append(Omission(sample.key, _label(annotation), "", reason, False))

    if not sample.annotations:
        leave_out(Annotation(None), "no category is annotated in the image")
    for annotation in sample.annotations:
        if annotation.label is None:
            index = int(logits.argmax())
        else:
            fitting = [i for i in task.classes(annotation.label) if i < len(logits)]
            if not fitting:
                leave_out(annotation, "the network has no class for this category")
                continue
            index = max(fitting, key=lambda i: float(logits[i]))
        if task.top is not None and int((logits > logits[index]).sum()) >= task.top:
            leave_out(annotation, f"not among the network's {task.top} likeliest classes")
            continue
        boxes = geometry.boxes_to_input(annotation.boxes)
        if localized and len(boxes) and not seen(boxes).any():
            leave_out(annotation, "it lies outside of the network's input")
            continue
        hard = _difficult(sample, annotation)
        probability = float(probabilities[index])
        pairs.append(Pair(place, sample, annotation, index, probability, hard, geometry))
    return pairs, left_out


def _difficult(sample: Sample, annotation: Annotation) -> bool:
    if not len(annotation.boxes):
        return False
    region = box_masks([annotation.boxes], sample.image.size[::-1])
    return bool(difficult(region, region.new_tensor([len(sample.annotations) > 1])))


def _label(annotation: Annotation) -> str:
    return printable(annotation.label or "")


def _reason(error: Exception) -> str:
    return printable(str(error)) or type(error).__name__
