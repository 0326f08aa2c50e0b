"""The page that compares two runs: the same images, methods and metrics, value by value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from seewhy.bench.report.cell import ALPHA, Cell, cells_of
from seewhy.bench.report.provenance import differing
from seewhy.bench.report.words import chance, count, figure, listed, signed
from seewhy.bench.store import Run
from seewhy.draw.page import Entry, Heading, highlights, notice, table, tabs, write_page
from seewhy.evaluation import Comparison, Row, compare, holm, summarize
from seewhy.metrics import metric as metric_of

Key = tuple[str, str, str, str]  # metric, method, image and target


@dataclass(frozen=True)
class Difference:
    """A method by a metric in two runs, on the images that both have values of.

    Attributes:
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


@dataclass(frozen=True, eq=False)
class Matched:
    """A network on a dataset that both runs have.

    Attributes:
        values: how many values both have; differing: how many of them are not equal to the bit;
            largest: the largest difference.
        only: how many values the first and the second run alone have.
    """

    first: Cell
    second: Cell
    values: int
    differing: int
    largest: float
    only: tuple[int, int]
    differences: list[Difference]


def match(first: Cell, second: Cell) -> Matched:
    """What two runs say of the same network and dataset."""
    before, now = _by_key(first), _by_key(second)
    common = [key for key in before if key in now]
    gaps = [abs(before[key].value - now[key].value) for key in common]
    return Matched(
        first,
        second,
        len(common),
        sum(before[key].value != now[key].value for key in common),
        max(gaps, default=0.0),
        (len(before) - len(common), len(now) - len(common)),
        _differences([before[key] for key in common], [now[key] for key in common]),
    )


def _by_key(cell: Cell) -> dict[Key, Row]:
    return {(row.metric, row.method, row.image, row.target): row for row in cell.evaluation.rows}


def _differences(before: Sequence[Row], now: Sequence[Row]) -> list[Difference]:
    """Each run is a method of the test: its rows are paired by image and target."""
    asked: dict[str, dict[str, list[Row]]] = {}
    for run, every in (("second", now), ("first", before)):
        for row in every:
            by_method = asked.setdefault(row.metric, {})
            by_method.setdefault(row.method, []).append(replace(row, method=run))
    found: list[Difference] = []
    for metric, by_method in asked.items():
        own: list[Difference] = []
        for method, rows in by_method.items():
            (comparison,) = compare(rows)
            means = {one.method: one.mean for one in summarize(rows)}
            own.append(Difference(metric, method, means["first"], means["second"], comparison))
        corrected = holm([one.comparison.p for one in own])
        found += [
            replace(one, comparison=replace(one.comparison, p_holm=p))
            for one, p in zip(own, corrected, strict=True)
        ]
    return found


def write_comparison(
    first: Run,
    second: Run,
    path: Path,
    *,
    advance: Callable[[int], None] = lambda cells: None,
) -> None:
    """Write one self-contained HTML page about what differs between two runs.

    advance: called with 1 when a network's part on a dataset is done.

    Raises ValueError for a run without values, and for runs that share none.
    """
    cells = [
        {(cell.network, cell.dataset): cell for cell in cells_of(run)} for run in (first, second)
    ]
    matched = []
    for key in cells[0]:
        if key in cells[1]:
            matched.append(match(cells[0][key], cells[1][key]))
            advance(1)
    if not any(one.values for one in matched):
        raise ValueError(
            f"{first.folder} and {second.folder} have no values of the same network, dataset, "
            "image, method and metric: there is nothing to compare"
        )
    panels = [(one.first.title, _panel(one)) for one in matched if one.values]
    settings = differing(first, second)
    write_page(
        path,
        "Two runs compared",
        f"{second.folder} (B, the second) beside {first.folder} (A, the first), on the values "
        "that both have.",
        [
            highlights(verdicts(matched)),
            *(_unfinished(name, run) for name, run in (("A", first), ("B", second))),
            tabs("cells", panels) if len(panels) > 1 else panels[0][1],
            _only(cells, matched),
            "<h2>Settings and versions that differ</h2>",
            table("", ["", "A", "B"], settings, kind="facts") if settings else "<p>None.</p>",
        ],
    )


