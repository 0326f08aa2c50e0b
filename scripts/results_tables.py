"""The tables of docs/results.md from runs, finished or not.

    python scripts/results_tables.py RUN…

Runs of the same network and dataset are put together. Prints, for each of these, a table of means
with intervals, and beneath it which methods differ from Grad-CAM, or from another --reference, on
which metrics.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from seewhy.bench.store import Run
from seewhy.evaluation import Evaluation
from seewhy.evaluation.values import Values
from seewhy.metrics import metric

SHARES = {"pointing_game", "energy_pointing_game", "mass_accuracy", "rank_accuracy"}
SHARES |= {"average_drop", "increase", "win"}  # in per cent


def written(name: str, value: float, sign: str = "") -> str:
    """A value as it stands in the table."""
    return f"{100 * value:{sign}.0f}" if name in SHARES else f"{value:{sign}.2f}"


def table(found: Evaluation, methods: list[str], metrics: list[str]) -> str:
    """A Markdown table; the best mean of a column in bold."""
    cells = {(one.method, one.metric): one for one in found.summary()}
    best = {
        name: (max if metric(name).higher_is_better else min)(
            one.mean for (_, of), one in cells.items() if of == name
        )
        for name in metrics
    }
    lines = ["| method | " + " | ".join(name.replace("_", " ") for name in metrics) + " |"]
    lines.append("|---" * (len(metrics) + 1) + "|")
    most = max(one.values for one in cells.values())
    for method in methods:
        row = []
        counts = {one.values for (own, _), one in cells.items() if own == method}
        few = f" ({max(counts)} pairs)" if counts and max(counts) < most else ""
        for name in metrics:
            if (one := cells.get((method, name))) is None:
                row.append("—")
                continue
            text = written(name, one.mean)
            text = f"**{text}**" if one.mean == best[name] else text
            row.append(f"{text} ({written(name, one.low)} – {written(name, one.high)})")
        lines.append(f"| `{method}`{few} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def differences(found: Evaluation, methods: list[str], metrics: list[str], reference: str) -> str:
    """What differs significantly from the reference, p below 0.05 after Holm, by metric."""
    told = [one for one in found.comparisons(reference) if one.p_holm < 0.05]
    told.sort(key=lambda one: methods.index(one.method))
    lines = []
    for name in metrics:
        sides = []
        for side, better in (("better", True), ("worse", False)):
            those = [one for one in told if (one.metric, one.better) == (name, better)]
            texts = (f"`{one.method}` {written(name, one.difference, '+')}" for one in those)
            sides.append(f"{side}: {', '.join(texts) or 'none'}")
        lines.append(f"- **{name.replace('_', ' ')}**, {'; '.join(sides)}")
    return "\n".join(lines)


def together(folders: Sequence[Path]) -> Iterator[tuple[str, str, Evaluation]]:
    """Network, dataset and what all runs say of them."""
    parts: dict[tuple[str, str], list[Evaluation]] = {}
    for folder in folders:
        for cell, found in Run.open(folder).evaluations().items():
            parts.setdefault(cell, []).append(found)
    for (network, dataset), own in parts.items():
        values = Values.joined(one.values for one in own)
        omissions = tuple(omission for one in own for omission in one.omissions)
        yield network, dataset, Evaluation(values.graded, values, omissions)


def main() -> None:
    """Print the tables of the runs that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument(
        "--reference", default="grad_cam", help="method that the others are set against"
    )
    options = parser.parse_args()
    for network, dataset, found in together(options.runs):
        methods, metrics = list(found.values.methods), list(found.values.metrics)
        metrics = [name.partition("(")[0] for name in metrics]
        print(f"## {network}, {dataset}\n")
        print(f"{len(found.values.image)} pairs in {found.values.graded} images.\n")
        print(table(found, methods, metrics), end="\n\n")
        print(differences(found, methods, metrics, options.reference), end="\n\n")


if __name__ == "__main__":
    main()
