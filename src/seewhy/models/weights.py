"""Weights and class names from files. Nothing that a file says is ever executed."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from seewhy.models.loaded import LoadedModel, ModelError

_PICKLES = (".pt", ".pth", ".bin")
_NESTS = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.")


def with_weights(build: Callable[..., LoadedModel], path: Path, spec: str) -> LoadedModel:
    """The network that `build` makes, with the weights of a file.

    Where the file differs in the number of classes alone, the network is built with the file's.

    Raises:
        ModelError: the file cannot be read, or does not fit the network.
    """
    state, facts = _read_weights(path)
    model = build(pretrained=False, num_classes=None)
    state = _unwrapped(state, model.module.state_dict())
    outputs = _file_outputs(state, model)
    if outputs is not None:
        model = replace(build(pretrained=False, num_classes=outputs), classes=())
    try:
        model.module.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(_differences(state, model.module.state_dict(), path, spec)) from error
    try:
        return _with_facts(model, facts)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: its metadata {facts} cannot be used: {error}") from error


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, and the metadata that safetensors files may carry."""
    if not path.is_file():
        raise ModelError(f"weights {path}: {'a folder' if path.is_dir() else 'no such file'}")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except SafetensorError as error:
            raise ModelError(f"weights {path}: no readable safetensors file ({error})") from error
    if path.suffix not in _PICKLES:
        raise ModelError(
            f"weights {path}: unknown kind {path.suffix!r}; "
            f"give one of .safetensors, {', '.join(_PICKLES)}"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make the unpickler raise anything
        if isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error):
            foreign = re.search(r"GLOBAL (\S+)", str(error))
            raise ModelError(
                f"weights {path}: refused, because it is not tensors alone"
                f"{f' (it calls for {foreign[1]})' if foreign else ''}, and opening anything more "
                "could run any code. Where you trust the file, convert it to safetensors: "
                "safetensors.torch.save_file(state_dict, 'weights.safetensors')"
            ) from error
        raise ModelError(
            f"weights {path}: corrupt, or no PyTorch weights at all ({type(error).__name__})"
        ) from error
    while nest := _nested(content):
        content = nest
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        found = f"keys {_some(content)}" if isinstance(content, Mapping) else type(content).__name__
        raise ModelError(
            f"weights {path}: no state dict in it (found {found}); "
            "save model.state_dict(), alone or under the key 'state_dict'"
        )
    return dict(content), {}


def _nested(content: object) -> Mapping[str, Any] | None:
    """The state dict within a training checkpoint, where it is at one of the usual places."""
    inner = (content.get(nest) for nest in _NESTS) if isinstance(content, Mapping) else ()
    return next((value for value in inner if isinstance(value, Mapping)), None)


def _unwrapped(state: dict[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """`state` with the keys that the network itself uses, whatever wrapped it when it was saved."""
    for wrapper in _WRAPPERS:
        wrapped, usual = (all(key.startswith(wrapper) for key in keys) for keys in (state, own))
        if state and wrapped and not usual:
            bare = {key.removeprefix(wrapper): value for key, value in state.items()}
            return _unwrapped(bare, own)
    # Files of torchvision's DenseNets are older than its names: denselayer1.norm.1 is norm1 now.
    return {
        re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", key): value
        for key, value in state.items()
    }


def _file_outputs(state: Mapping[str, Tensor], model: LoadedModel) -> int | None:
    """The file's number of classes, if that alone makes it differ in shape from the network."""
    pairs = [
        (value.shape, state[key].shape)
        for key, value in model.module.state_dict().items()
        if key in state and value.shape != state[key].shape
    ]
    outputs = number_of_outputs(model)
    sizes = {
        theirs[0] if len(theirs) and ours[:1] == (outputs,) and ours[1:] == theirs[1:] else None
        for ours, theirs in pairs
    }
    return sizes.pop() if len(sizes) == 1 else None


def number_of_outputs(model: LoadedModel) -> int | None:
    """How many classes the network tells apart: its last Linear or convolution's outputs."""
    for layer in reversed(list(model.module.modules())):
        if isinstance(layer, nn.Linear):
            return layer.out_features
        if isinstance(layer, nn.Conv2d):
            return layer.out_channels
    return None


def _differences(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path, spec: str
) -> str:
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    faults = [
        f"{len(keys)} {what} ({_some(keys)})"
        for keys, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (shapes, "of another shape"),
        )
        if keys
    ]
    return (
        f"weights {path} do not fit {spec}: of the network's {len(own)} and the file's "
        f"{len(state)} tensors, {'; '.join(faults)}"
    )


def _with_facts(model: LoadedModel, facts: Mapping[str, str]) -> LoadedModel:
    """The model with what the metadata of its file say about inputs and outputs."""
    said = {
        key: json.loads(facts[key])
        for key in ("resize", "crop", "mean", "std", "classes")
        if key in facts
    }
    said = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    classes = said.pop("classes", model.classes)
    return replace(model, preprocess=replace(model.preprocess, **said), classes=classes)


def read_classes(
    source: str | Path | Sequence[str], spec: str, outputs: int | None
) -> tuple[str, ...]:
    """Class names from a sequence or a file, checked against the number of outputs if known.

    Raises:
        ModelError: an unreadable file, or another number of names.
    """
    if isinstance(source, str | Path):
        where, names = f"classes {source}", _read_names(Path(source))
    else:
        where, names = "classes", tuple(source)
    if outputs is not None and len(names) != outputs:
        raise ModelError(f"{where}: {len(names)} names for the {outputs} outputs of {spec}")
    return names


def _read_names(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise ModelError(f"classes {path}: {'a folder' if path.is_dir() else 'no such file'}")
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
        if path.suffix != ".json":
            return tuple(line.strip() for line in text.splitlines())
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[str(index)] for index in range(len(content))]
    except KeyError as error:
        raise ModelError(f"classes {path}: index {error} is not in it; give all from 0") from error
    except ValueError as error:
        raise ModelError(f"classes {path}: neither UTF-8 text nor JSON ({error})") from error
    # The well-known imagenet_class_index.json has pairs [wnid, name].
    names = [value[-1] if isinstance(value, list) and value else value for value in content]
    if not all(isinstance(name, str) for name in names):
        raise ModelError(f"classes {path}: give a JSON list of names, or an object index: name")
    return tuple(names)


def _some(keys: Collection[str]) -> str:
    return ", ".join(list(keys)[:3]) + (", ..." if len(keys) > 3 else "")
