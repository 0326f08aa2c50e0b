"""A benchmark from its plan to its last shard, going on where an earlier go was cut off."""

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from seewhy.bench import fingerprints
from seewhy.bench.plan import Shard, cells_in
from seewhy.bench.store import ANOTHER, CHECKSUMS, LOCK, MANIFEST, Run, locked
from seewhy.bench.work import Found
from seewhy.data.dataset import Dataset
from seewhy.evaluation.rows import Answers
from seewhy.notes import note

Samples = dict[str, dict[str, str]]  # fingerprints by dataset and key

_FREE = ("config.timeout", "config.pictures")  # another go may have others


@contextmanager
def continued(
    folder: Path,
    about: dict[str, Any],
    shards: Sequence[Shard],
    datasets: Mapping[str, Dataset],
    more: Callable[[], dict[str, Any]] = dict,
) -> Iterator[tuple[Run, list[Shard], Samples]]:
    """The run in a folder, new or not, with the shards that are to be done and all samples.

    To be done are those that are not there, damaged, which is noted, or hold failures.

    about: see `seewhy.bench.fingerprints.facts`. datasets: by their names in the shards.
    more: what else the manifest of a new run says.

    Raises ValueError where the folder holds something else, or a run of something else, saying what
    differs, or another process is at work there; OSError where nothing can be written.
    """
    # What a go leaves that was cut off at its first file.
    leftovers = {LOCK, CHECKSUMS, f"{MANIFEST}.tmp"}
    # `Path.exists` would raise an error for a name that is too long.
    new = not os.path.exists(folder) or (
        folder.is_dir() and {path.name for path in folder.iterdir()} <= leftovers
    )
    if not new and not (folder / MANIFEST).exists():
        raise ValueError(f"{folder}: is no run and not empty; {ANOTHER}")
    with locked(folder):
        if (folder / MANIFEST).exists():
            run = Run.at(folder)
            _check_settings(run, about)
        else:
            config = json.dumps(about["config"], sort_keys=True)
            manifest = {
                **about,
                "config_text": "",
                "config_hash": sha256(config.encode()).hexdigest(),
                "git": _revision(),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "calibration": None,
                **more(),
                "cells": cells_in(shards),
                "shards": len(shards),
            }
            run = Run.create(folder, manifest)
        for damaged in run.set_damaged_aside():
            note(f"damaged {damaged}; made again")
        keys: dict[str, dict[str, None]] = {}
        for shard in shards:  # the grids of a dataset are other ones for each network
            keys.setdefault(shard.dataset, {}).update(dict.fromkeys(shard.keys))
        samples = {
            name: fingerprints.of_samples(datasets[name], list(own)) for name, own in keys.items()
        }
        done = run.files.keys() - run.failed().keys()
        _check_samples(run, [shard for shard in shards if shard.number in done], samples)
        yield run, [shard for shard in shards if shard.number not in done], samples


def written(
    run: Run, found: Iterable[Found], datasets: Mapping[str, Dataset], samples: Samples
) -> Iterator[Found]:
    """Finished shards, each written down before it is passed on.

    samples: as they were before; an image whose files have changed meanwhile is a failure, as
        nobody knows which of them were read.

    Raises OSError where a shard cannot be written: nothing of it is left in its place, and the next
    go makes it.
    """
    for shard, answers in found:
        own = {key: samples[shard.dataset][key] for key in shard.keys}
        now = fingerprints.of_samples(datasets[shard.dataset], shard.keys)
        answers = tuple(
            one
            if one.failed or now[one.image] == own[one.image]
            else Answers.lost(one.image, "its files changed while it was graded")
            for one in answers
        )
        run.add(shard.number, shard.network, shard.dataset, answers, own)
        yield shard, answers


def _check_settings(run: Run, about: dict[str, Any]) -> None:
    """Raise ValueError, naming what differs, such as "config.methods", in a run of other facts."""
    other = []
    for key, now in about.items():
        before = run.manifest.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            parts = [part for part in {**before, **now} if before.get(part) != now.get(part)]
            other += [f"{key}.{part}" for part in parts]
        elif before != now:
            other.append(key)
    if other := [name for name in other if name not in _FREE]:
        listed = ", ".join(other)
        raise ValueError(f"{run.folder}: holds a run with other settings ({listed}); {ANOTHER}")


def _check_samples(run: Run, done: Sequence[Shard], samples: Samples) -> None:
    """Raise ValueError, naming them, where samples of finished shards have changed since."""
    changed: dict[str, None] = {}
    for shard in done:
        before, now = run.samples(shard.number), samples[shard.dataset]
        changed |= {
            f"{shard.dataset} {key}": None for key in shard.keys if before.get(key) != now[key]
        }
    if changed:
        first = ", ".join(list(changed)[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ValueError(
            f"{run.folder}: holds a run of other photos or annotations ({first}{more}); bring them "
            f"back, or {ANOTHER}"
        )


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
