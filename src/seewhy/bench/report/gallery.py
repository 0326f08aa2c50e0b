"""Pictures beside the numbers: where each method does best and worst, and where they disagree.

A run keeps no maps, so those that are shown are made again, by the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import pstdev
from typing import Any

from PIL import Image

from seewhy.bench.config import Config
from seewhy.bench.plan import open_dataset, open_network
from seewhy.bench.report.cell import Cell, Pair
from seewhy.bench.report.words import figure
from seewhy.draw.page import notice, strip
from seewhy.evaluation import Row
from seewhy.evaluation.evaluating import digest_of
from seewhy.metrics import metric as metric_of
from seewhy.photos import explain_photos

PICTURES = 260  # of all cells together, about: some 8 kB each
SIDE = 192  # pixels

Pictures = dict[tuple[Pair, str], Image.Image]  # by pair and method; "" is the photo itself


@dataclass(frozen=True)
class Choice:
    """Which pairs are shown by a metric.

    best, worst: of each method, the most extreme first.
    disagreed: on which the methods' values spread most.
    """

    metric: str
    best: dict[str, list[Pair]]
    worst: dict[str, list[Pair]]
    disagreed: list[Pair]

    @property
    def wanted(self) -> dict[Pair, list[str]]:
        """The methods whose maps are shown of each pair."""
        found: dict[Pair, dict[str, None]] = {}
        for by_method in (self.best, self.worst):
            for method, pairs in by_method.items():
                for pair in pairs:
                    found.setdefault(pair, {})[method] = None
        for pair in self.disagreed:
            found.setdefault(pair, {}).update(dict.fromkeys(self.best))
        return {pair: list(methods) for pair, methods in found.items()}


def judge(cell: Cell) -> str:
    """The metric to choose pictures by: the first with more values than hit and miss."""
    for metric, rows in cell.rows.items():
        if len({row.value for own in rows.values() for row in own}) > 2:
            return metric
    return cell.metrics[0]


def choose(cell: Cell, metric: str, number: int) -> Choice:
    """The `number` best and worst pairs of each method, and `number` with the widest spread.

    Spread is the standard deviation of the values of all methods that have any by this metric.
    """
    values = cell.pairs(metric)
    sign = -1 if metric_of(metric).higher_is_better else 1
    best, worst = {}, {}
    for method in cell.ranked(metric):
        own = {pair: sign * rows[method].value for pair, rows in values.items() if method in rows}
        order = sorted(own, key=lambda pair: (own[pair], pair))
        best[method] = order[:number]
        worst[method] = [pair for pair in reversed(order) if pair not in best[method]][:number]
    spread = {
        pair: pstdev(row.value for row in rows.values())
        for pair, rows in values.items()
        if len(rows) == len(best) > 1
    }
    widest = sorted(spread, key=lambda pair: (-spread[pair], pair))
    return Choice(metric, best, worst, [pair for pair in widest if spread[pair] > 0][:number])


def fitting(cells: Sequence[Cell], number: int) -> int:
    """As many pictures of each kind, up to `number`, as keep the page light."""
    for_one = sum(3 * len(cell.methods) + 1 for cell in cells)
    return min(number, max(1, PICTURES // for_one))


def gallery(
    cell: Cell, manifest: Mapping[str, Any], number: int, metric: str | None, device: str
) -> str:
    """The gallery of a cell as HTML, or in its place why there is none.

    number: pairs of each kind. metric: what is best and worst; None for the first that is more
    than hit or miss. device: where the network runs.
    """
    title = "<h2>Gallery</h2>"
    config, root = Config.model_validate(manifest["config"]), Path(manifest["root"])
    network, source = config.network(cell.network), config.dataset(cell.dataset)
    try:
        model = open_network(network, root, config.seed, device)
        data = open_dataset(source, root)
    except Exception as error:  # files are gone, or packages; the numbers are there all the same
        return title + notice(f"No pictures: {error}")
    if digest_of(model.module) != manifest["weights"][cell.network]:
        return title + notice(
            f"No pictures: {cell.network} has other weights now than when it was graded"
        )
    choice = choose(cell, metric if metric in cell.metrics else judge(cell), number)
    pictures: Pictures = {}
    missing: dict[str, int] = {}
    rows = cell.pairs(choice.metric)
    for pair, methods in choice.wanted.items():
        index = next(iter(rows[pair].values())).class_index
        try:
            sample = data.read(pair[0])
            (answer,) = explain_photos(model, [sample.image], methods, [index], layer=network.layer)
            if answer.failures:
                raise ValueError(str(answer.failures[0]))
        except Exception as error:  # of an image that is gone or broken by now
            missing[str(error)] = missing.get(str(error), 0) + 1
            continue
        pictures[pair, ""] = _small(sample.image)
        for method, one in zip(methods, answer.explanations, strict=True):
            pictures[pair, method] = _small(one.overlay())
    notes = [notice(f"{number} of the images: {reason}") for reason, number in missing.items()]
    return title + "".join(notes) + _shown(choice, rows, pictures)


def _shown(choice: Choice, rows: Mapping[Pair, Mapping[str, Row]], pictures: Pictures) -> str:
    name = choice.metric.replace("_", " ")
    higher = metric_of(choice.metric).higher_is_better
    parts = [
        f"<p class=note>Chosen by {escape(name)}, {'higher' if higher else 'lower'} is better. The "
        "maps are made again; the values are the run’s. What the network never saw of a photo is "
        "hatched.</p>"
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


def _small(picture: Image.Image) -> Image.Image:
    small = picture.convert("RGB")
    small.thumbnail((2 * SIDE, 2 * SIDE))  # many large photos would fill the memory
    return small
