"""The grid pointing game's pictures: grids of photos that the network predicts confidently.

In a grid of photos of different classes the evidence for a class is known: it is in the class's
own cell. The photos are chosen by the network's confidence, and each keeps its usual size. Source:
Böhle et al. 2021, "Convolutional dynamic alignment networks"; Rao et al. 2022, "Towards better
understanding attribution methods" (GridPG).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image

from seewhy.core.observing import outputs_of
from seewhy.core.outputs import logits
from seewhy.data.dataset import Annotation, DatasetError, Sample, boxes_of
from seewhy.data.grids import key_of, photos_of
from seewhy.evaluation.rows import Answers
from seewhy.evaluation.run import inputs_of
from seewhy.evaluation.task import Task
from seewhy.models import LoadedModel
from seewhy.notes import note

CONFIDENT = 0.9
"""The probability of its class from which a photo counts as recognised."""
_TOGETHER = 16  # photos that the network is asked about at a time


def gridded(task: Task) -> Task:
    """The task with a dataset that makes the grids of any keys; others are as they are.

    The network then takes the grids as they are, each photo as large as by its own preprocessing;
    where it takes one size only, the whole grid is brought to that size.
    """
    photos, model = task.dataset, task.model
    side = photos.grid
    if not side:
        return task
    try:
        width, height = model.preprocess.geometry((256, 256)).input
        cell = _cell(model, (width, height), side)
    except ValueError as error:
        raise DatasetError(
            f"{photos.name}: no grid can be made for {model.name}: {error}"
        ) from None

    def read(key: str) -> Sample:
        samples = [photos.read(one) for one in photos_of(key)]
        if len(samples) != side**2:
            raise DatasetError(f"{photos.name}: {key!r} does not name {side**2} photos")
        return _laid(key, samples, model, cell)

    as_it_is = replace(model.preprocess, resize=None, crop=None)
    return replace(
        task,
        model=replace(model, preprocess=as_it_is),
        dataset=replace(photos, keys=(), read=read),
    )


def grids_of(task: Task) -> tuple[str, ...]:
    """The keys of the grids that the network chooses of a dataset's photos.

    Photos with a single label count, where the likeliest class is one of the label's, with a
    probability of `CONFIDENT` at least. They are taken from the likeliest down, each once; a photo
    goes into the first grid that has room and no photo of the same label or class. Grids that are
    not filled are left out. What cannot be read is skipped, with a note.

    Raises DatasetError if there are too few such photos for a grid.
    """
    photos, side = task.dataset, task.dataset.grid
    sure = sorted(_recognised(task), key=lambda one: (-one[0], one[1]))
    grids: list[dict[str, tuple[str, int]]] = []
    for _, key, label, index in sure:
        for grid in grids:
            others = grid.values()
            free = len(grid) < side**2 and all(index != i and label != own for own, i in others)
            if free:
                grid[key] = (label, index)
                break
        else:
            grids.append({key: (label, index)})
    full = tuple(key_of(list(grid)) for grid in grids if len(grid) == side**2)
    if not full:
        raise DatasetError(
            f"{photos.name}: no grid of {side}x{side} photos: of {len(photos)} photos "
            f"{task.model.name} recognises {len(sure)} with a probability of {CONFIDENT:g}, of "
            f"{len({one[3] for one in sure})} classes; a grid needs {side**2} different ones"
        )
    return full


def in_grids(task: Task) -> Task:
    """The task about the grids that its network chooses; else, or once chosen, as it is."""
    data = task.dataset
    if not data.grid or all(len(photos_of(key)) == data.grid**2 for key in data.keys):
        return task
    found = gridded(task)
    return replace(found, dataset=replace(found.dataset, keys=grids_of(task)))


def _recognised(task: Task) -> list[tuple[float, str, str, int]]:
    """Probability, key, label and class of the photos that the network is sure of."""
    model, photos = task.model, task.dataset
    found = []
    unread: list[str] = []
    for one in inputs_of(task, photos.keys, _TOGETHER):
        if isinstance(one, Answers):
            unread.append(f"{one.image}: {one.omissions[0].reason}")
            continue
        samples, inputs = one
        labels = {place: _label_of(sample) for place, sample in enumerate(samples)}
        known = {place: label for place, label in labels.items() if task.classes(label)}
        if not known:
            continue
        outputs = outputs_of(model.module, inputs[[*known]])
        probabilities = model.probabilities(logits(outputs).float())
        likeliest = zip(*(part.tolist() for part in probabilities.max(1)), strict=True)
        for (place, label), (value, index) in zip(known.items(), likeliest, strict=True):
            if value >= CONFIDENT and index in task.classes(label):
                found.append((value, samples[place].key, label, index))
    if unread:
        note(f"{photos.name}: {len(unread)} photos left out of grids, such as {unread[0]}")
    return found


def _label_of(sample: Sample) -> str:
    """A photo's only label; "" where it has none or several, or its key cannot be in a grid's."""
    several = len(sample.annotations) != 1 or photos_of(sample.key) != [sample.key]
    return "" if several else sample.annotations[0].label or ""


def _cell(model: LoadedModel, size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height of a photo in a grid: its size alone, where the network takes so large."""
    width, height = size
    shape = 1, model.preprocess.channels, height, width
    alone = torch.zeros(shape, dtype=torch.float32, device=model.device)
    try:
        logits(outputs_of(model.module, alone.repeat(1, 1, side, side)))
    except Exception as error:  # whatever a network says of a size that it was not made for
        logits(outputs_of(model.module, alone))
        note(
            f"{model.name} takes no pictures of {width * side}x{height * side} pixels ({error}): "
            f"photos are shrunk to fit a grid of {width}x{height}"
        )
        return width // side, height // side
    return size


def _laid(key: str, samples: Sequence[Sample], model: LoadedModel, cell: tuple[int, int]) -> Sample:
    """The grid of these photos, row by row, each annotated with its cell."""
    width, height = cell
    side = round(len(samples) ** 0.5)
    seen = [model.preprocess.unnormalize(model.preprocess(sample.image)) for sample in samples]
    grid = Image.new(seen[0].mode, (width * side, height * side))
    annotations = []
    for place, (sample, photo) in enumerate(zip(samples, seen, strict=True)):
        x, y = place % side * width, place // side * height
        grid.paste(photo.resize(cell), (x, y))
        box = boxes_of([[x, y, x + width, y + height]])
        annotations.append(Annotation(sample.annotations[0].label, box))
    return Sample(key, grid.convert("RGB"), tuple(annotations))
