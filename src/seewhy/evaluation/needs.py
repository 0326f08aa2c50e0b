"""The values that metrics need, computed once and only if a metric needs them.

`Pairs` are images, each with one thing to explain in it: what they are annotated with, and what the
network says of them. `Needs` is what one method's maps of them add. Both are asked by the names
that the metrics' functions give to their parameters, see `seewhy.metrics.GIVEN`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.core.targets import Target
from seewhy.data.dataset import Annotation, Sample
from seewhy.data.geometry import Geometry
from seewhy.evaluation.task import Task
from seewhy.fills import Fill
from seewhy.maps import upsample
from seewhy.metrics import (
    METRICS,
    SHARED,
    Metric,
    box_masks,
    class_means,
    class_probability,
    explanation_maps,
)
from seewhy.metrics.registry import bare, needs_of
from seewhy.naming import Method
from seewhy.options import annotations_of, options_of

# Why there are no masks of a kind: the dataset lacks what they are made of …
_UNANNOTATED = {
    "boxes": "the dataset has no box of it; voc:, coco: and imagenet: with annotations have them",
    "masks": "the dataset has no outline of it; coco:, voc: with SegmentationObject and folder: "
    "with masks/ have them",
    "cells": "the image is no grid of photos; write the dataset as grids:FOLDER",
    "dataset": "the dataset has no box or outline of it to point at",
}
# … or the network sees nothing of it.
_UNSEEN = {
    "boxes": "no box of it is on the network's input",
    "masks": "no outline of it is on the network's input",
}


@dataclass(frozen=True, eq=False)
class Pair:
    """An image and one thing to explain in it; `place` numbers its image within the batch."""

    place: int
    sample: Sample
    annotation: Annotation
    class_index: int
    probability: float
    difficult: bool
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs with their images, ready for the network.

    inputs: (P, C, h, w), one for each pair.
    """

    task: Task
    pairs: Sequence[Pair]
    inputs: Tensor
    _masks: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.pairs)

    def only(self, places: Sequence[int]) -> Pairs:
        """Some of them."""
        pairs = [self.pairs[place] for place in places]
        return replace(self, pairs=pairs, inputs=self.inputs[list(places)])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the inputs."""
        height, width = self.inputs.shape[-2:]
        return height, width

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.task.model.module

    @cached_property
    def classes(self) -> list[int]:
        """The network's class of each pair."""
        return [pair.class_index for pair in self.pairs]

    @cached_property
    def original(self) -> Tensor:
        """The class's probability on the images, (P,)."""
        return self.inputs.new_tensor([pair.probability for pair in self.pairs])

    @cached_property
    def _probability(self) -> Callable[[Tensor, Tensor], Tensor]:
        return class_probability(self.model, self.classes, self.task.model.probabilities)

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """The probability of each pair's class; of the images themselves it is known."""
        return self.original[index] if images is self.inputs else self._probability(images, index)

    def maps(
        self, method: Method, images: Tensor, target: Target, network: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """The method's maps (N, h, w) float at the size of the inputs, and the logits (N, K).

        network: a copy of it that is asked instead.
        """
        model = self.task.model
        model = model if network is None else replace(model, module=network)
        probe = model.probe(images, target, self.task.layer)
        (maps,) = probe.maps([method])
        return upsample(maps.float(), self.size), probe.logits

    def _marked(self, pair: Pair, kind: str) -> tuple[Tensor, Tensor | None]:
        """The boxes (n, 4), or the mask (H, W), that a pair's region on the photo is made of."""
        boxes = pair.annotation.boxes
        if kind == "masks" or (kind == "dataset" and self.task.dataset.region == "masks"):
            return boxes[:0], pair.annotation.mask
        return boxes[:0] if kind == "cells" and not self.task.dataset.grid else boxes, None

    def on_photo(self, pair: Pair, kind: str) -> Tensor:
        """A pair's region on the photo, (H, W) bool; without a pixel where there is none."""
        boxes, region = self._marked(pair, kind)
        if region is None:
            (region,) = box_masks([boxes], pair.sample.image.size[::-1])
        return region

    def masks(self, kind: str) -> Tensor:
        """The regions on the input, (P, h, w) bool; without a pixel where there is none."""
        if kind not in self._masks:
            regions: list[Tensor] = []
            for pair in self.pairs:
                boxes, mask = self._marked(pair, kind)
                if mask is None:
                    regions += box_masks([pair.geometry.boxes_to_input(boxes)], self.size)
                else:
                    regions.append(pair.geometry.mask_to_input(mask))
            self._masks[kind] = torch.stack(regions).to(self.inputs.device)
        return self._masks[kind]

    @cached_property
    def boxes(self) -> list[Tensor]:
        """The boxes of each pair on the input that the network sees any of, (n, 4)."""
        found = [pair.geometry.boxes_to_input(pair.annotation.boxes) for pair in self.pairs]
        return [boxes[seen(boxes)].to(self.inputs.device) for boxes in found]

    @property
    def regions(self) -> list[Tensor]:
        """Each scene's objects on the input, (R, h, w)."""
        return [masks for masks, _ in self._scenes]

    @property
    def effects(self) -> list[Tensor]:
        """What each scene's objects truly do, (R,)."""
        return [effects for _, effects in self._scenes]

    @cached_property
    def _scenes(self) -> list[tuple[Tensor, Tensor]]:
        from seewhy.data.scenes import effect

        device = self.inputs.device
        found = []
        for pair in self.pairs:
            scene = pair.sample.scene
            if scene is None:
                nothing = torch.zeros(0, device=device)
                found.append((nothing.new_zeros(0, *self.size), nothing))
                continue
            masks = pair.geometry.mask_to_input(torch.from_numpy(scene.masks)).to(device)
            preprocess = self.task.model.preprocess
            true = effect(self.model, scene, pair.class_index, preprocess=preprocess)
            found.append((masks, true))
        return found

    def without(self, need: str, metric: Metric) -> list[str]:
        """Why each pair has no masks, boxes or effects for a metric; "" where it has them."""
        if need in ("regions", "effects"):
            few = "fewer than two objects of known effect are in the image"
            return ["" if len(effects) > 1 else few for effects in self.effects]
        kind = "boxes" if need == "boxes" else metric.region
        reasons = []
        for place, pair in enumerate(self.pairs):
            if metric.size == "photo":
                there = bool(self.on_photo(pair, kind).any())
            elif need == "boxes":
                there = len(self.boxes[place]) > 0
            else:
                there = bool(self.masks(kind)[place].any())
            outlined = pair.annotation.mask is not None
            annotated = outlined if kind == "masks" else len(pair.annotation.boxes) > 0
            unseen = annotated and kind in _UNSEEN
            reasons.append("" if there else (_UNSEEN if unseen else _UNANNOTATED)[kind])
        return reasons


@dataclass(eq=False, repr=False)
class Needs:
    """What metrics need of one method's maps of some pairs.

    saliency: (P, h, w). others: the same of all methods, for metrics that compare; of other pairs
        where a method has not answered some.
    """

    pairs: Pairs
    method: Method
    saliency: Tensor
    others: Mapping[Method, Needs]
    _made: dict[str, Any] = field(default_factory=dict)

    def only(self, places: Sequence[int]) -> Needs:
        """The same of some of the pairs alone, and of those methods that answered all of them."""
        pairs = self.pairs.only(places)
        others: dict[Method, Needs] = {}
        for method, own in self.others.items():
            at = [own.pairs.pairs.index(one) for one in pairs.pairs if one in own.pairs.pairs]
            if len(at) == len(pairs):
                others[method] = Needs(pairs, method, own.saliency[at], others)
        return others[self.method]

    @property
    def answered(self) -> list[list[int]]:
        """The places that the same methods have answered; () where all have the same pairs."""
        others = [one.pairs for one in self.others.values()]
        if all(one is self.pairs for one in others):
            return []
        parts: dict[tuple[bool, ...], list[int]] = {}
        for place, pair in enumerate(self.pairs.pairs):
            parts.setdefault(tuple(pair in one.pairs for one in others), []).append(place)
        return list(parts.values())

    # ------------------------------------------------------------------ what metrics say

    def values(self, metric: Metric) -> Tensor:
        """The metric's value of each pair, (P,) float; nan where it cannot be asked."""
        options = self._options(metric)
        values: Tensor = self._once(metric.name, options, lambda: self._values(metric))
        return values

    def scores(self, metric: Metric) -> Tensor:
        """The curve that the metric sums up, (P, points); (P, 0) where it sums up none."""
        if metric.curve is None:
            return self.saliency.new_empty(len(self.pairs), 0)
        curves = self._need(metric.needs[0], metric, self._options(metric))
        scores: Tensor = getattr(curves, metric.curve.scores)
        return scores

    def unasked(self, metric: Metric) -> list[str]:
        """Why the metric cannot be asked of each pair; "" where it can."""
        return self._unasked(metric.function, metric)

    def _values(self, metric: Metric) -> Tensor:
        known = [not reason for reason in self.unasked(metric)]
        options = self._options(metric)
        if not any(known):
            return torch.full((len(known),), torch.nan, device="cpu")
        if metric.size == "photo":
            values = [torch.nan] * len(known)
            for place, there in enumerate(known):
                if there:
                    given = [self._on_photo(need, place, metric) for need in metric.needs]
                    values[place] = float(_checked(metric.function(*given, **options), 1))
            return torch.tensor(values, dtype=torch.float64, device="cpu")
        found = _checked(self._called(metric.function, metric, options), len(known))
        return found.where(torch.tensor(known, device=found.device), torch.nan)

    def _options(self, metric: Metric) -> dict[str, Any]:
        """All options of a metric, with the values that they have here; black is the network's."""
        usual = {**metric.defaults, **self.pairs.task.settings, **dict(metric.options)}
        for function in METRICS[metric.name].functions:
            kinds = annotations_of(function)
            for option in options_of(function):
                if kinds.get(option) == Fill and usual[option] == "black":
                    usual[option] = self.pairs.task.model.preprocess.black
        return {option: usual[option] for option in metric.defaults}

    def _once(self, name: str, options: dict[str, Any], make: Callable[[], Any]) -> Any:
        key = f"{name} {options}"
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    # ------------------------------------------------------------------ what they are given

    def _called(self, function: Callable[..., Any], metric: Metric, options: dict[str, Any]) -> Any:
        """What a function says, given what its parameters are called.

        Of one that compares with other methods or other targets it is the mean over these.
        """
        own = {option: options[option] for option in options_of(function) if option in options}
        needs = needs_of(function)
        given = [self._need(bare(need), metric, options) for need in needs]
        if any(need.startswith("other_method_") for need in needs):
            found = []
            for other in (one for one in self.others.values() if one is not self):
                theirs = [
                    other._need(bare(need), metric, options) if need != bare(need) else mine
                    for need, mine in zip(needs, given, strict=True)
                ]
                found.append(function(*theirs, **own))
            return torch.stack(found).mean(0)
        if any(need.startswith("other_target_") for need in needs):
            first, second = zip(*self._couples(needs, metric), strict=True)
            chosen = [
                _at(mine, first if need == bare(need) else second)
                for need, mine in zip(needs, given, strict=True)
            ]
            places = torch.tensor(first, device=self.saliency.device)
            return class_means(function(*chosen, **own), places, len(self.pairs))
        return function(*given, **own)

    def _need(self, name: str, metric: Metric, options: dict[str, Any]) -> Any:
        if name in SHARED:
            shared = SHARED[name]
            own = {option: options[option] for option in options_of(shared) if option in options}
            return self._once(name, own, lambda: self._called(shared, metric, options))
        if name in METRICS:
            own = {option: options[option] for option in METRICS[name].options}
            return self.values(Metric(name, **own))
        if name == "masks":
            return self.pairs.masks(metric.region).clone()
        if name == "saliency":
            return self.saliency.clone()  # metrics are anyone's, and may write onto it
        return getattr(self if hasattr(type(self), name) else self.pairs, name)

    def _on_photo(self, need: str, place: int, metric: Metric) -> Any:
        """A need of one pair at the size of its photo; where the network never saw it is least."""
        pair = self.pairs.pairs[place]
        if need == "boxes":
            return [pair.annotation.boxes]
        if need == "masks":
            return self.pairs.on_photo(pair, metric.region)[None]
        laid, seen = pair.geometry.input_to_original(self.saliency[place].cpu())
        return laid.where(seen, laid[seen].min())[None]

    def _unasked(self, function: Callable[..., Any], metric: Metric) -> list[str]:
        reasons = [""] * len(self.pairs)
        for need in needs_of(function):
            found = self._lacking(need, metric)
            reasons = [before or now for before, now in zip(reasons, found, strict=True)]
        return reasons

    def _lacking(self, need: str, metric: Metric) -> list[str]:
        """Why each pair cannot be given a need; "" where it can."""
        if need.startswith("other_method_"):
            why = "" if len(self.others) > 1 else "there is no other method to compare with"
            return [why] * len(self.pairs)
        if need.startswith("other_target_"):
            known = {place for place, _ in self._couples([need], metric)}
            alone = "there is no other target in the image to compare with"
            return ["" if place in known else alone for place in range(len(self.pairs))]
        if need in SHARED:
            return self._unasked(SHARED[need], metric)
        if need in METRICS:
            return self.unasked(Metric(need))
        if need in ("masks", "boxes", "regions", "effects"):
            return self.pairs.without(need, metric)
        return [""] * len(self.pairs)

    def _couples(self, needs: Sequence[str], metric: Metric) -> list[tuple[int, int]]:
        """Each two different pairs of the same image, by their places.

        Those whose second one has all that is needed of it as the other target.
        """
        others = [bare(need) for need in needs if need.startswith("other_target_")]
        lacking = [self._lacking(need, metric) for need in others]
        images = list(enumerate(pair.place for pair in self.pairs.pairs))
        able = [(j, other) for j, other in images if not any(reasons[j] for reasons in lacking)]
        return [(i, j) for i, one in images for j, other in able if i != j and one == other]

    def explain(self, images: Tensor, index: Tensor) -> Tensor:
        """The method's maps (N, h, w) of other images for the pairs' targets."""
        classes = [self.pairs.classes[place] for place in index.tolist()]
        return self.pairs.maps(self.method, images, self.pairs.task.model.target(classes))[0]

    def explain_network(self, network: nn.Module) -> Tensor:
        """The method's maps by a copy of the network."""
        target = self.pairs.task.model.target(self.pairs.classes)
        return self.pairs.maps(self.method, self.pairs.inputs, target, network)[0]

    @cached_property
    def _masked(self) -> tuple[Tensor, Tensor]:
        """The probabilities and maps of the masked photos.

        One pass gives both; the maps are empty where no metric asks for them.
        """
        pairs = self.pairs
        images = explanation_maps(pairs.inputs, self.saliency)
        places = torch.arange(len(images), device=images.device)
        metrics = pairs.task.metrics
        if not any("masked_saliency" in metric.all_needs for metric in metrics):
            return pairs.score(images, places), self.saliency[:0]
        maps, logits = pairs.maps(self.method, images, pairs.task.model.target(pairs.classes))
        classes = torch.tensor(pairs.classes, device=images.device)
        return pairs.task.model.probabilities(logits)[places, classes], maps

    @property
    def masked(self) -> Tensor:
        """The class's probability on the masked photos, (P,)."""
        return self._masked[0]

    @property
    def masked_saliency(self) -> Tensor:
        """The method's maps of the masked photos, (P, h, w)."""
        return self._masked[1]


def seen(boxes: Tensor) -> Tensor:
    """Which boxes (n, 4) on the input have an area there, (n,) bool."""
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


def _checked(values: Any, count: int) -> Tensor:
    """What a metric's function returned, if it is one value for each of so many images."""
    if not isinstance(values, Tensor) or values.shape != (count,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"its function returned {shape}; it should be one value per image, (B,)")
    return values.detach() if values.is_floating_point() else values.float()


def _at(given: Any, places: Sequence[int]) -> Any:
    """A need of the pairs of these places, in that order."""
    if isinstance(given, Tensor):
        return given[list(places)]
    return [given[place] for place in places]
