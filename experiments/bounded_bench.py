"""Benchmarks in a limited time: many processes beside each other, and what is finished is kept.

    python experiments/bounded_bench.py OUT --seconds 240 --device cuda CONFIG[:NETWORK:DATASET][*N]

Each network and dataset of a config becomes a run of its own, or N of them that share its shards,
each in a process beside the others. When the time is over they are ended, and the finished shards
of each lie in OUT/CONFIG.NETWORK.DATASET.PART: runs as `seewhy bench` writes them, but without a
calibration, since they slow each other down. Without NETWORK or DATASET it is all of them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from seewhy.bench.config import read_config
from seewhy.bench.engines import InProcess
from seewhy.bench.plan import make_plan
from seewhy.cli.bench import go_on


@dataclass(frozen=True)
class Job:
    """A part of the shards of one network and dataset of a config."""

    config: Path
    network: str
    dataset: str
    part: int
    parts: int

    @property
    def name(self) -> str:
        """Of its folder."""
        words = (self.config.stem, self.network, self.dataset, str(self.part))
        return ".".join(re.sub(r"\W+", "-", word) for word in words)


class Uncalibrated(InProcess):
    """Works in this process, and measures no times beforehand."""

    def call(self, *asked: Any) -> Any:
        """Nothing."""


def jobs_of(text: str) -> list[Job]:
    """The jobs of an argument."""
    named, _, parts = text.partition("*")
    path, network, dataset = [*named.split(":"), "", ""][:3]
    content = yaml.safe_load(Path(path).read_text())
    found = [
        Job(Path(path), one["name"], data["name"], part, int(parts or 1))
        for part in range(int(parts or 1))
        for one in content["networks"]
        for data in content["datasets"]
        if network in ("", one["name"]) and dataset in ("", data["name"])
    ]
    if not found:
        raise SystemExit(f"{text}: the config has no such network or dataset")
    return found


def work(job: Job, options: argparse.Namespace) -> None:
    """Do a job; its error is in a file beside the runs."""
    try:
        file = read_config(job.config)
        some = {
            "networks": [file.config.network(job.network)],
            "datasets": [file.config.dataset(job.dataset)],
            "methods": file.config.methods[: options.methods],
        }
        file = replace(file, config=file.config.model_copy(update=some))
        plan = make_plan(file, options.device)
        # in an order by chance, so that what is finished is a sample of all photos
        mixed = random.Random(0).sample(plan.shards, len(plan.shards))
        own = mixed[job.part :: job.parts][: options.shards]
        shards = tuple(replace(shard, number=number) for number, shard in enumerate(own))
        plan = replace(plan, shards=shards)
        go_on(plan, file.text, Uncalibrated(plan), options.out / job.name, [])
    except Exception:
        (options.out / f"{job.name}.error.txt").write_text(traceback.format_exc())
        raise


def main() -> None:
    """Run all jobs, the first ones first, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("configs", nargs="+", metavar="CONFIG[:NETWORK[:DATASET]][*N]")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes beside each other")
    parser.add_argument("--shards", type=int, help="of each run at most, to try it out")
    parser.add_argument("--methods", type=int, help="the first of each config alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    waiting = [job for text in options.configs for job in jobs_of(text)]
    running: dict[Job, Any] = {}
    while waiting or running:
        late = time.monotonic() - begun > options.seconds
        waiting = [] if late else waiting
        while waiting and len(running) < options.workers:
            job = waiting.pop(0)
            running[job] = context.Process(target=work, args=(job, options), daemon=True)
            running[job].start()
        for job, process in list(running.items()):
            process.join(0.05)
            if late or not process.is_alive():
                state = "ended" if process.is_alive() else f"code {process.exitcode}"
                process.kill()
                process.join()
                del running[job]
                shards = len([*(options.out / job.name / "rows").glob("*.parquet")])
                spent = time.monotonic() - begun
                print(f"{spent:6.0f} s  {job.name}: {shards} shards, {state}", flush=True)


if __name__ == "__main__":
    main()
