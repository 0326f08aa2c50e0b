"""Means with their uncertainty, and tests whether methods differ.

Several targets of one image are not independent, so the units of resampling and tests are images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seewhy.evaluation.rows import Row
from seewhy.evaluation.values import Floats, Ints, Table, Values
from seewhy.metrics import class_means, metric
from seewhy.metrics.quality import mean_ranks

ALPHA = 0.05  # below it a difference is significant
CONFIDENCE = 0.95
DRAWS = 10_000
UNITS = 2_000
"""Of more images than this, random groups of equal size are drawn and flipped in their place."""
_AT_ONCE = 400_000  # drawn places that are in memory together
_COLUMNS = 500  # quantities that are drawn together

Couple = tuple[int, int]  # columns of a table


@dataclass(frozen=True)
class Summary:
    """A method by a metric.

    metric, method: their names.
    values, images: how many values of how many images.
    mean: of the values.
    low, high: the mean's bootstrap 95 % interval over images; nan for one image.
    class_mean: the mean of the categories' means, as the pointing game's papers report.
    mean_rank: 1 where the method is the best of all on each pair of image and target, over the
        pairs on which all methods have a value; nan where there is none.
    """

    metric: str
    method: str
    values: int
    images: int
    mean: float
    low: float
    high: float
    class_mean: float
    mean_rank: float


@dataclass(frozen=True)
class Comparison:
    """Two methods by a metric, on the images that both have values of.

    metric, method, other: their names.
    images: how many.
    difference: the mean over images of method - other.
    low, high: the difference's bootstrap 95 % interval.
    better: whether `difference` is in the method's favour; None where it is 0.
    p: of the sign-flip test that the methods do not differ, two-sided.
    p_holm: the same, corrected by Holm for all comparisons by this metric.
    """

    metric: str
    method: str
    other: str
    images: int
    difference: float
    low: float
    high: float
    better: bool | None
    p: float
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether the methods differ by more than chance, p < 0.05 after Holm's correction."""
        return self.p_holm < ALPHA

    @property
    def turned(self) -> Comparison:
        """The same comparison with the methods changed about."""
        return replace(
            self,
            method=self.other,
            other=self.method,
            difference=-self.difference,
            low=-self.high,
            high=-self.low,
            better=None if self.better is None else not self.better,
        )


@dataclass(frozen=True)
class Difference:
    """A method by a metric in two runs, on the images that both have values of.

    metric, method: their names.
    first, second: the means over the values that both have.
    comparison: of the second with the first; `p_holm` is corrected for all methods by the
        metric.
    """

    metric: str
    method: str
    first: float
    second: float
    comparison: Comparison


@dataclass(frozen=True)
class Agreement:
    """What two evaluations say of the same images, targets, methods and metrics.

    values: how many values both have.
    differing: how many of these are not equal to the bit.
    largest: the largest difference.
    only: how many values the first and the second alone have.
    differences: of each metric and method that both have.
    """

    values: int
    differing: int
    largest: float
    only: tuple[int, int]
    differences: list[Difference]


def summarize(rows: Values | Iterable[Row], seed: int = 0) -> list[Summary]:
    """A summary of each metric and method, in the order of the rows, the best method first."""
    values = Values.of(rows)
    tables = [values.table(name) for name in values.metrics]
    alike = [(table, *one) for table in tables for one in _known_alike(table)]
    groups = [
        _by_group(table.values[known][:, own], table.image[known]) for table, own, known in alike
    ]
    drawn = bootstrap_intervals([_pooled(*group, seed) for group in groups], seed)
    ranks = {table.metric: _mean_ranks(table) for table in tables}
    found: dict[str, list[Summary]] = {name: [] for name in values.metrics}
    for (table, own, known), (_, counts), intervals in zip(alike, groups, drawn, strict=True):
        targets, classes = np.unique(table.target[known], return_inverse=True)
        for column, (low, high) in zip(own, intervals.tolist(), strict=True):
            one = torch.from_numpy(table.values[known, column])
            by_class = class_means(one, torch.from_numpy(classes), len(targets))
            found[table.metric].append(
                Summary(
                    table.metric,
                    table.methods[column],
                    len(one),
                    len(counts),
                    float(one.mean()),
                    low,
                    high,
                    float(by_class.mean()),
                    ranks[table.metric][column],
                )
            )
    ordered = []
    for name, own_summaries in found.items():
        own_summaries.sort(key=lambda one: values.methods.index(one.method))
        highest = metric(name).higher_is_better
        ordered += sorted(own_summaries, key=lambda one: one.mean, reverse=highest)
    return ordered


