"""Engines: this process, local worker processes, or actors of a Ray cluster.

All engines give shards to workers and return the answers as they come. The answers do not depend
on the engine.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from seewhy.aside import Aside, Gone, Late, Patience, for_ever
from seewhy.bench.plan import Plan, Shard
from seewhy.bench.work import Worker, in_order, shard_answers
from seewhy.evaluation import Answers, Omission
from seewhy.plugins import NAMED

START = 300.0  # seconds that a worker may take to begin, where the config limits its work

Result = TypeVar("Result")
Advance = Callable[[int], None]
Found = tuple[Shard, tuple[Answers, ...]]


class Engine(Protocol):
    """Something that does the work on a number of workers."""

    name: str
    workers: int

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """The shards with their answers, as they come.

        `advance` is called with a number of images when they are done; with a negative one when
        they were lost with their worker and are done again.

        Raises ValueError where a network or dataset cannot be opened by a worker.
        """
        ...

    def call(self, function: Callable[[Plan], Result], images: int) -> Result | None:
        """What a function says of the plan where workers are; None where it kills its worker.

        images: how many it looks at, about: where the config limits their time, it ends with that.
        """
        ...

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        ...


@dataclass
class InProcess:
    """One worker, in this very process, which nothing can end: it knows no timeout."""

    plan: Plan
    name: str = "local"
    workers: int = 1

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """See `Engine`."""
        worker = Worker(self.plan)
        for shard in shards:
            found = []
            for answer in shard_answers(shard, {}, worker):
                if answer is not None:
                    found.append(answer)
                    advance(1)
            yield shard, in_order(shard, found)

    def call(self, function: Callable[[Plan], Result], images: int) -> Result:
        """See `Engine`."""
        return function(self.plan)

    def close(self) -> None:
        """See `Engine`."""


class _Crew:
    """Workers out of this process; one that dies or takes too long is replaced."""

    plan: Plan
    workers: int
    _hands: list[_Hand]

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """See `Engine`."""
        yield from _spread(self.plan, self._hired(min(self.workers, len(shards))), shards, advance)

    def call(self, function: Callable[[Plan], Result], images: int) -> Result | None:
        """See `Engine`."""
        limit = self.plan.config.timeout
        patience = for_ever if limit is None else lambda: START + images * limit
        (hand,) = self._hired(1)
        try:
            (found,) = hand.stream(partial(_once, function, self.plan), patience)
        except (Gone, Late):
            return None
        result: Result = found
        return result

    def close(self) -> None:
        """See `Engine`."""
        for hand in self._hands:
            hand.close()

    def _hired(self, count: int) -> list[_Hand]:
        while len(self._hands) < count:
            self._hands.append(self._new())
        return self._hands[:count]

    def _new(self) -> _Hand:
        raise NotImplementedError


@dataclass
class Processes(_Crew):
    """Worker processes beside this one."""

    plan: Plan
    workers: int
    name: str = "local"
    _hands: list[_Hand] = field(default_factory=list)

    def _new(self) -> _Hand:
        return Aside(partial(Worker, replace(self.plan, shards=())))


@dataclass
class Ray(_Crew):
    """Actors of a Ray cluster, each with the plan's threads and, on cuda, a GPU of its own.

    address: of a cluster that is there already, such as "auto"; None for the one that this process
        is connected to, else one on this machine alone.
    workers: 0 for as many as the cluster has room for.

    Raises ValueError without the package ray, or where no cluster answers.
    """

    plan: Plan
    workers: int = 0
    address: str | None = None
    name: str = "ray"
    _hands: list[_Hand] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            import ray
        except ImportError:
            raise ValueError("--engine ray needs the package ray; install seewhy[ray]") from None
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if not ray.is_initialized():
            if self.address is None:
                room = self.workers or os.cpu_count() or 1
                room *= self.plan.config.threads
                options |= {"num_cpus": room, "include_dashboard": False}
            try:
                ray.init(address=self.address, **options)
            except (ConnectionError, ValueError) as error:
                raise ValueError(f"--address {self.address}: no cluster of Ray ({error})") from None
        self._needs = {"num_cpus": self.plan.config.threads}
        if self.plan.device.startswith("cuda"):
            self._needs["num_gpus"] = 1
        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        room = min(
            int(there.get({"num_cpus": "CPU", "num_gpus": "GPU"}[need], 0) // count)
            for need, count in self._needs.items()
        )
        if room < 1:
            raise ValueError(f"the cluster of Ray has no room for a worker, {self._needs}")
        self.workers = min(self.workers or room, room)

    def _new(self) -> _Hand:
        import ray

        kind = ray.remote(Worker).options(**self._needs)
        plan, plugins = replace(self.plan, shards=()), [*NAMED]
        return _Actor(lambda: kind.remote(plan, plugins))


class _Hand(Protocol):
    """A worker out of this process, see `seewhy.aside.Aside`."""

    def stream(
        self, work: Callable[[Worker], Iterator[Any]], patience: Patience = for_ever
    ) -> Iterator[Any]: ...

    def close(self) -> None: ...


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
    """One worker's place, with a thread here that waits for it.

    images: how many are done of the job under way.
    """

    def __init__(self, plan: Plan, hand: _Hand) -> None:
        self._config, self._hand = plan.config, hand
        self._thread = ThreadPoolExecutor(1)
        self._asked: Future[tuple[Answers, ...]] | None = None
        self.images = 0

    def submit(self, job: _Job) -> Future[tuple[Answers, ...]]:
        self.images = 0
        self._asked = self._thread.submit(self._done, job)
        return self._asked

    def _done(self, job: _Job) -> tuple[Answers, ...]:
        found: list[Answers] = []
        opened = False

        def patience() -> float | None:
            if self._config.timeout is None or not opened:
                return None
            batch = job.batch(len(found), self._config.batch_size)
            return self._config.timeout * max(1, len(batch))

        for answer in self._hand.stream(partial(shard_answers, job.shard, job.lost), patience):
            opened = True
            if answer is not None:
                found.append(answer)
                self.images += 1
        return in_order(job.shard, found)

    def __enter__(self) -> _Seat:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the worker; one that is still at work is ended, whatever it is doing."""
        if self._asked is not None and not self._asked.done():
            self._hand.close()
        self._thread.shutdown()


