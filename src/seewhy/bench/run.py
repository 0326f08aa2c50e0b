"""A benchmark from its plan to its last shard, going on where an earlier go was cut off."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from seewhy.bench import fingerprints
from seewhy.bench.calibrate import calibrate
from seewhy.bench.engines import Engine
from seewhy.bench.loggers import Logger
from seewhy.bench.plan import Plan, Shard
from seewhy.bench.progress import State
from seewhy.bench.store import CHECKSUMS, LOCK, MANIFEST, Run, locked
from seewhy.evaluation import Answers, Omission
from seewhy.plugins import INSTALLED

_PACKAGES = ("seewhy", "torch", "numpy", "pillow")
_SAME = (
    "config", "seed", "versions", "device", "weights", "networks", "images", "class_maps",
    "plugins",
)  # fmt: skip
_FREE = ("timeout", "pictures")  # of the config: another go may have others


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """A run's folder, there or not yet, for this process alone.

    Raises ValueError where it holds something else, or another process is at work there.
    """
    # What a go leaves that was cut off at its first file.
    leftovers = {LOCK, CHECKSUMS, f"{MANIFEST}.tmp"}
    new = not folder.exists() or (
        folder.is_dir() and {path.name for path in folder.iterdir()} <= leftovers
    )
    if not new and not (folder / MANIFEST).exists():
        raise ValueError(f"{folder}: is no run and not empty; name a new folder with --out")
    with locked(folder):
        yield


def begin(plan: Plan, text: str, engine: Engine, folder: Path) -> Run:
    """The run of a plan in a folder, see `opened`; text: the config as it was written."""
    about = facts_of(
        plan.config.model_dump(mode="json"),
        plan.config.seed,
        plan.device,
        weights=plan.weights,
        networks=plan.networks,
        images=plan.images,
        class_maps=plan.class_maps,
    )
    return opened(
        folder,
        about,
        lambda: {
            "config_text": text,
            "engine": engine.name,
            "workers": engine.workers,
            "cells": plan.cells,
            "shards": len(plan.shards),
            "calibration": calibrate(plan, engine),
        },
    )


def opened(folder: Path, about: dict[str, Any], more: Callable[[], dict[str, Any]]) -> Run:
    """The run in a folder: the one that is there, else a new one with its manifest.

    about: see `facts_of`; more: what else a new manifest says.

    Raises ValueError where the folder holds a run of something else, saying what differs, or a
    manifest that is damaged, and OSError where it cannot be written.
    """
    if (folder / MANIFEST).exists():
        run = Run.at(folder)
        other = [
            line for key in _SAME for line in _differing(key, run.manifest.get(key), about[key])
        ]
        if other:
            raise ValueError(
                f"{folder}: holds a run with other settings ({', '.join(other)}); "
                "name a new folder with --out"
            )
        return run
    manifest = {
        **about,
        "config_text": "",
        "config_hash": sha256(json.dumps(about["config"], sort_keys=True).encode()).hexdigest(),
        "git": _revision(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "calibration": None,
        **more(),
    }
    return Run.create(folder, manifest)


def missing(run: Run, shards: Sequence[Shard]) -> list[Shard]:
    """The shards that are not there, or hold failures."""
    done = run.files.keys() - run.failed().keys()
    return [shard for shard in shards if shard.number not in done]


def samples_of(plan: Plan) -> dict[str, dict[str, str]]:
    """Fingerprints of all samples as they are now, by dataset and key."""
    keys: dict[str, dict[str, None]] = {}
    for shard in plan.shards:  # the grids of a dataset are other ones for each network
        keys.setdefault(shard.dataset, {}).update(dict.fromkeys(shard.keys))
    return {name: fingerprints.of_samples(plan.data(name), list(own)) for name, own in keys.items()}


def check_samples(
    run: Run, shards: Sequence[Shard], todo: Sequence[Shard], samples: dict[str, dict[str, str]]
) -> None:
    """Raise ValueError, naming them, where samples of finished shards have changed since.

    todo: the shards that are to be done, whose samples may have changed.
    """
    again = {shard.number for shard in todo}
    changed: dict[str, None] = {}
    for shard in shards:
        if shard.number not in again:
            before, now = run.samples(shard.number), samples[shard.dataset]
            changed |= {
                f"{shard.dataset} {key}": None for key in shard.keys if before.get(key) != now[key]
            }
    if changed:
        first = ", ".join(list(changed)[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ValueError(
            f"{run.folder}: holds a run of other photos or annotations ({first}{more}); bring them "
            "back, or name a new folder with --out"
        )


def finish(
    run: Run,
    plan: Plan,
    shards: Sequence[Shard],
    engine: Engine,
    *,
    samples: dict[str, dict[str, str]],
    state: State,
    tell: Callable[[], None] = lambda: None,
    loggers: Sequence[Logger] = (),
) -> None:
    """Do shards and write each down as soon as it is done.

    samples: see `samples_of`; an image whose files have changed meanwhile is a failure, as nobody
        knows which of them were read.
    state: counts images and failures as they come; `tell` is called whenever it has changed.

    Raises OSError where a shard cannot be written: nothing of it is left in its place, and the next
    go makes it.
    """
    means = _Means()
    data = cache(plan.data)

    def advance(images: int) -> None:
        state.done += images
        tell()

    for log in loggers:
        log.start(run.manifest["config"])
    try:
        for shard, answers in engine.finish(shards, advance):
            own = {key: samples[shard.dataset][key] for key in shard.keys}
            now = fingerprints.of_samples(data(shard.dataset), shard.keys)
            answers = tuple(
                one if _failed(one) or now[one.image] == own[one.image] else _changed(one.image)
                for one in answers
            )
            run.add(shard.number, shard.network, shard.dataset, answers, own)
            state.failures += sum(_failed(one) for one in answers)
            tell()
            if loggers:
                means.add(f"{shard.network}/{shard.dataset}", answers)
                progress = {"images/s": state.rate, "failures": float(state.failures)}
                for log in loggers:
                    log.log(state.done, {**progress, **means.values})
    finally:
        for log in loggers:
            log.close()


class _Means:
    """Means so far of this go, by "NETWORK/DATASET/METRIC/METHOD"."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, cell: str, answers: Sequence[Answers]) -> None:
        for row in (row for one in answers for row in one.rows):
            name = f"{cell}/{row.metric}/{row.method}"
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + row.value, count + 1

    @property
    def values(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self._sums.items()}


