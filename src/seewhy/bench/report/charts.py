"""A cell's numbers as charts: curves, and cost against quality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import torch

from seewhy.bench.report.cell import Cell
from seewhy.bench.report.words import figure, listed
from seewhy.draw.curves import Curve, curves
from seewhy.draw.page import tabs
from seewhy.draw.scatter import Point, pareto_front, scatter
from seewhy.evaluation.summary import bootstrap_intervals
from seewhy.metrics import metric as metric_of


def mean_curve(cell: Cell, metric: str, method: str) -> Curve | None:
    """The mean over all values with its 95 % bootstrap interval over images, point by point."""
    images: dict[str, list[tuple[float, ...]]] = {}
    for row in cell.rows[metric][method]:
        if row.curve:
            images.setdefault(row.image, []).append(row.curve)
    if not images:
        return None
    sums = torch.stack([torch.tensor(own, dtype=torch.float64).sum(0) for own in images.values()])
    counts = torch.tensor([float(len(own)) for own in images.values()])
    low, high = bootstrap_intervals(sums, counts).T.tolist()
    points = sums.shape[1]
    listed = metric_of(metric).shares
    shares = listed or torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    return Curve(
        method,
        cell.methods.index(method),
        shares,
        (sums.sum(0) / counts.sum()).tolist(),
        low,
        high,
        figure(cell.summaries[metric, method].mean),
    )


def curve_charts(cell: Cell) -> str:
    """A chart for each metric that sums up a curve."""
    charts = []
    for metric in cell.metrics:
        if (about := metric_of(metric).curve) is None:
            continue
        found = [mean_curve(cell, metric, method) for method in cell.ranked(metric)]
        if shown := [one for one in found if one is not None]:
            better = "higher" if metric_of(metric).higher_is_better else "lower"
            title = f"{metric.replace('_', ' ').capitalize()}, {better} is better"
            charts.append(curves(title, about.axis, "probability of the class", shown))
    if not charts:
        return ""
    return (
        "<h2>Curves</h2><p class=note>Mean over all values; bands: 95 % bootstrap intervals over "
        "images, point by point. Beside the names, best first: the metric’s mean, the area under "
        "an insertion or deletion curve. Point at a name, or reach it by the Tab key, to bring "
        f'its curve out.</p><div class="charts">{"".join(charts)}</div>'
    )


def cost_charts(cell: Cell, name: str, calibration: Mapping[str, Any] | None) -> str:
    """Cost against mean rank and against each metric, with what no other method beats in both."""
    title = "<h2>Cost and quality</h2>"
    costs = costs_of(cell, calibration)
    if not costs:
        return f"{title}<p>What a method costs on this network was not measured.</p>"
    panels = []
    if not all(math.isnan(rank) for rank in cell.mean_ranks.values()):
        points = [
            Point(method, cell.methods.index(method), cost, cell.mean_ranks[method])
            for method, cost in costs.items()
            if not math.isnan(cell.mean_ranks[method])
        ]
        panels.append(("mean rank", _cost_chart("mean rank", points, False)))
    for metric in cell.metrics:
        points = []
        for method, cost in costs.items():
            if one := cell.summaries.get((metric, method)):
                place = cell.methods.index(method)
                points.append(Point(method, place, cost, one.mean, one.low, one.high))
        if points:
            higher = metric_of(metric).higher_is_better
            shown = metric.replace("_", " ")
            panels.append((shown, _cost_chart(shown, points, higher)))
    unknown = [method for method in cell.methods if method not in costs]
    missing = f" Not measured: {listed(unknown)}." if unknown else ""
    return (
        f"{title}<p class=note>Seconds per image and target over those of a bare forward pass, by "
        "the clock on a few images before the run; a method’s own forward pass is counted, though "
        f"methods that are run together share it.{escape(missing)}</p>"
        + tabs(f"{name}-cost", panels)
    )


def costs_of(cell: Cell, calibration: Mapping[str, Any] | None) -> dict[str, float]:
    """What methods cost in forward passes, of those that were measured."""
    measured = (calibration or {}).get(cell.network) or {}
    forward = measured.get("forward")
    seconds = measured.get("methods") or {}
    if not forward:
        return {}
    return {m: seconds[m] / forward for m in cell.methods if seconds.get(m)}


def _cost_chart(quality: str, points: list[Point], higher: bool) -> str:
    front = pareto_front(points, higher_is_better=higher)
    better = "higher" if higher else "lower"
    chart = scatter(
        f"{quality.capitalize()}, {better} is better, against cost",
        "cost in forward passes",
        quality,
        points,
        higher_is_better=higher,
    )
    return (
        f"{chart}<p class=note>Dotted: the front, {escape(listed(one.name for one in front))}, by "
        "the means alone. Each other method is beaten in cost or quality by one that is no worse "
        "in the other.</p>"
    )
