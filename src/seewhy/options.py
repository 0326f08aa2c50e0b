"""Options of methods, refinements and metrics, checked by the annotations in their signatures.

`steps: Count = 32` says all that is checked: a whole number from 1 to 100,000. Meaningless options
are refused before the network runs, with the same message everywhere. Annotations may be
`int`, `float`, `bool`, `str`, None, a `Literal`, a tensor, `tuple[X, ...]`, `Sequence[X]`, unions
of these, and `Annotated[X, Range(...)]`, or `Annotated[str, parse]` with a function that raises
ValueError for what it cannot read. What has no annotation is not checked.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    BinaryIO,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])

# So many values an option may list.
LONGEST = 1000


@dataclass(frozen=True)
class Range:
    """The bounds of a number in an annotation: at least, at most, above, below."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        bounds = [
            f"{word} {bound:,}" if bound >= 10_000 else f"{word} {bound}"
            for word, bound in [
                ("at least", self.least),
                ("above", self.above),
                ("at most", self.most),
                ("below", self.below),
            ]
            if math.isfinite(bound)
        ]
        return " and ".join(bounds)


# How many steps, samples or masks. More would take days and show nothing that these do not.
Count = Annotated[int, Range(least=1, most=100_000)]
# Torch's generator reads no more bits: beyond, another seed would draw the same.
SEEDS = 2**32
Seed = Annotated[int, Range(least=0, most=SEEDS - 1)]
# Far beyond these, numbers or their squares leave the range of float32.
NotNegative = Annotated[float, Range(least=0, most=1e6)]
Positive = Annotated[float, Range(least=1e-6, most=1e6)]
Share = Annotated[float, Range(least=0, most=1)]


@cache
def options_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """A function's options and their defaults.

    Those are its keyword-only parameters, and where it has none, all that have a default.
    """
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return named or {p.name: p.default for p in parameters if p.default is not p.empty}


def check(owner: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise ValueError for the first option whose value is not what its annotation allows.

    owner: how the message names the function, such as "method 'rise'".
    """
    annotations = annotations_of(function)
    for option, value in options.items():
        annotation = annotations.get(option, Any)
        if not _fits(value, annotation):
            raise ValueError(
                f"{option}={shown(value)}; it should be {_described(annotation)}, for {owner}"
            )
        for read in filter(callable, getattr(annotation, "__metadata__", ())):
            try:
                read(value)
            except ValueError as error:
                raise ValueError(f"{option}={shown(value)}, for {owner}: {error}") from None


def checking(function: Function) -> Function:
    """The same function, with `check` of all its arguments; numbers of NumPy and torch are taken.

    For functions of the user's own values. What has to be checked further they check themselves.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        given.arguments.update(settled(function.__name__, function, given.arguments))
        return function(*given.args, **given.kwargs)

    return cast(Function, checked)


def settled(owner: str, function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with numbers of NumPy and torch as Python's, and 1e8 as the whole number it is.

    Raises as `check` does.
    """
    annotations = annotations_of(function)
    values = {
        option: _suited(as_number(value), annotations.get(option, Any))
        for option, value in options.items()
    }
    check(owner, function, values)
    return values


def _suited(value: Any, annotation: Any) -> Any:
    """A float without a fraction as an int, an array as a tuple or tensor, where only those fit."""
    if _fits(value, annotation):
        return value
    array, suited = isinstance(value, np.ndarray), []
    if (array or _fits(value, Tensor)) and value.ndim:
        suited.append(as_number(tuple(value)))
    if array and value.dtype.kind in "biuf":
        # In the byte order of this machine: files have others.
        suited.append(torch.from_numpy(value.astype(value.dtype.newbyteorder("="))))
    if type(value) is float and value.is_integer():
        suited.append(int(value))
    return next((one for one in suited if _fits(one, annotation)), value)


def as_number(value: Any) -> Any:
    """A single number of NumPy or torch as Python's, also in a tuple or list; all else as it is."""
    if type(value) in (tuple, list):
        return type(value)(map(as_number, value))
    single = isinstance(value, np.generic | np.ndarray | Tensor) and value.ndim == 0
    return value.item() if single and not getattr(value, "is_meta", False) else value


def listed(given: Any) -> list[Any]:
    """One or many, as many."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def shown(value: Any) -> str:
    """A value in a message, not longer than a line."""
    try:
        text = repr(value)
    except Exception:  # a number of too many digits, or an object that cannot be shown
        return f"<{type(value).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def near(word: str, names: Iterable[str], most: int = 3) -> str:
    """The end of an error message: the names nearest to a word, in either case; "" if none is."""
    by_case = {name.casefold(): name for name in names}
    found = difflib.get_close_matches(word.casefold(), by_case, n=most)
    return f"; did you mean {', '.join(repr(by_case[name]) for name in found)}?" if found else ""


@cache
def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The kinds of a function's parameters, by name; none where some of them are unknown here."""
    try:
        return get_type_hints(inspect.unwrap(function), include_extras=True)
    except NameError:  # of a plugin, which imports some of its types for type checkers alone
        return {}


def _fits(value: Any, annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if origin is Annotated:
        base, *marks = arguments
        return _fits(value, base) and all(
            value in mark for mark in marks if isinstance(mark, Range)
        )
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin in (tuple, Sequence):
        if not isinstance(value, tuple | list):
            return False
        if origin is tuple and arguments[-1] is not Ellipsis:
            return len(value) == len(arguments) and all(map(_fits, value, arguments))
        most = math.inf if arguments[0] is Tensor else LONGEST
        return 1 <= len(value) <= most and all(_fits(item, arguments[0]) for item in value)
    if annotation is BinaryIO:
        return hasattr(value, "read")
    if annotation is Tensor and isinstance(value, Tensor):
        return value.layout is torch.strided and not (
            value.is_meta or value.is_quantized or value.is_complex()
        )
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        # Whole numbers as well, unless torch could not compute with them.
        return (type(value) is int and abs(value) <= _LARGEST) or (
            type(value) is float and math.isfinite(value)
        )
    kind = origin or annotation
    return not isinstance(kind, type) or isinstance(value, kind)


_LARGEST = 10**9

_NAMES = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a name",
    NoneType: "None",
    Tensor: "a dense tensor of real numbers",
    Callable: "a function",
}


def _described(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base, *marks = arguments
        return ", ".join(
            [_described(base), *(str(mark) for mark in marks if isinstance(mark, Range))]
        )
    if origin in (Union, UnionType):
        return ", or ".join(map(_described, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"({', '.join(map(_described, arguments))})"
    if origin in (tuple, Sequence):
        many = "or more" if arguments[0] is Tensor else f"to {LONGEST}"
        return f"1 {many} values in a tuple, each {_described(arguments[0])}"
    return _NAMES.get(origin or annotation, getattr(annotation, "__name__", str(annotation)))
