"""Targets: what is explained. A target turns a network's outputs into one score per image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import reduce
from numbers import Integral
from typing import Any, ClassVar, Literal, SupportsInt, TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_map

from seewhy.options import as_number, check, listed, settled, shown

Classes = int | tuple[int, ...]


def logits(outputs: Any) -> Tensor:
    """The scores per class, (B, C) or (B, C, H, W), from any kind of outputs.

    A tensor is returned unchanged. From a mapping or an object with attributes (a transformers
    `ModelOutput`, a named tuple) `logits` is used, else torchvision's `out`, else the first
    tensor. Outputs of shape (B,) count as one class, and (B, C, 1, 1), which a convolution behind
    the pool makes, as (B, C).
    """
    found = _first(outputs, ("logits", "out"))
    if found.ndim > 2 and found.shape[2:].numel() == 1:
        return found.flatten(1)
    return found[:, None] if found.ndim == 1 else found


def embedding(outputs: Any) -> Tensor:
    """One vector per image, (B, D): `image_embeds` or `pooler_output`, else the flat `logits`."""
    return _first(outputs, ("image_embeds", "pooler_output", "logits", "out")).flatten(1)


def _first(outputs: Any, keys: Sequence[str]) -> Tensor:
    if isinstance(outputs, Tensor):
        return outputs
    for key in keys:
        value = outputs.get(key) if isinstance(outputs, Mapping) else getattr(outputs, key, None)
        if isinstance(value, Tensor):
            return value
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    for value in values if isinstance(values, Sequence) or isinstance(outputs, Mapping) else ():
        if isinstance(value, Tensor):
            return value
    raise TypeError(
        f"the model returned a {type(outputs).__name__} without a tensor of scores; pass "
        "targets.Of(key, target) for one of several heads, or a function of the outputs that "
        "returns one score per image"
    )


class Target(ABC):
    """What is explained: a function from a network's outputs to one score per image, (B,).

    of_classes: whether the score is one of the network's classes.
    of_places: whether it names places of the image.
    """

    of_classes: ClassVar[bool] = False
    of_places: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,), differentiable with respect to `outputs`."""

    def resolve(self, outputs: Any) -> Target:
        """The target with its classes fixed by these outputs, such as the predicted class."""
        return self

    def read(self, outputs: Any) -> Any:
        """The part of the outputs that the target reads."""
        return outputs

    def asking(self, question: Target) -> Target:
        """Another target for the same part of the outputs."""
        return question

    @property
    def question(self) -> Target:
        """The target for the part of the outputs that this one reads."""
        return self

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names, each for all images, or one for each."""
        return ()

    def mirrored(self) -> Target:
        """The target for the mirror images, left and right swapped."""
        return self

    def of_image(self, index: int, images: int) -> Target:
        """The target for one image of the batch alone."""
        return _OfImage(self, index, images)

    def repeated(self, times: int, images: int) -> Target:
        """The target for a batch of so many images that is repeated, (times · B, ...)."""
        return _Repeated(self, times, images)


class ClassTarget(Target):
    """A score of the network's classes."""

    of_classes: ClassVar[bool] = True


def _settle(target: Any, *classes: str) -> None:
    """Take numbers of NumPy and torch as Python's; an error names what else is wrong."""
    values = vars(target)
    for name in classes:
        values[name] = _classes(values[name], name)
    others = {name: value for name, value in values.items() if name not in classes}
    values.update(settled(type(target).__name__, type(target), others))


def _classes(value: Any, name: str) -> Classes:
    """A class for all images, or one for each, of whatever kind of number."""
    found = as_number(value)
    if isinstance(found, Tensor | np.ndarray) and found.ndim == 1:
        found = found.tolist()
    if _is_index(found):
        return int(found)
    if isinstance(found, Sequence) and all(map(_is_index, found)):
        return tuple(map(int, found))
    raise TypeError(f"{name} is {shown(value)}; it should be a class index, or one for each image")


@dataclass(frozen=True)
class Class(ClassTarget):
    """The logit of one class for all images (int), or of one class per image (tuple)."""

    classes: Classes

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self, "classes")

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return (self.classes,)

    def __call__(self, outputs: Any) -> Tensor:
        """Logits (B,) of the classes."""
        return _pick(_class_scores(outputs), self.classes)

    def of_image(self, index: int, images: int) -> Class:
        """The class of one image."""
        return Class(self.classes if isinstance(self.classes, int) else self.classes[index])

    def repeated(self, times: int, images: int) -> Class:
        """The same classes again and again."""
        return Class(self.classes if isinstance(self.classes, int) else self.classes * times)


