"""What many rows say together: means with their uncertainty, and whether methods differ.

Several targets of one image are not independent, so images are what is drawn and what is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seewhy.evaluation.rows import Row
from seewhy.metrics import class_means, metric
from seewhy.metrics.quality import mean_ranks

CONFIDENCE = 0.95
DRAWS = 10_000
_AT_ONCE = 2_000_000  # drawn places that are in memory together


@dataclass(frozen=True)
class Summary:
    """A method by a metric.

    Attributes:
        metric, method: their names.
        values, images: how many values of how many images.
        mean: of the values; low, high: its bootstrap 95 % interval over images, nan for one image.
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

    Attributes:
        metric, method, other: their names.
        images: how many.
        difference: the mean over images of method - other; low, high: its bootstrap 95 % interval.
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


def summarize(rows: Iterable[Row], seed: int = 0) -> list[Summary]:
    """A summary of each metric and method, in the order of the rows, the best method first."""
    summaries = []
    for name, by_method in _grouped(rows).items():
        ranks = _mean_ranks(name, by_method)
        intervals = _intervals({m: _by_image(found) for m, found in by_method.items()}, seed)
        own = []
        for method, found in by_method.items():
            values = torch.tensor([row.value for row in found], dtype=torch.float64)
            targets = list(dict.fromkeys(row.target for row in found))
            places = torch.tensor([targets.index(row.target) for row in found])
            own.append(
                Summary(
                    name,
                    method,
                    len(found),
                    len({row.image for row in found}),
                    float(values.mean()),
                    *intervals[method],
                    float(class_means(values, places, len(targets)).mean()),
                    ranks[method],
                )
            )
        summaries += sorted(own, key=lambda one: one.mean, reverse=metric(name).higher_is_better)
    return summaries


