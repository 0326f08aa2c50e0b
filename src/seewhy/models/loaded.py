"""A loaded network: the module, its preprocessing, and the meaning of its outputs."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from seewhy.core.inputs import InputsLike
from seewhy.core.observing import outputs_of
from seewhy.core.outputs import logits
from seewhy.core.probe import Probe
from seewhy.core.requests import LayerLike
from seewhy.core.targets import Class, Predicted, Target, TargetLike, as_target
from seewhy.data.preprocess import Preprocess
from seewhy.models.answers import Activation, Asked, extents, own_activation, probabilities
from seewhy.notes import note
from seewhy.options import check, listed, near, shown

IMAGENET_PREPROCESS = Preprocess(resize=256, crop=224)
"""What nearly all classifiers of ImageNet were trained for."""


class ModelError(ValueError):
    """A network, its weights or its class names cannot be had; the message says what would do."""


@dataclass(frozen=True, repr=False)
class LoadedModel:
    """A network in eval mode, with its preprocessing and the meaning of its outputs.

    A network with a single logit has two classes; a positive logit means class 1. If you give one
    name, it names class 1, and class 0 is called "not …".

    module: the network, in eval mode.
    preprocess: turns a photo into the network's input.
    classes: the name of each output, or of both classes of a single output; may be empty.
    name: the specification that it was loaded by.
    activation: how outputs become probabilities: "softmax" for one class of many, "sigmoid" for
        each class separately, "none" for outputs that are not logits, such as a regression's.
        None: sigmoid for a single output, softmax for several.
    """

    module: nn.Module
    preprocess: Preprocess = IMAGENET_PREPROCESS
    classes: tuple[str, ...] = ()
    name: str = ""
    activation: Activation | None = None

    def __post_init__(self) -> None:
        """Check what is given."""
        check("LoadedModel", LoadedModel, {"module": self.module, "name": self.name})
        classes = tuple(listed(self.classes))
        if isinstance(self.classes, str) or not all(isinstance(one, str) for one in classes):
            raise ModelError(f"classes={shown(self.classes)}; give a list of names")
        if not isinstance(self.preprocess, Preprocess):
            raise TypeError(
                f"preprocess is a {type(self.preprocess).__name__}; give a seewhy.Preprocess, such "
                "as seewhy.Preprocess(resize=256, crop=224, mean=0.5, std=0.5), as the place of a "
                "map on the photo follows from it"
            )
        if self.activation not in (None, *get_args(Activation)):
            known = ", ".join(get_args(Activation))
            raise ModelError(f"activation={shown(self.activation)}; give one of {known}")
        object.__setattr__(self, "classes", classes)

    def __repr__(self) -> str:
        """What it is, in lines: the network, its classes, and how it takes photos."""
        size = sum(parameter.numel() for parameter in self.module.parameters())
        names = [*map(repr, self.names[:3]), *(["..."] if len(self.names) > 3 else [])]
        classes = f"{len(self.names)} ({', '.join(names)})" if names else "without names"
        return (
            f"<LoadedModel {self.name or 'without a name'}\n"
            f"  network     {type(self.module).__name__}, {size / 1e6:.2f} million parameters, "
            f"on {self.device}\n"
            f"  classes     {classes}\n"
            f"  activation  {self.activation or 'softmax, of a single output sigmoid'}\n"
            f"  input       {self.preprocess}>"
        )

    @property
    def called(self) -> str:
        """What messages call it."""
        return self.name or "the network"

    @property
    def device(self) -> torch.device:
        """Where the network is, and its inputs belong."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class, two for a single logit; empty if they have none."""
        if len(self.classes) == 1 and self.activation != "none":
            return (f"not {self.classes[0]}", self.classes[0])
        return self.classes

    def probe(
        self,
        inputs: InputsLike,
        target: TargetLike = None,
        layer: LayerLike = None,
        *,
        explained: int | str | None = None,
    ) -> Probe:
        """A probe of the network with these inputs and this target, see `seewhy.Probe`.

        It knows the value of a black pixel, from which some methods start.
        """
        black = self.preprocess.black
        return Probe(self.module, inputs, target, layer, explained=explained, black=black)

    def target(self, asked: TargetLike | str) -> Target:
        """The target for a class, by its name or index; None is the predicted class.

        This works for every shape of output: a network with a single logit has two classes, and for
        a segmentation network a class means its region. Other targets are as in
        `seewhy.targets.as_target`.

        Raises ModelError if the name fits no class or several; TypeError for anything that cannot
        be a target.
        """
        if isinstance(asked, str) or (isinstance(asked, int) and not isinstance(asked, bool)):
            return Asked(self.class_index(asked), activation=self.activation)
        found = as_target(asked)
        if isinstance(found, Predicted):
            return Asked(rank=found.rank, activation=self.activation)
        if isinstance(found, Class):
            return Asked(found.classes, activation=self.activation)
        return found

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities in [0, 1] of logits (K,), (B, K) or (B, K, ...), in the same shape.

        Of a single logit come two, those of class 0 and of class 1. With the activation "none" the
        outputs are returned as they are.
        """
        return probabilities(logits, self.activation)

    def class_name(self, index: int) -> str:
        """The name of class `index`; "class 7" where classes have no names."""
        if 0 <= index < len(self.names):
            return self.names[index]
        return f"output {index}" if self.activation == "none" else f"class {index}"

    def class_index(self, name_or_index: str | int) -> int:
        """The index of a class given by index, name, synonym or unique part of the name.

        A name may list synonyms, separated by commas. Case does not matter. A full name takes
        precedence over a synonym, a synonym over a word, and a word over any other part.

        Raises ModelError if the name fits no class or several; the message names the nearest ones.
        """
        text = str(name_or_index).strip()
        if re.fullmatch(r"[+-]?\d{1,9}", text):
            index = int(text)
            if index < 0 or (self.names and index >= len(self.names)):
                known = f"0 to {len(self.names) - 1}" if self.names else "0 or more"
                raise ModelError(f"class {index} does not exist in {self.called}; give {known}")
            return index
        if not self.classes:
            raise ModelError(
                f"{self.called} has no class names, so it knows no {text!r}; "
                "give an index, or the names with classes=FILE (--classes FILE)"
            )
        wanted, names = text.casefold(), [name.casefold() for name in self.names]
        word = re.compile(rf"\b{re.escape(wanted)}\b")
        for fits in (
            lambda name: name == wanted,
            lambda name: wanted in (part.strip() for part in name.split(",")),
            lambda name: word.search(name) is not None,
            lambda name: wanted in name,
        ):
            hits = [index for index, name in enumerate(names) if wanted and fits(name)]
            if len(hits) == 1:
                return hits[0]
            if hits:
                shown = ", ".join(f"{i} {self.names[i]!r}" for i in hits[:8])
                more = f" and {len(hits) - 8} more" if len(hits) > 8 else ""
                raise ModelError(
                    f"{text!r} may be any of {len(hits)} classes of {self.called}: {shown}{more}; "
                    "give the full name or the index"
                )
        raise ModelError(
            f"{self.called} has no class {text!r} among its {len(names)}{near(text, self.names)}"
        )

    def top(self, logits: Tensor, k: int = 5) -> list[tuple[int, str, float]]:
        """The `k` most likely classes of one image's logits: (index, name, number).

        logits: (K,), and the number is the probability; or (K, H, W) of a segmentation network,
        and the number is the share of the picture in which it sees the class. With the activation
        "none" the number is the output itself, or its mean over the picture.
        """
        if logits.ndim not in (1, 3):
            raise ValueError(
                f"logits is {tuple(logits.shape)}; give those of one image, (K,) or (K, H, W)"
            )
        numbers = logits.detach().float()
        if logits.ndim == 1:
            numbers = self.probabilities(numbers)
        else:
            numbers = extents(numbers[None], self.activation)[0]
        values, indices = numbers.sort(descending=True, stable=True)
        return [
            (index, self.class_name(index), value)
            for index, value in zip(indices[:k].tolist(), values[:k].tolist(), strict=True)
        ]


def check_outputs(model: LoadedModel, outputs: Any) -> None:
    """Check that outputs within a graph are what the network is said to return.

    A note where they have gone through an activation that is not known of.

    Raises ModelError for another number of classes than there are names.
    """
    if model.classes:
        check_names(model, model.classes, logits(outputs).shape[1], "classes")
    own = None if model.activation == "none" else own_activation(outputs)
    if own:
        note(
            f"{model.called} ends with a {own} of its own, so the probabilities are not the "
            'network\'s; give activation="none" (--activation none), or the logits'
        )


def check_names(model: LoadedModel, names: Sequence[str], outputs: int, where: str) -> None:
    """Raise ModelError, which begins with where the names come from, if they are too few or many.

    Else every name after a missing one would be another class's.
    """
    fits = (1, 2) if outputs == 1 and model.activation != "none" else (outputs,)
    if len(names) not in fits:
        raise ModelError(f"{where}: {len(names)} names for the {outputs} outputs of {model.called}")


def check_score_per_class(model: LoadedModel, outputs: Any) -> None:
    """Raise ModelError for outputs that are not one score per class and image, (B, C)."""
    sides, returned = 0, f"a {type(outputs).__name__}"
    with suppress(TypeError):  # of outputs without a tensor
        scores = logits(outputs)
        sides, returned = scores.ndim, str(tuple(scores.shape))
    if sides != 2:
        pixels = sides == 4 and scores.shape[1] > 1
        such = ", for a segmentation network scores.log_softmax(1).logsumexp((2, 3))" * pixels
        raise ModelError(
            f"{model.called} returns {returned}, and this needs one score per class, (B, C); wrap "
            f"it in a module whose forward returns that{such}; see docs/models.md"
        )


def check_classifier(model: LoadedModel) -> None:
    """Raise ModelError for a network whose outputs for a black photo are not one score per class.

    One that cannot be run on it has its errors with the photos.
    """
    outputs = outputs_of_photo(model)
    if outputs is not None:
        check_score_per_class(model, outputs)


def outputs_of_photo(model: LoadedModel) -> Any:
    """What the network returns for a black photo; None where it cannot be run on one."""
    photo = np.zeros((64, 64, model.preprocess.channels), dtype=np.float32)
    try:
        return outputs_of(model.module, model.preprocess(photo)[None].to(model.device))
    except Exception:  # it takes something else than a photo
        return None


def number_of_outputs(model: LoadedModel) -> int | None:
    """How many outputs, or channels of an output, the network has for a photo, found by a pass.

    None where it cannot be run on one.
    """
    try:
        return logits(outputs_of_photo(model)).shape[1]
    except TypeError:  # it returns no scores, or could not be run
        return None


def number_of_classes(model: LoadedModel) -> int | None:
    """How many classes the network tells apart: its names, or else counted by a pass."""
    outputs = len(model.classes) or number_of_outputs(model)
    return 2 if outputs == 1 and model.activation != "none" else outputs
