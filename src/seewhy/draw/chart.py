"""What charts share: axes, and how many series have colours of their own.

Charts are SVG to be put into a page, from whose style (`page.css`) they take colours, light or
dark; pointing at a series, or focusing it, makes the others recede.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

COLOURS, DASHES = 8, 3  # of the page's style; together they tell 24 series apart
CHARACTER = 6.6  # pixels, about, of the text's 12


def enclosing(low: float, high: float) -> tuple[float, float]:
    """The round values next to a range."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(5).tick_values(low, high)
    return float(ticks[0]), float(ticks[-1])


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
        low, high, value = (
            (log10(v) for v in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / ((high - low) or 1) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values from `low` to `high`, at most about six."""
        from matplotlib.ticker import LogLocator, MaxNLocator

        locator = LogLocator(subs=(1, 2, 5)) if self.log else MaxNLocator(5)
        low, high = sorted((self.low, self.high))
        slack = 1e-9 * (high - low)
        return [
            float(tick)
            for tick in locator.tick_values(low, high)
            if low - slack <= tick <= high + slack
        ]


def points(x: Axis, y: Axis, values: Iterable[tuple[float, float]]) -> str:
    """A polyline's points, in pixels."""
    return " ".join(f"{x(across):.1f},{y(up):.1f}" for across, up in values)


def axes(x: Axis, y: Axis, title: str, x_title: str, y_title: str) -> str:
    """The title, grid lines with their values, and what the axes mean."""
    left, right, top, bottom = x.start, x.end, *sorted((y.start, y.end))
    lines = [f'<text class="title" x="{left}" y="20">{escape(title)}</text>']
    for tick in y.ticks:
        lines.append(
            f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        )
    for tick in x.ticks:
        at = f"{x(tick):.1f}"
        lines.append(
            f'<line class="grid" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 5}"/>'
            f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{tick:.4g}</text>'
        )
    lines.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_title)}'
        f'</text><text x="14" y="{(top + bottom) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {(top + bottom) / 2})">{escape(y_title)}</text>'
    )
    return "".join(lines)


def series(place: int, title: str, *parts: str, kind: str = "") -> str:
    """All that belongs to the series of that place, in its colour and dashes."""
    style = f"c{place % COLOURS} d{place // COLOURS % DASHES}"
    return (
        f'<g class="series {style}{" " * bool(kind)}{kind}" tabindex="0"><title>{escape(title)}'
        f"</title>{''.join(parts)}</g>"
    )


def chart(width: float, height: float, label: str, parts: Sequence[str], kind: str = "") -> str:
    """The chart itself, `label` for those who cannot see it."""
    return (
        f'<div class="chart"><svg viewBox="0 0 {width:g} {height:g}" role="img" class="{kind}" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg></div>'
    )


def shortened(text: str, pixels: float) -> str:
    """The text, cut with an ellipsis where it would be wider."""
    fits = int(pixels / CHARACTER)
    return text if len(text) <= fits else text[: fits - 1] + "…"
