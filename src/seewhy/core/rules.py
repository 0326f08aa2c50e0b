"""Rules: another backward pass, without touching the network.

A rule replaces a torch function during one forward pass. It is called as
`rule(function, *args, **kwargs)` with the network's arguments, and returns what `function` would
have returned, with any gradient. A table of rules maps torch functions to rules:

    def deconvnet(relu, input):
        return substitute(relu(input), rectified(input))

    with applying({F.relu: deconvnet}):
        scores = model(images)

It does not matter whether a module, a functional call or a method of the tensor made the call, nor
whether it was in place: `nn.ReLU(inplace=True)`, `F.relu`, `torch.relu_` and `x.relu()` are all
`F.relu`, and `x @ weight` is `F.linear`. Only the thread that applies a table sees it.
"""

import inspect
import math
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.overrides import BaseTorchFunctionMode, _get_current_function_mode
from torch.utils import checkpoint
from torch.utils._pytree import tree_map_only

from seewhy.core.observing import end_frames, graphs, is_scripted

Rule = Callable[..., Any]
Rules = Mapping[Callable[..., Any], Rule]
# A node of an autograd graph, and which of the tensors that it made.
Edge = tuple[Any, int]


class NoRuleError(ValueError):
    """The network calls none of the functions that a method has rules for."""

    def __init__(self, functions: Iterable[str]) -> None:
        """Take the names of these functions."""
        super().__init__(
            f"the network calls none of the functions with a rule ({', '.join(functions)}), so "
            "this method would only be the ordinary gradient. Exported networks hide their "
            "functions: explain the original module; for other networks, such as transformers, use "
            "a method without rules: 'gradient', 'integrated_gradients', 'grad_cam' or "
            "'attention_gradient'; or \"+detail(by='gradient')\" instead of '+detail'"
        )


class Mode(BaseTorchFunctionMode):
    """Sees every call of a torch function on its thread, and makes it as it is."""

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """End, also where an interrupt came while torch had the mode put aside for a call."""
        if not self._is_on():
            end_frames()
        if self._is_on():
            super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]

    def _is_on(self) -> bool:
        return _get_current_function_mode() is self  # type: ignore[no-untyped-call]


class applying(Mode):
    """Apply a table of rules to all that this thread runs inside the `with`.

    Rules apply where a gradient is recorded. No gradient is computed for parameters, and in-place
    calls run out of place, since rules may need the values that they would overwrite. A network may
    read the result from the tensor that it meant to write into, or from what that is a view of.

    Raises NoRuleError at the end if none of the table's functions was called and `needed` is set.
    """

    def __init__(self, rules: Rules, *, needed: bool = True) -> None:
        """Take a table of rules, and whether the network has to call one of its functions."""
        super().__init__()
        self._needed = needed
        self._rules = {_name(function): rule for function, rule in rules.items()}
        self._called = False
        # What to read in place of a tensor that was to be written into, or into a view of it: by
        # the tensor's id, as long as it lives.
        self._instead: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call by its rule, or as it is."""
        name, plain, place = _read(function)
        args, kwargs = without_parameters(args, kwargs)
        if self._instead and any(map(self._replaced, tensors((args, kwargs)))):
            args, kwargs = tree_map_only(Tensor, self._current, (args, kwargs))
        if name in _PRODUCTS and "linear" in self._rules and (call := _linear(*args, **kwargs)):
            name, function, plain, args = "linear", F.linear, F.linear, call
        rule, writes = self._rules.get(name), plain is not function or place is not None
        if rule is None and not writes:
            return function(*args, **kwargs)
        self._called |= rule is not None
        if not (torch.is_grad_enabled() and _varies(args, kwargs)):
            return function(*args, **kwargs)
        written = _written(function, args, kwargs) if writes else None
        if writes:
            function, args, kwargs = out_of_place(function, args, kwargs)
        value = function(*args, **kwargs) if rule is None else rule(function, *args, **kwargs)
        return value if written is None or value is written else self._write(written, value)

    def _replaced(self, tensor: Tensor) -> bool:
        """Whether another may have to be read in its place."""
        return tensor._base is not None or id(tensor) in self._instead

    def _current(self, tensor: Tensor) -> Tensor:
        """What to read in its place."""
        asked = tensor
        while id(tensor) in self._instead:
            _, tensor = self._instead[id(tensor)]
        if tensor is not asked:
            self._replace(asked, tensor)  # so that the way is short where much is written
        base = tensor._base
        if base is None or (whole := self._current(base)) is base:
            return tensor
        return _part(whole, tensor, base)

    def _write(self, written: Tensor, value: Tensor) -> Tensor:
        """`value`, which is read from now on in place of what was there."""
        base = written._base
        if value._base is not None and value._base is (written if base is None else base):
            # Of `unsqueeze_` or `transpose_`, which write no numbers: the base stays as it is.
            value = value.clone() if base is None else value  # a base is not read in its own place
            self._replace(written, value)
            return value
        if written.shape != value.shape:
            return value
        value = value if value.dtype == written.dtype else value.to(written.dtype)
        if base is None:
            self._replace(written, value)
            return value
        whole = base.clone()
        self._replace(base, whole)
        return _part(whole, written, base).copy_(value)

    def _replace(self, tensor: Tensor, other: Tensor) -> None:
        key, instead = id(tensor), self._instead
        instead[key] = weakref.ref(tensor, lambda _: instead.pop(key, None)), other

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Stop applying the rules."""
        super().__exit__(kind, error, traceback)
        self._instead.clear()
        if kind is None and self._needed and not self._called:
            raise NoRuleError(self._rules)


