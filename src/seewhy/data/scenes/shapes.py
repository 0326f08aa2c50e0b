"""Outlines in a plane: the few curves from which every object and distractor is drawn.

A path is a closed polygon, a float array (n, 2) of x (right) and y (down).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Path = NDArray[np.float64]
Point = tuple[float, float]

_STEPS = 7
_t = np.arange(_STEPS)[:, None] / _STEPS
# Catmull-Rom: weights of the four control points around a segment at each step along it.
_CATMULL_ROM = 0.5 * np.hstack(
    [
        -_t + 2 * _t**2 - _t**3,
        2 - 5 * _t**2 + 3 * _t**3,
        _t + 4 * _t**2 - 3 * _t**3,
        -(_t**2) + _t**3,
    ]
)


def polygon(*points: Point) -> Path:
    """The straight-sided polygon through the points."""
    return np.array(points, dtype=np.float64)


def box(left: float, top: float, right: float, bottom: float) -> Path:
    """A rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def smooth(points: Sequence[Point] | Path) -> Path:
    """The closed Catmull-Rom curve through the points."""
    p = np.asarray(points, dtype=np.float64)
    around = np.stack([np.roll(p, shift, axis=0) for shift in (1, 0, -1, -2)], axis=1)
    return (_CATMULL_ROM @ around).reshape(-1, 2)


def curve(points: Sequence[Point] | Path) -> Path:
    """The open Catmull-Rom curve from the first point to the last."""
    p = np.asarray(points, dtype=np.float64)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    around = np.stack([p[k : len(p) - 3 + k] for k in range(4)], axis=1)
    return np.vstack([(_CATMULL_ROM @ around).reshape(-1, 2), p[-2:-1]])


@lru_cache(maxsize=64)
def _arc(start: float, stop: float) -> tuple[Path, Path]:
    a = np.deg2rad(np.linspace(start, stop, 29))
    return np.cos(a), np.sin(a)


def ellipse(
    x: float,
    y: float,
    rx: float,
    ry: float | None = None,
    *,
    tilt: float = 0.0,
    start: float = 0.0,
    stop: float = 360.0,
) -> Path:
    """An ellipse about (x, y), or the slice of it between two angles in degrees (clockwise)."""
    cosine, sine = _arc(start, stop)
    px, py = rx * cosine, (rx if ry is None else ry) * sine
    c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    return np.stack([x + c * px - s * py, y + s * px + c * py], axis=1)


def stroke(points: Sequence[Point] | Path, width: float, end: float | None = None) -> Path:
    """A ribbon along an open curve, `width` wide at its start and `end` (or as wide) at its end."""
    p = curve(points)
    d = np.gradient(p, axis=0)
    normal = np.stack([-d[:, 1], d[:, 0]], axis=1) / (np.hypot(d[:, 0], d[:, 1])[:, None] + 1e-9)
    half = np.linspace(width, width if end is None else end, len(p))[:, None] / 2
    tip = p[-1] + (p[-1] - p[-2]) / (np.hypot(*(p[-1] - p[-2])) + 1e-9) * half[-1]
    tail = p[0] + (p[0] - p[1]) / (np.hypot(*(p[0] - p[1])) + 1e-9) * half[0]
    return np.vstack([tail, p + half * normal, tip, (p - half * normal)[::-1]])


def rounded(left: float, top: float, right: float, bottom: float, radius: float) -> Path:
    """A rectangle with round corners."""
    a = np.deg2rad(np.arange(0, 91, 30))
    arc = radius * np.stack([np.cos(a), np.sin(a)], axis=1)
    flip = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    left, top, right, bottom = left + radius, top + radius, right - radius, bottom - radius
    corner = np.array([[right, bottom], [left, bottom], [left, top], [right, top]])
    turn = [arc, arc[::-1], arc, arc[::-1]]
    return np.vstack([c + f * t for c, f, t in zip(corner, flip, turn, strict=True)])


def mirrored(points: Sequence[Point]) -> list[Point]:
    """The points followed by their mirror images in x = 0, in the order of a closed outline."""
    return [*points, *((-x, y) for x, y in reversed(points) if abs(x) > 1e-9)]