@dataclass(frozen=True)
class Not(ClassTarget):
    """Evidence against a class: minus its logit, for all images (int) or one class per image.

    For a network with one logit it is the opposite class.
    """

    classes: Classes

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self, "classes")

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return (self.classes,)

    def __call__(self, outputs: Any) -> Tensor:
        """Minus the logits (B,) of the classes."""
        return -_pick(_class_scores(outputs), self.classes)


@dataclass(frozen=True)
class Predicted(ClassTarget):
    """The logit of the most likely class of each image, or of the `rank`-th most likely one.

    For a network with one logit it is `Class(0)`.
    """

    rank: int = 1

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self)

    def __call__(self, outputs: Any) -> Tensor:
        """Logits (B,) of the predicted classes."""
        return self.resolve(outputs)(outputs)

    def resolve(self, outputs: Any) -> Class:
        """The classes that these outputs rank there."""
        return Class(tuple(_likeliest(outputs, "rank", self.rank)[:, -1].tolist()))


@dataclass(unsafe_hash=True)
class AnyOf(ClassTarget):
    """Any of several classes: the log-sum-exp of their logits, or the largest of them.

    Each is one class for all images (int), or one per image (tuple).
    """

    classes: tuple[Classes, ...]
    reduce: Literal["logsumexp", "max"] = "logsumexp"

    def __post_init__(self) -> None:
        """Check the options."""
        given = as_number(self.classes)
        if not isinstance(given, Iterable):
            raise TypeError(f"AnyOf needs several classes, not {shown(given)}")
        self.classes = tuple(_classes(one, "classes") for one in given)
        if not self.classes:
            raise ValueError("AnyOf needs at least one class")
        check("AnyOf", AnyOf, {"reduce": self.reduce})

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return self.classes

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        scores = _class_scores(outputs)
        chosen = torch.stack([_pick(scores, index) for index in self.classes], dim=1)
        return chosen.logsumexp(1) if self.reduce == "logsumexp" else chosen.amax(1)


@dataclass(frozen=True)
class TopK(ClassTarget):
    """Any of each image's `k` most likely classes: the log-sum-exp of their logits."""

    k: int

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self)

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        return self.resolve(outputs)(outputs)

    def resolve(self, outputs: Any) -> Target:
        """The classes that these outputs rank highest."""
        return AnyOf(tuple(map(tuple, _likeliest(outputs, "k", self.k).T.tolist())))


@dataclass(frozen=True)
class Contrast(ClassTarget):
    """Evidence for class `a` rather than class `b`: the difference of their logits."""

    a: Classes
    b: Classes

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self, "a", "b")

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return (self.a, self.b)

    def __call__(self, outputs: Any) -> Tensor:
        """Differences (B,)."""
        scores = _class_scores(outputs)
        return _pick(scores, self.a) - _pick(scores, self.b)


@dataclass(frozen=True)
class Probability(ClassTarget):
    """The probability of a class, in [0, 1]; of the predicted class if none is given.

    `activation` is "softmax" for one label per image, "sigmoid" for networks with many labels, or
    with a single logit.
    """

    classes: Classes | None = None
    activation: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self) -> None:
        """Check the options."""
        _settle(self, *(() if self.classes is None else ("classes",)))

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return () if self.classes is None else (self.classes,)

    def __call__(self, outputs: Any) -> Tensor:
        """Probabilities (B,)."""
        if self.classes is None:
            return self.resolve(outputs)(outputs)
        scores = _class_scores(outputs)
        probabilities = scores.softmax(1) if self.activation == "softmax" else scores.sigmoid()
        return _pick(probabilities, self.classes)

    def resolve(self, outputs: Any) -> Probability:
        """With the predicted class, if none was given.

        Raises ValueError for the softmax of a network with a single logit.
        """
        if self.activation == "softmax":
            check_softmax(_class_scores(outputs))
        if self.classes is not None:
            return self
        return Probability(Predicted().resolve(outputs).classes, self.activation)

    def repeated(self, times: int, images: int) -> Target:
        """The same classes again and again; what is predicted is asked of each run."""
        if self.classes is None:
            return super().repeated(times, images)
        return Probability(Class(self.classes).repeated(times, images).classes, self.activation)


