"""What the numbers say, in sentences; no claim goes beyond a paired test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seewhy.bench.report.cell import Cell, graded


def count(number: int, what: str) -> str:
    """Such as "1 image" and "1,200 images"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def listed(words: Iterable[str]) -> str:
    """Such as "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def figure(value: float) -> str:
    """A metric's value; "–" for nan."""
    return "–" if value != value else f"{value:.3f}"


def signed(value: float) -> str:
    """A difference with its sign, a true minus; 0 where it is 0."""
    return f"{value:+.3f}".replace("-", "−") if value else "0"


def chance(p: float) -> str:
    """A p value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.9995 else "p = 1"


def asked(cells: Sequence[Cell]) -> str:
    """What was run, in one sentence."""
    networks = list(dict.fromkeys(cell.network for cell in cells))
    datasets = list(dict.fromkeys(cell.dataset for cell in cells))
    methods = {method for cell in cells for method in cell.methods}
    images = sum(
        max(cell.evaluation.images for cell in cells if cell.dataset == name) for name in datasets
    )
    return (
        f"{count(len(methods), 'method')} graded by {count(len(graded(cells)), 'metric')} on "
        f"{count(images, 'image')} of {listed(datasets)}, with {listed(networks)}."
    )


def findings(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each metric; of one cell metrics with the same outcome share theirs."""
    if len(cells) == 1:
        return _of_one(cells[0])
    return [_of_many(cells, metric) for metric in graded(cells)]


def _of_one(cell: Cell) -> list[str]:
    outcomes: dict[str, list[str]] = {}
    for metric in cell.metrics:
        outcomes.setdefault(outcome(cell, metric), []).append(metric.replace("_", " "))
    return [f"On {listed(metrics)}, {said}." for said, metrics in outcomes.items()]


def outcome(cell: Cell, metric: str) -> str:
    """Which method is best by a metric, and which are not significantly worse, with the images."""
    best, *others = cell.ranked(metric)
    undecided = cell.undecided(metric)
    on = f"({count(cell.compared(metric), 'image')})"
    if not others:
        return f"{best} is the only graded method"
    if not undecided:
        return f"{best} is significantly better than {_all(others)} {on}"
    if len(others) == 1:
        return f"the difference between {best} and {undecided[0]} is not significant {on}"
    if len(undecided) == len(others):
        return f"{best} has the best mean, but no other method is significantly worse {on}"
    beaten = len(others) - len(undecided)
    return (
        f"{best} has the best mean; {listed(undecided)} {'is' if len(undecided) == 1 else 'are'} "
        f"not significantly worse, the other {'one is' if beaten == 1 else f'{beaten} are'} {on}"
    )


def _all(others: Sequence[str]) -> str:
    return others[0] if len(others) == 1 else f"each of the {len(others)} other methods"


def _of_many(cells: Sequence[Cell], metric: str) -> str:
    own = [cell for cell in cells if metric in cell.metrics]
    leads: dict[str, list[Cell]] = {}
    for cell in own:
        leads.setdefault(cell.ranked(metric)[0], []).append(cell)
    said = []
    for method, led in sorted(leads.items(), key=lambda one: -len(one[1])):
        alone = sum(len(cell.beaten(metric)) == len(cell.ranked(metric)) - 1 for cell in led)
        how = (
            "each time significantly better than every other method"
            if alone == len(led) > 1
            else "significantly better than every other method"
            if alone == len(led)
            else "not significantly better than every other method"
            if not alone
            else f"significantly better than every other method in {alone}"
        )
        said.append(f"{method} in {len(led)} of {len(own)} ({how})")
    return f"Best mean {metric.replace('_', ' ')}: {listed(said)}."
