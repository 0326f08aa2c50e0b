"""Engines: this process, local worker processes, or actors of a Ray cluster.

All engines give shards to workers and return the answers as they come. The answers do not depend
on the engine.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from seewhy.aside import Aside, Gone, Late, Patience, for_ever
from seewhy.bench.config import Config
from seewhy.bench.plan import Plan, Shard
from seewhy.bench.work import Found, Worker, opening, said_of, shard_answers
from seewhy.evaluation.rows import Answers
from seewhy.evaluation.run import in_order
from seewhy.evaluation.task import Task
from seewhy.plugins import NAMED

OPENING = 1800.0
"""Seconds that a worker may take to begin and to open a network and a dataset: half an hour."""

LONGEST = 1e6
"""Seconds, 11 days: no call of a system waits much longer, so that more is no limit."""

DIED = "the worker process died on this image each time"

Result = TypeVar("Result")
Advance = Callable[[int], None]
Hand: TypeAlias = "Aside[Worker] | _Actor"  # a worker out of this process


@dataclass
class InProcess:
    """One worker, in this very process, which nothing can end: it knows no timeout."""

    plan: Plan
    name = "local"
    workers = 1

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """The shards with their answers, as they come.

        `advance` is called with a number of images when they are done; with a negative one when
        they were lost with their worker and are done again.

        Raises ValueError where a network or dataset cannot be opened by a worker.
        """
        worker = Worker(self.plan)
        for shard in shards:
            yield shard, in_order(shard.keys, shard_answers(shard, {}, worker), advance)

    def call(
        self, function: Callable[[Task], Result], network: str, dataset: str, images: int
    ) -> Result | None:
        """What a function says of a network and a dataset, by name; None if it kills its worker.

        images: how many it looks at, about: where the config limits their time, it ends with that.

        Raises what opening them raises.
        """
        (found,) = said_of(function, network, dataset, Worker(self.plan))
        return found

    def close(self) -> None:
        """End all workers, whatever they are doing."""


@dataclass
class Crew:
    """Workers out of this process, of which those that die or take too long are replaced.

    hire: makes one, a process or an actor.
    """

    plan: Plan
    name: str
    workers: int
    hire: Callable[[], Hand]
    _hands: list[Hand] = field(default_factory=list)

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """See `InProcess`; shards go to whoever is free."""
        waiting = deque(shards)
        free = [_Seat(self.plan, hand) for hand in self._hired(min(self.workers, len(shards)))]
        running: dict[Future[tuple[Answers, ...]], tuple[_Seat, Shard]] = {}
        done = told = 0  # images of finished shards, and those that were counted
        with ThreadPoolExecutor(max(1, len(free))) as threads:
            try:
                while waiting or running:
                    while waiting and free:
                        seat, shard = free.pop(0), waiting.popleft()
                        running[threads.submit(seat.finish, shard)] = seat, shard
                    ready, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                    now = done + sum(seat.images for seat, _ in running.values())
                    advance(now - told)
                    told = now
                    for future in ready:
                        seat, shard = running.pop(future)
                        answers = future.result()
                        done, seat.images = done + len(shard.keys), 0
                        free.append(seat)
                        yield shard, answers
            finally:  # in a thread, which no second Ctrl-C ends; `threads` wait for what it does
                Thread(target=_leave, args=(running,)).start()

    def call(
        self, function: Callable[[Task], Result], network: str, dataset: str, images: int
    ) -> Result | None:
        """See `InProcess`."""
        (hand,) = self._hired(1)
        limit = _seconds(self.plan.config, images)
        work = partial(said_of, function, network, dataset)
        try:
            _open(hand, network, dataset)
            (found,) = hand.stream(work, lambda: limit)
        except (Gone, Late):
            return None
        result: Result = found
        return result

    def close(self) -> None:
        """See `InProcess`."""
        for hand in self._hands:
            hand.close()

    def _hired(self, count: int) -> list[Hand]:
        self._hands += [self.hire() for _ in range(len(self._hands), count)]
        return self._hands[:count]


Engine = InProcess | Crew


def processes(plan: Plan, workers: int) -> Crew:
    """Worker processes beside this one."""
    make = partial(Worker, replace(plan, shards=()))
    return Crew(plan, "local", workers, lambda: Aside(make))


def on_ray(plan: Plan, workers: int = 0, address: str | None = None) -> Crew:
    """Actors of a Ray cluster, each with the plan's threads and, on cuda, a GPU of its own.

    address: of a cluster that is there already, such as "auto"; None for the one that this process
        is connected to, else one on this machine alone.
    workers: 0 for as many as the cluster has room for.

    Raises ValueError without the package ray, or where no cluster answers.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("--engine ray needs the package ray; install seewhy[ray]") from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not ray.is_initialized():
        if address is None:
            room = (workers or os.cpu_count() or 1) * plan.config.threads
            options |= {"num_cpus": room, "include_dashboard": False}
        try:
            ray.init(address=address, **options)
        except (ConnectionError, ValueError) as error:
            raise ValueError(f"--address {address}: no cluster of Ray ({error})") from None
    needs = {"num_cpus": plan.config.threads}
    if plan.device.startswith("cuda"):
        needs["num_gpus"] = 1
    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    room = min(
        int(there.get({"num_cpus": "CPU", "num_gpus": "GPU"}[need], 0) // count)
        for need, count in needs.items()
    )
    if room < 1:
        raise ValueError(f"the cluster of Ray has no room for a worker, {needs}")
    kind = ray.remote(Worker).options(**needs)
    bare, plugins = replace(plan, shards=()), [*NAMED]
    hire = partial(_Actor, lambda: kind.remote(bare, plugins))
    return Crew(plan, "ray", min(workers or room, room), hire)


def _leave(running: "Mapping[Future[Any], tuple[_Seat, Shard]]") -> None:
    for future, (seat, _) in running.items():
        seat.leave(future)


class _Actor:
    """An actor of Ray, on whichever machine Ray finds room."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._actor: Any = None

    def stream(
        self, work: Callable[[Worker], Iterator[Any]], patience: Patience = for_ever
    ) -> Iterator[Any]:
        """See `Aside.stream`."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        if self._actor is None:
            self._actor = self._make()
        ended = False
        try:
            items = self._actor.stream.options(num_returns="streaming").remote(work)
            while True:
                ready, _ = ray.wait([items], timeout=patience())
                if not ready:
                    raise Late
                item = next(items, None)
                if item is None:
                    ended = True
                    return
                yield ray.get(item)
        except RayTaskError as error:
            ended = True
            raise error.cause from None
        except RayError as error:
            raise Gone(str(error).splitlines()[0]) from None
        finally:
            if not ended:
                self.close()

    def close(self) -> None:
        """End the actor, whatever it is doing."""
        import ray

        actor, self._actor = self._actor, None
        if actor is not None:
            ray.kill(actor)


class _Seat:
    """A worker's place, where shards are done, by as many workers as die on them.

    images: how many of the shard under way are done.
    """

    def __init__(self, plan: Plan, hand: Hand) -> None:
        self._config, self._hand = plan.config, hand
        self._too_long = f"took longer than {plan.config.timeout or 0:g} s, the config's timeout"
        self._left = False
        self.images = 0

    def finish(self, shard: Shard) -> tuple[Answers, ...]:
        """The shard's answers.

        If the worker dies, a new one does the shard again. If that dies too, each of the images is
        tried alone, and the shard is done without those that kill; so the others are computed in
        the batches that they always have. What then still fails is answered by failures.

        The images of a batch have their time together. If they take longer, the worker is killed,
        each of them is tried alone, and the shard is done without those that take too long; or
        without the batch, if each alone is quick enough.
        """
        lost: dict[str, str] = {}
        deaths = 0
        while deaths < 3:
            try:
                return self._answers(shard, lost)
            except Late:
                batch = under_way(shard.keys, self.images, self._config.batch_size)
                suspects = [key for key in batch if key not in lost]
                found = self._culprits(shard, suspects)
                lost |= found or dict.fromkeys(suspects, f"with its batch it {self._too_long}")
                deaths += not suspects
            except Gone:
                deaths += 1
                if deaths == 2:  # once may be an accident
                    lost |= self._culprits(shard, [key for key in shard.keys if key not in lost])
        self.images = len(shard.keys)
        reason = "the worker process died on this part of the data each time"
        return tuple(Answers.lost(key, reason) for key in shard.keys)

    def leave(self, work: Future[Any]) -> None:
        """End the worker, whatever it is doing, and the work with it."""
        self._left = True
        while not work.done():  # in the middle of it a worker may just begin
            self._hand.close()
            wait([work], timeout=0.1)

    def _culprits(self, shard: Shard, keys: Iterable[str]) -> dict[str, str]:
        """The images on which, alone, a worker dies or takes too long, with the reason."""
        found = {}
        for key in keys:
            try:
                self._answers(replace(shard, keys=(key,)), {})
            except Gone:
                found[key] = DIED
            except Late:
                found[key] = self._too_long
        return found

    def _answers(self, shard: Shard, lost: Mapping[str, str]) -> tuple[Answers, ...]:
        """The shard's answers by one worker. Raises Gone if it dies, Late if it takes too long."""
        self.images = 0
        if self._left:
            raise Gone("nobody waits for it")

        def limit() -> float | None:
            batch = under_way(shard.keys, self.images, self._config.batch_size)
            return _seconds(self._config, max(1, len(batch)))

        def came(images: int) -> None:
            self.images += images

        _open(self._hand, shard.network, shard.dataset)
        answers = self._hand.stream(partial(shard_answers, shard, lost), limit)
        return in_order(shard.keys, answers, came)


def under_way(keys: Sequence[str], done: int, size: int) -> Sequence[str]:
    """The images of a batch of that size that are under way when so many are done."""
    start = done // size * size
    return keys[start : start + size]


def _seconds(config: Config, images: int) -> float | None:
    """What so many images may take together; None where there is no limit."""
    limit = images * (config.timeout or 0)
    return limit if 0 < limit <= LONGEST else None


def _open(hand: Hand, network: str, dataset: str) -> None:
    """Have a worker open both, which takes other times than its work.

    Raises ValueError that names them where it takes longer than `OPENING`.
    """
    try:
        list(hand.stream(partial(opening, network, dataset), lambda: OPENING))
    except Late:
        raise ValueError(
            f"{network} on {dataset}: a worker had not opened them after {OPENING:g} s. Does "
            "importing or loading one of them hang? Or is there no room on the cluster?"
        ) from None
