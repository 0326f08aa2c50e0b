"""Targets: what is explained. A target turns a network's outputs into one score per image."""

from seewhy.core.outputs import embedding, logits
from seewhy.core.targets.base import Classes, ClassTarget, Target
from seewhy.core.targets.classes import (
    AnyOf,
    Class,
    Contrast,
    Not,
    Predicted,
    Probability,
    TopK,
)
from seewhy.core.targets.parts import Of, Score, TargetLike, as_target
from seewhy.core.targets.places import Segment
from seewhy.core.targets.texts import Similarity, Text, Token

__all__ = [
    "AnyOf",
    "Class",
    "ClassTarget",
    "Classes",
    "Contrast",
    "Not",
    "Of",
    "Predicted",
    "Probability",
    "Score",
    "Segment",
    "Similarity",
    "Target",
    "TargetLike",
    "Text",
    "Token",
    "TopK",
    "as_target",
    "embedding",
    "logits",
]
