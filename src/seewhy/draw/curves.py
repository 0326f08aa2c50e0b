"""Curves with their uncertainty, and a legend that is a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from seewhy.draw.chart import Axis, axes, chart, enclosing, points, series, shortened

LEFT, TOP, PLOT, HEIGHT, LEGEND, LINE = 58, 36, 350, 250, 250, 18  # pixels
MANY = 6  # of more curves only the one pointed at shows its band


@dataclass(frozen=True)
class Curve:
    """Values at shares from 0 to 1, each with its interval.

    place: which colour and dashes, so that a name looks alike in all charts.
    remark: what the legend says beside the name.
    """

    name: str
    place: int
    shares: Sequence[float]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    remark: str = ""


def curves(title: str, x_title: str, y_title: str, shown: Sequence[Curve]) -> str:
    """A chart of curves with bands, as SVG; the legend lists them in their order.

    Pointing at a curve or its name brings it out. Raises ValueError where there is no curve, or
    one has fewer than two values, or not as many of everything.
    """
    if not shown:
        raise ValueError("shown is empty; give at least one curve")
    for one in shown:
        lengths = [len(part) for part in (one.shares, one.values, one.low, one.high)]
        if len({*lengths}) > 1 or lengths[0] < 2:
            raise ValueError(
                f"curve {one.name!r} has {lengths[0]} shares, {lengths[1]} values, {lengths[2]} "
                f"lower and {lengths[3]} upper ends; give as many of each, two at least"
            )
    height = max(HEIGHT, LINE * len(shown))
    bottom = TOP + height
    all_values = [v for one in shown for v in (*one.values, *one.low, *one.high) if v == v]
    x = Axis(0, 1, LEFT, LEFT + PLOT)
    y = Axis(*enclosing(min(0, *all_values), max(all_values)), bottom, TOP)
    parts = [axes(x, y, title, x_title, y_title)]
    right = LEFT + PLOT + 18
    for line, one in enumerate(shown):
        edge = list(zip(one.shares, one.high, strict=True))
        edge += zip(reversed(one.shares), reversed(one.low), strict=True)
        path = points(x, y, list(zip(one.shares, one.values, strict=True)))
        known = all(value == value for _, value in edge)  # a single image has no interval
        middle = TOP + 10 + line * LINE
        name = escape(shortened(one.name, LEGEND - 90))
        parts.append(
            series(
                one.place,
                f"{one.name} {one.remark}",
                f'<polygon class="band" points="{points(x, y, edge)}"/>' if known else "",
                f'<polyline class="line" points="{path}"/>',
                f'<rect class="hit" x="{right}" y="{middle - LINE / 2}" width="{LEGEND}" '
                f'height="{LINE}"/><line class="line" x1="{right}" x2="{right + 24}" '
                f'y1="{middle}" y2="{middle}"/><text x="{right + 32}" y="{middle + 4}">{name}'
                f'</text><text x="{right + LEGEND - 12}" y="{middle + 4}" text-anchor="end">'
                f"{escape(one.remark)}</text>",
            )
        )
    label = f"{title}: " + ", ".join(f"{one.name} {one.remark}" for one in shown)
    kind = "many" if len(shown) > MANY else ""
    return chart(right + LEGEND, bottom + 50, label, parts, kind)
