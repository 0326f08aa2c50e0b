"""Names of methods, refinements and metrics, and the objects that they stand for.

`"grad_cam+gradual"` and `"gig_cam(steps=20)+multiscale(scales=[1, 1.5, 2])"` name methods with
options and refinements. The grammar is Python's: names, keyword arguments with literal values,
and `+`. `str()` of a method is its name, and parsing that name gives an equal method. Metrics,
`"iou(threshold=0.3)"`, are written in the same way, see `seewhy.metrics`.
"""

from __future__ import annotations

import ast
import inspect
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from signal import getsignal, valid_signals
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar

import torch
from torch import Tensor

from seewhy.core.casting import set_casts
from seewhy.core.observing import graphs, undisturbed
from seewhy.core.recording import REFUSALS
from seewhy.notes import note
from seewhy.options import near, options_of, settled, shown

if TYPE_CHECKING:
    from seewhy.core.probe import Probe
    from seewhy.core.recording import Read

Function = TypeVar("Function", bound=Callable[..., Any])
Made = TypeVar("Made")
Added = TypeVar("Added", bound=Any)
Layers = Literal["chosen", "named", "none"]


@dataclass(frozen=True)
class Entry:
    """A registered method or refinement.

    function: for a method `(probe, **options) -> (B, h, w)`; for a refinement
        `(probe, method, **options) -> (B, h, w)`. `options_of` finds the options.
    source: the paper that defines it.
    passes: its cost, with F a forward pass, B a full backward pass and h a backward pass from the
        score to the layer.
    reads: what it needs of the pass besides the layers' maps, so that the pass records it: the
        gradient of the "input", the network's "stages", or the calls behind the layer ("tail").
        Anything else takes another pass.
    layers: whether it reads the "chosen" layer where the user names none, only those that are
        "named", or "none", so that the pass does not choose one.
    """

    name: str
    function: Callable[..., Any]
    source: str
    passes: str
    reads: tuple[Read, ...] = ()
    layers: Layers = "chosen"

    @property
    def summary(self) -> str:
        """The first sentence of the function's documentation."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Those that take the options."""
        return (self.function,)

    @property
    def options(self) -> dict[str, Any]:
        """Option names and their defaults; the first function's where several have one."""
        return {
            option: default
            for function in reversed(self.functions)
            for option, default in options_of(function).items()
        }


DEFAULT_METHOD = "grad_cam"
"""What is taken where no method is named."""

FALLBACKS = ("gradient", "occlusion")
"""What is taken instead, in this order, where a network or a target lets the default fail: it has
no layer with maps, or nothing of it can be differentiated."""

# Each refinement may ask for the map that it refines many times.
_MOST = 10

METHODS: dict[str, Entry] = {}
REFINEMENTS: dict[str, Entry] = {}

ELSEWHERE = {
    "smoothgrad": "gradient+smooth",
    "noisetunnel": "gradient+smooth",
    "vargrad": "gradient+smooth",
    "saliency": "gradient",
    "vanillagradient": "gradient",
    "backprop": "gradient",
    "gradientxinput": "input_x_gradient",
    "deconvolution": "deconvnet",
    "guidedbackproprelumodel": "guided_backprop",
    "ig": "integrated_gradients",
    "gradientshap": "integrated_gradients",
    "deeplift": "integrated_gradients",
    "guidedig": "guided_integrated_gradients",
    "layergradcam": "grad_cam",
    "lrp": "excitation_backprop",
    "rollout": "attention_rollout",
}
"""What is nearest to methods with another name in papers and libraries, in small letters alone."""


def list_methods() -> list[str]:
    """Names of all methods."""
    return sorted(METHODS)


def list_refinements() -> list[str]:
    """Names of all refinements."""
    return sorted(REFINEMENTS)


def method(
    source: str, passes: str, *, reads: tuple[Read, ...] = (), layers: Layers = "chosen"
) -> Callable[[Function], Function]:
    """Register a function `(probe, **options) -> (B, h, w)` as a method under its own name."""
    return _registering("method", METHODS, source, passes, reads, layers)


def refinement(
    source: str, passes: str, *, reads: tuple[Read, ...] = ()
) -> Callable[[Function], Function]:
    """Register a function `(probe, method, **options) -> (B, h, w)` as a refinement."""
    return _registering("refinement", REFINEMENTS, source, passes, reads)


def _registering(kind: str, table: dict[str, Entry], *about: Any) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        add(kind, table, function.__name__, Entry(function.__name__, function, *about))
        return function

    return register


def add(kind: str, table: dict[str, Added], name: str, entry: Added) -> None:
    """Register a function, or what has one; a note says so where that of another had the name."""
    if name in table:
        old, new = (getattr(one, "function", one).__module__ for one in (table[name], entry))
        if old != new:
            note(f"the {kind} {name!r} of {old} is replaced by that of {new}")
    table[name] = entry