@dataclass(frozen=True, eq=False)
class Segment(ClassTarget):
    """A region of a segmentation network's output: the mean logit of a class inside it.

    `region` is a boolean mask (H, W) or (B, H, W), resized to the output if necessary;
    without it, it is the region in which the network predicts the class.
    """

    of_places: ClassVar[bool] = True

    class_index: int
    region: Tensor | None = None

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self)

    def __call__(self, outputs: Any) -> Tensor:
        """Mean logits (B,)."""
        scores = _pixel_scores(outputs)
        inside = self._inside(scores).flatten(1)
        sizes = inside.sum(1)
        if (sizes == 0).any():
            empty = (sizes == 0).nonzero().flatten().tolist()
            raise ValueError(f"class {self.class_index} has an empty region in images {empty}")
        return (scores[:, self.class_index].flatten(1) * inside).sum(1) / sizes

    def resolve(self, outputs: Any) -> Segment:
        """With the region in which these outputs predict the class, if none was given."""
        return Segment(self.class_index, self._inside(_pixel_scores(outputs)))

    def mirrored(self) -> Segment:
        """The mirrored region."""
        return Segment(self.class_index, None if self.region is None else self.region.flip(-1))

    def _inside(self, scores: Tensor) -> Tensor:
        _check_class(self.class_index, scores)
        if self.region is None:
            return _region(scores, self.class_index)
        region = self.region.to(scores.device)
        sides = scores.ndim - 2
        region = region[None] if region.ndim == sides else region
        if region.ndim != sides + 1 or len(region) not in (1, len(scores)):
            raise ValueError(
                f"region has shape {tuple(self.region.shape)}; it should be (H, W) or "
                f"(B, H, W) for {len(scores)} images"
            )
        resized = F.interpolate(region[:, None].float(), scores.shape[2:])[:, 0] > 0.5
        return resized.expand(len(scores), *[-1] * sides)


def _pixel_scores(outputs: Any) -> Tensor:
    scores = logits(outputs)
    if scores.ndim < 3:
        raise ValueError(
            "Segment needs one score per class and pixel, (B, C, H, W); "
            f"the model returned {tuple(scores.shape)}"
        )
    return scores


def _region(scores: Tensor, index: int) -> Tensor:
    """Where the network gives the class: (B, C, H, W) -> (B, H, W), bool.

    A mask of one channel gives it where the score is above 0; above 0.5 where all scores of the
    image are probabilities, from 0 to 1.
    """
    scores = scores.detach()
    if scores.shape[1] > 1:
        return scores.argmax(1) == index
    flat = scores.flatten(1)
    probabilities = (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
    threshold = torch.where(probabilities, 0.5, 0.0).view(-1, *[1] * (scores.ndim - 2))
    return scores[:, 0] > threshold


@dataclass(frozen=True, eq=False)
class Similarity(Target):
    """The cosine between the network's embedding of each image and `reference`, (D,) or (B, D)."""

    reference: Tensor

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self)

    def __call__(self, outputs: Any) -> Tensor:
        """Cosines (B,), in [-1, 1]."""
        vectors = embedding(outputs)
        reference = self.reference.to(vectors)
        if reference.shape[-1] != vectors.shape[1] or (
            reference.ndim != 1 and reference.shape != vectors.shape
        ):
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
        return torch.stack([_pick(scores, token) for scores, token in places]).sum(0)

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


@dataclass(frozen=True)
class Score(Target):
    """Any function from what the model returned to one score per image, (B,)."""

    function: Callable[[Any], Tensor]

    def __post_init__(self) -> None:
        """Settle what is meant."""
        _settle(self)

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        return self.function(outputs)


def with_gradients(starts: Sequence[tuple[Tensor, Tensor]], images: int) -> Score:
    """A target whose gradient at the first tensor of each pair is the second one.

    Raises ValueError for rows of tokens in which images come second, (L, B, D).
    """
    if any(x.ndim == 3 and len(x) != images == x.shape[1] for x, _ in starts):
        raise ValueError(
            "the classifier takes tokens first and images second, (L, B, D), where this method "
            "would mix the images; let the network hand it images first, or use 'grad_cam'"
        )

    def linear(_: Any) -> Tensor:
        each = [x * gradient for x, gradient in starts]
        if all(one.ndim > 1 and len(one) == images for one in each):
            return reduce(torch.add, [one.flatten(1).sum(1) for one in each])
        # Rows are no images where each is looked at several times, or apart from the others. Then
        # nothing but the sum of the scores counts.
        return F.pad(reduce(torch.add, [one.sum() for one in each])[None], (0, images - 1))

    return Score(linear)


