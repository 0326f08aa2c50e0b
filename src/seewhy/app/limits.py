"""Limits of the viewer, so that no visitor can exhaust the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from seewhy.progress import Report, Stopped, watching


@dataclass(frozen=True)
class Limits:
    """The limits of one viewer.

    megabytes: size of a photo's file.
    megapixels: size of a photo.
    seconds: time of one job; checked after each step, and enforced soon after in any case.
    queue: number of waiting jobs; one runs at a time.
    maps: maps of one query (methods x targets).
    photos, results: how many of each visitor's newest are kept in memory.
    memory: megabytes of all photos together, and of all results together.
    patience: seconds within which a request's body must arrive.
    """

    megabytes: float = 20
    megapixels: float = 16
    seconds: float = 120
    queue: int = 8
    maps: int = 12
    photos: int = 8
    results: int = 4
    memory: float = 400
    patience: float = 30

    def __post_init__(self) -> None:
        """Check the bounds before anything is served."""
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name}={value}; give a number above 0")

    @property
    def bytes(self) -> int:
        """Of a photo's file."""
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Of a photo."""
        return int(self.megapixels * 1e6)


class TooLong(ValueError):
    """A job that ran out of its time."""


def too_long(seconds: float) -> TooLong:
    """The error of a job that had so many seconds."""
    return TooLong(
        f"stopped after {seconds:g} seconds, the time limit of a job; ask for fewer or quicker "
        "methods"
    )


class Deadline:
    """The end of a job's time: entered around its work, as often as it takes.

    What a generator does between two results may run in another thread each time, so one job may
    have to enter it again and again.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = monotonic() + seconds

    def check(self) -> None:
        """Raise TooLong if the time is up."""
        if monotonic() > self.end:
            raise too_long(self.seconds)

    @contextmanager
    def watch(self, report: Report = lambda what, done, total: None) -> Iterator[None]:
        """Report the steps of the long runs inside, and raise TooLong at the first one too late.

        A step itself is not interrupted here; who started the process ends it if need be.
        """

        def step(what: str, done: int, total: int) -> None:
            if monotonic() > self.end:
                raise Stopped
            if what:
                report(what, done, total)

        try:
            with watching(step):
                yield
        except Stopped:
            raise too_long(self.seconds) from None