@contextmanager
def exits_as_errors(name: str) -> Iterator[None]:
    """RuntimeError where a function of anyone's would end the process; a signal still does that."""
    try:
        yield
    except SystemExit as error:
        handlers = [getattr(getsignal(one), "__code__", None) for one in valid_signals()]
        if any(frame.f_code in handlers for frame, _ in walk_tb(error.__traceback__)):
            raise
        raise RuntimeError(f"{name} ends the process (SystemExit: {error})") from error


class Named:
    """What is registered under a name, with options: equal where it is spelled alike."""

    kind: ClassVar[str]
    entries: ClassVar[Mapping[str, Entry]]
    unknown: ClassVar[str]

    def __init__(self, name: str, **options: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a {self.kind} is {shown(name)}; it should be a text")
        if name not in self.entries:
            if isinstance(self, Refinement) and name in METHODS:
                raise ValueError(f"{name!r} is a method: it can only stand first")
            if isinstance(self, Method) and name in REFINEMENTS:
                raise ValueError(
                    f"{name!r} is a refinement: put it behind a method, as in 'grad_cam+…'"
                )
            meant = elsewhere(name) if isinstance(self, Method) else ""
            meant = meant or suggestion(name, sorted(self.entries))
            raise ValueError(f"{self.unknown} {shown(name)}{meant}")
        functions = self.entries[name].functions
        self.name: Final = name
        self.options: Final = checked(f"{self.kind} {name!r}", functions, options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        given = ", ".join(f"{key}={_literal(value)}" for key, value in self.options)
        return f"{self.name}({given})" if given else self.name


class Refinement(Named):
    """A registered refinement with its options: `Refinement("multiscale", scales=[1, 2])`."""

    kind = "refinement"
    entries = REFINEMENTS
    unknown = "unknown refinement"


class Method(Named):
    """A registered method with its options and refinements.

    `Method("grad_cam") + Refinement("gradual")` equals `parse("grad_cam+gradual")`. A method is
    called with a probe and returns maps, (B, h, w), un-normalised, at its own resolution.
    """

    kind = "method"
    entries = METHODS
    unknown = "unknown method"
    refinements: tuple[Refinement, ...] = ()

    def __add__(self, refinement: Refinement) -> Method:
        if not isinstance(refinement, Refinement):
            raise TypeError(f"{self} + {shown(refinement)}; add a seewhy.Refinement")
        return self._refined((*self.refinements, refinement))

    def __str__(self) -> str:
        return "+".join([super().__str__(), *map(str, self.refinements)])

    def __call__(self, probe: Probe) -> Tensor:
        """The maps (B, h, w) of the probe's question, in whatever mode of torch the caller is."""

        def run() -> Tensor:
            set_casts({})
            with graphs(), exits_as_errors(str(self)):
                return self._maps(probe)

        return undisturbed((), run)

    def _maps(self, probe: Probe) -> Tensor:
        if self.refinements:
            last = self.refinements[-1]
            inner = self._refined(self.refinements[:-1])
            maps = REFINEMENTS[last.name].function(probe, inner, **dict(last.options))
        else:
            maps = METHODS[self.name].function(probe, **dict(self.options))
        count = len(probe.inputs)
        if not isinstance(maps, Tensor) or maps.ndim < 2 or len(maps) != count:  # it is anyone's
            found = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise ValueError(f"{self} returned {found}; it should be a map per image, ({count}, …)")
        return maps

    @property
    def reads(self) -> frozenset[Read]:
        """What the method and its refinements read of a pass, see `Entry`."""
        used = [METHODS[self.name], *(REFINEMENTS[one.name] for one in self.refinements)]
        return frozenset(read for entry in used for read in entry.reads)

    @property
    def layers(self) -> Layers:
        """Which layers it reads, see `Entry`."""
        return "chosen" if self.refinements else METHODS[self.name].layers

    def _refined(self, refinements: tuple[Refinement, ...]) -> Method:
        if len(refinements) > _MOST:
            raise ValueError(f"{len(refinements)} refinements; a method takes {_MOST} at most")
        other = copy(self)
        other.refinements = refinements
        return other


def parse(text: str | Method) -> Method:
    """The method for a name; a `Method` is returned unchanged.

    Raises ValueError, which points at the wrong word and suggests the nearest name.
    """
    if isinstance(text, Method):
        return text
    try:
        (name, options), *rest = terms("method", text, "grad_cam", "gig_cam(steps=20)+multiscale")
    except ValueError as error:  # perhaps spelled as in a paper: Grad-CAM++
        spelled = text.replace("++", "_plus_plus").replace("-", "_")
        raise ValueError(f"{error}{elsewhere(text) or near(spelled, METHODS)}") from None
    found = Method(name, **options)
    for name, options in rest:
        found = found + Refinement(name, **options)
    return found


def terms(kind: str, text: str, *examples: str) -> list[tuple[str, dict[str, Any]]]:
    """Names with their options, as `a(b=1)+c` spells them.

    Raises TypeError for what is no text, and ValueError that points at the offending word; the
    message shows the examples.
    """
    if not isinstance(text, str):
        raise TypeError(
            f"{kind} is a {type(text).__name__}; it should be a name such as {examples[0]!r}"
        )
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, UnicodeError) as error:
        what = "it is nested too deeply, or not valid Unicode"
        if isinstance(error, SyntaxError):
            what = f"{error.msg} at column {error.offset}"
        raise ValueError(
            f"cannot read the {kind} {shown(text)}: {what}; "
            f"write it as {' or '.join(map(repr, examples))}"
        ) from None
    added = [expression]
    while isinstance(first := added[0], ast.BinOp) and isinstance(first.op, ast.Add):
        added[:1] = [first.left, first.right]
    return [_call(text, term) for term in added]


def alternatives(method: str | Method | None, *, layered: bool) -> tuple[Method, ...]:
    """The method, or where none is named the default one and its fallbacks: the first that works.

    layered: whether a layer was named, which is a question that no fallback answers.

    Raises ValueError as `parse` does.
    """
    if method is not None:
        return (parse(method),)
    return tuple(parse(name) for name in (DEFAULT_METHOD, *(() if layered else FALLBACKS)))


def first_that_works(tried: Iterable[Method], make: Callable[[Method], Made]) -> Made:
    """What `make` returns for the first of the methods with which it does not fail.

    If that is not the first of all, a `seewhy.notes.Note` says which one it is, and why.

    Raises what it raised for the first one, where it fails with all. What is no fault of the
    method's, such as a timeout or a lack of memory, is raised at once.
    """
    first: Exception | None = None
    for one in tried:
        try:
            made = make(one)
        except torch.cuda.OutOfMemoryError:
            raise
        except REFUSALS as error:
            first = first or error
        else:
            if first is not None:
                note(f"explained by {one}, as {DEFAULT_METHOD} is not possible: {first}")
            return made
    assert first is not None
    raise first


def _call(text: str, term: ast.expr) -> tuple[str, dict[str, Any]]:
    if isinstance(term, ast.Name):
        return term.id, {}
    word = ast.get_source_segment(text.strip(), term)
    if not isinstance(term, ast.Call) or not isinstance(term.func, ast.Name):
        raise ValueError(
            f"cannot read {shown(word)} in {shown(text)}: it should be a name or name(option=…)"
        )
    if term.args or any(keyword.arg is None for keyword in term.keywords):
        raise ValueError(
            f"cannot read {shown(word)} in {shown(text)}: name each option, as in steps=20"
        )
    options = {}
    for keyword in term.keywords:
        if keyword.arg in options:
            raise ValueError(f"{keyword.arg} is given twice in {shown(word)}")
        value = ast.get_source_segment(text.strip(), keyword.value)
        try:
            options[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise ValueError(
                f"cannot read {keyword.arg}={value} in {shown(text)}: the value should be a "
                "number, a quoted string, True, False, None or a list of these"
            ) from None
    return term.func.id, options


def checked(
    owner: str, functions: Sequence[Callable[..., Any]], options: Mapping[str, Any]
) -> tuple[tuple[str, Any], ...]:
    """The options in the order in which the functions declare them, lists as tuples.

    Raises ValueError for one that none of them has, or a value that it does not allow.
    """
    known = dict.fromkeys(option for function in functions for option in options_of(function))
    for option in options:
        if option not in known:
            raise ValueError(
                f"{owner} has no option {shown(option)}"
                f"{suggestion(option, sorted(known)) if known else '; it takes none'}"
            )
    given = {option: frozen(options[option]) for option in known if option in options}
    for function in functions:
        own = {option: given[option] for option in options_of(function) if option in given}
        given |= settled(owner, function, own)
    return tuple(given.items())


def suggestion(word: str, names: Iterable[str]) -> str:
    """The end of an error message: the nearest of the names, or all where none is near."""
    names = list(names)
    return near(word, names, 1) or f"; there are {', '.join(names)}"


def elsewhere(word: str) -> str:
    """The end of an error message: our name of a method as papers and libraries spell it, or ""."""

    def letters(name: str) -> str:
        return re.sub("[^a-z]", "", re.sub(r"(\+\+|pp)$", "plusplus", name.strip().lower()))

    ours = {letters(name): name for name in METHODS} | ELSEWHERE
    found = ours.get(letters(word))
    return f"; did you mean {found!r}?" if found else ""


def frozen(value: Any) -> Any:
    """The value as it can be written: lists as tuples, other libraries' numbers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value))
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _literal(value: Any) -> str:
    """How a value is written; a tensor, which has no name that could be read back, by its shape."""
    shape = getattr(value, "shape", None)
    return repr(value) if shape is None else f"<tensor {tuple(shape)} at {id(value):x}>"
