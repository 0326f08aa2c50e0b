"""ImageNet's thousand classes (ILSVRC 2012) in the order in which networks count them."""

import json
from functools import cache
from pathlib import Path


@cache
def imagenet_classes() -> dict[str, str]:
    """The WordNet number of each class and a short name, all different: n01440764, tench."""
    path = Path(__file__).with_name("imagenet_classes.json")
    classes: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["classes"]
    return classes
