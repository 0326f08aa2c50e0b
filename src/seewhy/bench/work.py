"""What every worker does, whichever engine it belongs to: a shard's answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from hashlib import sha256

import torch

from seewhy.bench.plan import Plan, Shard
from seewhy.data.dataset import Dataset, Sample
from seewhy.evaluation import Answers
from seewhy.evaluation.run import Question, answers


class Worker:
    """Opens networks and datasets when it needs them, once.

    One network at a time stays open: shards come network by network.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._data = cache(plan.data)
        self._model = lru_cache(maxsize=1)(plan.model)

    def answers(
        self,
        shard: Shard,
        lost: Collection[str] = (),
        advance: Callable[[int], None] = lambda images: None,
    ) -> tuple[Answers, ...]:
        """One for each key of the shard, in their order.

        lost: keys of images that are not to be touched, as workers died on them; they are
            answered by a failure.
        advance: called with a number of images when they are done.

        Raises ValueError where a network or dataset cannot be opened.
        """
        question = self.question(shard.network, shard.dataset)
        if lost:
            question = replace(question, dataset=_without(question.dataset, lost))
        found = {}
        with repeatable(self.plan, shard.number):
            for one in answers(question, shard.keys, self.plan.config.batch_size):
                found[one.image] = one
                advance(1)
        return tuple(found[key] for key in shard.keys)

    def question(self, network: str, dataset: str) -> Question:
        """What is asked of a network on a dataset, both by name."""
        return self.plan.question(self._model(network), network, dataset, self._data(dataset))


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


def _without(dataset: Dataset, lost: Collection[str]) -> Dataset:
    """The dataset with images that raise instead of being read."""

    def read(key: str) -> Sample:
        if key in lost:
            raise RuntimeError("the worker process died on this image each time")
        return dataset.read(key)

    return replace(dataset, read=read)
