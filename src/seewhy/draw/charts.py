"""Charts: curves with their uncertainty, and cost against quality; each with a legend that ranks.

A chart is SVG and a list, put into a page from whose style (`page.css`) it takes colours, light or
dark; pointing at a series or its name makes the others recede.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log10

from markupsafe import Markup

from seewhy.draw.page import render

LEFT, TOP, PLOT, HEIGHT = 58, 12, 430, 250  # pixels of a chart's plot
BOX = {"left": LEFT, "top": TOP, "right": LEFT + PLOT, "bottom": TOP + HEIGHT}
MANY = 6  # of more curves only the one pointed at shows its band


@dataclass(frozen=True)
class Axis:
    """From values to pixels: `low` lies at the pixel `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = map(log10 if self.log else float, (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values from `low` to `high`, at most about six."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        locator = LogLocator(subs=(1, 2, 5)) if self.log else MaxNLocator(5)
        slack = 1e-9 * (self.high - self.low)
        ticks = map(float, locator.tick_values(self.low, self.high))
        return [tick for tick in ticks if self.low - slack <= tick <= self.high + slack]


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

    @property
    def line(self) -> list[tuple[float, float]]:
        """Its shares and values."""
        return list(zip(self.shares, self.values, strict=True))

    @property
    def band(self) -> list[tuple[float, float]]:
        """The edge of its intervals; nothing where one is unknown, as of a single image."""
        edge = list(zip(self.shares, self.high, strict=True))
        edge += zip(reversed(self.shares), reversed(self.low), strict=True)
        return edge if all(value == value for _, value in edge) else []


@dataclass(frozen=True)
class Point:
    """A name with its cost and quality; `low` and `high` are the quality's interval, if any."""

    name: str
    place: int
    cost: float
    quality: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def remark(self) -> str:
        """What the legend says beside the name."""
        return f"{self.quality:.3f} for {self.cost:.2f} forwards"


def curves(title: str, x_title: str, y_title: str, shown: Sequence[Curve]) -> Markup:
    """A chart of curves with bands; the legend lists them in their order.

    Raises ValueError where there is no curve, or one has fewer than two values, or not as many of
    everything.
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
    known = [v for one in shown for v in (*one.values, *one.low, *one.high) if v == v]
    x = Axis(0, 1, LEFT, LEFT + PLOT)
    y = Axis(*enclosing(min(0, *known), max(known)), TOP + HEIGHT, TOP)
    kind = "lines many" if len(shown) > MANY else "lines"
    words = {"title": title, "x_title": x_title, "y_title": y_title, "front": ""}
    return render("chart.html", **words, x=x, y=y, box=BOX, kind=kind, shown=shown, at=points)


def scatter(
    title: str, x_title: str, y_title: str, shown: Sequence[Point], *, higher_is_better: bool
) -> Markup:
    """A chart of numbered points, better ones above, with their Pareto front.

    The cost's axis is logarithmic. The legend ranks by quality. Raises ValueError where there is no
    point, or a cost is not positive.
    """
    if not shown:
        raise ValueError("points is empty; give at least one")
    if wrong := [one.name for one in shown if one.cost <= 0]:
        raise ValueError(f"the cost of {wrong[0]!r} is not positive")
    costs = [one.cost for one in shown]
    known = [v for one in shown for v in (one.quality, one.low, one.high) if v == v]
    low, high = min(known), max(known)
    margin = 0.08 * (high - low) or 0.5
    bottom = TOP + HEIGHT
    x = Axis(min(costs) / 1.3, max(costs) * 1.3, LEFT, LEFT + PLOT, log=True)
    y = Axis(low - margin, high + margin, *((bottom, TOP) if higher_is_better else (TOP, bottom)))
    front = pareto_front(shown, higher_is_better=higher_is_better)
    ends = [*(one.cost for one in front[1:]), x.high]
    steps = [
        (cost, one.quality)
        for one, end in zip(front, ends, strict=True)
        for cost in (one.cost, end)
    ]
    ranked = sorted(shown, key=lambda one: one.quality, reverse=higher_is_better)
    line = points(x, y, steps)
    words = {"title": title, "x_title": x_title, "y_title": y_title, "front": line}
    return render("chart.html", **words, x=x, y=y, box=BOX, kind="dots", shown=ranked, at=points)


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


def points(x: Axis, y: Axis, values: Iterable[tuple[float, float]]) -> str:
    """A polyline's points, in pixels."""
    return " ".join(f"{x(across):.1f},{y(up):.1f}" for across, up in values)


def enclosing(low: float, high: float) -> tuple[float, float]:
    """The round values next to a range."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(5).tick_values(low, high)
    return float(ticks[0]), float(ticks[-1])
