"""Memory and time of a report on a run of millions of values.

    python benchmarks/report_size.py                    # 50,000 images x 12 methods x 7 metrics
    python benchmarks/report_size.py --images 5000 --targets 3

Writes a run with the store's own writer (kept in --run, if it is given, and used again). Then two
processes of their own read and summarise it, and make its page alone; printed is the peak memory of
each. The values are made up, alike per image; insertion and deletion have curves of 33 points.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

METRICS = (
    "pointing_game", "energy_pointing_game", "average_drop", "increase", "insertion", "deletion",
    "gini",
)  # fmt: skip
CURVES = ("insertion", "deletion")


def write(folder: Path, images: int, methods: int, targets: int, shard: int = 512) -> None:
    """A finished run in a folder."""
    from seewhy.bench.config import Config
    from seewhy.bench.store import Run
    from seewhy.evaluation.rows import Answers, Row

    names = [f"method_{place:02}" for place in range(methods)]
    config = Config(
        name="made-up",
        networks=[{"model": "none:none"}],
        datasets=[{"dataset": "folder:none"}],
        methods=["random"],
        metrics=list(METRICS),
    )
    shards = -(-images // shard)
    manifest = {
        "config": config.model_dump(mode="json"),
        "config_text": "name: made-up\n",
        "config_hash": "0" * 64,
        "seed": 0,
        "versions": {"seewhy": "none"},
        "device": "cpu",
        "created": "2026-01-01T00:00:00+00:00",
        "weights": {"none:none": "none"},
        "images": {},
        "cells": [{"network": "none:none", "dataset": "folder:none"}],
        "shards": shards,
        "calibration": None,
    }
    run = Run.create(folder, manifest)
    draw = np.random.default_rng(0)
    better = np.linspace(0, 0.1, methods)[:, None]
    fall = np.linspace(1, 0, 33)
    for number in range(shards):
        answers = []
        for image in range(number * shard, min(images, (number + 1) * shard)):
            rows = []
            for target in range(targets):
                level = draw.uniform(0.2, 0.6, (1, len(METRICS)))
                values = level + better + 0.1 * draw.standard_normal((methods, len(METRICS)))
                values[:, [0, 3]] = values[:, [0, 3]] > 0.5
                label = f"class {(image + 37 * target) % 1000}"
                key = f"val/ILSVRC2012_val_{image:08}.JPEG"
                for method, own in zip(names, values, strict=True):
                    for metric, value in zip(METRICS, own.tolist(), strict=True):
                        curve = (value * fall).astype(np.float32).tolist()
                        points = tuple(curve) if metric in CURVES else ()
                        rows.append(Row(key, label, 1, 0.5, False, method, metric, value, points))
            answers.append(Answers(key, tuple(rows)))
        run.add(number, "none:none", "folder:none", answers)


def values(folder: Path) -> None:
    """Read a run, and summarise and compare its methods, as a program of a user's would."""
    from seewhy.bench.store import Run

    (evaluation,) = Run.open(folder).evaluations().values()
    evaluation.summary()
    evaluation.comparisons()


def page(folder: Path) -> None:
    """Make the page of a run, as `seewhy report` does."""
    from seewhy.bench.report import write_report
    from seewhy.bench.store import Run

    write_report(Run.open(folder), folder / "report.html", images=0)


PARTS = {"values": values, "page": page}


def measured(part: str, folder: Path) -> None:
    """Print what a part took of this process, its imports included."""
    began = time.perf_counter()
    PARTS[part](folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"{part:<8}{time.perf_counter() - began:6.1f} s ({time.process_time():.1f} s of processor "
        f"time), {peak:.2f} GB at most",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--methods", type=int, default=12)
    parser.add_argument("--targets", type=int, default=1, help="of each image")
    parser.add_argument("--run", type=Path, help="folder to keep the run in, or that has one")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        measured(options.part, options.run)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.run or Path(temporary, "run")
        if not (folder / "manifest.json").exists():
            write(folder, options.images, options.methods, options.targets)
        for part in PARTS:
            command = [sys.executable, __file__, "--part", part, "--run", str(folder)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