def compare(rows: Iterable[Row], reference: str | None = None, seed: int = 0) -> list[Comparison]:
    """Each two methods by each metric, or each method with the reference alone.

    Random flips bound `p_holm` from below, by the number of comparisons over 10 001: among many
    methods choose a reference.

    Raises ValueError where the reference has no rows at all.
    """
    comparisons: list[Comparison] = []
    grouped = _grouped(rows)
    methods = dict.fromkeys(method for by_method in grouped.values() for method in by_method)
    if reference is not None and reference not in methods:
        raise ValueError(f"reference {reference!r} has no values; there are {', '.join(methods)}")
    for name, by_method in grouped.items():
        names = list(by_method)
        couples = [
            (method, other)
            for place, method in enumerate(names)
            for other in (names[place + 1 :] if reference is None else names)
            if method != other and reference in (None, other)
        ]
        found = _compared(name, by_method, couples, seed)
        corrected = holm([one.p for one in found])
        comparisons += [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
    return comparisons


def bootstrap_interval(images: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the mean of all values.

    `images` holds the values of each image. Images are drawn, each with all its values. (nan, nan)
    for fewer than two images. Source: Efron and Tibshirani 1993, "An introduction to the
    bootstrap", chapter 13.
    """
    sums = torch.tensor([math.fsum(values) for values in images], dtype=torch.float64)
    counts = torch.tensor([float(len(values)) for values in images], dtype=torch.float64)
    ((low, high),) = bootstrap_intervals(sums[:, None], counts, seed).tolist()
    return low, high


def bootstrap_intervals(sums: Tensor, counts: Tensor, seed: int = 0) -> Tensor:
    """The same for Q quantities of N images at once, (Q, 2) float64.

    `sums` (N, Q) holds the sum of each image's values, `counts` (N,) how many they are.
    """
    number, quantities = sums.shape
    if number < 2:
        return torch.full((quantities, 2), math.nan, dtype=torch.float64)
    sums, counts = sums.double(), counts.double()
    draw = torch.Generator().manual_seed(seed)
    means = []
    for part in _parts(number):
        drawn = torch.randint(number, (part, number), generator=draw)
        times = torch.zeros(part, number, dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones_like(times))
        means.append(times @ sums / (times @ counts)[:, None])
    tail = (1 - CONFIDENCE) / 2
    return torch.cat(means).quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64), 0).T


def sign_flip_test(differences: Sequence[float], seed: int = 0) -> float:
    """The probability of a mean as far from 0, if each difference had either sign with equal odds.

    Two-sided: all sign patterns where there are no more than 10 000 of them, else as many random
    ones, with the one found counted among them, so that p is never 0. 1 without differences.
    Source: Fisher 1935, "The design of experiments"; Good 2005, "Permutation, parametric and
    bootstrap tests of hypotheses".
    """
    (p,) = sign_flip_tests(torch.tensor(differences, dtype=torch.float64)[:, None], seed).tolist()
    return float(p)


def sign_flip_tests(differences: Tensor, seed: int = 0) -> Tensor:
    """The same for Q quantities of N images at once: (N, Q) float64 to (Q,)."""
    count = len(differences)
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
    name: str, by_method: dict[str, list[Row]], couples: Sequence[tuple[str, str]], seed: int
) -> list[Comparison]:
    """The comparisons, not yet corrected, of those couples that share an image."""
    values = {
        method: {(row.image, row.target): row.value for row in rows}
        for method, rows in by_method.items()
    }
    # Couples that share the same images are drawn together.
    together: dict[tuple[str, ...], dict[tuple[str, str], list[float]]] = {}
    for couple in couples:
        first, second = (values[method] for method in couple)
        images: dict[str, list[float]] = {}
        for pair in first.keys() & second.keys():
            images.setdefault(pair[0], []).append(first[pair] - second[pair])
        if images:
            # In an order of their own: that of sets changes from run to run.
            keys = tuple(sorted(images))
            differences = [math.fsum(images[key]) / len(images[key]) for key in keys]
            together.setdefault(keys, {})[couple] = differences
    found: dict[tuple[str, str], Comparison] = {}
    for keys, group in together.items():
        table = torch.tensor(list(group.values()), dtype=torch.float64).T
        intervals = bootstrap_intervals(table, torch.ones(len(keys)), seed).tolist()
        p_values = sign_flip_tests(table, seed).tolist()
        for couple, (low, high), p in zip(group, intervals, p_values, strict=True):
            mean = math.fsum(group[couple]) / len(keys)
            better = None if mean == 0 else (mean > 0) == metric(name).higher_is_better
            found[couple] = Comparison(name, *couple, len(keys), mean, low, high, better, p, p)
    return [found[couple] for couple in couples if couple in found]


def _intervals(
    by_method: dict[str, dict[str, list[float]]], seed: int
) -> dict[str, tuple[float, float]]:
    """Each method's bootstrap interval; those with values of the same pairs are drawn together."""
    together: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for method, images in by_method.items():
        sizes = tuple((key, len(own)) for key, own in images.items())
        together.setdefault(sizes, []).append(method)
    found = {}
    for sizes, methods in together.items():
        sums = [[math.fsum(own) for own in by_method[method].values()] for method in methods]
        counts = torch.tensor([float(count) for _, count in sizes])
        intervals = bootstrap_intervals(torch.tensor(sums, dtype=torch.float64).T, counts, seed)
        for method, (low, high) in zip(methods, intervals.tolist(), strict=True):
            found[method] = (low, high)
    return found


def _mean_ranks(name: str, by_method: dict[str, list[Row]]) -> dict[str, float]:
    """Each method's mean rank over the pairs on which all methods have a value; equals share."""
    values = [{(row.image, row.target): row.value for row in rows} for rows in by_method.values()]
    common = sorted(set.intersection(*(set(one) for one in values)))
    if not common:
        return dict.fromkeys(by_method, math.nan)
    table = torch.tensor([[one[pair] for one in values] for pair in common], dtype=torch.float64)
    sign = -1 if metric(name).higher_is_better else 1
    ranks = mean_ranks(sign * table[:, None])[:, 0] + 1
    return dict(zip(by_method, ranks.mean(0).tolist(), strict=True))


def _grouped(rows: Iterable[Row]) -> dict[str, dict[str, list[Row]]]:
    """Rows by metric and method."""
    grouped: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        grouped.setdefault(row.metric, {}).setdefault(row.method, []).append(row)
    return grouped


def _by_image(rows: Iterable[Row]) -> dict[str, list[float]]:
    images: dict[str, list[float]] = {}
    for row in rows:
        images.setdefault(row.image, []).append(row.value)
    return images


def _parts(count: int) -> Iterator[int]:
    """How many draws of `count` places to make at a time, until there are enough."""
    at_once = max(1, _AT_ONCE // count)
    for start in range(0, DRAWS, at_once):
        yield min(at_once, DRAWS - start)
