"""Statistics against SciPy's, and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seewhy.evaluation import Row, bootstrap_interval, compare, holm, sign_flip_test, summarize

scipy_stats = pytest.importorskip("scipy.stats")


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
    draw = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        low, high = bootstrap_interval([[v] for v in draw.normal(3, 1, size=60)], seed)
        held += low <= 3 <= high
    assert 0.89 <= held / 200 <= 0.99


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
