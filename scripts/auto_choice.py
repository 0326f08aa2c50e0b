"""The tables of docs/auto-choice.md: which candidate `auto` should be.

    python scripts/auto_choice.py --choose RUN… --confirm RUN… [--reference METHOD] [--only WORDS]

The runs are of benchmarks/results/auto.yaml. The networks of a side are pooled, see
`results_tables`. Candidates are eligible whose mean average drop on the choosing side is no higher
than Grad-CAM's, and whose increase is no lower. The one with the best mean rank of `MEASURES` is
chosen; it and the next ones are confirmed. Stars: p < 0.05 against the reference after Holm's
correction over all that stand in the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from results_tables import counts, pooled, read

from seewhy.evaluation.statistics import compare, summarize
from seewhy.evaluation.values import Values

MEASURES = ("pointing_game", "energy_pointing_game", "rank_accuracy", "insertion")
LIMITS = ("average_drop", "increase")

Means = Mapping[tuple[str, str], float]


def of_all(folders: Sequence[Path]) -> Values:
    """The values of all runs, networks and halves pooled."""
    sides = {name: pooled(networks) for name, networks in read(folders).items()}
    return Values.joined(sides.values())


def some(values: Values, methods: Sequence[str]) -> Values:
    """The values of these methods only."""
    return Values.of(row for row in values.rows() if row.method in methods)


def means_of(values: Values) -> Means:
    """The mean of each method and metric."""
    return {(one.method, one.metric): one.mean for one in summarize(values)}


def mean_ranks(means: Means, methods: Sequence[str]) -> dict[str, float]:
    """Each method's mean rank over the measures, 1 is best; equal values share theirs."""
    total = dict.fromkeys(methods, 0.0)
    for measure in MEASURES:
        column = [means[method, measure] for method in methods]
        for method in methods:
            own = means[method, measure]
            better = sum(value > own for value in column)
            alike = sum(value == own for value in column)
            total[method] += (better + (alike + 1) / 2) / len(MEASURES)
    return total


def table(
    values: Values, reference: str, methods: Sequence[str], notes: Mapping[str, str] | None = None
) -> str:
    """The reference's means, and what the others differ by, in percentage points; with notes."""
    shown, columns = notes or {}, [*MEASURES, *LIMITS]
    means = means_of(values)
    told = {
        (one.method, one.metric): f"{100 * one.difference:+.1f}" + r"\*" * (one.p_holm < 0.05)
        for one in compare(some(values, [reference, *methods]), reference)
    }
    heads = ["", *(["rank"] if notes else []), *(one.replace("_", " ") for one in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for method in methods if reference in methods else [reference, *methods]:
        cells = [
            f"{100 * means[method, one]:.1f}" if method == reference else told[method, one]
            for one in columns
        ]
        row = [f"`{method}`", *([shown[method]] if notes else []), *cells]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the choice and what confirms it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--choose", nargs="+", type=Path, required=True)
    parser.add_argument("--confirm", nargs="+", type=Path, required=True)
    parser.add_argument("--reference", default="auto", help="what the candidates are set against")
    parser.add_argument("--only", default="", help="candidates whose names contain this")
    parser.add_argument("--ask", type=int, default=3, help="how many are confirmed")
    options = parser.parse_args()
    reference = options.reference

    values = of_all(options.choose)
    methods = [one for one in values.methods if options.only in one or one == reference]
    means = means_of(values)
    ranks = mean_ranks(means, methods)
    methods.sort(key=ranks.__getitem__)
    drop, increase = (means["grad_cam", limit] for limit in LIMITS)
    eligible = [
        one
        for one in methods
        if means[one, "average_drop"] <= drop and means[one, "increase"] >= increase
    ]
    notes = {one: f"{ranks[one]:.1f}" + " (no)" * (one not in eligible) for one in methods}
    print(f"To choose: {counts(values)}.\n\n{table(values, reference, methods, notes)}\n")

    asked = [one for one in eligible if one != reference][: options.ask]
    values = of_all(options.confirm)
    print(f"To confirm: {counts(values)}.\n\n{table(values, reference, [*asked, 'grad_cam'])}")


if __name__ == "__main__":
    main()
