"""What a plan will take, from a few images that are really explained and graded."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seewhy.bench.engines import Engine
from seewhy.bench.plan import Plan
from seewhy.core.observing import outputs_of
from seewhy.evaluation.run import answers
from seewhy.evaluation.task import Task
from seewhy.explaining import explain
from seewhy.metrics import metric
from seewhy.naming import Method, parse
from seewhy.progress import Stopped, watching

IMAGES = 2
_SEARCHED = 32  # images, for those; pictures may be broken, or without a target
_ENOUGH = 2.0  # seconds after which a method of many passes has shown what a pass takes

Calibration = dict[str, dict[str, Any]]


class _Enough(Stopped):
    """A long run was stopped: the seconds that all of it takes."""


def calibrate(plan: Plan, engine: Engine) -> Calibration:
    """Seconds per image of each network: of a forward pass, of each method, of all that is asked.

    `{network: {"forward": …, "methods": {method: …}, "image": …}}`. A method's seconds count its
    forward pass, for one target. "image" is an image's share of all that the plan asks: reading,
    all methods for all its targets, and all metrics, which are measured with the cheapest method.
    A network that can be asked about none of a dataset's first images is tried on the next dataset;
    where that is so of all of them, it has no seconds: None.
    """
    unknown = {"forward": None, "methods": dict.fromkeys(plan.config.methods), "image": None}
    first: dict[tuple[str, str], Sequence[str]] = {}
    for shard in plan.shards:
        first.setdefault((shard.network, shard.dataset), shard.keys)
    found: Calibration = {}
    for (network, dataset), keys in first.items():
        if found.get(network, unknown)["forward"] is None:
            timed = partial(_calibrated, keys=keys)
            asked = engine.call(timed, network, dataset, 10 * IMAGES)
            found[network] = {**unknown, **(asked or {})}
    return found


def estimate(plan: Plan, calibration: Calibration, workers: int) -> float | None:
    """Seconds that the whole plan takes on so many workers; None where it is not known."""
    each = {network: found["image"] for network, found in calibration.items()}
    if any(each.get(shard.network) is None for shard in plan.shards):
        return None
    seconds: float = sum(len(shard.keys) * each[shard.network] for shard in plan.shards)
    return seconds / workers


def _calibrated(task: Task, keys: Sequence[str]) -> dict[str, Any]:
    """What is known of a network's seconds, from the first of these images."""
    model = task.model
    usable = _usable(task, keys)
    if not usable:
        return {}
    inputs = torch.stack([image for _, image in usable]).to(model.device)
    forward = _timed(lambda: outputs_of(model.module, inputs), model.device) / len(inputs)
    seconds = {str(one): _explaining(task, one, inputs) for one in task.methods}
    known = {name: value for name, value in seconds.items() if value is not None}
    if not known:
        return {"forward": forward}
    cheapest = min(known, key=lambda name: known[name])
    asked = replace(task, methods=tuple(m for m in task.methods if str(m) == cheapest))
    chosen = [key for key, _ in usable]
    targets = [len({row.target for row in one.rows}) for one in answers(asked, chosen, IMAGES)]
    every = _timed(lambda: list(answers(asked, chosen, IMAGES)), model.device) / len(chosen)
    bare = replace(asked, metrics=())
    maps = _timed(lambda: list(answers(bare, chosen, IMAGES)), model.device) / len(chosen)
    others = sum(value for name, value in known.items() if name != cheapest)
    metrics = max(0.0, every - maps) * len(known)
    return {
        "forward": forward,
        "methods": seconds,
        "image": maps + others * sum(targets) / len(targets) + metrics,
    }


def _usable(task: Task, keys: Sequence[str]) -> list[tuple[str, Tensor]]:
    """The first images of one shape that have a target, and their inputs (C, H, W).

    Asking for a map and a metric that cost nothing tells, and warms everything up.
    """
    free = replace(task, methods=(parse("center_gaussian"),), metrics=(metric("gini"),))
    usable: list[tuple[str, Tensor]] = []
    for key in keys[:_SEARCHED]:
        if not any(one.rows for one in answers(free, [key], 1)):
            continue
        image = task.model.preprocess(task.dataset.read(key).image)
        if not usable or image.shape == usable[0][1].shape:
            usable.append((key, image))
        if len(usable) == IMAGES:
            break
    return usable


def _explaining(task: Task, method: Method, inputs: Tensor) -> float | None:
    """Seconds per image; None for a method that does not work on this network.

    A method that repeats one step is stopped after a while, if its steps are the whole of it.
    """
    begun = time.perf_counter()

    def stop(what: str, done: int, total: int) -> None:
        spent = time.perf_counter() - begun
        if done and spent > _ENOUGH and not method.refinements:
            raise _Enough(spent * total / done)

    def run() -> None:
        explain(task.model.module, inputs, method, layer=task.layer)

    try:
        with watching(stop):
            run()
        return _timed(run, task.model.device) / len(inputs)
    except _Enough as enough:
        return float(enough.args[0]) / len(inputs)
    except Exception:  # methods are anyone's; the run tells why
        return None


def _timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run: the best of three, or of one that takes long."""
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
        if best > 0.3:
            break
    return best
