"""Side-by-side timing: every candidate in units of a bare forward pass of the same round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

Run = Callable[[], object]


def ratios(
    base: Run,
    timed: dict[str, Run],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, dict[str, list[float]]]:
    """Median seconds of `base`, and for each candidate its time in units of `base`, per round.

    All candidates take turns, and `base` runs right before and after each of them, so that
    whatever else the machine does slows them alike.
    """

    def seconds(function: Run) -> float:
        start = clock()
        function()
        return clock() - start

    for function in (base, *timed.values()):
        function()  # warm-up: memory pools, and the choice of layers
    bases: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        before = seconds(base)
        for name, function in timed.items():
            taken = seconds(function)
            after = seconds(base)
            found[name].append(2 * taken / (before + after))
            bases.append(after)
            before = after
    return statistics.median(bases), found


def show(title: str, found: dict[str, list[float]], unit: str = "forwards") -> None:
    """Print medians and quartiles."""
    table = Table("", unit, "quartiles", title=title)
    for name, values in found.items():
        low, middle, high = statistics.quantiles(values, n=4)
        table.add_row(name, f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
    Console().print(table)