def compare(
    rows: Values | Iterable[Row], reference: str | None = None, seed: int = 0
) -> list[Comparison]:
    """Each two methods by each metric, or each method with the reference alone.

    Random flips bound `p_holm` from below, by the number of comparisons over 10 001: among many
    methods choose a reference.

    Raises ValueError where the reference has no rows at all.
    """
    values = Values.of(rows)
    if reference is not None and reference not in values.methods:
        named = ", ".join(values.methods)
        raise ValueError(f"reference {reference!r} has no values; there are {named}")
    asked: list[tuple[Table, list[Couple]]] = []
    for table in map(values.table, values.metrics):
        columns = range(len(table.methods))
        couples = list(combinations(columns, 2))
        if reference is not None:
            couples = [
                (column, other)
                for column in columns
                for other in columns
                if table.methods[other] == reference != table.methods[column]
            ]
        asked.append((table, couples))
    return [one for found in _compared(asked, seed) for one in found.values()]


def agreement(first: Values, second: Values, seed: int = 0) -> Agreement:
    """How far two evaluations agree: each is a method of the test, paired by image and target."""
    mark = "\n"  # which no method's name has
    marked = replace(second, methods=tuple(mark + method for method in second.methods))
    both = Values.joined([first, marked])
    values = differing = 0
    largest = 0.0
    asked: list[tuple[Table, list[Couple]]] = []
    for table in map(both.table, both.metrics):
        place = {method: column for column, method in enumerate(table.methods)}
        couples = [(place[mark + m], place[m]) for m in place if mark + m in place]
        for couple in couples:
            now, before = table.values[:, couple].T
            gaps = np.abs(now - before)
            values += int((~np.isnan(gaps)).sum())
            differing += int((gaps > 0).sum())
            largest = max(largest, float(np.nan_to_num(gaps).max()))
        asked.append((table, couples))
    differences = []
    for (table, _), found in zip(asked, _compared(asked, seed), strict=True):
        for couple, comparison in found.items():
            own = table.values[:, couple]
            now, before = own[~np.isnan(own).any(1)].mean(0).tolist()
            name = table.methods[couple[1]]
            differences.append(Difference(table.metric, name, before, now, comparison))
    alone = len(first) - values, len(second) - values
    return Agreement(values, differing, largest, alone, differences)


@dataclass(frozen=True)
class MeanCurve:
    """A mean over all curves at equal steps, with its bootstrap interval, point by point."""

    metric: str
    method: str
    mean: list[float]
    low: list[float]
    high: list[float]


def mean_curves(values: Values, seed: int = 0) -> list[MeanCurve]:
    """The mean curve of each metric and method that has curves."""
    names, groups = [], []
    for name, method, images, curves in values.curves():
        names.append((name, method))
        groups.append(_pooled(*_by_group(curves.astype(np.float64), images), seed))
    found = []
    intervals = bootstrap_intervals(groups, seed)
    for (name, method), (sums, counts), drawn in zip(names, groups, intervals, strict=True):
        low, high = drawn.T.tolist()
        found.append(MeanCurve(name, method, (sums.sum(0) / counts.sum()).tolist(), low, high))
    return found


def means_by_target(table: Table) -> tuple[Ints, Ints, Floats]:
    """Of each target: its place, the most values that a method has, and the methods' means.

    (T,), (T,) and (T, M), nan where a method has none; those with the most values come first.
    """
    known = ~np.isnan(table.values)
    targets = np.unique(table.target)
    sums, _ = _by_group(np.nan_to_num(table.values), table.target)
    counts, _ = _by_group(known.astype(np.float64), table.target)
    most = counts.max(1).values.numpy().astype(np.int64)
    names = [table.targets[target] for target in targets.tolist()]
    order = sorted(range(len(targets)), key=lambda place: (-most[place], names[place]))
    return targets[order], most[order], (sums / counts).numpy()[order]


