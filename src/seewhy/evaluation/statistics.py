"""Means with their uncertainty, and tests whether methods differ.

Several targets of one image are not independent, so the units of resampling and tests are images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, permutations

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
_ROUNDING = 1e-5  # relative; on networks in float32 values of equal maps differ by 3e-6
_AT_ONCE = 400_000  # drawn places that are in memory together
_COLUMNS = 100  # quantities whose means are in memory together

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
    difference: the mean over images of method - other, of each the mean over its targets; so it
        may not be the difference of the methods' `Summary.mean`, which is over all values.
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


def summarize(rows: Values | Iterable[Row]) -> list[Summary]:
    """A summary of each metric and method, in the order of the rows, the best method first."""
    values = Values.of(rows)
    ordered: list[Summary] = []
    for table in map(values.table, values.metrics):
        ranks, found = _mean_ranks(table), {}
        for columns, known in _alike(~np.isnan(table.values).T):
            shown = torch.from_numpy(table.values[known][:, columns])
            sums, counts = _by_group(shown, table.image[known])
            intervals = bootstrap_intervals(sums, counts).tolist()
            targets, classes = np.unique(table.target[known], return_inverse=True)
            for column, one, (low, high) in zip(columns, shown.T, intervals, strict=True):
                by_class = class_means(one, torch.from_numpy(classes), len(targets))
                found[column] = Summary(
                    table.metric,
                    table.methods[column],
                    len(one),
                    len(counts),
                    float(one.mean()),
                    low,
                    high,
                    float(by_class.mean()),
                    ranks[column],
                )
        highest = metric(table.metric).higher_is_better
        inorder = [found[column] for column in sorted(found)]
        ordered += sorted(inorder, key=lambda one: one.mean, reverse=highest)
    return ordered


def compare(rows: Values | Iterable[Row], reference: str | None = None) -> list[Comparison]:
    """Each two methods by each metric, or each method with the reference alone.

    Random flips bound `p_holm` from below, by the number of comparisons over 10 001: among many
    methods choose a reference.

    Raises ValueError where the reference has no rows at all.
    """
    values = Values.of(rows)
    if reference is not None and reference not in values.methods:
        named = f"there are {', '.join(values.methods)}" if values.methods else "there are none"
        raise ValueError(f"reference {reference!r} has no values; {named}")
    found: list[Comparison] = []
    for table in map(values.table, values.metrics):
        columns = range(len(table.methods))
        couples = list(combinations(columns, 2))
        if reference is not None:
            each_way = permutations(columns, 2)
            couples = [couple for couple in each_way if table.methods[couple[1]] == reference]
        found += _compared(table, couples).values()
    return found


def agreement(first: Values, second: Values) -> Agreement:
    """How far two evaluations agree: each is a method of the test, paired by image and target."""
    mark = "\n"  # which no method's name has
    marked = replace(second, methods=tuple(mark + method for method in second.methods))
    both = Values.joined([first, marked])
    values = differing = 0
    largest = 0.0
    differences = []
    for table in map(both.table, both.metrics):
        place = {method: column for column, method in enumerate(table.methods)}
        couples = [(place[mark + name], place[name]) for name in place if mark + name in place]
        for couple, comparison in _compared(table, couples).items():
            own = table.values[:, couple]
            own = own[~np.isnan(own).any(1)]
            gaps = np.abs(own[:, 0] - own[:, 1])
            values += len(gaps)
            differing += int((gaps > 0).sum())
            largest = max(largest, float(gaps.max()))
            now, before = own.mean(0).tolist()
            name = table.methods[couple[1]]
            differences.append(Difference(table.metric, name, before, now, comparison))
    alone = len(first) - values, len(second) - values
    return Agreement(values, differing, largest, alone, differences)


def mean_curves(values: Values) -> dict[tuple[str, str], Tensor]:
    """Of each metric and method that has curves their mean, point by point, with its interval.

    (3, points) float64: the means, the lower and the upper ends.
    """
    alike: dict[bytes, list[tuple[str, str, Tensor, Tensor]]] = {}  # those of the same images
    for name, method, images, curves in values.curves():
        sums, counts = _pooled(*_by_group(torch.from_numpy(curves).double(), images))
        alike.setdefault(counts.numpy().tobytes(), []).append((name, method, sums, counts))
    found = {}
    for group in alike.values():
        every, counts = torch.cat([sums for _, _, sums, _ in group], 1), group[0][3]
        widths = [sums.shape[1] for _, _, sums, _ in group]
        drawn = torch.split(bootstrap_intervals(every, counts), widths)
        for (name, method, sums, _), intervals in zip(group, drawn, strict=True):
            mean = sums.sum(0, keepdim=True) / counts.sum()
            found[name, method] = torch.cat([mean, intervals.T])
    return found


def means_by_target(table: Table) -> tuple[Ints, Ints, Floats]:
    """Of each target: its place, the most values that a method has, and the methods' means.

    (T,), (T,) and (T, M), nan where a method has none; those with the most values come first.
    """
    values = torch.from_numpy(table.values)
    sums, _ = _by_group(values.nan_to_num(), table.target)
    counts, _ = _by_group((~values.isnan()).double(), table.target)
    most = counts.amax(1).long().numpy()
    targets = np.unique(table.target)
    names = [table.targets[target] for target in targets.tolist()]
    order = sorted(range(len(targets)), key=lambda place: (-most[place], names[place]))
    return targets[order], most[order], (sums / counts).numpy()[order]


def bootstrap_intervals(sums: Tensor, counts: Tensor) -> Tensor:
    """The percentile bootstrap's 95 % intervals of the means of all values: (Q, 2) float64.

    sums: (N, Q) float64, of each image's values. counts: (N,), how many these are.

    Images are drawn, each with all its values; of more than 2 000, random groups of them. nan for
    fewer than two images. Source: Efron and Tibshirani 1993, "An introduction to the bootstrap",
    chapter 13.
    """
    sums, counts = _pooled(sums, counts)
    if len(sums) < 2:
        return sums.new_full((sums.shape[1], 2), math.nan)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    intervals = []
    for some in torch.split(sums, _COLUMNS, 1):
        every = torch.cat([some, counts[:, None]], 1)
        drawn = _product(_drawn(len(sums)), every)
        means = (drawn[:, :-1] / drawn[:, -1:]).T.contiguous()
        intervals.append(np.quantile(means.numpy(), tails, axis=1).T)
    return torch.from_numpy(np.concatenate(intervals))


def sign_flip_tests(differences: Tensor) -> Tensor:
    """The probability of a mean as far from 0, if each difference had either sign with equal odds.

    differences: (N, Q) float64; the result is (Q,).

    Two-sided: all sign patterns where there are no more than 10 000 of them, else as many random
    ones, with the one found counted among them, so that p is never 0. Of more than 2 000
    differences, random groups are flipped together. 1 without differences. Source: Fisher 1935,
    "The design of experiments"; Good 2005, "Permutation, parametric and bootstrap tests of
    hypotheses".
    """
    differences, _ = _pooled(differences, differences.new_ones(len(differences)))
    # Flips that only round otherwise are as far.
    found = differences.sum(0).abs() - 1e-12 * differences.abs().sum(0)
    signs = _signs(len(differences))
    pairs = zip(torch.split(differences, _COLUMNS, 1), torch.split(found, _COLUMNS), strict=True)
    far = [_product(signs, some).abs() >= own for some, own in pairs]
    as_far = torch.cat([one.sum(0, dtype=torch.float64) for one in far])
    every = len(signs) == 2 ** len(differences)
    return as_far / len(signs) if every else (as_far + 1) / (len(signs) + 1)


@lru_cache(maxsize=1)
def _drawn(count: int) -> Tensor:
    """How often each of `count` images is in each draw, (draws, count); in bytes, as it is kept."""
    draw = torch.Generator().manual_seed(0)
    times = torch.zeros(DRAWS, count, dtype=torch.uint8, device="cpu")
    for part in torch.split(times, max(1, _AT_ONCE // count)):
        drawn = torch.randint(count, part.shape, generator=draw, device="cpu")
        part.scatter_add_(1, drawn, torch.ones_like(part))
    return times


@lru_cache(maxsize=1)
def _signs(count: int) -> Tensor:
    """Signs for `count` differences, (patterns, count), in bytes: all patterns, or random ones."""
    if 2**count <= DRAWS:
        patterns, places = (torch.arange(n, device="cpu") for n in (2**count, count))
        return ((patterns[:, None] >> places & 1) * 2 - 1).to(torch.int8)
    draw = torch.Generator().manual_seed(0)
    signs = torch.empty(DRAWS, count, dtype=torch.int8, device="cpu")
    for part in torch.split(signs, max(1, _AT_ONCE // count)):
        part.copy_(torch.randint(2, part.shape, generator=draw, device="cpu") * 2 - 1)
    return signs


def _product(draws: Tensor, columns: Tensor) -> Tensor:
    """The product of a matrix of bytes with columns, float64, without a large copy of the first."""
    product = columns.new_empty(len(draws), columns.shape[1])
    rows = max(1, _AT_ONCE // max(1, len(columns)))
    for part, of_part in zip(torch.split(draws, rows), torch.split(product, rows), strict=True):
        torch.mm(part.double(), columns, out=of_part)
    return product


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


def _compared(table: Table, couples: Sequence[Couple]) -> dict[Couple, Comparison]:
    """The comparisons of those couples that share an image, corrected for being many."""
    highest = metric(table.metric).higher_is_better
    # In an order of their own, so that the same images are drawn alike.
    rank = np.argsort(sorted(range(len(table.images)), key=table.images.__getitem__))
    known = ~np.isnan(table.values)
    found: dict[Couple, Comparison] = {}
    for places, common in _alike(known[:, one] & known[:, other] for one, other in couples):
        if not common.any():
            continue
        own = [couples[place] for place in places]
        values = torch.from_numpy(table.values[common])
        sums, counts = _by_group(values, rank[table.image[common]])
        images = len(counts)
        by_image, counts = _pooled(sums / counts[:, None], torch.ones_like(counts))
        first, second = (by_image[:, list(side)] for side in zip(*own, strict=True))
        # Maps that are equal but for rounding may differ to one side: that would be significant.
        gaps = (first - second).masked_fill(_equal(first, second), 0)
        intervals = bootstrap_intervals(gaps, counts).tolist()
        means = (gaps.sum(0) / images).tolist()
        columns = means, intervals, sign_flip_tests(gaps).tolist()
        for couple, mean, (low, high), p in zip(own, *columns, strict=True):
            better = None if mean == 0 else (mean > 0) == highest
            names = table.methods[couple[0]], table.methods[couple[1]]
            found[couple] = Comparison(table.metric, *names, images, mean, low, high, better, p, p)
    inorder = [couple for couple in couples if couple in found]
    corrected = holm([found[couple].p for couple in inorder])
    return {c: replace(found[c], p_holm=p) for c, p in zip(inorder, corrected, strict=True)}


def _equal(first: Tensor, second: Tensor) -> Tensor:
    """Where values of two methods, (N, Q) each, are the same but for rounding."""
    size = ((first.abs() + second.abs()) / 2).nan_to_num(posinf=0)
    rounded = (first - second).abs() <= _ROUNDING * (size + size.mean(0)) + 1e-9
    return rounded | (first == second)


def _alike(masks: Iterable[NDArray[np.bool_]]) -> Iterable[tuple[list[int], NDArray[np.bool_]]]:
    """The places of the masks that are equal, and that mask."""
    found: dict[bytes, tuple[list[int], NDArray[np.bool_]]] = {}
    for place, mask in enumerate(masks):
        found.setdefault(np.packbits(mask).tobytes(), ([], mask))[0].append(place)
    return found.values()


def _by_group(values: Tensor, group: Ints) -> tuple[Tensor, Tensor]:
    """The sums (G, Q) of the values (N, Q) of each group, and how many (G,): by rising group."""
    _, place, counts = np.unique(group, return_inverse=True, return_counts=True)
    sums = values.new_zeros(len(counts), values.shape[1])
    sums.index_add_(0, torch.from_numpy(place), values)
    return sums, torch.from_numpy(counts).double()


def _pooled(sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """What is drawn: images, or random groups of them where there are very many.

    The groups' sums vary as those of images do, so the interval and the test are the same but for
    chance, at a fraction of the cost; see docs/evaluate.md.
    """
    if len(sums) <= UNITS:
        return sums, counts.double()
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(len(sums), generator=draw, device="cpu")
    group = order.argsort() % UNITS
    whole = sums.new_zeros(UNITS, sums.shape[1]).index_add_(0, group, sums)
    return whole, whole.new_zeros(UNITS).index_add_(0, group, counts.double())


def _mean_ranks(table: Table) -> list[float]:
    """Each method's mean rank over the pairs on which all methods have a value.

    Those that are equal but for rounding share their ranks.
    """
    common = table.values[~np.isnan(table.values).any(1)]
    if not len(common):
        return [math.nan] * len(table.methods)
    sign = -1 if metric(table.metric).higher_is_better else 1
    ordered, order = torch.from_numpy(sign * common).sort(1)
    levels = torch.zeros_like(ordered)
    levels[:, 1:] = (~_equal(ordered[:, 1:], ordered[:, :-1])).cumsum(1)
    ranks = mean_ranks(torch.empty_like(levels).scatter_(1, order, levels)[:, None])[:, 0] + 1
    means: list[float] = ranks.mean(0).tolist()
    return means
