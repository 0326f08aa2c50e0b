"""Watch a network run and leave it as it was: module outputs on this thread, eval mode, buffers."""

import operator
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.nn.modules.module as torch_module
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.lazy import LazyModuleMixin
from torch.overrides import _get_current_function_mode_stack

from seewhy.core.casting import Casts, casts, depth, leave_down_to, set_casts

Result = TypeVar("Result")
# (module, positional arguments, keyword arguments, output) -> another output, or None
Observer = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]

# Of our hooks in torch's tables, where the keys of all others count up from 0.
_KEY = -1

_CALL = nn.Module._call_impl.__code__  # by which a module's call is known among the frames


class _Local(threading.local):
    def __init__(self) -> None:
        # The runs that this thread watches; the innermost comes last.
        self.visits: list[_Visit] = []


_local = _Local()
_lock = threading.RLock()


@dataclass(eq=False)
class _Visit:
    """What one run changed, and has to put back. Each change is noted before it is made."""

    observer: Observer | None
    watched: Collection[nn.Module] | None
    hooked: list[nn.Module] = field(default_factory=list)
    training: list[nn.Module] = field(default_factory=list)
    buffers: list[tuple[nn.Module, str, Tensor, int, Tensor]] = field(default_factory=list)
    over: bool = False


# Who keeps a module in eval mode that was in train mode: the last of them puts it back. Modules
# and not networks are counted, since networks share modules.
_evaluated: weakref.WeakKeyDictionary[nn.Module, set[_Visit]] = weakref.WeakKeyDictionary()
# Who watches a module by a hook of its own, and who watches them all.
_watched: dict[nn.Module, set[_Visit]] = {}
_watching: set[_Visit] = set()
_eager: set[_Visit] = set()
_stance: Any = None


def named_modules(model: nn.Module) -> dict[nn.Module, str]:
    """All modules of a model with their names, the model itself first, in the order of definition.

    As `model.named_modules()`, which takes several times as long.
    """
    names: dict[nn.Module, str] = {}

    def walk(module: nn.Module, name: str) -> None:
        names[module] = name
        for key, child in module._modules.items():
            if child is not None and child not in names:
                inside = f"{name}.{key}" if name else key
                if child._modules:
                    walk(child, inside)
                else:
                    names[child] = inside

    walk(model, "")
    return names


def undisturbed(
    modules: Iterable[nn.Module],
    run: Callable[[], Result],
    observer: Observer | None = None,
    watched: Collection[nn.Module] | None = None,
) -> Result:
    """`run()` with a model's modules in eval mode; afterwards they are as they were.

    observer: called as `observer(module, args, kwargs, output)` after every module call of this
        thread; what it returns, unless None, replaces the output. The hook that calls it does
        nothing on threads that do not watch, and is there only while somebody watches.
    watched: the modules after whose calls it is called; None is all, by one process-wide hook, with
        which torch calls each module more slowly. See `watch_all`.

    Also put back: buffers that the model writes in eval mode, and torch's modes of this thread.
    Compiled parts run as the Python that they were made from. An interrupt (Ctrl-C), or what else a
    signal's handler raises, puts all back, too, at whatever moment it comes.
    """
    visit, modes = _Visit(observer, watched), _modes()

    def leave() -> None:
        if visit.over:
            return
        _leave(visit)
        _cut(modules)
        _put_back(modes)
        visit.over = True

    try:
        _enter(modules, visit)
        return run()
    finally:
        # Each goes on where an interrupt stopped the one before, wherever that was.
        try:
            _surely(leave)
        finally:
            try:
                _surely(leave)
            finally:
                _surely(leave)


