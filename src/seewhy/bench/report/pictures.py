"""The pictures that a run keeps for its page: where methods do best and worst, and disagree.

The run draws them when it is finished, with the network and the photos that it graded. Whoever
makes a page of it needs neither, and runs nothing that a folder names.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from seewhy.bench.engines import Engine
from seewhy.bench.plan import Plan
from seewhy.bench.report.cell import Cell
from seewhy.bench.store import Run
from seewhy.draw.page import webp
from seewhy.evaluation.task import Task
from seewhy.evaluation.values import Table
from seewhy.metrics import metric as metric_of
from seewhy.photos import explain_photos

KEPT = 1000  # pictures that a run keeps, about: some 8 kB each
PICTURES = 260  # of all cells of a page together, about
SIDE = 192  # pixels

Pair = tuple[str, str]  # image and target
Names = tuple[str, str]  # network and dataset
Wanted = dict[Pair, tuple[int, list[str]]]  # of each pair the class's index, and the methods


@dataclass(frozen=True)
class Choice:
    """Which rows of a metric's table are shown.

    best, worst: of each method, the most extreme first.
    disagreed: on which the methods' values spread most.
    """

    best: dict[str, list[int]]
    worst: dict[str, list[int]]
    disagreed: list[int]

    @property
    def wanted(self) -> dict[int, list[str]]:
        """The methods whose maps are shown of each row."""
        found: dict[int, dict[str, None]] = {}
        for by_method in (self.best, self.worst):
            for method, rows in by_method.items():
                for row in rows:
                    found.setdefault(row, {})[method] = None
        for row in self.disagreed:
            found.setdefault(row, {}).update(dict.fromkeys(self.best))
        return {row: list(methods) for row, methods in found.items()}


@dataclass(frozen=True)
class Kept:
    """A cell's pictures as WebP files, by pair and method ("" is the photo itself).

    number: of each kind, at most. weights: of the network that drew them. notes: what there is no
    picture of, and why.
    """

    number: int
    weights: str
    notes: tuple[str, ...]
    pictures: Mapping[tuple[Pair, str], bytes]


def judge(cell: Cell) -> str:
    """The metric to choose pictures by: the first with more values than hit and miss."""
    for metric in cell.metrics:
        values = cell.table(metric).values
        if len(np.unique(values[~np.isnan(values)])) > 2:
            return metric
    return cell.metrics[0]


def choose(table: Table, methods: Sequence[str], number: int) -> Choice:
    """The `number` best and worst rows of each method, and `number` with the widest spread.

    Spread is the standard deviation of the values of all methods, where all have one.
    """
    sign = -1 if metric_of(table.metric).higher_is_better else 1
    keys = sorted(range(len(table.pairs)), key=table.key)
    rank = np.empty(len(keys), dtype=np.int64)  # which decides between equal values
    rank[keys] = np.arange(len(keys))
    best, worst = {}, {}
    for method in methods:
        own = sign * table.values[:, table.methods.index(method)]
        order = [int(row) for row in np.lexsort((rank, own)) if not np.isnan(own[row])]
        best[method] = order[:number]
        worst[method] = order[: number - 1 : -1][:number]
    spread = np.nan_to_num(table.values.std(1))
    spread[np.ptp(table.values, axis=1) == 0] = 0
    widest = [int(row) for row in np.lexsort((rank, -spread)) if spread[row] > 0]
    return Choice(best, worst, widest[:number])


def fitting(methods: Iterable[int], number: int, pictures: int) -> int:
    """As many of each kind, up to `number`, as make about so many pictures by one metric.

    methods: how many each cell has.
    """
    return min(number, max(1, pictures // sum(3 * count + 1 for count in methods)))


def keep_pictures(run: Run, plan: Plan, engine: Engine) -> str | None:
    """Draw the pictures of a finished run, chosen by each metric, and keep them in the run.

    Does nothing where the run has those of its rows already, or no values. Returns what went wrong
    where nothing could be drawn.

    Raises OSError where they cannot be written.
    """
    about = {"rows": run.fingerprint(), "asked": plan.config.pictures}
    before = run.pictures()
    if before is not None and {key: before[1].get(key) for key in about} == about:
        return None
    graded = [
        Cell(*names, found) for names, found in run.evaluations().items() if len(found.values)
    ]
    if not graded:
        return None
    number = fitting(
        (len(cell.evaluation.values.methods) for cell in graded),
        plan.config.pictures,
        KEPT // max(len(cell.metrics) for cell in graded),
    )
    records: list[dict[str, Any]] = []
    described = []
    for cell in graded:
        names = {"network": cell.network, "dataset": cell.dataset}
        wanted = _wanted(cell, number)
        try:
            found = engine.call(partial(draw, wanted), cell.network, cell.dataset, len(wanted))
        except Exception as error:  # files are gone, or packages; the numbers are there
            found = [], [f"No pictures: {error}"]
        if found is None:
            return "the worker that drew them died, or took too long"
        pictures, notes = found
        records += [{**names, **one} for one in pictures]
        described.append({**names, "weights": plan.weights[cell.network], "notes": notes})
    run.add_pictures(records, {**about, "number": number, "cells": described})
    return None


def _wanted(cell: Cell, number: int) -> Wanted:
    """What is to be drawn for whichever metric a page goes by."""
    found: dict[Pair, tuple[int, dict[str, None]]] = {}
    for table in map(cell.table, cell.metrics):
        indices = cell.evaluation.values.class_index[table.pairs]
        for row, methods in choose(table, table.methods, number).wanted.items():
            own = found.setdefault(table.key(row), (int(indices[row]), {}))
            own[1].update(dict.fromkeys(methods))
    return {pair: (index, list(methods)) for pair, (index, methods) in found.items()}


def draw(wanted: Wanted, task: Task) -> tuple[list[dict[str, Any]], list[str]]:
    """The pictures as records of the run's table, and what could not be drawn."""
    model, data = task.model, task.dataset
    records = []
    missing: Counter[str] = Counter()
    for (key, target), (index, methods) in wanted.items():
        try:
            image = data.read(key).image
            (answer,) = explain_photos(model, [image], methods, [index], layer=task.layer)
            if answer.failures:
                raise ValueError(str(answer.failures[0]))
            drawn = {"": webp(image, SIDE)}
            for method, one in zip(methods, answer.explanations, strict=True):
                drawn[method] = webp(one.overlay(), SIDE)
        except Exception as error:  # of an image that is gone or broken by now
            missing[str(error)] += 1
            continue
        about = {"image": key, "target": target}
        records += [{**about, "method": name, "picture": file} for name, file in drawn.items()]
    return records, [f"{count} of the images: {reason}" for reason, count in missing.items()]


def kept(run: Run) -> dict[Names, Kept]:
    """The pictures that a run has, by network and dataset."""
    found = run.pictures()
    if found is None:
        return {}
    records, about = found
    pictures: dict[Names, dict[tuple[Pair, str], bytes]] = {}
    for one in records:
        own = pictures.setdefault((one["network"], one["dataset"]), {})
        own[(one["image"], one["target"]), one["method"]] = one["picture"]
    by_cell: dict[Names, Kept] = {}
    for cell in about["cells"]:
        names = cell["network"], cell["dataset"]
        by_cell[names] = Kept(
            int(about["number"]),
            str(cell["weights"]),
            tuple(map(str, cell["notes"])),
            pictures.get(names, {}),
        )
    return by_cell
