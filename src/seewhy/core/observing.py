"""Watch a network run without touching it: module outputs on this thread, and eval mode."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook

Observer = Callable[[nn.Module, Any], Any]

_local = threading.local()
_lock = threading.Lock()
_watching = 0
_handle: Any = None


def _dispatch(module: nn.Module, _: Any, output: Any) -> Any:
    observers: list[Observer] = getattr(_local, "observers", [])
    return observers[-1](module, output) if observers else None


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Call `observer(module, output)` after every module call of this thread.

    What the observer returns, unless None, replaces the module's output. One process-wide hook
    serves all threads and does nothing on those that do not watch, so that no module of anyone's
    is ever changed; the hook is there only while somebody watches.
    """
    global _watching, _handle
    observers = _local.__dict__.setdefault("observers", [])
    with _lock:
        if _watching == 0:
            _handle = register_module_forward_hook(_dispatch)
        _watching += 1
    observers.append(observer)
    try:
        yield
    finally:
        observers.pop()
        with _lock:
            _watching -= 1
            if _watching == 0:
                _handle.remove()


# Per network: how many passes are under way, and the modules that were in train mode before the
# first of them. Without the count, the first of two threads to finish would put the network back
# into train mode under the other.
_evaluations: weakref.WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]]
_evaluations = weakref.WeakKeyDictionary()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for the duration; afterwards each module is in the mode in which it was."""
    with _lock:
        running, training = _evaluations.get(model, (0, []))
        if running == 0:
            training = [module for module in model.modules() if module.training]
            for module in training:
                module.training = False
        _evaluations[model] = (running + 1, training)
    try:
        yield
    finally:
        with _lock:
            running, training = _evaluations[model]
            if running > 1:
                _evaluations[model] = (running - 1, training)
            else:
                del _evaluations[model]
                for module in training:
                    module.training = True
