"""A cell's numbers as tables: leader board, comparisons, classes, and what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from seewhy.bench.report.cell import ALPHA, Cell, graded
from seewhy.bench.report.words import chance, count, figure, listed, signed
from seewhy.draw.page import Entry, Heading, folded, notice, table, tabs
from seewhy.evaluation import Comparison, Summary
from seewhy.metrics import metric as metric_of

CLASSES = 100  # rows of a table of classes; VOC has 20, COCO 80
FAILURES = 200


def leader_board(cell: Cell) -> str:
    """A row for each method, a column for each metric; the best are marked."""
    heads: list[str | Heading] = ["method", Heading("mean rank", "1 is best")]
    for metric in cell.metrics:
        best = cell.summaries[metric, cell.ranked(metric)[0]]
        highest = metric_of(metric).higher_is_better
        name = f"{metric.replace('_', ' ')} {'↑' if highest else '↓'}"
        heads.append(Heading(name, count(best.images, "image"), highest))
    rows: list[list[str | Entry]] = []
    for method in cell.by_rank:
        rank = cell.mean_ranks[method]
        ranked = Entry("–") if math.isnan(rank) else Entry(f"{rank:.2f}", rank)
        rows.append([method, ranked, *(_mean(cell, metric, method) for metric in cell.metrics)])
    return (
        table("Leader board", heads, rows)
        + "<p class=note>Click a heading to sort · ↑ higher is better, ↓ lower · "
        '<span class="key best">0.9</span> best mean of its column · '
        '<span class="key tied">0.9 ≈</span> not significantly worse than the best: '
        f"p ≥ {ALPHA:g} in the paired sign-flip test on the same images, after Holm's correction "
        "over all pairs of methods for that metric · bars: 95 % bootstrap intervals over images "
        "(10,000 draws): the range of means to expect on other images of this kind, with this "
        "network. To compare two methods, use the paired test, which is more sensitive · "
        "mean rank: mean over pairs of image and target that all methods have, then over metrics."
        "</p>" + _meanings(cell) + _cautions(cell)
    )


def _meanings(cell: Cell) -> str:
    """What each metric measures, in a sentence."""
    said = (
        f"<dt>{name.replace('_', ' ')}</dt>"
        f"<dd>{escape(metric_of(name).summary.partition(', (B')[0].rstrip('.'))}.</dd>"
        for name in cell.metrics
    )
    return (
        f"<details><summary>What each metric measures</summary><dl>{''.join(said)}</dl></details>"
    )


def _cautions(cell: Cell) -> str:
    """How some of the numbers can be had without a better explanation."""
    metrics: dict[str, list[str]] = {}
    for name in cell.metrics:
        if caution := metric_of(name).caution:
            metrics.setdefault(caution, []).append(name.replace("_", " "))
    said = (
        f"<p class=note><b>{escape(listed(names))}</b>: {escape(caution)}</p>"
        for caution, names in metrics.items()
    )
    return "".join(said)


def overview(cells: Sequence[Cell]) -> str:
    """The best method of each network and dataset by each metric."""
    metrics = graded(cells)
    rows: list[list[str | Entry]] = [
        [cell.title, *(_best(cell, metric) for metric in metrics)] for cell in cells
    ]
    heads = [
        Heading(f"{metric.replace('_', ' ')} {'↑' if metric_of(metric).higher_is_better else '↓'}")
        for metric in metrics
    ]
    return (
        table("Best means", ["network and dataset", *heads], rows)
        + '<p class=note><span class="key best">name</span> significantly better than every other '
        'method · <span class="key tied">name ≈ 2</span> two are not significantly worse.</p>'
    )


def _best(cell: Cell, metric: str) -> Entry:
    if metric not in cell.metrics:
        return Entry("–")
    best, *others = cell.ranked(metric)
    mean = cell.summaries[metric, best].mean
    ties = len(cell.undecided(metric))
    kind = "tied" if ties else "best" if others else ""
    tied = f" ≈ {ties}" if ties else ""
    return Entry(f"{escape(best)}{tied}<small>{figure(mean)}</small>", mean, kind)


def _mean(cell: Cell, metric: str, method: str) -> Entry:
    one = cell.summaries.get((metric, method))
    if one is None:
        return Entry("–", hint="no values")
    order = cell.ranked(metric)
    own = [cell.summaries[metric, name] for name in order]
    tied = method in cell.undecided(metric)
    kind = "best" if method == order[0] else "tied" if tied else ""
    differs = "" if one.images == own[0].images else f" · {count(one.images, 'image')}"
    interval = "one image" if math.isnan(one.low) else f"{figure(one.low)} – {figure(one.high)}"
    return Entry(
        f"{figure(one.mean)}{' ≈' * tied}<small>{interval}{differs}</small>{_bar(one, own)}",
        one.mean,
        kind,
        f"{method}: {figure(one.mean)} ({interval}), {count(one.values, 'value')} of "
        f"{count(one.images, 'image')}, mean of the "
        f"classes' means {figure(one.class_mean)}, mean rank {figure(one.mean_rank)}",
    )


def _bar(one: Summary, own: Sequence[Summary]) -> str:
    """The mean in its interval, on the scale of all methods' intervals."""
    ends = [v for s in own for v in (s.low, s.high, s.mean) if not math.isnan(v)]
    low, span = min(ends), (max(ends) - min(ends)) or 1
    left, right, middle = (4 + 76 * (v - low) / span for v in (one.low, one.high, one.mean))
    line = "" if math.isnan(one.low) else f'<line x1="{left:.1f}" x2="{right:.1f}" y1="5" y2="5"/>'
    return (
        f'<svg class="interval" viewBox="0 0 84 10" aria-hidden="true">{line}'
        f'<circle cx="{middle:.1f}" cy="5" r="3.5"/></svg>'
    )