class _Asked(Target):
    """Another target, asked in another way."""

    target: Target

    @property
    def of_classes(self) -> bool:  # type: ignore[override]
        """Whether it is a question about classes."""
        return self.target.of_classes

    @property
    def of_places(self) -> bool:  # type: ignore[override]
        """Whether it names places."""
        return self.target.of_places

    def mirrored(self) -> Target:
        """The question about the mirror images."""
        return replace(self, target=self.target.mirrored())  # type: ignore[type-var]


@dataclass(init=False, unsafe_hash=True)
class Of(_Asked):
    """A target for one part of the outputs, such as one of several heads.

    path: key, index or attribute, or several of them joined by dots: "gender", "0", "heads.age".
    target: any target; None is the predicted class of that part.
    """

    path: str | int
    target: Target

    def __init__(self, path: str | int, target: TargetLike = None) -> None:
        """Settle what is meant."""
        path = settled("Of", Of, {"path": path})["path"]
        self.path, self.target = path, as_target(target)
        if isinstance(self.target, Of):
            self.path, self.target = f"{path}.{self.target.path}", self.target.target

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (B,)."""
        return self.target(self.read(outputs))

    def resolve(self, outputs: Any) -> Of:
        """With its target settled by that part."""
        return Of(self.path, self.target.resolve(self.read(outputs)))

    def read(self, outputs: Any) -> Any:
        """That part of the outputs."""
        for step in str(self.path).split("."):
            outputs = _part(outputs, step, self.path)
        return outputs

    @property
    def named(self) -> tuple[Classes, ...]:
        """The classes that it names."""
        return self.target.named

    def asking(self, question: Target) -> Of:
        """Another question about that part."""
        return Of(self.path, question)

    @property
    def question(self) -> Target:
        """What is asked of that part."""
        return self.target

    def of_image(self, index: int, images: int) -> Of:
        """The question about one image."""
        return Of(self.path, self.target.of_image(index, images))

    def repeated(self, times: int, images: int) -> Of:
        """The question about a batch that is repeated."""
        return Of(self.path, self.target.repeated(times, images))


def _part(outputs: Any, step: str, path: str | int) -> Any:
    if isinstance(outputs, Mapping) and step in outputs:
        return outputs[step]
    counted = isinstance(outputs, Sequence) and step.lstrip("-").isdecimal()
    if counted and -len(outputs) <= int(step) < len(outputs):
        return outputs[int(step)]
    if not isinstance(outputs, Tensor) and hasattr(outputs, step):
        return getattr(outputs, step)
    there = list(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
    raise ValueError(f"the model's outputs have no part {path!r}: at {step!r} there is {there}")


@dataclass(frozen=True)
class _OfImage(_Asked):
    """A target of a batch, asked of one of its images alone."""

    target: Target
    index: int
    images: int

    def __call__(self, outputs: Any) -> Tensor:
        """The score (1,)."""

        def repeated(value: Any) -> Any:
            if isinstance(value, list):
                return value * self.images
            return value.expand(self.images, *value.shape[1:])

        scores = _of_batch(self.target, _changed(outputs, 1, repeated), self.images)
        return scores[self.index : self.index + 1]


@dataclass(frozen=True)
class _Repeated(_Asked):
    """A target asked of several images for each of its own: `times` runs of a batch of `images`."""

    target: Target
    times: int
    images: int

    def __call__(self, outputs: Any) -> Tensor:
        """Scores (times · B,), run by run."""
        count = self.images * self.times

        def run(start: int) -> Any:
            return _changed(outputs, count, lambda value: value[start : start + self.images])

        starts = range(0, count, self.images)
        return torch.cat([_of_batch(self.target, run(start), self.images) for start in starts])


def _of_batch(target: Target, outputs: Any, images: int) -> Tensor:
    """A target's scores (B,) of outputs that were made those of the batch that it was made for."""
    scores = target(outputs)
    if isinstance(scores, Tensor) and scores.shape != (images,):
        raise ValueError(
            f"the target returned {tuple(scores.shape)}, and not ({images},), for images that ran "
            "in a batch of another size: it should read parts of the outputs that have the images "
            "first, as CLIP's logits_per_image has them, and logits_per_text has not"
        )
    return checked_scores(scores, images)


def checked_scores(scores: Any, images: int) -> Tensor:
    """What a target returned; a ValueError where that is not one real number per image."""
    if isinstance(scores, Tensor) and scores.shape == (images,) and scores.is_floating_point():
        return scores
    got = type(scores).__name__
    if isinstance(scores, Tensor):
        kind = str(scores.dtype).removeprefix("torch.")
        got = f"{tuple(scores.shape)}{'' if scores.is_floating_point() else f' of type {kind}'}"
    raise ValueError(
        f"the target returned {got}; it should be one score per image, a floating-point tensor of "
        f"shape ({images},)"
    )


