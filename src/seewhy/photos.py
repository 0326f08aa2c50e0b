"""From photos to explanations: predictions, and maps laid back on each photo at its own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from PIL import Image
from torch import Tensor

import seewhy.methods  # noqa: F401 - registers methods and refinements
from seewhy.core.probe import LayerLike, Probe
from seewhy.core.targets import Class, Target, TargetLike
from seewhy.explanation import Explanation
from seewhy.models import LoadedModel
from seewhy.naming import Method, parse
from seewhy.progress import tracked

PhotoTarget = TargetLike | str


@dataclass(frozen=True)
class Answer:
    """What a network says of one photo, and why.

    top: the likeliest classes, (index, name, probability).
    explanations: one for each target and method, in that order.
    """

    top: list[tuple[int, str, float]]
    explanations: list[Explanation]


def explain_photos(
    model: LoadedModel,
    photos: Sequence[Image.Image],
    methods: Sequence[str | Method] = ("tsgb",),
    targets: Sequence[PhotoTarget] = (None,),
    *,
    layer: LayerLike = None,
    sources: Sequence[str] | None = None,
) -> list[Answer]:
    """Explain photos in one batch: all methods and targets share one forward pass.

    photos: as `seewhy.data.images.load_image` gives them.
    targets: None for the predicted class, a class index or name, or a target.
    layer: of the CAM family, see `seewhy.explain`.
    sources: file names of the photos, for their explanations.

    Raises ValueError for unknown methods, classes and layers.
    """
    parsed = [parse(method) for method in methods]
    wanted = [model.class_index(t) if isinstance(t, str) else t for t in targets]
    inputs = [model.preprocess(photo).to(model.device) for photo in photos]
    answers: list[Answer] = []
    for _, group in groupby(range(len(photos)), key=lambda index: inputs[index].shape):
        indices = list(group)
        batch = torch.stack([inputs[index] for index in indices])
        probe = Probe(model.module, batch, wanted[0], layer)
        probe.expect(*{read for method in parsed for read in method.reads})
        probes = [probe, *(probe.with_target(target) for target in wanted[1:])]
        maps = [
            [asked.maps([method])[0].float() for method in tracked("maps", parsed, len(parsed))]
            for asked in probes
        ]
        for place, index in enumerate(indices):
            geometry = model.preprocess.geometry(photos[index])
            explanations = []
            for asked, per_method in zip(probes, maps, strict=True):
                label, probability = _label(model, asked.target, probe.logits[place], place)
                for method, found in zip(parsed, per_method, strict=True):
                    saliency, seen = geometry.input_to_original(found[place].cpu())
                    explanations.append(
                        Explanation(
                            image=photos[index],
                            saliency=saliency,
                            seen=seen,
                            method=str(method),
                            target=label,
                            probability=probability,
                            model=model.name,
                            source=sources[index] if sources else None,
                        )
                    )
            answers.append(Answer(model.top(probe.logits[place]), explanations))
    return answers


def _label(
    model: LoadedModel, target: Target, logits: Tensor, place: int
) -> tuple[str, float | None]:
    """The name of what was explained and, of a class, its probability."""
    if not isinstance(target, Class):
        return str(target), None
    index = target.classes if isinstance(target.classes, int) else target.classes[place]
    return model.class_name(index), float(model.probabilities(logits)[index])