@dataclass(frozen=True)
class _Job:
    """A shard, or one image of it by itself to see whether it is that one that ends workers.

    tries: how many workers died on it; lost: images that are left out, with the reason.
    """

    shard: Shard
    alone: bool = False
    tries: int = 0
    lost: Mapping[str, str] = field(default_factory=dict)

    def batch(self, done: int, size: int) -> tuple[str, ...]:
        """The images that are under way when so many are done."""
        start = done // size * size
        return self.shard.keys[start : start + size]


@dataclass
class _Search:
    """For those among a job's images on which workers die, or which take too long."""

    job: _Job
    suspects: tuple[str, ...]
    late: bool
    untried: set[str]
    lost: dict[str, str] = field(default_factory=dict)

    def rest(self, too_long: str) -> _Job:
        """The job without what was found."""
        if self.late and not self.lost:  # each alone is quick enough, all together are not
            self.lost = dict.fromkeys(self.suspects, f"with its batch it {too_long}")
        tries = self.job.tries if self.late else 2
        return replace(self.job, tries=tries, lost={**self.job.lost, **self.lost})


def _spread(
    plan: Plan, hands: Sequence[_Hand], shards: Sequence[Shard], advance: Advance
) -> Iterator[Found]:
    """Hand shards to whoever is free.

    A shard whose worker dies is done again by a new one. If that dies too, each of its images is
    tried alone, and the shard is done without those that kill; so the others are computed in the
    batches that they always have. What then still fails is answered by failures.

    The images of a batch have their time together. If they take longer, the worker is killed, each
    of them is tried alone, and the shard is done without those that take too long.

        shard ─ dies ─▶ again ─ dies ─▶ search: each image alone ─▶ the rest ─ dies ─▶ failures
          └──── late ─▶ search: each image of the batch alone ─▶ the rest
    """
    waiting = deque(_Job(shard) for shard in shards)
    running: dict[Future[tuple[Answers, ...]], tuple[_Seat, _Job]] = {}
    searches: dict[int, _Search] = {}
    told: dict[int, int] = {}  # images of each shard under way that are counted already
    too_long = f"took longer than {plan.config.timeout or 0:g} s, the config's timeout"

    def tell(shard: Shard, images: int) -> None:
        advance(images - told.get(shard.number, 0))
        told[shard.number] = images

    def search(job: _Job, keys: Sequence[str], late: bool) -> None:
        suspects = tuple(key for key in keys if key not in job.lost)
        searches[job.shard.number] = _Search(job, suspects, late, {*suspects})
        for key in reversed(suspects):
            waiting.appendleft(_Job(replace(job.shard, keys=(key,)), alone=True))

    def tried(job: _Job, error: BaseException | None) -> None:
        found = searches[job.shard.number]
        (key,) = job.shard.keys
        found.untried.remove(key)
        if isinstance(error, Late):
            found.lost[key] = too_long
        elif error is not None:
            found.lost[key] = "the worker process died on this image each time"
        if not found.untried:
            waiting.appendleft(found.rest(too_long))

    with ExitStack() as stack:
        free = [stack.enter_context(_Seat(plan, hand)) for hand in hands]
        while waiting or running:
            while waiting and free:
                seat, job = free.pop(0), waiting.popleft()
                running[seat.submit(job)] = seat, job
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for seat, job in running.values():
                if not job.alone:
                    tell(job.shard, seat.images)
            for future in done:
                seat, job = running.pop(future)
                free.append(seat)
                error, shard = future.exception(), job.shard
                if error is not None and not isinstance(error, Gone | Late):
                    raise error
                if job.alone:
                    tried(job, error)
                elif isinstance(error, Late):
                    search(job, job.batch(seat.images, plan.config.batch_size), late=True)
                elif error is not None and job.tries == 0:  # maybe by accident
                    waiting.appendleft(replace(job, tries=1))
                elif error is not None and job.tries == 1:
                    search(job, shard.keys, late=False)
                else:  # done, or what dies has not been found among its images
                    tell(shard, len(shard.keys))
                    yield shard, future.result() if error is None else _failed(shard)


def _failed(shard: Shard) -> tuple[Answers, ...]:
    reason = "the worker process died on this part of the data each time"
    return tuple(Answers(key, (), (Omission(key, "", "", reason, True),)) for key in shard.keys)


def _once(function: Callable[[Plan], Result], plan: Plan, worker: Worker) -> Iterator[Result]:
    yield function(plan)
