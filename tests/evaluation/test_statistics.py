"""Statistics against SciPy's, and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seewhy.evaluation import statistics
from seewhy.evaluation.rows import Row
from seewhy.evaluation.statistics import (
    agreement,
    bootstrap_intervals,
    compare,
    holm,
    mean_curves,
    means_by_target,
    sign_flip_tests,
    summarize,
)
from seewhy.evaluation.values import Values

scipy_stats = pytest.importorskip("scipy.stats")


def bootstrap_interval(images):
    """Of one quantity, from the values of each image."""
    sums = torch.tensor([[sum(values)] for values in images], dtype=torch.float64)
    counts = torch.tensor([len(values) for values in images], dtype=torch.float64)
    return tuple(bootstrap_intervals(sums, counts)[0].tolist())


def sign_flip_test(differences):
    column = torch.tensor(differences, dtype=torch.float64)[:, None]
    return float(sign_flip_tests(column))


def row(image: str, target: str, method: str, value: float, metric: str = "gini") -> Row:
    return Row(image, target, 0, 0.5, False, method, metric, value)


def test_bootstrap_is_scipys():
    values = np.random.default_rng(0).gamma(2, size=40)
    low, high = bootstrap_interval([[value] for value in values])
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=0
    ).confidence_interval
    assert low == pytest.approx(theirs.low, abs=0.03)
    assert high == pytest.approx(theirs.high, abs=0.03)


def test_images_with_more_targets_weigh_more():
    draw = np.random.default_rng(5)
    images = [draw.normal(count, 1, size=count) for count in draw.integers(1, 9, size=40)]
    low, high = bootstrap_interval([list(values) for values in images])
    sums, counts = (np.array([f(values) for values in images]) for f in (np.sum, len))
    theirs = scipy_stats.bootstrap(
        (sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True,
        method="percentile", n_resamples=10_000, rng=0,
    ).confidence_interval  # fmt: skip
    assert low == pytest.approx(theirs.low, abs=0.03)
    assert high == pytest.approx(theirs.high, abs=0.03)


def test_bootstrap_draws_whole_images():
    """Copies of a value within an image bring no certainty."""
    values = np.random.default_rng(1).normal(size=30)
    once = bootstrap_interval([[value] for value in values])
    copied = bootstrap_interval([[value] * 50 for value in values])
    assert copied == pytest.approx(once)
    low, high = bootstrap_interval([list(values)] * 2)
    assert high - low == pytest.approx(0, abs=1e-12)
    assert all(map(math.isnan, bootstrap_interval([[1.0, 2.0]])))


def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say():
    values = torch.from_numpy(np.random.default_rng(2).normal(3, 1, size=(60, 400)))
    intervals = bootstrap_intervals(values, torch.ones(60, dtype=torch.float64))
    held = (intervals[:, 0] <= 3) & (intervals[:, 1] >= 3)
    assert 0.9 <= held.double().mean() <= 0.98


@pytest.mark.parametrize("count", [5, 9, 40])
def test_sign_flips_are_scipys(count):
    differences = np.random.default_rng(count).normal(0.3, 1, size=count)
    theirs = scipy_stats.permutation_test(
        (differences, np.zeros(count)), lambda a, b: np.mean(a - b),
        permutation_type="samples", n_resamples=20_000, rng=0,
    ).pvalue  # fmt: skip
    assert sign_flip_test(differences.tolist()) == pytest.approx(theirs, abs=0.012)


def test_sign_flips_agree_with_wilcoxon_where_both_apply():
    draw = np.random.default_rng(3)
    for shift in (0.0, 0.2, 0.5):
        differences = draw.normal(shift, 1, size=100)
        wilcoxon = scipy_stats.wilcoxon(differences).pvalue
        ours = sign_flip_test(differences.tolist())
        assert abs(ours - wilcoxon) < 0.2
        assert (ours < 0.01) == (wilcoxon < 0.01)


def test_sign_flips_by_hand():
    assert sign_flip_test([1.0, 1.0, 1.0]) == 0.25  # +++ and --- of eight
    assert sign_flip_test([0.0, 0.0]) == 1
    assert sign_flip_test([]) == 1
    assert sign_flip_test([0.1] * 40) == pytest.approx(1 / 10_001)  # never 0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_summary_by_hand():
    rows = [
        row("a", "cat", "one", 1.0), row("a", "dog", "one", 0.0), row("b", "cat", "one", 0.5),
        row("a", "cat", "two", 0.0), row("a", "dog", "two", 0.0), row("b", "cat", "two", 1.0),
        row("c", "cat", "two", 2.0), row("b", "dog", "one", 0.0), row("b", "dog", "two", 0.5),
    ]  # fmt: skip
    two, one = summarize(rows)  # the best first
    assert (one.method, one.values, one.images) == ("one", 4, 2)
    assert (two.method, two.values, two.images) == ("two", 5, 3)
    assert one.mean == 0.375
    assert one.class_mean == pytest.approx((0.75 + 0) / 2)
    # On the four pairs that both have, "one" is first, tied, and twice second.
    assert one.mean_rank == pytest.approx((1 + 1.5 + 2 + 2) / 4)
    assert two.mean_rank == pytest.approx((2 + 1.5 + 1 + 1) / 4)
    # Where lower is better the order turns round.
    assert summarize([row("a", "x", m, v, "deletion") for m, v in (("p", 1.0), ("q", 0.0))])[
        0
    ].method == "q"  # fmt: skip


def test_comparisons_are_paired_by_image():
    rows = [
        row("a", "cat", "one", 1.0), row("a", "dog", "one", 0.0), row("b", "cat", "one", 0.5),
        row("a", "cat", "two", 0.0), row("a", "dog", "two", 0.0), row("b", "cat", "two", 0.25),
        row("c", "cat", "two", 9.0),
    ]  # fmt: skip
    (found,) = compare(rows)
    assert (found.method, found.other, found.images) == ("one", "two", 2)
    assert found.difference == pytest.approx((0.5 + 0.25) / 2)
    assert found.better is True
    assert found.p == 0.5  # ++ and -- of four
    (lower,) = compare([row(r.image, r.target, r.method, r.value, "deletion") for r in rows])
    assert lower.better is False
    (turned,) = compare(rows, reference="one")
    assert (turned.method, turned.difference) == ("two", -found.difference)
    with pytest.raises(ValueError, match="reference 'three' has no values; there are one, two"):
        compare(rows, reference="three")
    with pytest.raises(ValueError, match=r"reference 'x' has no values; there are none$"):
        compare([], "x")


def test_a_difference_that_is_there_is_found_and_one_that_is_not_is_not():
    draw = np.random.default_rng(4)
    rows = []
    for image in range(60):
        level = draw.normal(0, 5)  # images differ far more than methods: pairing is what helps
        for method, shift in (("good", 0.5), ("bad", 0.0), ("also bad", 0.0)):
            rows.append(row(f"{image:02d}", "cat", method, level + shift + draw.normal(0, 0.5)))
    found = {(one.method, one.other): one for one in compare(rows)}
    assert found["good", "bad"].p_holm < 0.01
    assert found["good", "bad"].low > 0
    assert found["bad", "also bad"].p_holm > 0.05


def test_values_that_only_round_otherwise_do_not_differ():
    """As a network in single precision rounds, and close to 0; neither is the better one."""
    rows = []
    for image in range(12):
        rows.append(row(f"{image:02d}", "cat", "cam", 0.3 + image))
        rows.append(row(f"{image:02d}", "cat", "grad_cam", (0.3 + image) * (1 + 3e-6)))
        rows.append(row(f"{image:02d}", "dog", "cam", 0.0))
        rows.append(row(f"{image:02d}", "dog", "grad_cam", 6e-17))
    (found,) = compare(rows)
    assert (found.difference, found.low, found.high, found.p, found.better) == (0, 0, 0, 1, None)
    rows += [row(f"{image:02d}", "cat", "tsgb", 0.31 + image) for image in range(12)]
    ranks = {summary.method: summary.mean_rank for summary in summarize(rows)}
    assert ranks == {"tsgb": 1, "cam": 2.5, "grad_cam": 2.5}


@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_infinite_value_makes_no_others_equal():
    values = {"tsgb": (0.4, math.inf), "cam": (0.5, 0.5), "grad_cam": (0.6, math.inf)}
    rows = [
        row(f"{image}", "cat", method, value)
        for method, both in values.items()
        for image, value in enumerate(both)
    ]
    ranks = {summary.method: summary.mean_rank for summary in summarize(rows)}
    assert ranks == {"tsgb": 2.25, "cam": 2.5, "grad_cam": 1.25}


def test_of_very_many_images_random_groups_are_drawn_and_flipped(monkeypatch):
    """Their interval and p are SciPy's t interval's and test's, which images in any order have."""
    monkeypatch.setattr(statistics, "UNITS", 1_000)
    count = 12 * 1_000 + 7
    values = np.sort(np.random.default_rng(6).normal(0.014, 1, size=count))
    low, high = bootstrap_interval([[value] for value in values])
    expected = scipy_stats.t.interval(0.95, count - 1, values.mean(), scipy_stats.sem(values))
    width = expected[1] - expected[0]
    assert low == pytest.approx(expected[0], abs=0.05 * width)
    assert high == pytest.approx(expected[1], abs=0.05 * width)
    theirs = scipy_stats.ttest_1samp(values, 0).pvalue
    assert 0.01 < theirs < 0.5
    assert sign_flip_test(values.tolist()) == pytest.approx(theirs, rel=0.25)
    assert sign_flip_test((values - values.mean() + 0.08).tolist()) < 0.001


