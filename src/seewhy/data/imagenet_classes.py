"""ImageNet's thousand classes (ILSVRC 2012) in the order in which networks count them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


@cache
def _read() -> dict[str, str]:
    path = Path(__file__).with_name("imagenet_classes.json")
    classes: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["classes"]
    return classes


def wordnet_numbers() -> tuple[str, ...]:
    """The WordNet number of each class, "n01440764" for class 0."""
    return tuple(_read())


def names() -> tuple[str, ...]:
    """A short name for each class, all different: "tench" for class 0."""
    return tuple(_read().values())
