"""Pictures beside the numbers: where each method does best and worst, and where they disagree."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from seewhy.bench.report.cell import Cell, Pair
from seewhy.bench.report.pictures import SIDE, Choice, Kept, choose
from seewhy.bench.report.words import figure
from seewhy.draw.page import notice, strip
from seewhy.evaluation import Row
from seewhy.metrics import metric as metric_of

PICTURES = 260  # of all cells of a page together, about: some 8 kB each


def judge(cell: Cell) -> str:
    """The metric to choose pictures by: the first with more values than hit and miss."""
    for metric, rows in cell.rows.items():
        if len({row.value for own in rows.values() for row in own}) > 2:
            return metric
    return cell.metrics[0]


def gallery(cell: Cell, own: Kept | None, weights: str, number: int, metric: str | None) -> str:
    """The gallery of a cell as HTML, or in its place why there is none.

    own: the pictures that the run has of it. weights: of the network that was graded.
    number: pairs of each kind. metric: what is best and worst; None for the first that is more
    than hit or miss.
    """
    title = "<h2>Gallery</h2>"
    if own is None:
        return title + notice(
            "No pictures: a run draws them when all of it is done, unless its config says "
            "pictures: 0. `seewhy bench` with the same config goes on with it."
        )
    if own.weights != weights:
        return title + notice(
            f"No pictures: {cell.network} has other weights now than when it was graded"
        )
    notes = "".join(map(notice, own.notes))
    if not own.pictures:
        return title + notes
    choice = choose(
        cell, metric if metric in cell.metrics else judge(cell), min(number, own.number)
    )
    return title + notes + _shown(choice, cell.pairs(choice.metric), own.pictures)


def _shown(
    choice: Choice,
    rows: Mapping[Pair, Mapping[str, Row]],
    pictures: Mapping[tuple[Pair, str], bytes],
) -> str:
    name = choice.metric.replace("_", " ")
    higher = metric_of(choice.metric).higher_is_better
    parts = [
        f"<p class=note>Chosen by {escape(name)}, {'higher' if higher else 'lower'} is better. The "
        "maps were made again at the end of the run; the values are the run’s. What the network "
        "never saw of a photo is hatched.</p>"
    ]
    if choice.disagreed:
        parts.append("<h3>Where the methods disagree most</h3>")
    for pair in choice.disagreed:
        if (pair, "") in pictures:
            first = next(iter(rows[pair].values()))
            order = sorted(rows[pair], key=lambda m: rows[pair][m].value, reverse=higher)
            captions = [
                (f"{figure(rows[pair][method].value)}\n{method}", pictures[pair, method])
                for method in order
            ]
            about = f"{_about(pair)}, probability {first.probability:.2f}"
            parts.append(strip("", [(about, pictures[pair, ""]), *captions], SIDE))
    parts.append("<h3>Each method at its best and at its worst</h3>")
    for method in choice.best:
        halves = "".join(
            f"<div><h4>{escape(method)}, {word}</h4>"
            + strip(
                "",
                [
                    (f"{figure(rows[pair][method].value)} {_about(pair)}", pictures[pair, method])
                    for pair in pairs
                    if (pair, method) in pictures
                ],
                SIDE,
            )
            + "</div>"
            for word, pairs in (("best", choice.best[method]), ("worst", choice.worst[method]))
        )
        parts.append(f'<div class="examples">{halves}</div>')
    return "".join(parts)


def _about(pair: Pair) -> str:
    image, target = pair
    return f"{target or 'predicted class'}\n{Path(image).name}"
