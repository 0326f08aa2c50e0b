"""The page of one run."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from seewhy.bench.report import words
from seewhy.bench.report.cell import Cell, cells_of, check_metrics, metrics_in
from seewhy.bench.report.pictures import PICTURES, SIDE, Kept, choose, fitting, judge, kept
from seewhy.bench.report.provenance import FACTS, facts
from seewhy.bench.store import Run
from seewhy.draw.charts import Curve, Point, curves, pareto_front, scatter
from seewhy.draw.legend import keys
from seewhy.draw.page import write_page
from seewhy.evaluation.statistics import ALPHA, Summary, mean_curves, means_by_target
from seewhy.metrics import metric as metric_of

CLASSES = 100  # rows of a table of classes; VOC has 20, COCO 80
FAILURES = 200


def write_report(
    run: Run,
    path: Path,
    *,
    metric: str | None = None,
    images: int = 3,
    advance: Callable[[int], None] = lambda cells: None,
) -> None:
    """Write one self-contained HTML page about a run.

    metric: the metric by which the gallery chooses its images; None for the run's first metric
        that is not just hit or miss.
    images: images of each kind in the gallery: best and worst of each method, and those on which
        methods disagree most. Fewer if there are many methods, or the run has fewer. 0 for none.
    advance: called with 1 when the part of a network and dataset is finished.

    Everything comes from the run's folder: no network, module or dataset is opened.

    Raises ValueError for a run without values, for a metric that it does not have, and for one of
    a plugin that is not loaded.
    """
    cells = cells_of(run)
    known = metrics_in(cells)
    if metric is not None and metric not in known:
        raise ValueError(f"the run has no values of {metric!r}; it has {', '.join(known)}")
    check_metrics(run, known)
    graded = [cell for cell in cells if len(cell.evaluation.values)]
    number = fitting((len(cell.methods) for cell in graded), images, PICTURES) if images else 0
    pictures = kept(run) if number else {}
    panels = []
    for place, cell in enumerate(graded):
        panels.append(
            {
                "cell": cell,
                "name": f"cell-{place}",
                "curves": curve_charts(cell),
                "costs": cost_charts(cell, run.manifest["calibration"]),
                "gallery": number and gallery(run, cell, pictures, number, metric),
                "classes": {name: by_class(cell, name) for name in cell.metrics},
            }
        )
        advance(1)
    write_page(
        path,
        "report.html",
        run=run,
        cells=cells,
        panels=panels,
        findings=words.findings(graded),
        facts=facts(run, FACTS if run.by_config else ("config", *FACTS)).items(),
        failures=[(cell, one) for cell in cells for one in cell.evaluation.failures],
        alpha=ALPHA,
        most_failures=FAILURES,
        most_classes=CLASSES,
        side=SIDE,
        words=words,
        bar=bar,
        strength=strength,
        keys=keys(signed=True, unseen=True),
    )


def bar(one: Summary, cell: Cell) -> tuple[float, float, float]:
    """Where the ends and the mean of an interval lie among all methods' intervals, 0 to 1."""
    own = [cell.summaries[one.metric, method] for method in cell.ranked(one.metric)]
    ends = [v for s in own for v in (s.low, s.high, s.mean) if not math.isnan(v)]
    low, span = min(ends), (max(ends) - min(ends)) or 1
    left, right, middle = ((v - low) / span for v in (one.low, one.high, one.mean))
    return left, right, middle


def strength(cell: Cell, metric: str, method: str, other: str) -> int:
    """From 0, no significant difference, to 3, one of the largest by the metric."""
    one = cell.comparisons[metric, method, other]
    if not one.significant:
        return 0
    return min(3, max(1, math.ceil(3 * abs(one.difference) / cell.largest[metric])))


def by_class(cell: Cell, metric: str) -> dict[str, Any]:
    """The methods, best first, how many classes there are, and a row for each with most values."""
    table = cell.table(metric)
    order = cell.ranked(metric)
    columns = [table.methods.index(method) for method in order]
    targets, most, means = means_by_target(table)
    means = means[:, columns]
    best = (np.nanmax if metric_of(metric).higher_is_better else np.nanmin)(means, axis=1)
    rows = [
        (table.targets[target], number, own.tolist(), (own == first).tolist())
        for target, number, own, first in zip(targets, most.tolist(), means, best, strict=True)
    ]
    return {"methods": order, "count": len(rows), "rows": rows[:CLASSES]}


