"""What files say about a network: class names, and the metadata of safetensors files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from seewhy.data.preprocess import Interpolation
from seewhy.models.answers import Activation
from seewhy.models.loaded import LoadedModel, ModelError, check_names, number_of_outputs
from seewhy.options import listed
from seewhy.printable import abridged
from seewhy.reading import parsed, text_of

_KEYS = ("resize", "crop", "mean", "std", "interpolation", "channels", "activation", "classes")
_WORDS = (*get_args(Interpolation), *get_args(Activation))


def with_metadata(model: LoadedModel, facts: Mapping[str, str], path: Path) -> LoadedModel:
    """The model with what the metadata of its file say about inputs and outputs.

    Values are JSON: `resize`, `crop`, `mean`, `std`, `interpolation` and `channels` as in
    `Preprocess`, `activation` as in `LoadedModel`, `classes` as in a file of class names.

    Raises ModelError for a value that cannot be used, and names its key.
    """
    said: dict[str, Any] = {}
    for key in _KEYS:
        if key in facts:
            text = facts[key]
            try:
                said[key] = text if text in _WORDS else parsed(text)
            except ValueError as error:
                short = text if len(text) <= 40 else f"{text[:40]}..."
                raise ModelError(f"{path}: its metadata {key}={short}: {error}") from error
    activation, classes = said.pop("activation", model.activation), said.pop("classes", None)
    try:
        preprocess = replace(model.preprocess, **said) if said else model.preprocess
        model = replace(model, preprocess=preprocess, activation=activation)
        if "classes" in facts:
            return with_classes(model, names_in(classes), "its metadata")
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: its metadata cannot be used: {error}") from error
    return model


def with_classes(model: LoadedModel, names: Sequence[str], where: str) -> LoadedModel:
    """The model with names for its classes, as many as it tells apart.

    Raises ModelError for another number of names; its message begins with `where` they come from.
    """
    outputs = number_of_outputs(model)
    if outputs is not None:
        check_names(model, names, outputs, where)
    return replace(model, classes=tuple(names))


def read_classes(source: str | Path | Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Where class names come from, for messages, and the names, from a sequence or a file.

    Raises ModelError for an unreadable file, or anything but names.
    """
    if not isinstance(source, str | Path):
        return "classes", names_in(source if isinstance(source, dict) else listed(source))
    path = Path(source)
    where = f"classes {abridged(path)}"
    try:
        text = text_of(path)
        content = parsed(text) if path.suffix == ".json" else text.strip().splitlines()
    except ValueError as error:
        raise ModelError(f"{where}: {error}") from error
    return where, tuple(name.strip() for name in names_in(content, where))


def names_in(content: Any, where: str = "classes") -> tuple[str, ...]:
    """Names in a list of them, or in an object from index to name or from name to index.

    Raises ModelError for anything else.
    """
    if isinstance(content, dict):
        if all(type(value) is int for value in content.values()):  # ImageFolder's class_to_idx
            if len({*content.values()}) < len(content):
                raise ModelError(f"{where}: an index has two names")
            content = {index: name for name, index in content.items()}
        named = {str(index): name for index, name in content.items()}
        try:
            content = [named[str(index)] for index in range(len(content))]
        except KeyError as error:
            raise ModelError(f"{where}: index {error} is not in it; give all from 0") from error
    if isinstance(content, list):
        # The well-known imagenet_class_index.json has pairs [wnid, name].
        content = [value[-1] if isinstance(value, list) and value else value for value in content]
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ModelError(f"{where}: give a JSON list of names, or an object of index and name")
    return tuple(content)