def _surely(leave: Callable[[], None]) -> None:
    """Call it until it has returned once; then raise what interrupted it, if anything did.

    What a signal's handler raises looks like an error of its own, so the tries are counted.
    """
    interrupt: BaseException | None = None
    for _ in range(1000):
        try:
            leave()
            break
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _modes() -> tuple[bool, bool, Casts, int, list[Any]]:
    """Torch's modes of this thread: grad, inference, autocast, and those that see its calls."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        casts(),
        depth(),
        _get_current_function_mode_stack(),  # type: ignore[no-untyped-call]
    )


def _put_back(modes: tuple[bool, bool, Casts, int, list[Any]]) -> None:
    """Put torch's modes back that an interrupt left behind, or that it lost.

    It may come between a mode's beginning and the `with` that would end it, or while torch itself
    has a mode put aside.
    """
    if _modes() == modes:
        return
    end_frames()
    grad, _, cast, nested, stack = modes
    while torch._C._len_torch_function_stack():
        torch._C._pop_torch_function_stack()
    for mode in stack:
        torch._C._push_on_torch_function_stack(mode)
    torch.set_grad_enabled(grad)
    leave_down_to(nested)
    set_casts(cast)


def graphs() -> AbstractContextManager[None]:
    """A context in which torch records graphs, also within `no_grad` and `inference_mode`.

    As `torch.inference_mode(False)`, but that one is Python: half entered when an interrupt comes,
    it would end when somebody forgets the error, and set the grad mode then.
    """
    return torch._C._InferenceMode(False)


def end_frames() -> None:
    """End what the error at hand has interrupted, as Python does when the error is forgotten.

    Torch then brings back a mode that it had put aside: now, and not at some later moment.
    """
    error = sys.exception()
    while error is not None:
        for last, _ in traceback.walk_tb(error.__traceback__):
            for frame, _ in traceback.walk_stack(last):
                with suppress(RuntimeError):  # of those that still run
                    frame.clear()
        error = error.__context__


def outputs_of(model: nn.Module, inputs: Tensor) -> Any:
    """What the model returns, in eval mode and without a graph; it is left as it was."""

    def run() -> Any:
        with torch.no_grad():
            return model(inputs)

    names = named_modules(model)
    check_initialised(names)
    return undisturbed(names, run)


def running() -> Iterator[nn.Module]:
    """The modules whose calls are under way on this thread."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is _CALL:
            yield frame.f_locals["self"]
        frame = frame.f_back


def watch_all() -> None:
    """From now on the run on this thread, whose observer calls this, watches all modules."""
    visit = _local.visits[-1]
    with _lock:
        visit.watched = None
        _watching.add(visit)
        _hook()


# On a thread that watches nothing, torch may have looked up a hook that another thread then takes
# off; it is called without `kwargs` in that case.


def _dispatch(module: nn.Module, args: Any, kwargs: Any, output: Any = None) -> Any:
    """The process-wide hook."""
    visits: list[Any] = _local.visits
    if visits and visits[-1].watched is None:
        return visits[-1].observer(module, args, kwargs, output)
    return None


def _dispatch_one(module: nn.Module, args: Any, kwargs: Any, output: Any = None) -> Any:
    """A module's own hook."""
    visits: list[Any] = _local.visits
    if module not in _watched:  # it was copied with a module that somebody watched
        _unhook(module)
    elif visits and (watched := visits[-1].watched) is not None and module in watched:
        return visits[-1].observer(module, args, kwargs, output)
    return None


def _enter(modules: Iterable[nn.Module], visit: _Visit) -> None:
    compiled = False
    with _lock:
        others = bool(_evaluated)
        for module in modules:
            if getattr(module, "training", False) or (others and module in _evaluated):
                visit.training.append(module)
                _evaluated.setdefault(module, set()).add(visit)
                module.training = False
            if isinstance(module, ScriptModule):
                continue
            if module._buffers and not isinstance(module, _NormBase):  # these only write to train
                visit.buffers.extend(_copied(module))
            # What `torch.compile` made, or what compiles itself when it is called.
            compiled |= "_orig_mod" in module._modules or module._compiled_call_impl is not None
            own = module.__dict__
            compiled |= "forward" in own and hasattr(own["forward"], _COMPILED)
            compiled |= _compiles(type(module))  # type: ignore[arg-type]
        if compiled:
            _eager.add(visit)
            _be_eager()
        if visit.observer is not None:
            if visit.watched is None:
                _watching.add(visit)
                _hook()
            for module in visit.watched or ():
                visit.hooked.append(module)
                _watched.setdefault(module, set()).add(visit)
                module._forward_hooks_with_kwargs[_KEY] = True
                module._forward_hooks[_KEY] = _dispatch_one
                # First, as process-wide ones are.
                module._forward_hooks.move_to_end(_KEY, last=False)  # type: ignore[attr-defined]
            _local.visits.append(visit)


def is_scripted(module: nn.Module) -> bool:
    """Whether a module is scripted or traced, which hides what it does."""
    return isinstance(module, ScriptModule)


# An attribute of the functions that `torch.compile` makes.
_COMPILED = "_torchdynamo_orig_callable"


@lru_cache(maxsize=1024)
def _compiles(kind: Any) -> bool:
    """Whether methods of a module's class are compiled."""
    return any(hasattr(value, _COMPILED) for one in kind.__mro__ for value in vars(one).values())


def _leave(visit: _Visit) -> None:
    """Put back what was changed; called again after an interrupt, it goes on where it was."""
    with _lock:
        if visit in _local.visits:
            _local.visits.remove(visit)
        _watching.discard(visit)
        _hook()
        while visit.hooked:
            module = visit.hooked[-1]
            watchers = _watched.get(module, set())
            watchers.discard(visit)
            if not watchers:
                _unhook(module)
                _watched.pop(module, None)
            visit.hooked.pop()
        _eager.discard(visit)
        _be_eager()
        while visit.training:
            module = visit.training[-1]
            others = _evaluated.get(module)
            if others is not None:
                others.discard(visit)
                if not others:
                    module.training = True
                    _evaluated.pop(module, None)
            visit.training.pop()
        while visit.buffers:
            _restore(*visit.buffers[-1])
            visit.buffers.pop()


