"""Cost against quality: the front, where points lie, and which names are shown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seewhy.draw.scatter import HEIGHT, LEFT, PLOT, TOP, Point, pareto_front, scatter


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
        (xa, ya), (xb, yb), (xc, yc) = [(float(x), float(y)) for x, y in centres]
        assert xb - xa == pytest.approx(xc - xb, abs=0.2)  # a tenfold cost each
        assert yb == pytest.approx((ya + yc) / 2, abs=0.2)
        assert (yc < ya) == higher
        assert all(LEFT < x < LEFT + PLOT for x in (xa, xb, xc))
        assert all(TOP <= y <= TOP + HEIGHT for y in (ya, yb, yc))


def test_names_do_not_overlap_and_the_rest_show_on_demand():
    apart = [point(f"method {i}", 2.0**i, i) for i in range(8)]
    assert "quiet" not in scatter("t", "x", "y", apart, higher_is_better=True)
    together = [point(f"method {i}", 1 + i / 1000, 0.5 + i / 1000) for i in range(20)]
    svg = scatter("t", "x", "y", [*together, point("far", 50, 9)], higher_is_better=True)
    assert svg.count("quiet") > 5
    assert all(f">method {i}<" in svg for i in range(20))


def test_equal_points_and_intervals():
    svg = scatter("t", "x", "y", [point("a", 1, 1), point("b", 1, 1)], higher_is_better=True)
    assert "nan" not in svg
    one = Point("a", 0, 1, 0.5, 0.4, 0.6)
    assert 'class="whisker"' in scatter("t", "x", "y", [one], higher_is_better=True)
    unknown = Point("a", 0, 1, 0.5, float("nan"), float("nan"))
    assert "nan" not in scatter("t", "x", "y", [unknown], higher_is_better=True)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        scatter("t", "x", "y", [], higher_is_better=True)
    with pytest.raises(ValueError, match="'free' is not positive"):
        scatter("t", "x", "y", [point("free", 0, 1)], higher_is_better=True)
