"""An extension of griffe: `name: text` paragraphs of docstrings become sections that it knows.

Docstrings list their arguments without a heading:

    model: any `nn.Module`; it is left as it was.
    inputs: (B, C, H, W), already preprocessed.

For a function this is an `Args:` section, for a class `Attributes:`. "Raises ValueError …" and
"Returns …" stay sentences. `tests/test_docs.py` checks that all docstrings are written this way.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ENTRY = re.compile(r"^([a-z_]\w*(?:, \w+)*): ", re.MULTILINE)


class Sections(griffe.Extension):
    """Gives `name: text` paragraphs their heading."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a function or class."""
        if obj.docstring is None or not (obj.is_function or obj.is_class):
            return
        heading = "Attributes" if obj.is_class else "Args"
        paragraphs = obj.docstring.value.split("\n\n")
        obj.docstring.value = "\n\n".join(section(one, heading) for one in paragraphs)


def section(paragraph: str, heading: str) -> str:
    """The paragraph with its heading if it is a list of names, else unchanged."""
    first, *parts = ENTRY.split(paragraph)
    if first.strip() or not parts:
        return paragraph
    lines = [f"{heading}:"]
    for names, text in zip(parts[::2], parts[1::2], strict=True):
        lines += [f"    {name}: {' '.join(text.split())}" for name in names.split(", ")]
    return "\n".join(lines)
