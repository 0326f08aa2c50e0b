"""A loaded network: the module with what is needed to feed it and to read its outputs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seewhy.data.images import Preprocess

IMAGENET_PREPROCESS = Preprocess(resize=256, crop=224)
"""What nearly all classifiers of ImageNet were trained for."""


class ModelError(ValueError):
    """A network, its weights or its class names cannot be had; the message says what would do."""


@dataclass(frozen=True)
class LoadedModel:
    """A network in eval mode with what is needed to feed it and to read its outputs.

    Attributes:
        module: the network, in eval mode.
        preprocess: makes its input of a photo.
        classes: the name of each output, or empty where nobody names them.
        name: the specification that it was loaded by.
        multi_label: each output is a yes or no of its own: probabilities by sigmoid, not softmax.
    """

    module: nn.Module
    preprocess: Preprocess = IMAGENET_PREPROCESS
    classes: tuple[str, ...] = ()
    name: str = ""
    multi_label: bool = False

    @property
    def device(self) -> torch.device:
        """Where the network is, and its inputs belong."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities in [0, 1] of logits (K,), (B, K) or (B, K, ...), in the same shape."""
        return logits.sigmoid() if self.multi_label else logits.softmax(min(1, logits.ndim - 1))

    def class_name(self, index: int) -> str:
        """The name of class `index`; "class 7" where classes have no names."""
        return self.classes[index] if self.classes else f"class {index}"

    def class_index(self, name_or_index: str | int) -> int:
        """The index of a class given by index, name, synonym or unique part of the name.

        A name may list synonyms between commas. Case does not matter, and a full name goes before
        a synonym, a synonym before a part of a name.

        Raises:
            ModelError: no class, or more than one, is meant; the message names the nearest.
        """
        text = str(name_or_index).strip()
        if re.fullmatch(r"[+-]?\d+", text):
            return self._checked_index(int(text))
        if not self.classes:
            raise ModelError(
                f"{self.name} has no class names, so it knows no {text!r}; "
                "give an index, or the names with classes=FILE (--classes FILE)"
            )
        wanted, names = text.casefold(), [name.casefold() for name in self.classes]
        for fits in (
            lambda name: name == wanted,
            lambda name: wanted in (part.strip() for part in name.split(",")),
            lambda name: wanted in name,
        ):
            hits = [index for index, name in enumerate(names) if wanted and fits(name)]
            if len(hits) == 1:
                return hits[0]
            if hits:
                shown = ", ".join(f"{i} {self.classes[i]!r}" for i in hits[:8])
                more = f" and {len(hits) - 8} more" if len(hits) > 8 else ""
                raise ModelError(
                    f"{text!r} may be any of {len(hits)} classes of {self.name}: {shown}{more}; "
                    "give the full name or the index"
                )
        raise ModelError(
            f"{self.name} has no class {text!r} among its {len(names)}"
            f"{did_you_mean(text, self.classes)}"
        )

    def top(self, logits: Tensor, k: int = 5) -> list[tuple[int, str, float]]:
        """The `k` likeliest classes of one image's logits (K,): (index, name, probability)."""
        if logits.ndim != 1:
            raise ValueError(f"logits is {tuple(logits.shape)}; give those of one image, (K,)")
        values, indices = self.probabilities(logits.detach()).topk(min(k, len(logits)))
        return [
            (index, self.class_name(index), value)
            for index, value in zip(indices.tolist(), values.tolist(), strict=True)
        ]

    def _checked_index(self, index: int) -> int:
        if index < 0 or (self.classes and index >= len(self.classes)):
            known = f"0 to {len(self.classes) - 1}" if self.classes else "0 or more"
            raise ModelError(f"class {index} does not exist in {self.name}; give {known}")
        return index


def did_you_mean(word: str, options: Collection[str]) -> str:
    """The end of an error message: the options nearest to a word, if any is near."""
    by_case = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(word.casefold(), by_case, n=3)
    return f"; did you mean {', '.join(repr(by_case[name]) for name in near)}?" if near else ""