def verdicts(matched: Sequence[Matched]) -> list[str]:
    """Whether the runs agree, and where they differ by more than chance."""
    total = sum(one.values for one in matched)
    differing = sum(one.differing for one in matched)
    if not differing:
        return [f"Identical in all {count(total, 'value')} that both have."]
    largest = max(one.largest for one in matched)
    said = [
        f"{differing:,} of {count(total, 'value')} that both have differ, by {largest:.3g} at most."
    ]
    found = [
        (one.first.title, difference)
        for one in matched
        for difference in one.differences
        if difference.comparison.p_holm < ALPHA
    ]
    for word, better in (("better", True), ("worse", False)):
        names = [
            f"{d.method} on {d.metric.replace('_', ' ')}"
            + (f" ({title})" if len(matched) > 1 else "")
            for title, d in found
            if d.comparison.better is better
        ]
        if names:
            said.append(f"B is significantly {word} than A: {listed(names)}.")
    if not found:
        said.append("No method differs significantly on any metric.")
    return said


def _unfinished(name: str, run: Run) -> str:
    if run.complete:
        return ""
    return notice(
        f"{name} is incomplete: {len(run.files)} of {run.manifest['shards']} parts are done."
    )


def _panel(matched: Matched) -> str:
    heads: list[str | Heading] = [
        "metric", "method", Heading("A"), Heading("B"), Heading("B − A", "95 % interval"),
        Heading("p", "after Holm"), Heading("images", "", True),
    ]  # fmt: skip
    rows: list[list[str | Entry]] = []
    for one in matched.differences:
        test = one.comparison
        kind = ""
        if test.p_holm < ALPHA:
            kind = "better2" if test.better else "worse2"
        rows.append(
            [
                f"{one.metric.replace('_', ' ')} {_arrow(one.metric)}",
                one.method,
                Entry(figure(one.first), one.first),
                Entry(figure(one.second), one.second),
                Entry(
                    f"{signed(test.difference)}<small>{signed(test.low)} to {signed(test.high)}"
                    "</small>",
                    test.difference,
                    kind,
                ),
                Entry(escape(chance(test.p_holm)), test.p_holm),
                Entry(f"{test.images:,}", test.images),
            ]
        )
    said = (
        f"Identical in all {count(matched.values, 'value')}."
        if not matched.differing
        else f"{matched.differing:,} of {count(matched.values, 'value')} differ, by "
        f"{matched.largest:.3g} at most."
    )
    alone = [
        f"{count(number, 'value')} only in {name}"
        for number, name in zip(matched.only, "AB", strict=True)
        if number
    ]
    return (
        f"<h2>{escape(matched.first.title)}</h2><p>{said}"
        f"{f' {listed(alone)}.' if alone else ''}</p>"
        "<p class=note>A, B: means over the values that both have. B − A: mean over images of the "
        "difference, its 95 % bootstrap interval over images, and p of the paired sign-flip test, "
        "corrected by Holm for all methods by the metric. "
        '<span class="key better3">+</span> B is better, <span class="key worse3">−</span> worse; '
        "no colour: not significant.</p>" + table("", heads, rows)
    )


def _arrow(metric: str) -> str:
    return "↑" if metric_of(metric).higher_is_better else "↓"


def _only(cells: Sequence[dict[tuple[str, str], Cell]], matched: Sequence[Matched]) -> str:
    """What one run alone has: cells, and methods and metrics of those that both have."""
    lone = _lone("", *([cell.title for cell in own.values()] for own in cells))
    for one in matched:
        first, second = one.first, one.second
        lone += _lone(f" on {first.title} the methods", first.methods, second.methods)
        lone += _lone(f" on {first.title} the metrics", first.metrics, second.metrics)
    title = "<h2>What only one has</h2>"
    if not lone:
        return title + "<p>Both have the same networks, datasets, methods and metrics.</p>"
    return f"{title}<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in lone)}</ul>"


def _lone(what: str, first: list[str], second: list[str]) -> list[str]:
    found = []
    for name, own, other in (("A", first, second), ("B", second, first)):
        if alone := [value for value in own if value not in other]:
            found.append(f"Only {name} has{what} {listed(alone)}.")
    return found