def comparisons(cell: Cell, name: str) -> str:
    """Each two methods by each metric: the difference on the same images, and its test."""
    if len(cell.methods) < 2:
        return ""
    panels = [(metric.replace("_", " "), _matrix(cell, metric)) for metric in cell.metrics]
    return (
        "<h2>Paired comparisons</h2><p class=note>Row minus column, mean over the images that both "
        "have values of, and p of the sign-flip test after Holm's correction. "
        '<span class="key better1">+</span> <span class="key better3">+</span> the row’s method '
        'is better, <span class="key worse1">−</span> <span class="key worse3">−</span> worse, '
        "stronger colours for larger differences; no colour: not significant "
        f"(p ≥ {ALPHA:g}). Best methods first; point at a cell for its interval.</p>"
        + tabs(f"{name}-pairs", panels)
    )


def _matrix(cell: Cell, metric: str) -> str:
    order = cell.ranked(metric)
    own = [one for key, one in cell.comparisons.items() if key[0] == metric]
    largest = max((abs(one.difference) for one in own if one.p_holm < ALPHA), default=1.0)
    rows: list[list[str | Entry]] = [
        [method, *(_compared(cell.comparisons.get((metric, method, o)), largest) for o in order)]
        for method in order
    ]
    least = cell.attainable(metric)
    warning = ""
    if least >= ALPHA:
        warning = notice(
            f"With {count(own[0].images if own else 0, 'image')} and "
            f"{count(len(own) // 2, 'comparison')} no p could be below {least:.3f} after the "
            "correction, so no difference here can be significant. Grade more images, or fewer "
            "methods."
        )
    return warning + table("", ["", *order], rows, kind="matrix")


def _compared(one: Comparison | None, largest: float) -> Entry:
    if one is None:
        return Entry("", kind="self")
    kind = ""
    if one.p_holm < ALPHA:
        strength = max(1, math.ceil(3 * abs(one.difference) / largest))
        kind = f"{'better' if one.better else 'worse'}{min(3, strength)}"
    return Entry(
        f"{signed(one.difference)}<small>{escape(chance(one.p_holm))}</small>",
        one.difference,
        kind,
        f"{one.method} − {one.other}: {signed(one.difference)} ({signed(one.low)} to "
        f"{signed(one.high)}), {count(one.images, 'image')}, {chance(one.p_holm)}",
    )


def classes(cell: Cell, name: str) -> str:
    """Each category's means; a table for each metric, folded away."""
    panels = [(metric.replace("_", " "), _by_class(cell, metric)) for metric in cell.metrics]
    return f"<h2>Classes</h2>{folded('Means by class', tabs(f'{name}-classes', panels))}"


def _by_class(cell: Cell, metric: str) -> str:
    found: dict[str, dict[str, list[float]]] = {}
    for method, own in cell.rows[metric].items():
        for row in own:
            found.setdefault(row.target, {}).setdefault(method, []).append(row.value)
    order = cell.ranked(metric)
    highest = metric_of(metric).higher_is_better
    sizes = {target: max(map(len, values.values())) for target, values in found.items()}
    shown = sorted(found, key=lambda target: (-sizes[target], target))[:CLASSES]
    rows: list[list[str | Entry]] = []
    for target in shown:
        means = {m: math.fsum(values) / len(values) for m, values in found[target].items()}
        best = (max if highest else min)(means.values())
        entries = [
            Entry(
                f"<b>{figure(means[m])}</b>" if means[m] == best else figure(means[m]),
                means[m],
            )
            if m in means
            else Entry("–")
            for m in order
        ]
        rows.append([target or "no label", Entry(str(sizes[target]), sizes[target]), *entries])
    note = "Means of few values each: their uncertainty is not shown."
    if len(found) > len(shown):
        note += f" The {CLASSES} classes with the most values of {len(found):,}."
    columns = [Heading("values", "", True), *(Heading(method, "", highest) for method in order)]
    return f"<p class=note>{escape(note)}</p>" + table("", ["class", *columns], rows)


def omissions(cells: Sequence[Cell]) -> str:
    """What failed, one by one, and what the question leaves out, by reason."""
    failed = [(cell, one) for cell in cells for one in cell.evaluation.failures]
    left_out = [
        [cell.title, reason, f"{number:,}"]
        for cell in cells
        for reason, number in cell.evaluation.left_out.items()
    ]
    parts = ["<h2>Failures and omissions</h2>"]
    if failed:
        rows: list[list[str | Entry]] = [
            [one.image, one.method or "all", Entry(escape(one.reason), kind="text"), cell.title]
            for cell, one in failed[:FAILURES]
        ]
        more = f", the first {FAILURES} of them" if len(failed) > FAILURES else ""
        parts.append(f"<p>{count(len(failed), 'failure')}{more}.</p>")
        parts.append(table("", ["image", "method", "reason", "where"], rows))
    else:
        parts.append("<p>Nothing failed.</p>")
    if left_out:
        parts.append("<p>Targets that the question leaves out:</p>")
        parts.append(table("", ["where", "reason", "targets"], left_out))
    return "".join(parts)
