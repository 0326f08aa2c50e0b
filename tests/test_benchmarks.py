"""The benchmarks' clock: ratios to the passes right before and after, and one table of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def timing(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import timing

    yield timing
    sys.modules.pop("timing", None)


def runs_that_take(times):
    """Functions that take some seconds each on a clock of their own."""
    now = 0.0

    def run(seconds):
        def function():
            nonlocal now
            now += seconds() if callable(seconds) else seconds

        return function

    return {name: run(seconds) for name, seconds in times.items()}, lambda: now


def test_a_machine_that_slows_down_slows_all_alike(timing):
    slower = iter(1.1**step for step in range(1000))
    runs, clock = runs_that_take(
        {"base": lambda: 2 * next(slower), "other": lambda: 6 * next(slower)}
    )
    base = runs.pop("base")
    seconds, found = timing.ratios(base, runs, 5, clock)
    assert found["other"] == pytest.approx([3] * 5, rel=0.01)
    assert seconds > 2


def options_of(timing, *arguments):
    parser = timing.parser("A benchmark.\nMore.", batch=2, rounds=3)
    return parser.parse_args([*arguments])


def test_one_that_fails_costs_no_other_its_row(timing, capsys):
    def fails():
        raise RuntimeError("no such | peer")

    options = options_of(timing, "--threads", "1")
    work = torch.randn(200, 200)
    passes = {"two": 2}
    runs = {"one": lambda: work @ work, "fails": fails, "two": lambda: [work @ work] * 2}
    seconds, rows = timing.measure(runs["one"], runs, options, passes)
    assert [row.name for row in rows] == ["one", "fails", "two"]
    assert [len(row.values) for row in rows] == [3, 0, 3]
    assert rows[1].error == "RuntimeError: no such | peer"
    timing.show("some network", rows, seconds, options)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "| some network | F, median | quartiles | peak MiB |"
    assert {line.count("|") for line in lines[1:6]} == {5}, "a table, whatever the error says"
    assert "torch" in lines[-1]
    assert "3 rounds" in lines[-1]


def test_peak_memory_is_what_a_run_needs_beyond_what_is_held(timing):
    held = torch.ones(8, 1024, 1024)
    found = timing.peak(lambda: torch.ones(64, 1024, 1024).sum(), torch.device("cpu"))
    if sys.platform != "linux":
        assert found is None
    else:
        assert 240 < found < 400, "64 million numbers of 4 bytes"
    assert held.sum() == held.numel()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds", "1"], "quartiles need 2"),
        (["--device", "cuda:9"], "this machine has"),
    ],
)
def test_what_cannot_be_measured_is_refused(timing, arguments, said):
    if said == "this machine has" and torch.accelerator.is_available():
        pytest.skip("an accelerator is there")
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit, match=said):
        timing.prepare(options_of(timing, *arguments))
    assert torch.get_num_threads() == threads
    assert isinstance(options_of(timing), argparse.Namespace)