def _changed(image: str) -> Answers:
    reason = "its files changed while it was graded"
    return Answers(image, (), (Omission(image, "", "", reason, True),))


def _failed(answers: Answers) -> bool:
    return any(one.failed for one in answers.omissions)


def facts_of(
    config: dict[str, Any], seed: int, device: str, **fingerprints_of: dict[str, str]
) -> dict[str, Any]:
    """What decides the rows, as plain data: another run may go on with them where all is equal.

    fingerprints_of: weights, networks, images and class_maps, see `seewhy.bench.plan.Plan`.
    """
    versions = {package: version(package) for package in _PACKAGES}
    facts = {
        "config": config,
        "seed": seed,
        "versions": {"python": platform.python_version(), **versions, **INSTALLED},
        "device": device,
        **fingerprints_of,
        "plugins": fingerprints.of_plugins(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _differing(key: str, before: Any, now: Any) -> list[str]:
    """Names of what differs, such as "config.methods"."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [key]
    free = _FREE if key == "config" else ()
    parts = [part for part in {**before, **now} if part not in free]
    return [f"{key}.{part}" for part in parts if before.get(part) != now.get(part)]


def _revision() -> dict[str, Any] | None:
    """The git revision of the working directory, and whether it has changes; None without one."""
    try:
        commit, changes = (
            subprocess.run(["git", *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": commit.strip(), "dirty": bool(changes.strip())}