def test_what_is_drawn_together_is_as_if_drawn_alone():
    """Metrics and methods with other images, and values that one of the methods lacks."""
    draw = np.random.default_rng(7)
    shuffled = draw.permutation(90).tolist()
    rows = [
        row(f"{image:03}", target, method, draw.normal(), metric)
        for metric, images in (("gini", 90), ("deletion", 30))
        for image in shuffled[:images]
        for method in ("one", "two", "three")
        for target in ("cat", "dog")[: 1 + image % 2]
        if (method, image % 7) != ("two", 3)
    ]
    together = {(one.metric, one.method): one for one in summarize(rows)}
    for (metric, method), found in together.items():
        own = [r for r in rows if (r.metric, r.method) == (metric, method)]
        images = {key: [r.value for r in own if r.image == key] for key in (r.image for r in own)}
        assert found.mean == pytest.approx(np.mean([r.value for r in own]))
        assert (found.low, found.high) == pytest.approx(bootstrap_interval(list(images.values())))
    for found in compare(rows):
        own, other = (
            {(r.image, r.target): r.value for r in rows if (r.metric, r.method) == key}
            for key in ((found.metric, found.method), (found.metric, found.other))
        )
        common = sorted(own.keys() & other.keys())
        gaps = {key: [own[p] - other[p] for p in common if p[0] == key] for key, _ in common}
        means = [float(np.mean(gaps[key])) for key in sorted(gaps)]
        assert found.images == len(means)
        assert found.difference == pytest.approx(np.mean(means))
        assert found.p == pytest.approx(sign_flip_test(means))
        assert (found.low, found.high) == pytest.approx(bootstrap_interval([[m] for m in means]))