def _unhook(module: nn.Module) -> None:
    module._forward_hooks.pop(_KEY, None)
    module._forward_hooks_with_kwargs.pop(_KEY, None)


def _hook() -> None:
    """The process-wide hook, there as long as somebody watches."""
    if _watching:
        torch_module._global_forward_hooks_with_kwargs[_KEY] = True
        torch_module._global_forward_hooks[_KEY] = _dispatch
    else:
        torch_module._global_forward_hooks.pop(_KEY, None)
        torch_module._global_forward_hooks_with_kwargs.pop(_KEY, None)


def check_initialised(names: Mapping[nn.Module, str]) -> None:
    """Raise ValueError for a network with lazy modules that have never run.

    The first pass would give them weights drawn at random.
    """
    for module, name in names.items():
        lazy = isinstance(module, LazyModuleMixin)
        if lazy and module.has_uninitialized_params():  # type: ignore[operator]
            raise ValueError(
                f"the model's layer {name!r} ({type(module).__name__}) has no weights yet, and its "
                "first call would draw them at random; run the model once and load its weights"
            )


def in_training(modules: Iterable[nn.Module]) -> bool:
    """Whether any of the modules is in train mode."""
    return any(getattr(module, "training", False) for module in modules)


def _be_eager() -> None:
    """Let compiled parts run as plain Python while somebody needs that: hooks see nothing else."""
    global _stance
    if _eager and _stance is None:
        _stance = torch.compiler.set_stance("force_eager")
    elif not _eager and _stance is not None:
        _stance.__exit__(None, None, None)
        _stance = None


# What every module has of its own, and the options that most have.
_OPTIONS = (*nn.Conv2d.__constants__, *nn.LayerNorm.__constants__)
_OWN = frozenset((*vars(nn.Module()), *_OPTIONS, "_reversed_padding_repeated_twice"))
# What most attributes are, none of which holds a graph.
_PLAIN = frozenset((int, float, bool, str, type(None)))
_CONTAINERS = (tuple, list, dict)


def _cut(modules: Iterable[nn.Module]) -> None:
    """Take the graph off tensors that the model kept of the run: a cache, say, or its attention."""
    for module in modules:
        kept = module.__dict__
        for name in kept.keys() - _OWN:
            value = kept[name]
            if type(value) not in _PLAIN and (cut := _without_graph(value)) is not value:
                kept[name] = cut


def _without_graph(value: Any, depth: int = 3) -> Any:
    """The value without graphs: lists and dicts themselves, of a tensor or tuple another one.

    depth: of lists, dicts and tuples in each other, which may hold themselves.
    """
    if isinstance(value, Tensor):
        return value if value.grad_fn is None else value.detach()
    if not (depth and isinstance(value, _CONTAINERS)):
        return value
    kind: Any = type(value)
    inner = value.values() if isinstance(value, dict) else value
    if _PLAIN.issuperset(map(type, inner)):
        return value
    less = [_without_graph(one, depth - 1) for one in inner]
    if isinstance(value, tuple):
        same = all(map(operator.is_, less, value))
        return value if same else kind(*less) if hasattr(value, "_fields") else kind(less)
    places = [*value] if isinstance(value, dict) else range(len(value))
    for key, one in zip(places, less, strict=True):
        if value[key] is not one:
            value[key] = one
    return value


def _copied(module: nn.Module) -> list[tuple[nn.Module, str, Tensor, int, Tensor]]:
    return [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()
    ]


def _restore(module: nn.Module, name: str, buffer: Tensor, version: int, copy: Tensor) -> None:
    if module._buffers.get(name) is not buffer:
        module._buffers[name] = buffer
    if buffer._version != version or buffer.shape != copy.shape:
        with graphs(), torch.no_grad():
            buffer.resize_(copy.shape).copy_(copy)
    elif _may_differ(buffer, copy):
        with graphs(), torch.no_grad():
            buffer.data.copy_(copy)


def _may_differ(buffer: Tensor, copy: Tensor) -> bool:
    """Whether numbers were written past torch's count: by `.data`, or as fake quantisation does.

    An accelerator copies sooner than it tells. Nothing writes into what `expand` has made.
    """
    if type(buffer) is not Tensor or buffer.layout is not torch.strided or buffer.is_meta:
        return False
    if 0 in buffer.stride():
        return False
    return buffer.device.type != "cpu" or not torch.equal(buffer, copy)
