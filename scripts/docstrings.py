"""An extension of griffe: `name: text` paragraphs of docstrings become sections that it knows.

Most docstrings list their arguments without a heading:

    model: any `nn.Module`; it is left as it was.
    inputs: (B, C, H, W), already preprocessed.

For a function this is an `Args:` section, for a class `Attributes:`. "Raises ValueError …" and
"Returns …" stay sentences.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"^(\w+(?:, \w+)*): ", re.MULTILINE)
# Of a section that has its heading: several names with one text, and its further lines.
SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)", re.MULTILINE)


class Sections(griffe.Extension):
    """Gives `name: text` paragraphs their heading."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a function or class."""
        if obj.docstring is None or not (obj.is_function or obj.is_class):
            return
        known = {one.name for one in getattr(obj, "parameters", [])} | set(obj.members)
        heading = "Attributes" if obj.is_class else "Args"
        paragraphs = SHARED.sub(apart, obj.docstring.value).split("\n\n")
        obj.docstring.value = "\n\n".join(section(one, heading, known) for one in paragraphs)


def apart(found: re.Match[str]) -> str:
    """An entry for each of the names, with the same text."""
    indent, names, text = found.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))


def section(paragraph: str, heading: str, known: set[str]) -> str:
    """The paragraph with its heading, where it is a list of known names; else as it was."""
    first, *parts = ENTRY.split(paragraph)
    names, texts = parts[::2], parts[1::2]
    listed = [name for group in names for name in group.split(", ")]
    if first.strip() or not listed or not set(listed) <= known:
        return paragraph
    lines = [f"{heading}:"]
    for group, text in zip(names, texts, strict=True):
        said = " ".join(text.split())
        lines += [f"    {name}: {said}" for name in group.split(", ")]
    return "\n".join(lines)