def test_columns_hold_the_rows():
    rows = [
        Row("a", "cat", 3, 0.25, True, "one", "insertion", 0.1, (1.0, 0.1)),
        Row("b", "", 4, 0.5, False, "one", "gini", 0.2),
        Row("a", "cat", 3, 0.25, True, "two", "insertion", 0.3, (1.0, 1 / 3)),
        Row("a", "dog", 5, 0.75, False, "two", "insertion", 0.4, (0.5, 0.25)),
    ]
    values = Values.of(rows)
    assert list(values.rows()) == rows
    assert values.curve.dtype == np.float64  # a third is not the same in single precision
    halves = Values.of(rows[:1]), Values.of(rows[1:])
    assert list(Values.joined(halves).rows()) == rows
    exact = Values.of([Row("a", "", 0, 0.5, False, "one", "insertion", 0.5, (0.5, 0.25))])
    assert exact.curve.dtype == np.float32
    assert list(Values.joined([exact, values]).rows()) == [*exact.rows(), *rows]
    assert list(Values.of([]).rows()) == []
    assert summarize([]) == compare([]) == []
    assert mean_curves(Values.of([])) == {}
    table = values.table("insertion")
    assert [table.key(place) for place in range(2)] == [("a", "cat"), ("a", "dog")]
    assert table.methods == ("one", "two")
    assert np.array_equal(table.values, [[0.1, 0.3], [np.nan, 0.4]], equal_nan=True)
    targets, most, means = means_by_target(table)
    assert [table.targets[target] for target in targets] == ["cat", "dog"]
    assert most.tolist() == [1, 1]
    assert np.array_equal(means, table.values, equal_nan=True)


def test_arrow_holds_the_rows():
    pytest.importorskip("pyarrow")
    rows = [row("a", "cat", "one", 0.5), Row("b", "", 1, 0.5, True, "two", "gini", 1.0, (0.1, 1.0))]
    table = Values.of(rows).to_arrow()
    assert [Row(**{**one, "curve": tuple(one["curve"])}) for one in table.to_pylist()] == rows


def test_agreement_by_hand():
    rows = [row(f"{n}", "cat", m, n + s) for n in range(8) for m, s in (("p", 0.0), ("q", 0.5))]
    later = [
        Row(**{**vars(r), "value": r.value + (r.method == "q")}) for r in rows if r.image > "0"
    ]
    found = agreement(Values.of(rows), Values.of([*later, row("new", "cat", "z", 1.0)]))
    assert (found.values, found.differing, found.largest, found.only) == (14, 7, 1.0, (2, 1))
    p, q = found.differences
    assert (p.method, p.first, p.second, p.comparison.difference, p.comparison.p) == (
        "p", 4.0, 4.0, 0.0, 1.0,
    )  # fmt: skip
    assert (q.first, q.second, q.comparison.difference) == (4.5, 5.5, 1.0)
    assert q.comparison.p == 2 / 2**7
    assert q.comparison.p_holm == 4 / 2**7
