"""Who does the work: this process, processes beside it, or actors of a Ray cluster.

All hand shards to workers and give back their answers as they come. What the answers are does not
depend on who made them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from seewhy.bench.plan import Plan, Shard
from seewhy.bench.work import Worker
from seewhy.evaluation import Answers, Omission

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

    def call(self, function: Callable[[Plan], Result]) -> Result | None:
        """What a function says of the plan where workers are; None where it kills its worker."""
        ...


@dataclass
class InProcess:
    """One worker, in this very process."""

    plan: Plan
    name: str = "local"
    workers: int = 1

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """See `Engine`."""
        worker = Worker(self.plan)
        for shard in shards:
            yield shard, worker.answers(shard, (), advance)

    def call(self, function: Callable[[Plan], Result]) -> Result:
        """See `Engine`."""
        return function(self.plan)


@dataclass
class Processes:
    """Worker processes beside this one; one that dies is replaced."""

    plan: Plan
    workers: int
    name: str = "local"

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """See `Engine`."""
        with ExitStack() as stack:
            seats = [
                stack.enter_context(closing(_Process(self.plan)))
                for _ in range(min(self.workers, len(shards)))
            ]
            yield from _spread(seats, shards, advance)

    def call(self, function: Callable[[Plan], Result]) -> Result | None:
        """See `Engine`."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
            try:
                return executor.submit(function, self.plan).result()
            except BrokenProcessPool:
                return None


@dataclass
class Ray:
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

    def finish(self, shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
        """See `Engine`."""
        import ray

        plan = replace(self.plan, shards=())
        kind = ray.remote(Worker).options(**self._needs)
        with ExitStack() as stack:
            seats = [
                stack.enter_context(closing(_Actor(lambda: kind.remote(plan))))
                for _ in range(min(self.workers, len(shards)))
            ]
            yield from _spread(seats, shards, advance)

    def call(self, function: Callable[[Plan], Result]) -> Result | None:
        """See `Engine`."""
        import ray
        from ray.exceptions import RayTaskError, WorkerCrashedError

        asked = ray.remote(function).options(max_retries=0, **self._needs).remote(self.plan)
        try:
            found: Result = ray.get(asked)
        except RayTaskError as error:
            raise error.cause from None
        except WorkerCrashedError:
            return None
        return found


class _Seat(Protocol):
    """One worker's place; `images` counts what is done of its shard, as far as it can be seen."""

    @property
    def images(self) -> int: ...

    def submit(self, shard: Shard, lost: Collection[str]) -> Future[tuple[Answers, ...]]: ...

    def mend(self, error: BaseException) -> None:
        """Replace the worker if the error says that it is gone; else raise what it complains of."""
        ...

    def close(self) -> None: ...


class _Process:
    """A worker process of its own executor, so that it is known who died and of what."""

    def __init__(self, plan: Plan) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._plan = replace(plan, shards=())
        self._start()

    def _start(self) -> None:
        # Plain memory without a lock, which a process that is killed could keep for ever.
        self._state = self._context.RawArray("Q", 2)
        self._executor = ProcessPoolExecutor(1, self._context, _begin, (self._plan, self._state))

    @property
    def images(self) -> int:
        return int(self._state[1])

    def submit(self, shard: Shard, lost: Collection[str]) -> Future[tuple[Answers, ...]]:
        self._state[1] = 0
        return self._executor.submit(_work, shard, tuple(lost))

    def mend(self, error: BaseException) -> None:
        if not isinstance(error, BrokenProcessPool):
            raise error
        self._executor.shutdown()
        self._start()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if pid := int(self._state[0]):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        self._executor.shutdown(cancel_futures=True)


_worker: Worker
_state: Any


def _begin(plan: Plan, state: Any) -> None:
    """What a worker process does first."""
    global _worker, _state
    _worker, _state = Worker(plan), state
    _state[0] = os.getpid()
    # Ctrl-C reaches every process; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(shard: Shard, lost: tuple[str, ...]) -> tuple[Answers, ...]:
    def advance(images: int) -> None:
        _state[1] += images

    return _worker.answers(shard, lost, advance)


class _Actor:
    """An actor of Ray, on whichever machine Ray finds room."""

    images = 0

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._actor = make, make()

    def submit(self, shard: Shard, lost: Collection[str]) -> Future[tuple[Answers, ...]]:
        found: Future[tuple[Answers, ...]] = self._actor.answers.remote(shard, lost).future()
        return found

    def mend(self, error: BaseException) -> None:
        from ray.exceptions import RayTaskError

        if isinstance(error, RayTaskError):
            raise error.cause
        # Not Ray's own restart, during which calls would fail as if they had killed the actor.
        self.close()
        self._actor = self._make()

    def close(self) -> None:
        import ray

        ray.kill(self._actor)


@dataclass(frozen=True)
class _Job:
    """A shard, or one image of it by itself to see whether workers die on that one."""

    shard: Shard
    alone: bool = False
    tries: int = 0
    lost: tuple[str, ...] = ()


@dataclass
class _Search:
    """For the images of a shard on which workers die."""

    untried: set[str]
    lost: list[str] = field(default_factory=list)


def _spread(seats: Sequence[_Seat], shards: Sequence[Shard], advance: Advance) -> Iterator[Found]:
    """Hand shards to whoever is free.

    A shard whose worker dies is done again by a new one. If that dies too, each of its images is
    tried alone, and the shard is done without those that kill; so the others are computed in the
    batches that they always have. What then still fails is answered by failures.
    """
    whole = {shard.number: shard for shard in shards}
    waiting = deque(_Job(shard) for shard in shards)
    running: dict[Future[tuple[Answers, ...]], tuple[_Seat, _Job]] = {}
    free = list(seats)
    searches: dict[int, _Search] = {}
    told: dict[int, int] = {}  # images of each shard under way that are counted already

    def tell(shard: int, images: int) -> None:
        advance(images - told.get(shard, 0))
        told[shard] = images

    while waiting or running:
        while waiting and free:
            seat, job = free.pop(0), waiting.popleft()
            running[seat.submit(job.shard, job.lost)] = seat, job
        done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
        for seat, job in running.values():
            if not job.alone:
                tell(job.shard.number, seat.images)
        for future in done:
            seat, job = running.pop(future)
            free.append(seat)
            shard = whole[job.shard.number]
            error = future.exception()
            if error is None and not job.alone:
                tell(shard.number, len(shard.keys))
                yield shard, future.result()
                continue
            if error is not None:
                seat.mend(error)
            if job.alone:
                search = searches[shard.number]
                search.untried -= {*job.shard.keys}
                if error is not None:
                    search.lost += job.shard.keys
                if not search.untried:
                    waiting.appendleft(_Job(shard, tries=2, lost=tuple(search.lost)))
                continue
            tell(shard.number, 0)
            if job.tries == 0:
                waiting.appendleft(replace(job, tries=1))
            elif job.tries == 1:
                searches[shard.number] = _Search({*shard.keys})
                for key in reversed(shard.keys):
                    waiting.appendleft(_Job(replace(shard, keys=(key,)), alone=True))
            else:
                tell(shard.number, len(shard.keys))
                reason = "the worker process died on this part of the data each time"
                yield (
                    shard,
                    tuple(
                        Answers(key, (), (Omission(key, "", "", reason, True),))
                        for key in shard.keys
                    ),
                )
