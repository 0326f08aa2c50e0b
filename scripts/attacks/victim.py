"""What the attacks on the benchmark share: a small run of the tests' making, and a count."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from typer.testing import CliRunner

TESTS = Path(__file__).resolve().parents[2] / "tests" / "bench"
sys.path.insert(0, str(TESTS))

from bench_setup import write_bench  # noqa: E402

from seewhy.cli import app  # noqa: E402

__all__ = ["Outcomes", "seewhy", "write_bench"]


def seewhy(*arguments: object) -> tuple[int, str, bool]:
    """A command line in this process: exit code, what it printed, whether that is a traceback."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    error = result.exception
    traceback = error is not None and not isinstance(error, SystemExit)
    return result.exit_code, result.output + (repr(error) if traceback else ""), traceback


class Outcomes(Counter[str]):
    """How often what came of it; the first bad one is printed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.bad = 0
        self.slowest = (0.0, "")  # seconds, and what took them

    def add(self, outcome: str, *, bad: bool = False, about: str = "") -> None:
        self[outcome] += 1
        self.bad += bad
        if bad and self.bad <= 40:
            print(f"BAD {outcome}: {about}", flush=True)

    def close(self, title: str) -> int:
        """Print the counts; the exit code."""
        print(f"{title}: {sum(self.values())} attacks, {self.bad} bad")
        for outcome, count in self.most_common():
            print(f"  {count:6} {outcome}")
        return int(self.bad > 0)
