"""Cost against quality, and what no other point beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from seewhy.draw.chart import CHARACTER, Axis, axes, chart, series, shortened

LEFT, TOP, PLOT, HEIGHT, RIGHT = 58, 36, 640, 320, 130  # pixels


@dataclass(frozen=True)
class Point:
    """A name with its cost and quality; `low` and `high` are the quality's interval, if any."""

    name: str
    place: int
    cost: float
    quality: float
    low: float | None = None
    high: float | None = None


def pareto_front(points: Sequence[Point], *, higher_is_better: bool) -> list[Point]:
    """The points that no other beats in cost or quality without being beaten in the other.

    From cheap to dear; of equal points all are kept.
    """
    sign = 1 if higher_is_better else -1

    def beaten(one: Point) -> bool:
        return any(
            other.cost <= one.cost
            and sign * other.quality >= sign * one.quality
            and (other.cost, other.quality) != (one.cost, one.quality)
            for other in points
        )

    return sorted((one for one in points if not beaten(one)), key=lambda one: one.cost)


def scatter(
    title: str, x_title: str, y_title: str, points: Sequence[Point], *, higher_is_better: bool
) -> str:
    """A chart of points, better ones above, with their Pareto front, as SVG.

    The cost's axis is logarithmic. A name that finds no free place is shown when its point is
    pointed at. Raises ValueError where there is no point, or a cost is not positive.
    """
    if not points:
        raise ValueError("points is empty; give at least one")
    if wrong := [one.name for one in points if one.cost <= 0]:
        raise ValueError(f"the cost of {wrong[0]!r} is not positive")
    costs = [one.cost for one in points]
    ends = [
        end
        for one in points
        for end in (one.quality, one.low, one.high)
        if end is not None and end == end
    ]
    low, high = min(ends), max(ends)
    margin = 0.08 * (high - low) or 0.5
    bottom = TOP + HEIGHT
    x = Axis(min(costs) / 1.3, max(costs) * 1.3, LEFT, LEFT + PLOT, log=True)
    y = Axis(low - margin, high + margin, *((bottom, TOP) if higher_is_better else (TOP, bottom)))
    front = pareto_front(points, higher_is_better=higher_is_better)
    corners: list[tuple[float, float]] = []
    for one in front:
        if corners:
            corners.append((x(one.cost), corners[-1][1]))
        corners.append((x(one.cost), y(one.quality)))
    corners.append((LEFT + PLOT, corners[-1][1]))
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    parts = [axes(x, y, title, x_title, y_title), f'<polyline class="front" points="{line}"/>']
    taken = [_around(x(one.cost), y(one.quality)) for one in points]
    for one in points:
        across, up = x(one.cost), y(one.quality)
        interval = ""
        if one.low is not None and one.high is not None and one.low == one.low:
            interval = (
                f'<line class="whisker" x1="{across:.1f}" x2="{across:.1f}" '
                f'y1="{y(one.low):.1f}" y2="{y(one.high):.1f}"/>'
            )
        name = shortened(one.name, RIGHT + 60)
        text, box = _label(name, across, up, taken)
        if box is not None:
            taken.append(box)
        parts.append(
            series(
                one.place,
                f"{one.name}: {one.cost:.2f} forwards, {one.quality:.3f}",
                interval,
                f'<circle class="dot" cx="{across:.1f}" cy="{up:.1f}" r="6"/>{text}',
                kind="" if box is not None else "quiet",
            )
        )
    label = f"{title}: " + ", ".join(
        f"{one.name} {one.cost:.2f} and {one.quality:.3f}" for one in points
    )
    return chart(LEFT + PLOT + RIGHT, bottom + 50, label, parts)


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _around(across: float, up: float) -> Box:
    return across - 7, up - 7, across + 7, up + 7


def _label(name: str, across: float, up: float, taken: Sequence[Box]) -> tuple[str, Box | None]:
    """The name beside its point, and the room that it takes; None where it overlaps others."""
    wide = CHARACTER * len(name)
    places = [
        (across + 8, up - 9, "start"),
        (across + 10, up + 4, "start"),
        (across + 8, up + 17, "start"),
        (across - 10, up + 4, "end"),
        (across, up - 11, "middle"),
        (across, up + 20, "middle"),
        (across - 8, up - 9, "end"),
        (across - 8, up + 17, "end"),
    ]
    texts = []
    for left, base, anchor in places:
        start = left - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        box = start, base - 11, start + wide, base + 4
        text = f'<text x="{left:.1f}" y="{base:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
        texts.append(text)
        inside = start > LEFT and start + wide < LEFT + PLOT + RIGHT
        if inside and not any(_overlap(box, other) for other in taken):
            return text, box
    return texts[0], None


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
