"""The pictures that a run keeps for its page: where methods do best and worst, and disagree.

The run draws them when it is finished, with the network and the photos that it graded. Whoever
makes a page of it needs neither, and runs nothing that a folder names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import pstdev
from typing import Any

from seewhy.bench.engines import Engine
from seewhy.bench.plan import Plan
from seewhy.bench.report.cell import Cell, Pair
from seewhy.bench.store import Run
from seewhy.draw.page import webp
from seewhy.metrics import metric as metric_of
from seewhy.photos import explain_photos

KEPT = 1000  # pictures that a run keeps, about: some 8 kB each
SIDE = 192  # pixels

Names = tuple[str, str]  # network and dataset
Wanted = dict[Pair, tuple[int, list[str]]]  # of each pair the class's index, and the methods


@dataclass(frozen=True)
class Choice:
    """Which pairs are shown by a metric.

    best, worst: of each method, the most extreme first.
    disagreed: on which the methods' values spread most.
    """

    metric: str
    best: dict[str, list[Pair]]
    worst: dict[str, list[Pair]]
    disagreed: list[Pair]

    @property
    def wanted(self) -> dict[Pair, list[str]]:
        """The methods whose maps are shown of each pair."""
        found: dict[Pair, dict[str, None]] = {}
        for by_method in (self.best, self.worst):
            for method, pairs in by_method.items():
                for pair in pairs:
                    found.setdefault(pair, {})[method] = None
        for pair in self.disagreed:
            found.setdefault(pair, {}).update(dict.fromkeys(self.best))
        return {pair: list(methods) for pair, methods in found.items()}


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


def choose(cell: Cell, metric: str, number: int) -> Choice:
    """The `number` best and worst pairs of each method, and `number` with the widest spread.

    Spread is the standard deviation of the values of all methods that have any by this metric.
    """
    values = {
        pair: {method: row.value for method, row in rows.items()}
        for pair, rows in cell.pairs(metric).items()
    }
    return _chosen(values, cell.ranked(metric), metric, number)


def _chosen(
    values: Mapping[Pair, Mapping[str, float]], methods: Sequence[str], metric: str, number: int
) -> Choice:
    sign = -1 if metric_of(metric).higher_is_better else 1
    best, worst = {}, {}
    for method in methods:
        own = {pair: sign * found[method] for pair, found in values.items() if method in found}
        order = sorted(own, key=lambda pair: (own[pair], pair))
        best[method] = order[:number]
        worst[method] = [pair for pair in reversed(order) if pair not in best[method]][:number]
    spread = {
        pair: pstdev(found.values())
        for pair, found in values.items()
        if len(found) == len(best) > 1
    }
    widest = sorted(spread, key=lambda pair: (-spread[pair], pair))
    return Choice(metric, best, worst, [pair for pair in widest if spread[pair] > 0][:number])


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
    graded = _graded(run)
    if not graded:
        return None
    number = fitting(
        (len(cell.methods) for cell in graded.values()),
        plan.config.pictures,
        KEPT // max(len(cell.values) for cell in graded.values()),
    )
    wanted = {names: cell.wanted(number) for names, cell in graded.items()}
    found = engine.call(partial(draw, wanted), sum(map(len, wanted.values())))
    if found is None:
        return "the worker that drew them died, or took too long"
    records, notes = found
    described = [
        {"network": network, "dataset": dataset, "weights": plan.weights[network], "notes": own}
        for (network, dataset), own in notes.items()
    ]
    run.add_pictures(records, {**about, "number": number, "cells": described})
    return None


@dataclass
class _Graded:
    """A cell's values by metric, pair and method, and nothing else: a run may have millions."""

    values: dict[str, dict[Pair, dict[str, float]]] = field(default_factory=dict)
    methods: dict[str, None] = field(default_factory=dict)
    indices: dict[Pair, int] = field(default_factory=dict)

    def wanted(self, number: int) -> Wanted:
        found: dict[Pair, dict[str, None]] = {}
        for metric, values in self.values.items():
            own = {method: None for rows in values.values() for method in rows}
            for pair, methods in _chosen(values, list(own), metric, number).wanted.items():
                found.setdefault(pair, {}).update(dict.fromkeys(methods))
        return {pair: (self.indices[pair], list(methods)) for pair, methods in found.items()}


def _graded(run: Run) -> dict[Names, _Graded]:
    found: dict[Names, _Graded] = {}
    for network, dataset, image, target, index, method, metric, value in run.values():
        cell, pair = found.setdefault((network, dataset), _Graded()), (image, target)
        cell.values.setdefault(metric, {}).setdefault(pair, {})[method] = value
        cell.methods[method] = None
        cell.indices[pair] = index
    return found


def draw(
    wanted: Mapping[Names, Wanted], plan: Plan
) -> tuple[list[dict[str, Any]], dict[Names, list[str]]]:
    """The pictures as records of the run's table, and of each cell what could not be drawn."""
    records = []
    notes: dict[Names, list[str]] = {}
    for names, pairs in wanted.items():
        network, dataset = names
        notes[names] = []
        try:
            question = plan.question(plan.model(network), network, dataset, plan.data(dataset))
            model, data = question.model, question.dataset
        except Exception as error:  # files are gone, or packages; the numbers are there
            notes[names].append(f"No pictures: {error}")
            continue
        layer = plan.config.network(network).layer
        missing: dict[str, int] = {}
        for pair, (index, methods) in pairs.items():
            try:
                image = data.read(pair[0]).image
                (answer,) = explain_photos(model, [image], methods, [index], layer=layer)
                if answer.failures:
                    raise ValueError(str(answer.failures[0]))
                drawn = {"": webp(image, SIDE)}
                for method, one in zip(methods, answer.explanations, strict=True):
                    drawn[method] = webp(one.overlay(), SIDE)
            except Exception as error:  # of an image that is gone or broken by now
                missing[str(error)] = missing.get(str(error), 0) + 1
                continue
            about = {"network": network, "dataset": dataset, "image": pair[0], "target": pair[1]}
            records += [{**about, "method": name, "picture": file} for name, file in drawn.items()]
        notes[names] += [f"{count} of the images: {reason}" for reason, count in missing.items()]
    return records, notes


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
    return {
        names: Kept(
            int(about["number"]),
            str(cell["weights"]),
            tuple(map(str, cell["notes"])),
            pictures.get(names, {}),
        )
        for cell in about["cells"]
        if (names := (cell["network"], cell["dataset"]))
    }