def bootstrap_interval(images: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the mean of all values.

    `images` holds the values of each image. Images are drawn, each with all its values; of more
    than 2 000, random groups of them. (nan, nan) for fewer than two images. Source: Efron and
    Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    sums = torch.tensor([math.fsum(values) for values in images], dtype=torch.float64)
    counts = torch.tensor([float(len(values)) for values in images], dtype=torch.float64)
    group = _pooled(sums[:, None], counts, seed)
    ((low, high),) = bootstrap_intervals([group], seed)[0].tolist()
    return low, high


def bootstrap_intervals(groups: Sequence[tuple[Tensor, Tensor]], seed: int = 0) -> list[Tensor]:
    """The same for many quantities at once: of each group the intervals, (Q, 2) float64.

    A group is the sums of each image's values, (N, Q) float64, and how many these are, (N,). Groups
    of as many images share what is drawn.
    """
    found: list[list[Tensor]] = [[] for _ in groups]
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    for number, pieces in _batches([sums.shape for sums, _ in groups]):
        if number < 2:
            for place, columns in pieces:
                size = len(range(*columns.indices(groups[place][0].shape[1])))
                found[place].append(torch.full((size, 2), math.nan, dtype=torch.float64))
            continue
        stacked = [groups[place][0][:, columns] for place, columns in pieces]
        counts = torch.stack([groups[place][1] for place, _ in pieces], 1)
        every = torch.cat([*stacked, counts], 1)
        means = torch.empty(DRAWS, every.shape[1], dtype=torch.float64)
        draw, begin = torch.Generator().manual_seed(seed), 0
        for part in _parts(number):
            drawn = torch.randint(number, (part, number), generator=draw)
            times = torch.zeros(part, number, dtype=torch.float64)
            times.scatter_add_(1, drawn, torch.ones_like(times))
            torch.mm(times, every, out=means[begin : begin + part])
            begin += part
        widths = [*(one.shape[1] for one in stacked), len(pieces)]
        *split, weights = torch.split(means, widths, 1)
        for (place, _), own, weight in zip(pieces, split, weights.T, strict=True):
            drawn_means = (own / weight[:, None]).T.contiguous().numpy()
            found[place].append(torch.from_numpy(np.quantile(drawn_means, tails, axis=1).T))
    return [torch.cat(parts) for parts in found]


def sign_flip_test(differences: Sequence[float], seed: int = 0) -> float:
    """The probability of a mean as far from 0, if each difference had either sign with equal odds.

    Two-sided: all sign patterns where there are no more than 10 000 of them, else as many random
    ones, with the one found counted among them, so that p is never 0. Of more than 2 000
    differences, random groups are flipped together. 1 without differences. Source: Fisher 1935,
    "The design of experiments"; Good 2005, "Permutation, parametric and bootstrap tests of
    hypotheses".
    """
    group = torch.tensor(differences, dtype=torch.float64)[:, None]
    group, _ = _pooled(group, torch.ones(len(group)), seed)
    return float(sign_flip_tests([group], seed)[0])


def sign_flip_tests(groups: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """The same for many quantities at once: of each group (N, Q) float64 the p values, (Q,)."""
    found: list[list[Tensor]] = [[] for _ in groups]
    for count, pieces in _batches([group.shape for group in groups]):
        stacked = [groups[place][:, columns] for place, columns in pieces]
        p = _sign_flips(torch.cat(stacked, 1), count, seed)
        widths = [one.shape[1] for one in stacked]
        split = torch.split(p, widths)
        for (place, _), own in zip(pieces, split, strict=True):
            found[place].append(own)
    return [torch.cat(parts) for parts in found]


def _sign_flips(differences: Tensor, count: int, seed: int) -> Tensor:
    # Flips that only round otherwise are as far.
    found = differences.sum(0).abs() - 1e-12 * differences.abs().sum(0)
    if 2**count <= DRAWS:
        patterns = torch.arange(2**count)[:, None] >> torch.arange(count) & 1
        return (((patterns * 2.0 - 1).double() @ differences).abs() >= found).double().mean(0)
    draw = torch.Generator().manual_seed(seed)
    as_far = torch.ones_like(found)
    for part in _parts(count):
        signs = torch.randint(2, (part, count), generator=draw) * 2 - 1
        as_far += ((signs.double() @ differences).abs() >= found).sum(0)
    return as_far / (DRAWS + 1)


def attainable(images: int, comparisons: int) -> float:
    """The least p of a sign-flip test after Holm's correction, whatever the values."""
    return min(1.0, max(2.0 ** (1 - min(images, UNITS)), 1 / (DRAWS + 1)) * comparisons)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected for being many: each times the number of those not smaller, never falling, up to 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - place)))
        corrected[index] = largest
    return corrected


