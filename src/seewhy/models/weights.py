"""Weights from files. Nothing that a file says is ever executed."""

from __future__ import annotations

import os
import pickle
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seewhy.models.loaded import LoadedModel, ModelError
from seewhy.models.metadata import with_metadata
from seewhy.notes import note
from seewhy.printable import abridged

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".th", ".pkl")
SUFFIXES = (".safetensors", *_PICKLES)
# Where checkpoints keep the weights; others that fit as well come after these.
_NESTS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_DEEPEST = 4  # mappings within one another

# Classes that checkpoints are full of and that say nothing of the weights: settings and numbers.
_HARMLESS = (
    "argparse.Namespace",
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)
# Files of torchvision's DenseNets and transformers are older than its names.
_RENAMED = (
    (re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.(?=[12]\.)"), r"\1"),
    (re.compile(r"(\.encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(\.encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)
# torch keeps the list of what it accepts for the whole process.
_loading = threading.Lock()


class _Ignored:
    """Stands for an object in a checkpoint that is no tensor; does nothing with what it gets."""

    def __new__(cls, *_: object, **__: object) -> _Ignored:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass


def with_weights(build: Callable[..., LoadedModel], path: Path, spec: str) -> LoadedModel:
    """The network that `build` makes, with the weights of a file.

    Where the file differs in the number of classes alone, the network is built with the file's.
    What a file holds beyond the network's weights is ignored, and a `Note` names it.

    Raises ModelError if the file cannot be read, or does not have all that the network needs.
    """
    content, facts = _read(path)
    model = build(pretrained=False, num_classes=None)
    own = model.module.state_dict()
    state, foreign = _best(content, own, path)
    outputs = _file_outputs(state, own)
    if outputs is not None:
        model = replace(build(pretrained=False, num_classes=outputs), classes=())
        own = model.module.state_dict()
    shared = [key for key in own if key in state]
    # A tensor that the network has under several names may be in the file under one of them.
    given = {_place(own[key]) for key in shared}
    missing = [
        key
        for key in own
        if key not in state
        and not key.endswith("num_batches_tracked")
        and _place(own[key]) not in given
    ]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in shared
        if state[key].shape != own[key].shape
    ]
    kinds = [
        f"{key} {str(state[key].dtype).removeprefix('torch.')}"
        for key in shared
        if not _holds_values(state[key], own[key])
    ]
    if missing or shapes or kinds:
        faults = {
            "missing": missing,
            "unexpected": foreign,
            "of another shape": shapes,
            "complex, quantised, sparse or without values": kinds,
        }
        counts = [f"{len(keys)} {what} ({_some(keys)})" for what, keys in faults.items() if keys]
        raise ModelError(
            f"weights {path} do not fit {spec}: of the network's {len(own)} and the file's "
            f"{len(state) + len(foreign)} tensors, {'; '.join(counts)}"
        )
    # In the network's own state dict, which says of which version its names are: MNASNet asks.
    own.update((key, state[key]) for key in shared)
    model.module.load_state_dict(own)
    if foreign:
        note(
            f"weights {path}: ignored {len(foreign)} tensors for which {spec} has no place: "
            f"{_some(foreign)}"
        )
    return with_metadata(model, facts, path)


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor lies in memory: the same for two names of one tensor."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _holds_values(theirs: Tensor, ours: Tensor) -> bool:
    """Whether a file's tensor has the values of the network's; 8-bit integers are not weights."""
    if theirs.is_meta or theirs.layout != torch.strided:
        return False
    return theirs.is_floating_point() or theirs.dtype == torch.bool or not ours.is_floating_point()


def _read(path: Path) -> tuple[object, dict[str, str]]:
    """What a file holds, and the metadata that safetensors files may carry."""
    if not os.path.isfile(path):  # which also answers where a name is too long
        problem = "a folder" if os.path.isdir(path) else "no regular file"
        problem = problem if os.path.exists(path) else "no such file"
        raise ModelError(f"weights {abridged(path)}: {problem}")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except SafetensorError as error:
            raise ModelError(f"weights {path}: no readable safetensors file ({error})") from error
    if path.suffix not in _PICKLES:
        raise ModelError(
            f"weights {path}: unknown kind {path.suffix!r}; give one of {', '.join(SUFFIXES)}"
        )
    try:
        with _loading, torch.serialization.safe_globals([(_Ignored, name) for name in _HARMLESS]):
            return torch.load(path, map_location="cpu", weights_only=True), {}
    except Exception as error:  # broken bytes make the unpickler raise anything
        # A page of a server, or Git LFS's pointer, cannot be unpickled either.
        with path.open("rb") as file:
            pickled = file.read(2).startswith((b"PK", b"\x80"))
        refused = isinstance(error, pickle.UnpicklingError) and pickled
        if refused or "TorchScript" in str(error):
            foreign = re.search(r"GLOBAL (\S+)", str(error))
            raise ModelError(
                f"weights {path}: refused, because it is not tensors alone"
                f"{f' (it calls for {foreign[1]})' if foreign else ''}, and opening anything more "
                "could run any code. Where you trust the file, open it with torch.load(FILE, "
                "weights_only=False), and save only the state dict of the network: "
                "torch.save(network.state_dict(), 'weights.pt')"
            ) from error
        raise ModelError(
            f"weights {path}: corrupt, or no PyTorch weights at all ({type(error).__name__})"
        ) from error


def _best(
    content: object, own: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], list[str]]:
    """Of all state dicts in a checkpoint the one that fits the network best, with its names.

    Returns its tensors by the network's names, and the file's names of those that are left over.
    """
    states = list(_states(content))
    if not states:
        found = f"keys {_some(content)}" if isinstance(content, Mapping) else type(content).__name__
        raise ModelError(
            f"weights {path}: no state dict in it (found {found}); "
            "save model.state_dict(), alone or under the key 'state_dict'"
        )
    fitted = [_renamed(state, own) for _, state in states]
    fits = [_fit(state, own) for state, _ in fitted]
    best = [where for (where, _), fit in zip(states, fits, strict=True) if fit == max(fits)]
    if len(best) > 1 and max(fits) > (0, 0):
        note(f"weights {path}: {', '.join(best)} fit equally well; taking {best[0]}")
    return fitted[fits.index(max(fits))]


def _fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[int, int]:
    """How much of the network a renamed state dict has: by name and shape, and by name alone."""
    return sum(value.shape == own[key].shape for key, value in state.items()), len(state)


def _states(content: object) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors of each mapping in a checkpoint, and where it is; the usual places first."""
    seen: set[int] = set()

    def walk(value: object, *keys: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
        depth = len(keys)
        if not isinstance(value, Mapping) or id(value) in seen or depth > _DEEPEST:
            return
        seen.add(id(value))
        named = {key: one for key, one in value.items() if isinstance(key, str)}
        tensors = {key: one for key, one in named.items() if isinstance(one, Tensor)}
        if tensors or (depth == 0 and not value):
            yield ".".join(keys), tensors
        for key in [*filter(named.__contains__, _NESTS), *(k for k in named if k not in _NESTS)]:
            yield from walk(named[key], *keys, key)

    return walk(content)


def _renamed(
    state: dict[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """`state` by the network's own names, whatever wrapped the network when it was saved.

    A wrapper puts a prefix before all names: `module.`, `model.`, `net.`, `backbone.model.` and so
    on. It is found by trying: the one that gives the most of the network's names is taken. The
    network may be the one that is wrapped, too. Returns also the names that are left over.
    """
    modern = {key: key for key in state}
    for old, new in _RENAMED:
        if not any(old.search(key) for key in own):
            modern = {old.sub(new, name): key for name, key in modern.items()}
    first = next(iter(own), "")
    prefixes = [first[: dot.end()] for dot in re.finditer(r"\.", first)]
    inners = ["", *(prefix for prefix in prefixes if all(key.startswith(prefix) for key in own))]
    pairs = [(outer, inner) for inner in inners for outer in _wrappers(modern, own, inner)]

    def names(outer: str, inner: str) -> dict[str, str]:
        """The network's names by the file's; a head may stand beside the part that was wrapped."""
        wrapped = {key: outer + key.removeprefix(inner) for key in own}
        return {name if name in modern else key: key for key, name in wrapped.items()}

    def gain(pair: tuple[str, str]) -> tuple[int, int]:
        return len(names(*pair).keys() & modern.keys()), -len(pair[0])

    found = names(*max(pairs, key=gain))
    renamed = {found[key]: state[old] for key, old in modern.items() if key in found}
    foreign = [old for key, old in modern.items() if key not in found]
    return renamed, foreign


def _wrappers(keys: Collection[str], own: Mapping[str, Tensor], inner: str) -> dict[str, None]:
    """What stands before some of the network's names in the file; a few names tell."""
    names = [key.removeprefix(inner) for key in own if not key.endswith("num_batches_tracked")]
    some = names[:: max(1, len(names) // 8)] + names[-1:]
    found = [key.removesuffix(name) for name in some for key in keys if key.endswith(name)]
    return dict.fromkeys(["", *(prefix for prefix in found if prefix.endswith("."))])


def _file_outputs(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int | None:
    """The file's number of classes, if that alone makes it differ in shape from the network."""
    pairs = [(own[key].shape, value.shape) for key, value in state.items()]
    changes = {
        (ours[0], theirs[0]) if ours and theirs and ours[1:] == theirs[1:] else None
        for ours, theirs in pairs
        if ours != theirs
    }
    change = changes.pop() if len(changes) == 1 else None
    return change[1] if change else None


def _some(keys: Collection[object]) -> str:
    return ", ".join(map(str, list(keys)[:3])) + (", ..." if len(keys) > 3 else "")
