"""How far a run is: a live view on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

EVERY = 30.0  # seconds between plain lines


@dataclass
class State:
    """What a run can say of itself.

    total, done: images, of this and of earlier goes.
    failures: images with something that failed.
    earlier: images that were done before this go, which say nothing of its rate.
    """

    total: int
    done: int = 0
    failures: int = 0

    def __post_init__(self) -> None:
        self.earlier, self.begun = self.done, time.monotonic()

    @property
    def rate(self) -> float:
        """Images per second of this go."""
        return (self.done - self.earlier) / max(time.monotonic() - self.begun, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds to go at that rate; None as long as there is none."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def __str__(self) -> str:
        said = [speed(self.rate)] if self.rate else []
        said += [f"{duration(self.left)} left"] if self.left else []
        return ", ".join([*said, count(self.failures, "failure")])


@contextmanager
def shown(state: State, console: Console) -> Iterator[Callable[[], None]]:
    """Show the state whenever the function given is called; on no terminal now and then."""
    if not console.is_terminal:
        last = time.monotonic()

        def write(at_once: bool = False) -> None:
            nonlocal last
            if at_once or time.monotonic() - last >= EVERY:
                last = time.monotonic()
                line = f"{state.done} of {state.total} images, {state}"
                console.print(line, highlight=False, soft_wrap=True)

        yield write
        write(at_once=True)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images, {task.description}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(str(state), total=state.total, completed=state.done)
        yield lambda: bar.update(task, completed=state.done, description=str(state))
        bar.update(task, completed=state.done, description=str(state))


def duration(seconds: float) -> str:
    """3725 -> "1 h 2 min"; the two largest units, seconds rounded."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    units = ((days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s"))
    first = next((i for i, (value, _) in enumerate(units) if value), len(units) - 1)
    return " ".join(f"{value} {unit}" for value, unit in units[first : first + 2])


def speed(rate: float) -> str:
    """Images per second, or per minute where that says more."""
    return f"{rate:.1f} images/s" if rate >= 1 else f"{60 * rate:.1f} images/min"


def count(number: int, what: str) -> str:
    """Such as "1 image" and "1,200 images"."""
    return f"{number:,} {what}{'s' * (number != 1)}"