def out_of_place_only() -> applying:
    """A table without rules: in-place calls run out of place, and that is all."""
    return applying({}, needed=False)


class WithoutParameters(Mode):
    """Parameters take no part in the graph: what then requires a gradient depends on its start."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call."""
        args, kwargs = without_parameters(args, kwargs)
        return function(*args, **kwargs)


def check_open(modules: Mapping[nn.Module, str]) -> None:
    """Raise TypeError for scripted and traced networks, which hide their functions.

    modules: the network's modules with their names.
    """
    for module, name in modules.items():
        if is_scripted(module):
            where = f"the model's {name!r}" if name else "the model"
            raise TypeError(
                f"{where} is scripted or traced, which hides its functions from rules; "
                "explain the module that it was made from"
            )


# ---------------------------------------------------------------------- to write rules with


def apply_of(node: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    """The `apply` of an autograd function, without what torch does for `torch.func` before it.

    That takes longer than the rest of it.
    """
    return super(torch.autograd.Function, node).apply  # type: ignore[misc, no-any-return]


def check_kept() -> None:
    """Raise CheckpointError where what nodes save is not kept until the backward pass.

    Gradient checkpointing makes it anew then, without rules, and notices a difference only by the
    number of tensors and their shapes.
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    if hooks is not None and hooks[0].__module__ == checkpoint.__name__:
        raise checkpoint.CheckpointError("a rule saves what the network itself does not")


def substitute(value: Tensor, surrogate: Tensor) -> Tensor:
    """`value`, with the gradient of `surrogate`; both have the same shape."""
    if value.shape != surrogate.shape:
        raise ValueError(
            f"value is {tuple(value.shape)} and surrogate {tuple(surrogate.shape)}; "
            "their shapes should be equal"
        )
    return passing(surrogate, (value.detach(),), lambda gradient: gradient)


def rectified(value: Tensor) -> Tensor:
    """`value`; only the positive part of its gradient is passed back."""
    return passing(value, (value.detach(),), lambda gradient: gradient.clamp(min=0))


def tapped(value: Tensor, show: Callable[[Tensor], None]) -> Tensor:
    """`value`; shows its gradient, which is passed back as it is."""

    def back(gradient: Tensor) -> Tensor:
        show(gradient)
        return gradient

    return passing(value, (value.detach(),), back)


def edges(node: Any) -> Sequence[Edge]:
    """Where a node passes something back to: what a rule put there as `seewhy_edges` comes first.

    The name is ours: the nodes of a network's own functions hold whatever it likes. As torch does,
    it has an edge to None for what takes no gradient.
    """
    ours: Sequence[Edge] | None = getattr(node, "seewhy_edges", None)
    return node.next_functions if ours is None else ours


def edge(tensor: Tensor) -> Edge:
    """The place in the graph of a tensor with a gradient."""
    node = tensor.grad_fn
    if node is not None:
        return node, tensor.output_nr
    with graphs():
        return get_gradient_edge(tensor).node, 0


def kind_of(node: Any) -> str:
    """What a node computes, without the number of its version: Softmax, AvgPool2D."""
    name: str = type(node).__name__
    return name.rpartition("Backward")[0] or name


def nodes(output: Tensor, ends: Container[Any] = ()) -> Iterator[Any]:
    """The nodes of a tensor's autograd graph, nearest first.

    ends: nodes behind which it does not go on; the latest one may be among them.
    """
    found = [output.grad_fn] if output.grad_fn else []
    known = {*found}
    for node in found:
        yield node
        for following, _ in edges(node) if node not in ends else ():
            if following is not None and following not in known:
                known.add(following)
                found.append(following)


def nearest(output: Tensor, wanted: Callable[[Any], bool]) -> Iterator[Any]:
    """The first nodes of a kind on each path from a tensor back through its autograd graph."""
    met: set[Any] = set()
    for node in nodes(output, met):
        if wanted(node):
            met.add(node)
            yield node


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors among the arguments of a call, also inside of lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        yield from tensors(tuple(value.values()))


class _Passing(torch.autograd.Function):
    """A value; what `back` makes of its gradient is passed back to the surrogate.

    It comes in a tuple, since an input would not be returned as it is, but as a view of it: who
    wrote into that would get around this.
    """

    @staticmethod
    def forward(
        ctx: Any, surrogate: Tensor, value: tuple[Tensor], back: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.set_materialize_grads(False)  # no zeros where none comes, as behind quantised layers
        ctx.back = back
        return value[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, None, None]:
        return None if gradient is None else ctx.back(gradient), None, None


passing = apply_of(_Passing)


def _plain_attention(
    attention: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    """softmax(QKᵀ)V from plain functions."""
    if attn_mask is None and not dropout_p and not is_causal and not options.get("enable_gqa"):
        scale = options.get("scale")
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return torch.softmax(query * scale @ key.transpose(-2, -1), dim=-1) @ value
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # torch would add it as 0 and 1
        attn_mask = query.new_zeros(attn_mask.shape).masked_fill(~attn_mask, -math.inf)
    plain: Tensor = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, **options
    )[0]
    return plain


def _plain_multi_head(attention: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    output, weights = attention(*args, **{**kwargs, "need_weights": True})
    return output, weights if kwargs.get("need_weights", True) else None


# Activations that stand where a ReLU may stand.
LIKE_RELU = (
    F.relu6, F.hardtanh, F.leaky_relu, F.prelu, F.rrelu, F.elu, F.selu, F.celu, F.gelu, F.silu,
    F.mish, F.hardswish, torch.tanh,
)  # fmt: skip

# Attention without fused kernels, which have no second derivative.
PLAIN_ATTENTION: Rules = {
    F.scaled_dot_product_attention: _plain_attention,
    F.multi_head_attention_forward: _plain_multi_head,
}


# ------------------------------------------------------------------------ reading a call


def _name(function: Callable[..., Any]) -> str:
    """One name for all spellings of a function: relu for F.relu, torch.relu_ and Tensor.relu."""
    name = getattr(function, "__name__", "")
    plain = name.strip("_")
    if name.startswith(("__i", "__r")) and not hasattr(torch, plain) and hasattr(torch, plain[1:]):
        return str(plain[1:])
    return str(plain)


# A Linear by other names, if what comes last is a constant matrix.
_PRODUCTS = frozenset(("matmul", "mm", "addmm"))


def _linear(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """The arguments of the Linear that a product is: (input, weight) or (bias, input, weight)."""
    if kwargs or not all(isinstance(one, Tensor) for one in args):
        return None
    *bias, input, weight = args
    constants = [weight, *bias]
    if not input.requires_grad or any(one.requires_grad for one in constants):
        return None
    if [one.ndim for one in constants] != [2, 1][: len(constants)]:
        return None
    return input, weight.mT, bias[0] if bias else None


def out_of_place(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The call that returns what this one would write into its argument, and writes nothing."""
    _, plain, place = _read(function)
    if place is not None:
        kwargs = {**kwargs}
        kwargs.pop("inplace", None)
        args = args if place >= len(args) else (*args[:place], False, *args[place + 1 :])
    return plain, args, kwargs


def _part(whole: Tensor, view: Tensor, base: Tensor) -> Tensor:
    """The part of a tensor that a view shows of its base, whose place the tensor takes."""
    place = view.storage_offset() - base.storage_offset()
    return whole.as_strided(view.shape, view.stride(), place)


def _written(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor | None:
    """The tensor that a call writes into, if any."""
    _, plain, place = _read(function)
    given = place is not None and (kwargs.get("inplace") or args[place : place + 1] == (True,))
    if plain == function and not given:
        return None
    return args[0] if args and isinstance(args[0], Tensor) else next(tensors((args, kwargs)), None)


@lru_cache(maxsize=1024)
def _read(function: Callable[..., Any]) -> tuple[str, Callable[..., Any], int | None]:
    """A function's name, the one that writes nothing, and the position of its `inplace`, if any."""
    return _name(function), _out_of_place(function), _place_of_inplace(function)


def _out_of_place(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that returns what this one would write into its argument."""
    name = getattr(function, "__name__", "")
    if name == "detach_":  # changes the graph and not the values
        return function
    if name == "copy_":
        return _copied
    plain = f"__{name[3:]}" if name.startswith("__i") else name[:-1] if name[-1:] == "_" else ""
    if name in _WITHOUT_PLAIN:
        return _on_a_copy(function)
    for owner in (torch.Tensor, torch, F):
        other = getattr(owner, plain, None)
        if plain and callable(other):
            return other  # type: ignore[no-any-return]
    return function


# What writes numbers into a tensor under no other name; `torch.normal` is another function.
_WITHOUT_PLAIN = frozenset((
    "__setitem__", "zero_", "fill_diagonal_", "uniform_", "random_", "exponential_", "cauchy_",
    "geometric_", "normal_", "log_normal_",
))  # fmt: skip


def _on_a_copy(function: Callable[..., Any]) -> Callable[..., Tensor]:
    @wraps(function)
    def write(written: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        copy = written.clone()
        function(copy, *args, **kwargs)
        return copy

    return write


def _copied(written: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return source.to(written).expand_as(written).clone()


def _varies(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a gradient is recorded for any of the arguments."""
    if args and isinstance(args[0], Tensor) and args[0].requires_grad:
        return True
    return any(tensor.requires_grad for tensor in tensors((args, kwargs)))


def _place_of_inplace(function: Callable[..., Any]) -> int | None:
    """The position of the parameter `inplace`, if the function has one."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # most functions written in C tell no signature
        return None
    return names.index("inplace") if "inplace" in names else None


def without_parameters(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments in which parameters are cut from the graph."""
    # Asked of every call and nearly always plain, so it calls no function of Python's without need.
    if not _PLAIN.issuperset(map(type, args)):
        args = tuple([a if type(a) in _PLAIN else _without_parameters(a) for a in args])
    if not kwargs:
        return args, {}
    if not _PLAIN.issuperset(map(type, kwargs.values())):
        kwargs = {
            key: a if type(a) in _PLAIN else _without_parameters(a) for key, a in kwargs.items()
        }
    return args, kwargs


# Neither parameters nor what may hold some.
_PLAIN = frozenset({Tensor, int, float, bool, str, type(None), torch.dtype, torch.device})


def _without_parameters(value: Any) -> Any:
    kind = type(value)
    if kind is tuple or kind is list:
        plain = _PLAIN.issuperset(map(type, value))
        return value if plain else kind(map(_without_parameters, value))
    if kind is dict:
        return {key: _without_parameters(item) for key, item in value.items()}
    if (kind is nn.Parameter or isinstance(value, nn.Parameter)) and value.requires_grad:
        return value.detach()
    return value
