"""What every worker does, whichever engine it belongs to: a shard's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, TypeVar

import torch

from seewhy.bench.plan import Plan, Shard
from seewhy.data.dataset import Dataset, Sample
from seewhy.evaluation.grids import gridded
from seewhy.evaluation.rows import Answers
from seewhy.evaluation.run import answers
from seewhy.evaluation.task import Task
from seewhy.plugins import Plugin, load

Result = TypeVar("Result")
Found = tuple[Shard, tuple[Answers, ...]]


class Worker:
    """Opens networks and datasets when it needs them, once.

    One network at a time stays open: shards come network by network. `plugins` are loaded before
    all, for workers that do not have them by themselves.
    """

    def __init__(self, plan: Plan, plugins: Sequence[Plugin] = ()) -> None:
        load(plugins)
        self.plan = plan
        open_data = cache(plan.data)
        open_model = lru_cache(maxsize=1)(plan.model)

        @lru_cache(maxsize=1)
        def task(network: str, dataset: str) -> Task:
            model, data = open_model(network), open_data(dataset)
            return gridded(plan.task(model, network, dataset, data))

        self._task = task

    def task(self, network: str, dataset: str) -> Task:
        """What is asked of a network on a dataset, both by name; the last one is kept.

        Of a dataset of grids it knows no keys: the shards do, which the network has chosen.

        Raises ValueError where one of them cannot be opened.
        """
        return self._task(network, dataset)

    def stream(self, work: Callable[[Worker], Iterator[Any]]) -> Iterator[Any]:
        """What a work yields: for engines that call a worker by its methods."""
        for item in work(self):  # noqa: UP028 - Ray sends something back, which is not for the work
            yield item


def opening(network: str, dataset: str, worker: Worker) -> Iterator[None]:
    """Opens both, so that later work finds them open, and yields nothing.

    For grids that includes passes of the network, which find out what sizes it takes.
    """
    worker.task(network, dataset)
    return iter(())


def shard_answers(shard: Shard, lost: Mapping[str, str], worker: Worker) -> Iterator[Answers]:
    """The answers of the shard's images as they come.

    lost: images that are not to be touched, as workers died on them or took too long, with the
        reason; they are answered by a failure.

    Raises ValueError where a network or dataset cannot be opened.
    """
    task = worker.task(shard.network, shard.dataset)
    if lost:
        task = replace(task, dataset=_without(task.dataset, lost))
    with repeatable(worker.plan, shard.number):
        yield from answers(task, shard.keys, worker.plan.config.batch_size)


def said_of(
    function: Callable[[Task], Result], network: str, dataset: str, worker: Worker
) -> Iterator[Result]:
    """What the function says of a network and a dataset, alone."""
    task = worker.task(network, dataset)
    with repeatable(worker.plan, 0):
        yield function(task)


@contextmanager
def repeatable(plan: Plan, shard: int) -> Iterator[None]:
    """The plan's number of threads, and a seed of the shard's own for what draws without one."""
    before = torch.get_num_threads()
    seed = sha256(f"{plan.config.seed} {shard}".encode()).digest()[:8]
    torch.set_num_threads(plan.config.threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(int.from_bytes(seed))
            yield
    finally:
        torch.set_num_threads(before)


def _without(dataset: Dataset, lost: Mapping[str, str]) -> Dataset:
    """The dataset with images that raise instead of being read."""

    def read(key: str) -> Sample:
        if key in lost:
            raise RuntimeError(lost[key])
        return dataset.read(key)

    return replace(dataset, read=read)
