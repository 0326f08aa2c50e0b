"""The page that compares two runs: the same images, methods and metrics, value by value."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from seewhy.bench.progress import count
from seewhy.bench.report import words
from seewhy.bench.report.cell import Cell, cells_of, check_metrics
from seewhy.bench.report.provenance import differing
from seewhy.bench.report.words import listed
from seewhy.bench.store import Run
from seewhy.draw.page import write_page
from seewhy.evaluation.statistics import Agreement, agreement

CHOICES = ("name", "methods", "metrics", "pictures")  # of a config, which change no value


class Matched(NamedTuple):
    """A network on a dataset that both runs have, and how far they agree on it."""

    first: Cell
    second: Cell
    found: Agreement


def write_comparison(
    first: Run,
    second: Run,
    path: Path,
    *,
    advance: Callable[[int], None] = lambda cells: None,
) -> None:
    """Write one self-contained HTML page about the differences between two runs.

    advance: called with 1 when the part of a network and dataset is finished.

    Raises ValueError for a run without values, for runs without common values, and for a metric of
    a plugin that is not loaded.
    """
    cells = [
        {(cell.network, cell.dataset): cell for cell in cells_of(run)} for run in (first, second)
    ]
    matched = []
    for key, cell in cells[0].items():
        if other := cells[1].get(key):
            check_metrics(first, [metric for metric in cell.metrics if metric in other.metrics])
            found = agreement(cell.evaluation.values, other.evaluation.values)
            matched.append(Matched(cell, other, found))
            advance(1)
    if not any(one.found.values for one in matched):
        raise ValueError(
            f"{first.folder} and {second.folder} have no values of the same network, dataset, "
            "image, method and metric: there is nothing to compare"
        )
    settings = differing(first, second)
    write_page(
        path,
        "comparison.html",
        first=first,
        second=second,
        verdicts=verdicts(matched, settings),
        unfinished=[(name, run) for name, run in (("A", first), ("B", second)) if not run.complete],
        panels=[one for one in matched if one.found.values],
        lone=only(cells, matched),
        settings=settings,
        words=words,
    )


def verdicts(matched: Sequence[Matched], settings: Sequence[tuple[str, str, str]]) -> list[str]:
    """Whether the runs agree, and where they differ by more than chance, or by their settings."""
    total = sum(one.found.values for one in matched)
    differing = sum(one.found.differing for one in matched)
    if not differing:
        return [f"Identical in all {count(total, 'value')} that both have."]
    largest = max(one.found.largest for one in matched)
    said = [
        f"{differing:,} of {count(total, 'value')} that both have differ, by {largest:.3g} at most."
    ]
    found = [
        (one.first.title, difference)
        for one in matched
        for difference in one.found.differences
        if difference.comparison.significant
    ]
    for word, better in (("better", True), ("worse", False)):
        names = [
            f"{d.method} on {words.plain(d.metric)}" + (f" ({title})" if len(matched) > 1 else "")
            for title, d in found
            if d.comparison.better is better
        ]
        if names:
            said.append(f"B is significantly {word} than A: {listed(names)}.")
    if not found:
        said.append("No significant difference of any method on any metric.")
    asked = [name for name, *_ in settings if name.startswith("config.")]
    if others := [name for name in asked if name.split(".")[1] not in CHOICES]:
        said.append(f"The runs had different settings, which may be the reason: {listed(others)}.")
    return said


def only(cells: Sequence[dict[tuple[str, str], Cell]], matched: Sequence[Matched]) -> list[str]:
    """What one run alone has: cells, and methods and metrics of those that both have."""
    lone = _lone("", *([cell.title for cell in own.values()] for own in cells))
    for first, second, _ in matched:
        lone += _lone(f" on {first.title} the methods", first.methods, second.methods)
        lone += _lone(f" on {first.title} the metrics", first.metrics, second.metrics)
    return lone


def _lone(what: str, first: list[str], second: list[str]) -> list[str]:
    found = []
    for name, own, other in (("A", first, second), ("B", second, first)):
        if alone := [value for value in own if value not in other]:
            found.append(f"Only {name} has{what} {listed(alone)}.")
    return found
