"""What metrics are given: made when a metric asks for it, once for all that do.

A batch holds pairs of image and target; evidence is what one method has to say of them. Both are
asked by the names that the metrics' functions give to their parameters (`Metric.needs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.core.probe import LayerLike, Probe
from seewhy.core.targets import Target
from seewhy.data.dataset import Annotation, Sample
from seewhy.data.geometry import Geometry
from seewhy.maps import upsample
from seewhy.metrics import (
    Metric,
    box_masks,
    class_means,
    class_probability,
    explanation_maps,
    half_confidences,
    insertion_deletion,
    list_metrics,
    metric,
    pointing_game,
    randomization_cascade,
    road_curves,
)
from seewhy.models import LoadedModel
from seewhy.naming import Method

# Which of an annotation's regions a metric is defined on; the pointing game's is the dataset's.
REGIONS = {
    "energy_pointing_game": "boxes",
    "grid_pointing": "cells",
    "mass_accuracy": "masks",
    "rank_accuracy": "masks",
    "iou": "masks",
}
LOCALIZATION = ("pointing_game", "box_iou", *REGIONS)
# Why a metric cannot be asked of a pair; its value there is nan.
UNASKED = {
    "pointing_game": "the dataset has no box or outline of it to point at",
    "energy_pointing_game": "no box of it is on the network's input",
    "grid_pointing": "the image is no grid of photos; write the dataset as grids:FOLDER",
    "box_iou": "no box of it is on the network's input",
    "mass_accuracy": "no outline of it is on the network's input",
    "rank_accuracy": "no outline of it is on the network's input",
    "iou": "no outline of it is on the network's input",
    "win": "there is no other method to win against",
    "target_selectivity": "there is no other target in the image",
    "effect_correlation": "fewer than two objects of known effect are in the image",
    "max_sensitivity": "the map is zero everywhere",
}
# The same where the dataset itself lacks what they are defined on.
_UNANNOTATED = {
    "boxes": "the dataset has no box of it; voc:, coco: and imagenet: with annotations have them",
    "masks": "the dataset has no outline of it; coco:, voc: with SegmentationObject and folder: "
    "with masks/ have them",
}
# Metrics that sum up a curve: what of the evidence holds it, and its name there.
CURVES = {
    "insertion": ("curves", "insertion"),
    "deletion": ("curves", "deletion"),
    "road_most_first": ("road_curves", "most_first"),
    "road_least_first": ("road_curves", "least_first"),
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


def unasked(metric: str, annotation: Annotation) -> str:
    """Why a metric cannot be asked of what is annotated so."""
    kind = "boxes" if metric == "box_iou" else REGIONS.get(metric, "")
    missing = annotation.mask is None if kind == "masks" else not len(annotation.boxes)
    return _UNANNOTATED[kind] if missing and kind in _UNANNOTATED else UNASKED[metric]


def usual_tolerance(size: tuple[int, int]) -> float:
    """The pointing game's tolerance on a photo of (width, height), in its pixels.

    The published 15 pixels are meant for photos of about 500 pixels, as those of VOC are. On
    smaller ones they shrink in proportion: within 15 of 128 pixels nearly anything is a hit.
    """
    return 15 * min(1, max(size) / 500)


def region_of(annotation: Annotation, size: tuple[int, int], kind: str) -> Tensor | None:
    """The region (H, W) of a photo of (width, height) made of boxes, or of masks, or None."""
    if kind == "masks":
        return annotation.mask
    if not len(annotation.boxes):
        return None
    return box_masks([annotation.boxes], (size[1], size[0]))[0]


class Batch:
    """Pairs with their images, ready for the network.

    inputs: (P, C, h, w), one for each pair.
    region: what the pointing game is played on, "boxes" or "masks".
    cells: whether the images are grids, whose boxes are the cells.
    explain_again: whether a metric wants maps of the explanation maps.
    tolerance: of the pointing game, in pixels of the photo; None is `usual_tolerance`.
    steps: of insertion and deletion.
    """

    def __init__(
        self,
        model: LoadedModel,
        pairs: Sequence[Pair],
        inputs: Tensor,
        *,
        region: str,
        cells: bool = False,
        layer: LayerLike,
        explain_again: bool,
        tolerance: float | None,
        steps: int,
    ) -> None:
        self.model, self.pairs, self.inputs = model, pairs, inputs
        self.region, self.cells = region, cells
        self.layer, self.explain_again = layer, explain_again
        self.tolerance, self.steps = tolerance, steps
        self.classes = [pair.class_index for pair in pairs]
        self.original = inputs.new_tensor([pair.probability for pair in pairs])
        self.target = model.target(self.classes)
        self._probability = class_probability(model.module, self.classes, model.probabilities)
        self._masks: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the inputs."""
        height, width = self.inputs.shape[-2:]
        return height, width

    def score(self, images: Tensor, index: Tensor) -> Tensor:
        """The probability of each pair's class; of the images themselves it is known."""
        return self.original[index] if images is self.inputs else self._probability(images, index)

    def probe(self, images: Tensor, target: Target, network: nn.Module | None = None) -> Probe:
        """A probe of images for a target at the layers asked for, of the network or a copy."""
        black = self.model.preprocess.black
        return Probe(network or self.model.module, images, target, self.layer, black=black)

    def explain(self, method: Method, images: Tensor, index: Tensor) -> Tensor:
        """The method's maps (N, h, w) of other images for the pairs' targets."""
        classes = [self.classes[place] for place in index.tolist()]
        return self.maps(method, self.probe(images, self.model.target(classes)))

    def maps(self, method: Method, probe: Probe) -> Tensor:
        """The method's maps of a probe at the size of the inputs, (P, h, w) float."""
        (maps,) = probe.maps([method])
        return upsample(maps.float(), self.size)

    def masks(self, kind: str) -> tuple[Tensor, Tensor]:
        """The regions on the input, (P, h, w) bool, and which of them have any pixel, (P,)."""
        if kind not in self._masks:
            regions = []
            for pair in self.pairs:
                if kind == "boxes" or (kind == "cells" and self.cells):
                    boxes = pair.geometry.boxes_to_input(pair.annotation.boxes)
                    regions.append(box_masks([boxes], self.size)[0])
                elif kind == "masks" and pair.annotation.mask is not None:
                    regions.append(pair.geometry.mask_to_input(pair.annotation.mask))
                else:
                    regions.append(torch.zeros(self.size, dtype=torch.bool))
            masks = torch.stack(regions).to(self.inputs.device)
            self._masks[kind] = masks, masks.flatten(1).any(1)
        return self._masks[kind]

    @cached_property
    def boxes(self) -> list[Tensor]:
        """The boxes of each pair on the input that the network sees any of, (n, 4)."""
        found = [pair.geometry.boxes_to_input(pair.annotation.boxes) for pair in self.pairs]
        seen = [((box[:, 2:] - box[:, :2]) > 0).all(1) for box in found]
        device = self.inputs.device
        return [box[own].to(device) for box, own in zip(found, seen, strict=True)]

    @cached_property
    def effects(self) -> tuple[list[Tensor], list[Tensor]]:
        """Each scene's objects on the input, (R, h, w), and what they truly do, (R,)."""
        from seewhy.data.scenes import effect

        regions, effects = [], []
        for pair in self.pairs:
            scene = pair.sample.scene
            if scene is None:
                regions.append(torch.zeros(0, *self.size, device=self.inputs.device))
                effects.append(torch.zeros(0, device=self.inputs.device))
                continue
            masks = pair.geometry.mask_to_input(torch.from_numpy(scene.masks))
            regions.append(masks.to(self.inputs.device))
            network, preprocess = self.model.module, self.model.preprocess
            effects.append(effect(network, scene, pair.class_index, preprocess=preprocess))
        return regions, effects


