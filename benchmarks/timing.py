"""Time and peak memory of candidates side by side, on any device, as one Markdown table.

Times are in units of F, a bare forward pass of the same network, run right before and after each
candidate. Peak memory is what a candidate needs beyond what is held when it starts (the network,
the images): on CUDA what tensors take, on Linux what the process takes; elsewhere it is unknown.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

import seewhy

Run = Callable[[], object]

PEERS = ("captum", "grad-cam", "torchcam")
MIB = 2**20
_MMAP_THRESHOLD = -3  # of malloc.h


@dataclass(frozen=True)
class Row:
    """A candidate: its times in F, its peak in MiB, or why there are none."""

    name: str
    values: list[float]
    peak: float | None = None
    error: str = ""


def parser(description: str, *, batch: int, rounds: int) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    found = argparse.ArgumentParser(description=description.partition("\n")[0])
    found.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps, ...")
    found.add_argument("--batch", type=int, default=batch, help="images per batch")
    found.add_argument("--rounds", type=int, default=rounds, help="2 or more")
    found.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    found.add_argument(
        "--cpu-time",
        action="store_true",
        help="instead of wall-clock time, for a machine that others use; only for --device cpu",
    )
    found.add_argument("--only", default="", metavar="TEXT", help="candidates with this name")
    found.add_argument("--without", metavar="TEXT", help="leave out candidates with this name")
    return found


def prepare(options: argparse.Namespace) -> torch.device:
    """Seed, set the threads, and find the device."""
    device = torch.device(options.device)
    if device.type != "cpu":
        there = torch.accelerator.current_accelerator(check_available=True)
        if there is None or there.type != device.type:
            raise SystemExit(f"--device {device}: this machine has {there or 'no accelerator'}")
        if options.cpu_time:
            raise SystemExit("--cpu-time says nothing about an accelerator; leave it out")
    if options.rounds < 2:
        raise SystemExit(f"--rounds {options.rounds}; quartiles need 2 or more")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    return device


def clock(device: torch.device, cpu_time: bool = False) -> Callable[[], float]:
    """Seconds, read when all that was asked of the device is done."""
    read = time.process_time if cpu_time else time.perf_counter

    def synchronised() -> float:
        torch.accelerator.synchronize(device)
        return read()

    return read if device.type == "cpu" else synchronised


def ratios(
    base: Run, timed: Mapping[str, Run], rounds: int, clock: Callable[[], float]
) -> tuple[float, dict[str, list[float]]]:
    """Median seconds of `base`, and for each candidate its time in units of `base`, per round.

    All candidates take turns, and `base` runs right before and after each of them, so that
    whatever else the machine does slows them alike.
    """

    def seconds(function: Run) -> float:
        start = clock()
        function()
        return clock() - start

    base()
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


def peak(run: Run, device: torch.device) -> float | None:
    """MiB that a run needs beyond what is held when it starts; None where that is not measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    if device.type == "cpu" and sys.platform == "linux":
        allocator = ctypes.CDLL(None)
        # What is freed goes back to the system at once, and so do the leftovers of earlier runs.
        allocator.mallopt(_MMAP_THRESHOLD, MIB // 16)
        allocator.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        before = _resident("VmRSS")
        run()
        found = _resident("VmHWM") - before
        allocator.mallopt(_MMAP_THRESHOLD, 32 * MIB)  # where it ends by itself
        return found
    return None


def _resident(what: str) -> float:
    """MiB of memory that this process has now (VmRSS) or had at most (VmHWM)."""
    return int(Path("/proc/self/status").read_text().split(f"{what}:")[1].split()[0]) / 1024


def measure(
    base: Run,
    timed: Mapping[str, Run],
    options: argparse.Namespace,
    passes: Mapping[str, int] | None = None,
) -> tuple[float, list[Row]]:
    """Seconds of `base`, and a row for each candidate; one that fails costs no other its row.

    F is always measured; of the others, those that --only and --without leave.
    passes: by how many forward passes the time of a candidate is divided, 1 if it is not named.
    """
    device = torch.device(options.device)
    timed = {
        name: run
        for name, run in timed.items()
        if name == "F"
        or (options.only in name and not (options.without and options.without in name))
    }
    works: dict[str, Run] = {}
    errors: dict[str, str] = {}
    for name, run in timed.items():
        try:
            run()  # warm-up: memory pools, and the choice of layers
            works[name] = run
        except Exception as error:  # a peer that is not installed, or does not fit into memory
            errors[name] = " ".join(f"{type(error).__name__}: {error}".split())[:100]
    one, found = ratios(base, works, options.rounds, clock(device, options.cpu_time))
    peaks = {name: peak(run, device) for name, run in works.items()}
    rows = []
    for name in timed:
        values = [value / (passes or {}).get(name, 1) for value in found.get(name, [])]
        rows.append(Row(name, values, peaks.get(name), errors.get(name, "")))
    return one, rows


def show(title: str, rows: list[Row], seconds: float, options: argparse.Namespace) -> None:
    """Print the table, and below it when, on what, with what and by which command it was made."""
    print(f"\n| {title} | F, median | quartiles | peak MiB |\n|---|---|---|---|")
    for row in rows:
        if row.error:
            print(f"| {row.name} | {row.error.replace('|', ' ')} | | |")
            continue
        low, middle, high = statistics.quantiles(row.values, n=4)
        most = "–" if row.peak is None else f"{row.peak:.0f}"
        print(f"| {row.name} | {middle:.2f} | {low:.2f} – {high:.2f} | {most} |")
    time_of = "CPU time" if options.cpu_time else "by the clock"
    print(
        f"\n({datetime.date.today():%-d %B %Y}, {conditions(torch.device(options.device))}; "
        f"`{command()}`. F = {1000 * seconds:.1f} ms, {time_of}, {options.rounds} rounds.)"
    )


def command() -> str:
    """The command line, as it can be typed."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def conditions(device: torch.device) -> str:
    """The device's name, the threads, and the versions of all that is measured."""
    if device.type == "cuda":
        tf32 = torch.backends.cudnn.allow_tf32
        where = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
        where += f", convolutions in {'TF32' if tf32 else 'float32'}"
    else:
        threads = torch.get_num_threads()
        where = f"{_processor()}, {threads} thread{'s' * (threads > 1)}"
        where += "" if device.type == "cpu" else f", {device.type}"
    versions = [f"torch {torch.__version__}", f"seewhy {seewhy.__version__}"]
    for peer in PEERS:
        try:
            versions.append(f"{peer} {metadata.version(peer)}")
        except metadata.PackageNotFoundError:
            continue
    return f"{where}, {', '.join(versions)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
