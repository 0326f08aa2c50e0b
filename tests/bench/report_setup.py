"""Runs made of given rows, and a reader of the tables on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

from seewhy.bench.config import Config
from seewhy.bench.engines import InProcess
from seewhy.bench.plan import Plan
from seewhy.bench.report.pictures import keep_pictures
from seewhy.bench.store import Run
from seewhy.evaluation.rows import Answers, Omission, Row


def row(
    image: str, method: str, value: float, metric: str = "gini", target: str = "cat", **more: Any
) -> Row:
    return Row(image, target, 3, 0.5, False, method, metric, value, **more)


def answers(rows: Sequence[Row], omissions: Sequence[Omission] = ()) -> list[Answers]:
    keys = dict.fromkeys([*(one.image for one in rows), *(one.image for one in omissions)])
    return [
        Answers(
            key,
            tuple(one for one in rows if one.image == key),
            tuple(one for one in omissions if one.image == key),
        )
        for key in keys
    ]


def make_run(
    folder: Path,
    cells: Mapping[tuple[str, str], Sequence[Answers]],
    *,
    shards: int | None = None,
    **manifest: Any,
) -> Run:
    """A run whose shards are the cells; of networks and datasets that need not exist."""
    networks, datasets = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    config = Config(
        name="tried",
        networks=[{"model": name} for name in networks],
        datasets=[{"dataset": name} for name in datasets],
        methods=["random"],
        metrics=["gini"],
    )
    whole = {
        "config": config.model_dump(mode="json"),
        "config_text": "name: tried\n",
        "root": str(folder),
        "config_hash": "0123456789abcdef",
        "seed": 0,
        "versions": {"seewhy": "0.1.0", "torch": "2.0"},
        "git": None,
        "device": "cpu",
        "engine": "local",
        "workers": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "weights": dict.fromkeys(networks, "none"),
        "images": {},
        "cells": [{"network": network, "dataset": dataset} for network, dataset in cells],
        "shards": len(cells) if shards is None else shards,
        "calibration": None,
        **manifest,
    }
    run = Run.create(folder, whole)
    for number, ((network, dataset), found) in enumerate(cells.items()):
        run.add(number, network, dataset, found)
    return run


def draw(run: Run, number: int = 3) -> Run:
    """The run with the pictures that it keeps when it is finished."""
    config = Config.model_validate({**run.manifest["config"], "pictures": number})
    plan = Plan(config, run.folder, "cpu", run.manifest["weights"], {}, {}, {}, ())
    assert keep_pictures(run, plan, InProcess(plan)) is None
    return run


class Cell(NamedTuple):
    """A table's cell: all its text, its class and the value that it is sorted by."""

    text: str
    kind: str
    value: float | None


class Tables(HTMLParser):
    """Every table of a page, as lists of rows of cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[list[Cell]]] = []
        self.text = ""
        self._open: dict[str, str | None] | None = None
        self._words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self._open, self._words = dict(attrs), []

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open is not None:
            self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td") and self._open is not None:
            value = self._open.get("data-value")
            self.tables[-1][-1].append(
                Cell(
                    "".join(self._words),
                    self._open.get("class") or "",
                    float(value) if value else None,
                )
            )
            self._open = None

    def headed(self, first: str) -> list[list[list[Cell]]]:
        """The tables whose first heading has that text, each by rows without the heading."""
        return [table[1:] for table in self.tables if table and table[0][0].text == first]