def curve_charts(cell: Cell) -> list[Markup]:
    """A chart for each metric that sums up a curve."""
    found = mean_curves(cell.evaluation.values)
    charts = []
    for name in cell.metrics:
        about, shown = metric_of(name), []
        for method in cell.ranked(name):
            if (name, method) in found:
                values, low, high = found[name, method].tolist()
                shares = about.shares or np.linspace(0, 1, len(values)).tolist()
                mean = words.figure(cell.summaries[name, method].mean)
                place = cell.methods.index(method)
                shown.append(Curve(method, place, shares, values, low, high, mean))
        if about.curve and shown:
            title = f"{words.plain(name).capitalize()}, {words.better(name)} is better"
            charts.append(curves(title, about.curve.axis, "probability of the class", shown))
    return charts


def cost_charts(cell: Cell, calibration: Mapping[str, Any] | None) -> dict[str, Any]:
    """Charts of cost against mean rank and each metric, by name, and what was not measured."""
    costs = cell.costs(calibration)
    charts = {}
    for name in ("mean rank", *cell.metrics):
        points = []
        for method, cost in costs.items():
            place, one = cell.methods.index(method), cell.summaries.get((name, method))
            if name == "mean rank" and not math.isnan(cell.mean_ranks[method]):
                points.append(Point(method, place, cost, cell.mean_ranks[method]))
            elif one:
                points.append(Point(method, place, cost, one.mean, one.low, one.high))
        if points:
            higher = name != "mean rank" and metric_of(name).higher_is_better
            shown = words.plain(name)
            title = f"{shown.capitalize()}, {'higher' if higher else 'lower'} is better"
            axes = "cost in forward passes", shown
            chart = scatter(title, *axes, points, higher_is_better=higher)
            front = [one.name for one in pareto_front(points, higher_is_better=higher)]
            charts[shown] = chart, front
    return {"charts": charts, "unknown": [m for m in cell.methods if m not in costs]}


def gallery(
    run: Run, cell: Cell, pictures: Mapping[tuple[str, str], Kept], number: int, metric: str | None
) -> dict[str, Any]:
    """What the gallery of a cell shows, and what there is no picture of, and why.

    number: pairs of each kind. metric: what is best and worst; None for the first that is more than
    hit or miss.
    """
    own = pictures.get((cell.network, cell.dataset))
    if own is None:
        why = "`seewhy evaluate` draws none, and `seewhy bench` does"
        if run.by_config:
            why = "a run draws them when all of it is done, unless its config says pictures: 0"
            why = f"{why}; {run.continuing}"
        return {"notes": [f"No pictures: {why}."]}
    if own.weights != run.manifest["weights"].get(cell.network, ""):
        gone = f"No pictures: {cell.network} has other weights now than when it was graded"
        return {"notes": [gone]}
    if not own.pictures:
        return {"notes": own.notes}
    name = metric if metric in cell.metrics else judge(cell)
    table = cell.table(name)
    choice = choose(table, cell.ranked(name), min(number, own.number))
    column = {method: place for place, method in enumerate(table.methods)}
    probability = cell.evaluation.values.probability[table.pairs]

    def shown(row: int, method: str) -> dict[str, Any]:
        image, target = table.key(row)
        return {
            "picture": own.pictures.get(((image, target), method)),
            "file": Path(image).name,
            "target": target or "predicted class",
            "method": method,
            "value": float(table.values[row, column[method]]) if method else None,
            "probability": float(probability[row]),
        }

    def drawn(row: int, methods: list[str]) -> list[dict[str, Any]]:
        return [one for one in (shown(row, method) for method in methods) if one["picture"]]

    sign = -1 if metric_of(name).higher_is_better else 1
    disagreed = []
    for row in choice.disagreed:
        order = sorted(choice.best, key=lambda one: sign * table.values[row, column[one]])
        disagreed.append(drawn(row, ["", *order]))
    return {
        "notes": own.notes,
        "metric": name,
        "disagreed": [row for row in disagreed if row],
        "extremes": [
            (method, word, [one for row in rows for one in drawn(row, [method])])
            for method in choice.best
            for word, rows in (("best", choice.best[method]), ("worst", choice.worst[method]))
        ],
        "pairs": len(table.pairs),
        "shown": len(choice.wanted),
    }
