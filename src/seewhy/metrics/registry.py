"""Metrics by name, with their options and properties.

The names of a metric's parameters say what it needs: `saliency`, `masks`, `score`, … `GIVEN` lists
them. After `register_metric` a metric can be used by its name everywhere, with options like a
method's: `"iou(threshold=0.3)"`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor

from seewhy.naming import Entry, Named, add, frozen, suggestion, terms
from seewhy.options import checking

Function = TypeVar("Function", bound=Callable[..., Any])
Region = Literal["boxes", "masks", "cells", "dataset"]

GIVEN = {
    "saliency": "the method's maps, (B, H, W)",
    "inputs": "what the network takes, (B, C, H, W)",
    "masks": "the annotated regions, (B, H, W) bool; of what, the metric's `region` says",
    "boxes": "the annotated boxes of each image, (n, 4), x0, y0, x1, y1 in pixels",
    "score": "the network's probability of each image's class, a function of images and index",
    "explain": "the method's maps of other images, a function of images and index",
    "original": "the class's probability on the images, (B,)",
    "masked": "the same on the masked photos: the images times their maps, (B,)",
    "masked_saliency": "the method's maps of the masked photos, (B, H, W)",
    "regions": "the objects of each rendered scene, (R, H, W) bool",
    "effects": "what each of these objects does to the score, (R,)",
    "model": "the network",
    "explain_network": "the method's maps by a copy of the network, a function of the copy",
}
"""What a metric can ask for, by the names of its parameters.

Behind `other_method_` and `other_target_` each of them is another method's, or that of another
target in the same image; the metric's value is the mean over them. A name in `SHARED`, such as
`curves`, stands for what that function returns, and a metric's name for its value.
"""

_OTHERS = ("other_method_", "other_target_")
_WORDS = {
    "dataset": "boxes or masks",
    "cells": "cells of a grid",
    "masked": "masked photos",
    "effects": "scenes with known effects",
    "other_method_masked": "another method",
    "other_target_saliency": "another target",
}


@dataclass(frozen=True)
class Curve:
    """The scores that a metric sums up.

    scores: the field of the metric's first need that holds them, (B, points).
    axis: what the horizontal axis counts.
    shares: the option that lists the places on it, as shares or as rising numbers of pixels up to
        all; without it, or where the option is a number, they are even from 0 to 1.
    """

    scores: str
    axis: str
    shares: str


@dataclass(frozen=True)
class Measure(Entry):
    """What is registered of a metric; `Metric` says what its parts are."""

    higher_is_better: bool = True
    range: tuple[float, float] = (0.0, 1.0)
    caution: str = ""
    region: Region = "masks"
    size: Literal["input", "photo"] = "input"
    curve: Curve | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """What the function is given, in that order."""
        return needs_of(self.function)

    @property
    def wants(self) -> list[str]:
        """What it needs, in words."""
        found = [self.region if need == "masks" else need for need in self.needs]
        found += ["photo size"] if self.size == "photo" else []
        return [_WORDS.get(need, need.replace("_", " ")) for need in found]

    @property
    def all_needs(self) -> frozenset[str]:
        """The same with the needs behind them, those of others also by their own names."""
        found = [need for function in self.functions for need in needs_of(function)]
        return frozenset([*found, *map(bare, found)])

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The function, and those behind its needs, which may take options, too."""
        return tuple(dict.fromkeys(_functions(self.function)))


METRICS: dict[str, Measure] = {}
SHARED: dict[str, Callable[..., Any]] = {}
"""What several metrics read and is made once for all that do, by name."""


def needs_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters that have no default."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty)


def bare(need: str) -> str:
    """A need without the words that make it another method's or another target's."""
    for prefix in _OTHERS:
        need = need.removeprefix(prefix)
    return need


def _functions(function: Callable[..., Any]) -> Iterable[Callable[..., Any]]:
    yield function
    for need in map(bare, needs_of(function)):
        if need in SHARED:
            yield from _functions(SHARED[need])
        elif need in METRICS:
            yield from _functions(METRICS[need].function)


