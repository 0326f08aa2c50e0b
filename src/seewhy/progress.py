"""Long runs: their progress, and how much fits into memory at a time."""

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
    """Raised by a watcher to end a run; not an `Exception`, so that it does not count as a failure.

    The code that watches turns it into its own error.
    """


Report = Callable[[str, int, int], None]

_report: ContextVar[Report | None] = ContextVar("report", default=None)

_IMAGE = 3 * 224 * 224
# On an accelerator a pass with gradients then takes a few GB in the usual networks; on a CPU more
# images at a time are slower, as what a layer hands on no longer fits into the cache.
_ON_ACCELERATOR, _ON_CPU = 32 * _IMAGE, 4 * _IMAGE
# Where the device's memory can be read, long runs go on with up to this many. A part of what is
# free is left for others, and for what lies in pieces.
_AT_MOST, _TAKEN = 256 * _IMAGE, 0.5

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
    """Report the progress of a long run to the watcher; without a name, only that it continues.

    The watcher may raise `Stopped` to end a run that takes too long. So every loop whose length
    depends on a user's option should report now and then.
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

    batch_size: see `images_per_pass`; a pass never holds fewer than B images. With "auto" on CUDA
        the first part, of that size, shows how much memory a pass takes; those that follow hold as
        many images as fit into half of the free memory, 256 of 3 x 224 x 224 at most. "auto" is
        halved, with one warning, whenever the device runs out of memory.

    Raises ValueError for a batch size below 1.
    """
    images = len(inputs)
    at_once = min(max(1, images_per_pass(inputs, batch_size) // images), count)
    done = 0
    warned = False
    sizes = batch_size == "auto" and at_once < count  # asking costs time
    before = _asked(inputs.device) if sizes else 0
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
        if sizes and done == 0 and not warned:
            at_once = _that_fit(inputs, at_once, _asked(inputs.device) - before)
        yield result
        done = part.stop
        report(what, done, count)


def _that_fit(inputs: Tensor, passes: int, asked: int) -> int:
    """How many passes over `inputs` to make at a time, where `passes` of them asked for so much.

    It counts as if they had kept all of it until the end. That is more than they held at any time,
    but needs no peak to be reset, which somebody else may be measuring.
    """
    if not asked:
        return passes
    free, _ = torch.cuda.mem_get_info(inputs.device)
    counts = torch.cuda.memory_stats(inputs.device)
    # What torch has reserved and nobody uses is free as well.
    free += counts["reserved_bytes.all.current"] - counts["allocated_bytes.all.current"]
    fitting = int(_TAKEN * free * passes / asked)
    return max(passes, min(fitting, _AT_MOST // inputs.numel()))


def _asked(device: torch.device) -> int:
    """Bytes that were asked of a device so far, freed ones too; 0 where nobody counts them."""
    if device.type != "cuda":
        return 0
    try:
        counts = torch.cuda.memory_stats(device)
    except RuntimeError:  # an allocator of somebody's own
        return 0
    return int(counts.get("allocated_bytes.all.allocated", 0))
