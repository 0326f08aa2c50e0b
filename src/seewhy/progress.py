"""Long runs: how far they are, and how much of them fits into memory at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Literal, TypeVar

import torch
from torch import Tensor

from seewhy.options import Range

Item = TypeVar("Item")


class Stopped(BaseException):
    """What a watcher raises to end a run: no `Exception`, so that nothing takes it for a failure.

    Whoever watches turns it into an error of their own.
    """


Report = Callable[[str, int, int], None]

_report: ContextVar[Report | None] = ContextVar("report", default=None)

_IMAGE = 3 * 224 * 224
# On an accelerator a pass with gradients then takes a few GB in the usual networks; on a CPU more
# images at a time are slower, as what a layer hands on no longer fits into the cache.
_ON_ACCELERATOR, _ON_CPU = 32 * _IMAGE, 4 * _IMAGE

BatchSize = Annotated[int, Range(least=1)] | Literal["auto"]


@contextmanager
def watching(watcher: Report) -> Iterator[None]:
    """Call `watcher(what, done, total)` after each step of the long runs inside.

    Without it nothing is reported.
    """
    token = _report.set(watcher)
    try:
        yield
    finally:
        _report.reset(token)


def report(what: str = "", done: int = 0, total: int = 0) -> None:
    """Tell whoever watches how far a long run is; without a name, only that it goes on.

    Who watches may raise `Stopped`, to end a run that takes too long: whatever a user's option can
    lengthen should report at times.
    """
    if (watcher := _report.get()) is not None:
        watcher(what, done, total)


def tracked(what: str, steps: Iterable[Item], total: int) -> Iterator[Item]:
    """The same steps, each reported when it is done."""
    for done, step in enumerate(steps, 1):
        yield step
        report(what, done, total)


def images_per_pass(inputs: Tensor, batch_size: BatchSize) -> int:
    """How many images like those of `inputs`, (B, C, H, W), a forward pass may hold.

    "auto" allows as many numbers as 32 colour images of 224 x 224 have, 4 on a CPU, and one image
    at least. Raises ValueError for a batch size below 1.
    """
    if batch_size == "auto":
        most = _ON_CPU if inputs.device.type == "cpu" else _ON_ACCELERATOR
        return max(1, most // inputs[0].numel())
    if not (isinstance(batch_size, int) and batch_size >= 1):
        raise ValueError(f"batch_size={batch_size!r}; it should be 'auto' or 1 at least")
    return batch_size


def in_chunks(
    what: str,
    run: Callable[[slice], Item],
    count: int,
    inputs: Tensor,
    batch_size: BatchSize,
) -> Iterator[Item]:
    """`run(slice)` for consecutive parts of `count` passes over `inputs`, (B, C, H, W).

    batch_size: see `images_per_pass`; a pass never holds fewer than B images. "auto" is halved,
    with one warning, whenever the device runs out of memory.

    Raises ValueError for a batch size below 1.
    """
    images = len(inputs)
    at_once = min(max(1, images_per_pass(inputs, batch_size) // images), count)
    done = 0
    warned = False
    while done < count:
        part = slice(done, min(done + at_once, count))
        try:
            result = run(part)
        except torch.cuda.OutOfMemoryError:
            if batch_size != "auto" or at_once == 1:
                raise
            if not warned:
                warnings.warn(
                    f"{what}: out of memory with {at_once * images} images at once; going on with "
                    "half as many, or fewer",
                    RuntimeWarning,
                    stacklevel=2,
                )
                warned = True
            at_once //= 2
            continue
        yield result
        done = part.stop
        report(what, done, count)