class Metric(Named):
    """A registered metric with its options.

    `Metric("iou", threshold=0.3)` equals `metric("iou(threshold=0.3)")`.

    name, options: the name, and the options that you gave.
    function: returns one value per image, (B,).
    higher_is_better: the direction.
    range: the lowest and the highest value, if scores are probabilities.
    passes: cost per method, image and target, where the map and the score of the image itself are
        known: F is a forward pass, E an explanation, S the number of steps, shares, samples, sides
        or layers.
    source, summary: who defined it, and one sentence about it.
    needs: the function's parameters without a default, see `seewhy.metrics.GIVEN`.
    all_needs: the same, with the needs of these.
    region: what `masks` are made of: annotated "boxes", outlines ("masks"), a grid's "cells", or
        what the "dataset"'s authors use for the pointing game.
    size: whether maps, masks and boxes have the size of the network's "input" or of the "photo";
        the latter come one image at a time.
    curve: the scores that the metric sums up, which are then kept and drawn; or None.
    caution: how a map can get a good value without being a better explanation, in a sentence that
        is shown next to the number; "" if no such way is known.

    Raises ValueError for an unknown name, option or value; the message says what would be right.
    """

    kind = "metric"
    entries = METRICS
    unknown = "there is no metric"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        for key, value in self.options:
            if isinstance(value, Tensor):
                raise ValueError(f"{key} is a tensor; a metric's options are written into tables")
        about = METRICS[name]
        self.function: Callable[..., Tensor] = about.function
        self.higher_is_better, self.range = about.higher_is_better, about.range
        self.passes = about.passes
        self.source, self.summary, self.caution = about.source, about.summary, about.caution
        self.needs, self.all_needs = about.needs, about.all_needs
        self.region, self.size, self.curve = about.region, about.size, about.curve

    @property
    def shares(self) -> list[float]:
        """The positions of its curve's points, as shares of the pixels; [] if evenly spaced."""
        listed = {**self.defaults, **dict(self.options)}[self.curve.shares] if self.curve else ()
        # Numbers of pixels rise up to all of them; shares stay below 1.
        return [one / max(1, listed[-1]) for one in listed] if isinstance(listed, tuple) else []

    @property
    def defaults(self) -> dict[str, Any]:
        """All options with their default values."""
        return METRICS[self.name].options


def list_metrics() -> list[str]:
    """The names of all metrics."""
    return sorted(METRICS)


def metric(spelled: str | Metric | Callable[..., Any]) -> Metric:
    """The metric for a name, a `Metric`, or a registered function.

    Raises ValueError, which suggests the nearest name or points at the wrong word.
    """
    if isinstance(spelled, Metric):
        return spelled
    if callable(spelled):
        for name, measure in METRICS.items():
            if inspect.unwrap(measure.function) is inspect.unwrap(spelled):
                return Metric(name)
        named = getattr(spelled, "__name__", repr(spelled))
        raise ValueError(
            f"{named} is no metric yet: put @seewhy.metrics.register_metric(…) above its definition"
        )
    (name, options), *others = terms("metric", spelled, "gini", "iou(threshold=0.3)")
    if others:
        raise ValueError(f"cannot read the metric {spelled!r}: metrics take no refinements")
    return Metric(name, **options)


def metrics_of(
    asked: Iterable[str | Metric | Callable[..., Any]], settings: Mapping[str, Any] | None = None
) -> tuple[Metric, ...]:
    """Metrics in their shortest spelling, each once.

    settings: what options stand at where a metric does not give them, instead of their defaults.
        An option that is given and says no more than that is left out.
    """
    found = []
    for one in map(metric, asked):
        usual = {key: frozen(value) for key, value in {**one.defaults, **(settings or {})}.items()}
        said = {
            key: float(value) if type(value) is int and type(usual[key]) is float else value
            for key, value in one.options
            if value != usual[key]
        }
        found.append(Metric(one.name, **said))
    return tuple(dict.fromkeys(found))


def register_metric(
    source: str,
    passes: str = "0",
    *,
    higher_is_better: bool,
    range: tuple[float, float] = (0.0, 1.0),
    region: Region = "masks",
    size: Literal["input", "photo"] = "input",
    curve: Curve | None = None,
    caution: str = "",
    name: str | None = None,
) -> Callable[[Function], Function]:
    """Register a function as a metric, under its own name or `name`.

    Its parameters without a default say what it needs, see `GIVEN`; the others are its options. It
    returns one value per image, (B,). The other arguments are as in `Metric`. What comes back is
    the function with checks of its arguments, by their annotations.

    Raises ValueError for an unknown parameter.
    """

    def register(function: Function) -> Function:
        function = checking(function)
        called = name or function.__name__
        known = {*GIVEN, *SHARED, *METRICS}
        for need in needs_of(function):
            if bare(need) not in known:
                raise ValueError(
                    f"the metric {called!r} needs {need!r}, which nothing is called; give an "
                    f"option a default{suggestion(bare(need), sorted(known))}"
                )
            if size == "photo" and need not in ("saliency", "masks", "boxes"):
                raise ValueError(
                    f"the metric {called!r} needs {need!r}, which has no size of a photo; only "
                    "saliency, masks and boxes have"
                )
        measure = Measure(
            called,
            function,
            source,
            passes,
            higher_is_better=higher_is_better,
            range=range,
            caution=caution,
            region=region,
            size=size,
            curve=curve,
        )
        add("metric", METRICS, called, measure)
        return function

    return register


def shared(name: str) -> Callable[[Function], Function]:
    """Register a value that metrics can need by this name; it is computed once for all of them.

    The function has needs and options like a metric. Metrics that need it get its options, too.
    """

    def register(function: Function) -> Function:
        SHARED[name] = checked = checking(function)
        return checked

    return register
