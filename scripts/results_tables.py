"""The tables of docs/results.md from runs, finished or not.

    python scripts/results_tables.py RUN… [--reference METHOD] [--only METHOD…]

Runs of the same network and dataset are put together. Prints, for each dataset, a table of means
with intervals over all networks, in which a pair counts once for each network and the tests are
over images, then one for each network. Where there is only one metric it is one table, with a
column for each network. A star says that a method differs from Grad-CAM, or from another
--reference, with p < 0.05 after Holm's correction over all methods of the column.

With --only it is these methods alone, and the pairs that all of them have values of.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from seewhy.bench.store import Run
from seewhy.evaluation.rows import Row
from seewhy.evaluation.statistics import Summary, compare, summarize
from seewhy.evaluation.values import Values
from seewhy.metrics import metric

SHARES = {"pointing_game", "energy_pointing_game", "mass_accuracy", "rank_accuracy"}
SHARES |= {"average_drop", "increase", "win", "grid_pointing"}  # in per cent

Cells = Mapping[tuple[str, str], Summary]


def read(folders: Sequence[Path]) -> dict[str, dict[str, Values]]:
    """The values of all runs, by dataset and network; metrics without their options."""
    parts: dict[str, dict[str, list[Values]]] = {}
    for folder in folders:
        for (network, dataset), found in Run.open(folder).evaluations().items():
            names = tuple(name.partition("(")[0] for name in found.values.metrics)
            own = replace(found.values, metrics=names)
            parts.setdefault(dataset, {}).setdefault(network, []).append(own)
    return {
        dataset: {network: Values.joined(own) for network, own in networks.items()}
        for dataset, networks in parts.items()
    }


def pooled(networks: Mapping[str, Values]) -> Values:
    """The values of several networks; a category is a target of its own for each."""
    return Values.joined(
        replace(own, targets=tuple(f"{network}: {target}" for target in own.targets))
        for network, own in networks.items()
    )


def common(values: Values, methods: Sequence[str]) -> Values:
    """The values of these methods, of the pairs that all of them have some of."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in values.rows():
        if row.method in methods:
            found.setdefault((row.image, row.target), []).append(row)
    complete = (own for own in found.values() if len({row.method for row in own}) == len(methods))
    return Values.of(row for own in complete for row in own)


def counts(values: Values) -> str:
    """How many pairs and images, in words."""
    return f"{len(values.image)} pairs in {values.graded} images"


def written(name: str, value: float) -> str:
    """A value as it stands in the table."""
    return f"{100 * value:.0f}" if name in SHARES else f"{value:.2f}"


def cell(one: Summary | None, best: float, star: bool) -> str:
    """A mean with its interval; the best of the column in bold."""
    if one is None:
        return "—"
    text = written(one.metric, one.mean) + r"\*" * star
    text = f"**{text}**" if one.mean == best else text
    return f"{text} ({written(one.metric, one.low)} – {written(one.metric, one.high)})"


def columns(values: Values, methods: Sequence[str], reference: str) -> dict[str, dict[str, str]]:
    """The cells of a table by metric and method."""
    known: Cells = {(one.method, one.metric): one for one in summarize(values)}
    stars = {(one.method, one.metric) for one in compare(values, reference) if one.p_holm < 0.05}
    found = {}
    for name in values.metrics:
        better = max if metric(name).higher_is_better else min
        best = better(one.mean for (_, of), one in known.items() if of == name)
        found[name] = {
            method: cell(known.get((method, name)), best, (method, name) in stars)
            for method in methods
        }
    return found


def table(methods: Sequence[str], cells: Mapping[str, Mapping[str, str]]) -> str:
    """A Markdown table of columns of cells."""
    lines = ["| method | " + " | ".join(name.replace("_", " ") for name in cells) + " |"]
    lines.append("|---" * (len(cells) + 1) + "|")
    for method in methods:
        row = (own.get(method, "—") for own in cells.values())
        lines.append(f"| `{method}` | " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables of the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument(
        "--reference", default="grad_cam", help="method that the others are set against"
    )
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="no other methods")
    options = parser.parse_args()
    for dataset, networks in read(options.runs).items():
        if options.only:
            networks = {name: common(own, options.only) for name, own in networks.items()}
        shown = {"All networks": pooled(networks)} | networks if len(networks) > 1 else networks
        methods = options.only or list(next(iter(shown.values())).methods)
        found = {name: columns(own, methods, options.reference) for name, own in shown.items()}
        if len(shown) > 1 and all(len(own) == 1 for own in found.values()):
            names = {name: f"{name}, {counts(own)}" for name, own in shown.items()}
            one = {names[name]: next(iter(own.values())) for name, own in found.items()}
            print(f"## {dataset}\n\n{table(methods, one)}\n")
            continue
        for name, own in shown.items():
            print(f"## {name}, {dataset}\n\n{counts(own)}.\n\n{table(methods, found[name])}\n")


if __name__ == "__main__":
    main()
