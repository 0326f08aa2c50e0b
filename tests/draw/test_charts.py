"""Charts: where their points lie, in which order they are named, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seewhy.draw.charts import (
    HEIGHT,
    LEFT,
    MANY,
    PLOT,
    TOP,
    Axis,
    Curve,
    Point,
    curves,
    enclosing,
    pareto_front,
    scatter,
)


def line(name: str, place: int, values: list[float], spread: float = 0.0) -> Curve:
    shares = [step / (len(values) - 1) for step in range(len(values))]
    low, high = ([v + sign * spread for v in values] for sign in (-1, 1))
    return Curve(name, place, shares, values, low, high, f"{sum(values) / len(values):.2f}")


def corners(svg: str, tag: str) -> list[list[tuple[float, float]]]:
    """Of each element of that kind, its corners in pixels."""
    found = re.findall(rf'<{tag} [^>]*points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in text.split()] for text in found]


def points(svg: str, tag: str) -> list[list[tuple[float, float]]]:
    """The same in values: the y axis runs from 0 to 1."""
    return [
        [((x - LEFT) / PLOT, 1 - (y - TOP) / HEIGHT) for x, y in one] for one in corners(svg, tag)
    ]


def test_points_lie_at_their_values():
    svg = curves("Insertion", "share", "probability", [line("a", 0, [0.0, 0.25, 1.0], 0.1)])
    # The band reaches from -0.1 to 1.1, which the axis encloses in round values.
    low, high = enclosing(-0.1, 1.1)
    (drawn,) = points(svg, "polyline")
    values = [(x, low + y * (high - low)) for x, y in drawn]
    for (x, y), (share, value) in zip(values, [(0, 0), (0.5, 0.25), (1, 1)], strict=True):
        assert x == pytest.approx(share, abs=0.001)
        assert y == pytest.approx(value, abs=0.001)
    (band,) = points(svg, "polygon")
    heights = [low + y * (high - low) for _, y in band]
    assert heights == pytest.approx([0.1, 0.35, 1.1, 0.9, 0.15, -0.1], abs=0.001)


def test_the_legend_keeps_the_order_and_colours_follow_the_place():
    svg = curves("t", "x", "y", [line("second", 1, [0.0, 1.0]), line("first", 0, [0.0, 0.5])])
    assert svg.index(">second<") < svg.index(">first<")
    assert re.findall(r'class="series s\d+ (c\d+ d\d+)', svg) == ["c1 d0", "c0 d0"]
    assert ">0.50<" in svg


def test_as_many_as_24_look_different():
    shown = [line(f"method {i}", i, [0.0, i / 24]) for i in range(24)]
    svg = curves("t", "x", "y", shown)
    styles = re.findall(r'class="series s\d+ (c\d+ d\d+)', svg)
    assert len(set(styles)) == 24
    assert all(f">method {i}<" in svg for i in range(24))
    # So many bands would hide each other.
    assert 'class="chart lines many"' in svg
    assert 'class="chart lines many"' not in curves("t", "x", "y", shown[:MANY])
    assert len({style.split()[0] for style in styles}) == 8


def test_one_image_has_a_curve_without_a_band():
    one = Curve("a", 0, [0, 1], [0.2, 0.4], [float("nan")] * 2, [float("nan")] * 2)
    svg = curves("t", "x", "y", [one])
    assert "nan" not in svg
    assert "<polygon" not in svg
    assert "<polyline" in svg


def test_names_are_escaped():
    svg = curves("<t>", "x & y", "y", [line("<script>", 0, [0.0, 1.0])])
    assert "<script>" not in svg
    assert "<t>" not in svg
    assert "x &amp; y" in svg


def test_curves_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="at least one curve"):
        curves("t", "x", "y", [])
    with pytest.raises(ValueError, match="'a' has 1 shares, 1 values"):
        curves("t", "x", "y", [Curve("a", 0, [0], [1], [1], [1])])
    with pytest.raises(ValueError, match="'a' has 2 shares, 3 values"):
        curves("t", "x", "y", [Curve("a", 0, [0, 1], [1, 1, 1], [1, 1], [1, 1])])


def test_axes():
    axis = Axis(2, 4, 100, 0)
    assert [axis(v) for v in (2, 3, 4)] == [100, 50, 0]
    assert axis.ticks == pytest.approx([2, 2.4, 2.8, 3.2, 3.6, 4])
    # On a logarithmic axis equal ratios are equally far.
    log = Axis(0.1, 1000, 0, 400, log=True)
    assert [log(v) for v in (0.1, 1, 10, 1000)] == pytest.approx([0, 100, 200, 400])
    assert {0.1, 1, 1000} <= {round(tick, 6) for tick in log.ticks}
    assert min(log.ticks) >= 0.1
    assert max(log.ticks) <= 1000.001


def point(name: str, cost: float, quality: float) -> Point:
    return Point(name, 0, cost, quality)


def test_the_front_by_hand():
    points = [
        point("dear and best", 10, 0.9),
        point("cheap", 1, 0.5),
        point("beaten", 2, 0.4),
        point("middle", 2, 0.7),
        point("as good, dearer", 3, 0.7),
    ]
    front = pareto_front(points, higher_is_better=True)
    assert [one.name for one in front] == ["cheap", "middle", "dear and best"]
    front = pareto_front(points, higher_is_better=False)
    assert [one.name for one in front] == ["cheap", "beaten"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12),
    st.booleans(),
)
def test_nothing_beats_the_front_and_it_beats_all_others(pairs, higher):
    points = [point(str(i), cost, quality) for i, (cost, quality) in enumerate(pairs)]
    front = pareto_front(points, higher_is_better=higher)

    def beats(a: Point, b: Point) -> bool:
        gain = a.quality - b.quality if higher else b.quality - a.quality
        return (a.cost < b.cost and gain >= 0) or (a.cost <= b.cost and gain > 0)

    assert front
    assert not any(beats(other, one) for one in front for other in points)
    assert all(any(beats(one, other) for one in front) for other in points if other not in front)


def test_points_lie_at_their_cost_and_better_ones_above():
    points = [point("a", 1, 0.2), point("b", 10, 0.6), point("c", 100, 1.0)]
    for higher in (True, False):
        svg = scatter("t", "cost", "quality", points, higher_is_better=higher)
        centres = re.findall(r'<circle class="dot" cx="([\d.]+)" cy="([\d.]+)"', svg)
        (xa, ya), (xb, yb), (xc, yc) = sorted((float(x), float(y)) for x, y in centres)
        assert xb - xa == pytest.approx(xc - xb, abs=0.2)  # a tenfold cost each
        assert yb == pytest.approx((ya + yc) / 2, abs=0.2)
        assert (yc < ya) == higher
        assert all(LEFT < x < LEFT + PLOT for x in (xa, xb, xc))
        assert all(TOP <= y <= TOP + HEIGHT for y in (ya, yb, yc))
        if higher:  # the front goes level to the next point's cost, then up; from the last, level
            (front,) = corners(svg, "polyline")
            assert front[:-1] == [(xa, ya), (xb, ya), (xb, yb), (xc, yb), (xc, yc)]
            assert front[-1] == (LEFT + PLOT, yc)


def test_points_are_numbered_as_the_legend_ranks_them():
    shown = [point("low", 1, 0.2), point("high", 10, 0.9), point("<middle>", 3, 0.5)]
    for higher in (True, False):
        found = scatter("t", "x", "y", shown, higher_is_better=higher)
        order = ["high", "&lt;middle&gt;", "low"][:: 1 if higher else -1]
        assert re.findall(r"<b>(\d)</b><span>([^<]*)<", found) == [
            (str(place), name) for place, name in enumerate(order, 1)
        ]
        numbers = re.findall(r"<title>([^:]*):.*?<text class=\"number\"[^>]*>(\d)<", found, re.S)
        assert numbers == [(name, str(place)) for place, name in enumerate(order, 1)]


def test_equal_points_and_intervals():
    svg = scatter("t", "x", "y", [point("a", 1, 1), point("b", 1, 1)], higher_is_better=True)
    assert "nan" not in svg
    one = Point("a", 0, 1, 0.5, 0.4, 0.6)
    assert 'class="whisker"' in scatter("t", "x", "y", [one], higher_is_better=True)
    unknown = Point("a", 0, 1, 0.5, float("nan"), float("nan"))
    assert "nan" not in scatter("t", "x", "y", [unknown], higher_is_better=True)


def test_points_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        scatter("t", "x", "y", [], higher_is_better=True)
    with pytest.raises(ValueError, match="'free' is not positive"):
        scatter("t", "x", "y", [point("free", 0, 1)], higher_is_better=True)