def _changed(outputs: Any, images: int, change: Callable[[Any], Any]) -> Any:
    """The outputs, of which each part that has one entry per image is changed.

    The parts are in lists, tuples and mappings, in what torch knows as such, and in the attributes
    of an object.
    """

    def of_images(value: Any) -> bool:
        return _of_images(value, images)

    def inside(value: Any) -> Any:
        return tree_map(part, value, is_leaf=of_images)

    def part(value: Any) -> Any:
        if of_images(value):
            return change(value)
        found: Any = None if isinstance(value, Tensor) else copy(value)
        if found is None or found is value:
            return value
        if isinstance(found, MutableMapping):
            found.update({key: inside(one) for key, one in value.items()})
        if hasattr(found, "__dict__"):
            vars(found).update({key: inside(one) for key, one in vars(value).items()})
        return found

    return inside(outputs)


def _of_images(value: Any, images: int) -> bool:
    """Whether a part of the outputs has one entry per image: a tensor, or a list of detections.

    A list of as many heads is none, of which each has one entry per image itself.
    """
    if isinstance(value, Tensor):
        return value.ndim > 0 and len(value) == images
    if not isinstance(value, list) or len(value) != images:
        return False
    return not all(isinstance(one, Tensor) and _of_images(one, images) for one in value)


TargetLike = Target | int | Sequence[int] | Tensor | np.ndarray | Callable[[Any], Tensor] | None


def as_target(target: TargetLike) -> Target:
    """A value as a target: None is the predicted class, an int that class, several ints
    one class per image, any function a score.

    Raises TypeError for anything else.
    """
    if target is None:
        return Predicted()
    if isinstance(target, Target):
        return target
    if callable(target) and not isinstance(target, Tensor):
        return Score(target)
    try:
        return Class(target)  # type: ignore[arg-type]
    except TypeError:
        pass
    hint = "; names of classes go through load_model(…).target(name)"
    raise TypeError(
        f"target is {shown(target)}; it should be None, a class index, one index per image, "
        f"a seewhy target or a function of the model's outputs{hint * isinstance(target, str)}"
    )


def _is_index(value: object) -> TypeGuard[SupportsInt]:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _class_scores(outputs: Any) -> Tensor:
    scores = logits(outputs)
    if scores.ndim != 2:
        raise ValueError(
            f"the model returned scores of shape {tuple(scores.shape)} where a class target needs "
            "(B, C); use Segment(class) for a segmentation network, or a function of the outputs"
        )
    return scores


def check_softmax(scores: Tensor) -> None:
    """Raise ValueError for scores (B, 1), whose softmax is 1 whatever they are."""
    if scores.shape[1] == 1:
        raise ValueError(
            "the network has a single logit, whose softmax is always 1; use activation='sigmoid'"
        )


def _pick(scores: Tensor, classes: Classes) -> Tensor:
    """Each image's score of its class: (B, C) -> (B,)."""
    if isinstance(classes, int):
        _check_class(classes, scores)
        return scores[:, classes]
    check_count((classes,), len(scores))
    for index in dict.fromkeys(classes):
        _check_class(index, scores)
    # Otherwise the copy would wait for all that the accelerator has to do before.
    chosen = torch.tensor(classes, device="cpu").to(scores.device, non_blocking=True)
    return scores.gather(1, chosen[:, None])[:, 0]


def check_count(named: Iterable[Classes], images: int) -> None:
    """Raise ValueError where a target names a class for each of another number of images."""
    for classes in named:
        if not isinstance(classes, int) and len(classes) != images:
            raise ValueError(
                f"target names {len(classes)} classes for {images} images; "
                "give one class for all images, or one for each"
            )


def _check_class(index: int, scores: Tensor) -> None:
    count = scores.shape[1]
    if not 0 <= index < count:
        out = f"target class {shown(index)} is out of range: the model has"
        if count == 1:
            raise ValueError(
                f"{out} a single output, which is target 0; its opposite is seewhy.targets.Not(0)"
            )
        raise ValueError(f"{out} {count} classes, 0 to {count - 1}")


def _likeliest(outputs: Any, option: str, count: int) -> Tensor:
    """The indices of each image's `count` highest scores, (B, count), from the highest on."""
    scores = _class_scores(outputs).detach()
    if not 1 <= count <= scores.shape[1]:
        raise ValueError(
            f"{option}={shown(count)} is out of range: the model has {scores.shape[1]} classes"
        )
    return scores.topk(count, dim=1).indices