def _compared(
    asked: Sequence[tuple[Table, Sequence[Couple]]], seed: int
) -> list[dict[Couple, Comparison]]:
    """The comparisons of those couples of each table that share an image, corrected by table."""
    groups: list[tuple[Tensor, Tensor]] = []
    about: list[tuple[int, list[Couple], int]] = []
    for place, (table, couples) in enumerate(asked):
        known = ~np.isnan(table.values)
        # In an order of their own, so that the same images are drawn alike.
        order = sorted(range(len(table.images)), key=table.images.__getitem__)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        alike: dict[bytes, list[Couple]] = {}
        for couple in couples:
            common = known[:, couple].all(1)
            if common.any():
                alike.setdefault(np.packbits(common).tobytes(), []).append(couple)
        for own in alike.values():
            common = known[:, own[0]].all(1)
            sums, counts = _by_group(table.values[common], rank[table.image[common]])
            by_image = _pooled(sums / counts[:, None], torch.ones(len(counts)), seed)
            first, second = (by_image[0][:, list(side)] for side in zip(*own, strict=True))
            about.append((place, own, len(counts)))
            groups.append((first - second, by_image[1]))
    intervals = bootstrap_intervals(groups, seed)
    tests = sign_flip_tests([sums for sums, _ in groups], seed)
    found: list[dict[Couple, Comparison]] = [{} for _ in asked]
    for (place, own, images), (sums, _), limits, p_values in zip(
        about, groups, intervals, tests, strict=True
    ):
        table, highest = asked[place][0], metric(asked[place][0].metric).higher_is_better
        means = (sums.sum(0) / images).tolist()
        columns = zip(own, means, limits.tolist(), p_values.tolist(), strict=True)
        for couple, mean, (low, high), p in columns:
            better = None if mean == 0 else (mean > 0) == highest
            names = table.methods[couple[0]], table.methods[couple[1]]
            found[place][couple] = Comparison(
                table.metric, *names, images, mean, low, high, better, p, p
            )
    corrected = []
    for (_, couples), own_found in zip(asked, found, strict=True):
        inorder = [couple for couple in couples if couple in own_found]
        p_holm = holm([own_found[couple].p for couple in inorder])
        corrected.append(
            {c: replace(own_found[c], p_holm=p) for c, p in zip(inorder, p_holm, strict=True)}
        )
    return corrected


def _known_alike(table: Table) -> Iterator[tuple[list[int], NDArray[np.bool_]]]:
    """Columns that have values of the same pairs, and of which pairs these are."""
    known = ~np.isnan(table.values)
    alike: dict[bytes, list[int]] = {}
    for column in range(known.shape[1]):
        alike.setdefault(np.packbits(known[:, column]).tobytes(), []).append(column)
    for columns in alike.values():
        yield columns, known[:, columns[0]]


def _by_group(values: Floats, group: Ints) -> tuple[Tensor, Tensor]:
    """The sums (G, Q) of the values (N, Q) of each group, and how many (G,): by rising group."""
    if (np.diff(group) > 0).all():  # each value is a group of its own, in order
        return torch.from_numpy(values), torch.ones(len(group), dtype=torch.float64)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sums = np.add.reduceat(values[order], starts, axis=0)
    counts = np.diff(np.append(starts, len(group))).astype(np.float64)
    return torch.from_numpy(sums), torch.from_numpy(counts)


def _pooled(sums: Tensor, counts: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """What is drawn: images, or random groups of them where there are very many.

    The groups' sums vary as those of images do, so the interval and the test are the same but for
    chance, at a fraction of the cost; see docs/evaluate.md.
    """
    if len(sums) <= UNITS:
        return sums, counts.double()
    order = torch.randperm(len(sums), generator=torch.Generator().manual_seed(seed))
    both = torch.cat([sums.double(), counts.double()[:, None]], 1)[order]
    both = torch.nn.functional.pad(both, (0, 0, 0, -len(both) % UNITS))
    both = both.view(-1, UNITS, both.shape[1]).sum(0)
    return both[:, :-1], both[:, -1]


def _batches(
    shapes: Sequence[Sequence[int]],
) -> Iterator[tuple[int, list[tuple[int, slice]]]]:
    """Pieces of groups (N, Q) to be drawn together: N, and of each piece its group and columns."""
    pieces = [
        (number, place, slice(start, min(columns, start + _COLUMNS)))
        for place, (number, columns) in enumerate(shapes)
        for start in range(0, columns, _COLUMNS)
    ]
    batch: list[tuple[int, slice]] = []
    size, before = 0, -1
    for number, place, columns in sorted(pieces, key=lambda piece: piece[0]):
        wide = columns.stop - columns.start
        if batch and (number != before or size + wide > _COLUMNS):
            yield before, batch
            batch, size = [], 0
        batch.append((place, columns))
        size, before = size + wide, number
    if batch:
        yield before, batch


def _mean_ranks(table: Table) -> list[float]:
    """Each method's mean rank over the pairs on which all methods have a value; equals share."""
    common = table.values[~np.isnan(table.values).any(1)]
    if not len(common):
        return [math.nan] * len(table.methods)
    sign = -1 if metric(table.metric).higher_is_better else 1
    ranks = mean_ranks(torch.from_numpy(sign * common)[:, None])[:, 0] + 1
    means: list[float] = ranks.mean(0).tolist()
    return means


def _parts(count: int) -> Iterator[int]:
    """How many draws of `count` places to make at a time, until there are enough."""
    at_once = max(1, _AT_ONCE // count)
    for start in range(0, DRAWS, at_once):
        yield min(at_once, DRAWS - start)
