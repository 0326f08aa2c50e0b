"""The caller's `torch.autocast`: it is meant for the network, and not for our arithmetic."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache

import torch

# The kinds of devices for which autocast is on, each with the type to which it casts.
Casts = Mapping[str, torch.dtype]


def casts() -> Casts:
    """What `torch.autocast` does on this thread."""
    kinds = [kind for kind in _kinds() if torch.is_autocast_enabled(kind)]
    return {kind: torch.get_autocast_dtype(kind) for kind in kinds}


def depth() -> int:
    """How many contexts of `torch.autocast` this thread is in."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


@contextmanager
def casting(wanted: Casts) -> Iterator[None]:
    """A context in which autocast does this, and nothing else."""
    with ExitStack() as stack:
        for kind in {**casts(), **wanted}:
            stack.enter_context(torch.autocast(kind, wanted.get(kind), enabled=kind in wanted))
        yield


def set_casts(wanted: Casts) -> None:
    """Make autocast do this on this thread, and nothing else."""
    for kind in _kinds():
        if kind in wanted:
            torch.set_autocast_dtype(kind, wanted[kind])
        torch.set_autocast_enabled(kind, kind in wanted)


def leave_down_to(wanted: int) -> None:
    """Leave what an interrupt kept from being left: until then torch keeps the weights it cast."""
    while depth() > wanted:
        if not torch.autocast_decrement_nesting():
            torch.clear_autocast_cache()


@lru_cache(maxsize=1)
def _kinds() -> tuple[str, ...]:
    accelerator = torch.accelerator.current_accelerator()
    return ("cpu", accelerator.type) if accelerator else ("cpu",)
