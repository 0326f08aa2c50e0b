"""Targets of networks that embed pictures or write texts."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.outputs import embedding, logits
from seewhy.core.targets.base import Classes, ClassTarget, Settled, Target
from seewhy.core.targets.classes import pick
from seewhy.options import check, listed, settled, shown


@dataclass(frozen=True, eq=False)
class Similarity(Settled):
    """The cosine between the network's embedding of each image and `reference`.

    reference: one embedding, (D,) or (1, D), or one for each image, (B, D).
    """

    reference: Tensor

    def __call__(self, outputs: Any) -> Tensor:
        """Cosines (B,), in [-1, 1]."""
        vectors = embedding(outputs)
        reference = self.reference.to(vectors)
        if reference.shape not in (vectors.shape, vectors[:1].shape, vectors.shape[1:]):
            raise ValueError(
                f"reference has shape {tuple(reference.shape)}; the embeddings have "
                f"{tuple(vectors.shape)}"
            )
        return F.cosine_similarity(vectors, reference.expand_as(vectors), dim=1)


@dataclass(unsafe_hash=True)
class Text(ClassTarget):
    """How well a picture fits a text: the cosine of their embeddings, in [-1, 1].

    For a text-image network (CLIP, SigLIP) that was loaded with texts,
    `load_model("hf:…", texts=[…])`.

    text: one of the texts.
    against: another text, or several, whose mean cosine is subtracted: evidence for this text
        rather than for those.
    """

    text: str
    against: str | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Settle what is meant."""
        check("Text", Text, {"text": self.text})
        given: Any = self.against
        self.against = tuple(listed(given))
        if not all(isinstance(one, str) for one in self.against):
            raise TypeError(f"against={shown(given)}; it should be a text, or several")

    def __str__(self) -> str:
        """In words."""
        return f"{self.text} rather than {' or '.join(self.against)}" if self.against else self.text

    def __call__(self, outputs: Any) -> Tensor:
        """Cosines (B,), or differences of cosines."""
        own, *others = (_cosines(outputs, text) for text in (self.text, *self.against))
        return own - torch.stack(others).mean(0) if others else own


def _cosines(outputs: Any, text: str) -> Tensor:
    texts = getattr(outputs, "texts", None)
    if texts is None:
        raise ValueError(
            f"Text({text!r}) needs a text-image network, loaded with its texts: "
            "load_model('hf:…', texts=[…]); of one of your own name the scores, as in "
            "Of('logits_per_image', 0)"
        )
    if text not in texts:
        raise ValueError(
            f"the network was loaded with the texts {', '.join(map(repr, texts))}, and without "
            f"{text!r}; add it to texts="
        )
    cosines: Tensor = outputs.cosines[:, texts.index(text)]
    return cosines


@dataclass(init=False, unsafe_hash=True)
class Token(Target):
    """A word of a caption that a network writes: its logit, given the picture and the text before.

    For networks with scores (B, L, V), of which those at a position are for the next token (BLIP,
    LLaVA and other decoders). For a word of several tokens the logits are added.
    """

    places: tuple[int, ...]
    tokens: tuple[Classes, ...] | None
    length: int | None
    word: str | None

    def __init__(
        self, where: int | str | None = None, ids: Any = None, tokenizer: Any = None
    ) -> None:
        """Say which word.

        where: its place in the text, counted from 0 or, if negative, back from the end; or a word
            of the text (with `ids` and `tokenizer`). None is the word that would follow.
        ids: the text's token ids as the network is given them, (L,) or (1, L), a list or a tensor.
            Without them the token is the likeliest one at that place.
        tokenizer: of transformers, or anything with `decode`.

        Raises ValueError for places and words that are not in the text.
        """
        where = settled("Token", Token.__init__, {"where": where})["where"]
        given = None if ids is None else _row(ids)
        self.length = None if given is None else len(given)
        self.word = where if isinstance(where, str) else None
        end = self.length or 0
        if isinstance(where, str):
            if given is None or tokenizer is None:
                raise ValueError(
                    f"Token({where!r}) needs the text it is a word of: Token({where!r}, ids, "
                    "tokenizer)"
                )
            self.places = _places_of(where, given, tokenizer)
        elif where is None:
            self.places = (end,)
        elif given is not None and not -end <= where < end:
            raise ValueError(f"Token({where}): the text has {end} tokens, 0 to {end - 1}")
        else:
            self.places = (where + end if where < 0 else where,)
        if where is not None and 0 in self.places:
            raise ValueError("Token(0): nothing comes before the first token, so nothing scores it")
        self.tokens = None
        if given is not None and where is not None:
            self.tokens = tuple(given[place] for place in self.places)

    def __str__(self) -> str:
        """In words."""
        if self.word is not None:
            return self.word
        follows = self.places == (self.length or 0,)
        return "the next token" if follows else f"token {self.places[0]}"

    def __call__(self, outputs: Any) -> Tensor:
        """Logits (B,)."""
        if self.tokens is None:
            return self.resolve(outputs)(outputs)
        places = zip(self._scores(outputs), self.tokens, strict=True)
        return torch.stack([pick(scores, token) for scores, token in places]).sum(0)

    def resolve(self, outputs: Any) -> Token:
        """With the most likely token of each image, if none was given."""
        if self.tokens is not None:
            return self
        (scores,) = self._scores(outputs)
        found = copy(self)
        found.tokens = (tuple(scores.detach().argmax(1).tolist()),)
        return found

    def _scores(self, outputs: Any) -> list[Tensor]:
        """The scores (B, V) at each place."""
        scores = logits(outputs)
        if scores.ndim != 3:
            raise ValueError(
                f"Token needs scores per place and token, (B, L, V); the model returned "
                f"{tuple(scores.shape)}"
            )
        # What stands for the picture may come before the text.
        before = scores.shape[1] - self.length if self.length is not None else 0
        found = []
        for place in self.places:
            # Without the text, 0 is what follows it, and -1 its last token.
            index = before + place - 1
            if not -scores.shape[1] <= index < scores.shape[1]:
                raise ValueError(f"{self}: the network scored {scores.shape[1]} places")
            found.append(scores[:, index])
        return found


def _row(ids: Any) -> tuple[int, ...]:
    """Token ids as numbers: of a list, an array or a tensor, (L,) or (1, L)."""
    values = np.asarray(ids.tolist() if isinstance(ids, Tensor) else ids)
    if values.ndim == 2 and len(values) == 1:
        values = values[0]
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu":
        raise ValueError(
            f"ids has shape {values.shape}; give the token ids of one text, (L,) or (1, L)"
        )
    return tuple(values.tolist())


def _places_of(word: str, ids: Sequence[int], tokenizer: Any) -> tuple[int, ...]:
    """The places of the tokens that spell a word, where it first occurs after the first token."""
    pieces = [str(tokenizer.decode([token])).replace("##", "").strip() for token in ids]
    wanted = word.strip().casefold()
    for start in range(1, len(pieces)):
        for end in range(start + 1, len(pieces) + 1):
            spelled = "".join(pieces[start:end]).casefold()
            if spelled == wanted.replace(" ", "") != "" and pieces[start]:
                return tuple(range(start, end))
            if len(spelled) > len(wanted):
                break
    raise ValueError(f"the text has no word {word!r}: its tokens are {', '.join(pieces)}")