class Evidence:
    """What one method says of a batch; `saliency` is its maps, (P, h, w).

    `others` is the evidence of all methods on the same batch, for metrics that compare.
    """

    def __init__(
        self, batch: Batch, method: Method, saliency: Tensor, others: Mapping[Method, Evidence]
    ) -> None:
        self.batch, self.method, self.saliency, self.others = batch, method, saliency, others
        self._values: dict[str, Tensor] = {}

    def values(self, asked: Metric) -> Tensor:
        """The metric's value of each pair, (P,); nan where it cannot be asked."""
        if asked.name not in self._values:
            special: dict[str, Callable[[Metric], Tensor]] = {
                "pointing_game": self._pointing_game,
                "win": self._win,
                "target_selectivity": self._target_selectivity,
            }
            if asked.name in special:
                values = special[asked.name](asked)
            elif asked.name == "box_iou":
                values = asked.function(self.saliency, self.batch.boxes)
                seen = [len(boxes) > 0 for boxes in self.batch.boxes]
                values = values.where(torch.tensor(seen, device=values.device), torch.nan)
            elif asked.name in REGIONS:
                masks, known = self.batch.masks(REGIONS[asked.name])
                values = asked.function(self.saliency, masks).where(known, torch.nan)
            else:
                values = asked.function(*(self._need(name) for name in asked.needs))
            self._values[asked.name] = values
        return self._values[asked.name]

    def askable(self, asked: Metric) -> list[bool]:
        """Of which pairs the metric can be asked; elsewhere `UNASKED` says why not."""
        pairs = self.batch.pairs
        match asked.name:
            case "pointing_game":
                regions = [self._region(pair) for pair in pairs]
                return [region is not None and bool(region.any()) for region in regions]
            case "win":
                return [len(self.others) > 1] * len(pairs)
            case "target_selectivity":
                places = [pair.place for pair in pairs]
                return [places.count(place) > 1 for place in places]
            case "box_iou":
                return [len(boxes) > 0 for boxes in self.batch.boxes]
            case "effect_correlation":
                return [len(effects) > 1 for effects in self.batch.effects[1]]
            case "max_sensitivity":
                return [bool(map_.any()) for map_ in self.saliency]
            case name if name in REGIONS:
                known: list[bool] = self.batch.masks(REGIONS[name])[1].tolist()
                return known
        return [True] * len(pairs)

    def scores(self, asked: Metric) -> Tensor:
        """The curve that the metric sums up, (P, points); (P, 0) where it is none's sum."""
        if asked.name not in CURVES:
            return self.saliency.new_empty(len(self.batch.pairs), 0)
        holder, name = CURVES[asked.name]
        found: Tensor = getattr(getattr(self, holder), name)
        return found

    def _need(self, name: str) -> Any:
        """What a metric's parameter of that name stands for."""
        if name in list_metrics():
            return self.values(metric(name))
        known: dict[str, Callable[[], Any]] = {
            "inputs": lambda: self.batch.inputs,
            "score": lambda: self.batch.score,
            "original": lambda: self.batch.original,
            "regions": lambda: self.batch.effects[0],
            "effects": lambda: self.batch.effects[1],
        }
        return known[name]() if name in known else getattr(self, name)

    def explain(self, images: Tensor, index: Tensor) -> Tensor:
        """The method's maps of other images for the same targets."""
        return self.batch.explain(self.method, images, index)

    @cached_property
    def _on_explanation_maps(self) -> tuple[Tensor, Tensor]:
        """The probabilities and maps of the explanation maps.

        One pass gives both; the maps are empty where no metric asks for them.
        """
        batch = self.batch
        images = explanation_maps(batch.inputs, self.saliency)
        places = torch.arange(len(images), device=images.device)
        if not batch.explain_again:
            return batch.score(images, places), self.saliency[:0]
        probe = batch.probe(images, batch.target)
        maps = batch.maps(self.method, probe)
        classes = torch.tensor(batch.classes, device=images.device)
        return batch.model.probabilities(probe.logits)[places, classes], maps

    @property
    def masked(self) -> Tensor:
        """The class's probability on the explanation maps, (P,)."""
        return self._on_explanation_maps[0]

    @property
    def masked_saliency(self) -> Tensor:
        """The method's maps of the explanation maps, (P, h, w)."""
        return self._on_explanation_maps[1]

    @cached_property
    def half(self) -> Tensor:
        """The class's probability where the more salient half of the pixels is shown, (P,)."""
        return half_confidences(self.batch.score, self.batch.inputs, self.saliency)

    @cached_property
    def curves(self) -> Any:
        """Insertion and deletion, from one sweep."""
        batch = self.batch
        return insertion_deletion(batch.score, batch.inputs, self.saliency, steps=batch.steps)

    @cached_property
    def road_curves(self) -> Any:
        """ROAD in both orders."""
        return road_curves(self.batch.score, self.batch.inputs, self.saliency)

    @cached_property
    def cascade(self) -> Any:
        """The maps as the weights are randomised, on a copy of the network."""
        batch = self.batch

        def explain(network: nn.Module) -> Tensor:
            return batch.maps(self.method, batch.probe(batch.inputs, batch.target, network))

        return randomization_cascade(batch.model.module, explain)

    def _region(self, pair: Pair) -> Tensor | None:
        """What the pointing game is played on, (H, W) of the photo."""
        return region_of(pair.annotation, pair.sample.image.size, self.batch.region)

    def _pointing_game(self, asked: Metric) -> Tensor:
        """On the photo at its own size; where the network never saw it nothing is salient."""
        values = []
        for pair, map_ in zip(self.batch.pairs, self.saliency.cpu(), strict=True):
            region = self._region(pair)
            if region is None or not region.any():
                values.append(torch.full((1,), torch.nan))
                continue
            original, seen = pair.geometry.input_to_original(map_)
            original = original.where(seen, original[seen].min())
            tolerance = self.batch.tolerance
            if tolerance is None:
                tolerance = usual_tolerance(pair.sample.image.size)
            values.append(pointing_game(original[None], region[None], tolerance))
        return torch.cat(values)

    def _win(self, asked: Metric) -> Tensor:
        """The share of the other methods that it wins against."""
        others = [other for other in self.others.values() if other is not self]
        if not others:
            return torch.full_like(self.masked, torch.nan)
        return torch.stack([asked.function(self.masked, one.masked) for one in others]).mean(0)

    def _target_selectivity(self, asked: Metric) -> Tensor:
        """The mean over the image's other targets; nan where it has none."""
        places = [pair.place for pair in self.batch.pairs]
        couples = [
            (i, j)
            for i, place in enumerate(places)
            for j, other in enumerate(places)
            if i != j and place == other
        ]
        if not couples:
            return torch.full((len(places),), torch.nan)
        first, second = torch.tensor(couples, device=self.saliency.device).unbind(1)
        values = asked.function(self.saliency[first], self.saliency[second])
        return class_means(values, first, len(places))
