"""Networks by name: torchvision, timm and transformers, the bundled ones, or your own factory.

Each zoo is one function `(name, *, pretrained, num_classes) -> LoadedModel`, found in `_ZOOS` by
the prefix of the specification; the optional package is imported when the function is called.
Weights from files are tensors only: nothing that a file says is ever executed.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import math
import pickle
import re
import sys
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from seewhy.data.images import Preprocess

_IMAGENET_PREPROCESS = Preprocess(resize=256, crop=224)
_PICKLES = (".pt", ".pth", ".bin")
_NESTS = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.")


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
    preprocess: Preprocess = _IMAGENET_PREPROCESS
    classes: tuple[str, ...] = ()
    name: str = ""
    multi_label: bool = False

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
            f"{_did_you_mean(text, self.classes)}"
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


def load_model(
    spec: str,
    *,
    weights: str | Path | None = None,
    classes: str | Path | Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    device: str | torch.device = "cpu",
) -> LoadedModel:
    """Load a network by its specification.

    Args:
        spec: `torchvision:resnet50`, `timm:convnext_tiny`, `hf:microsoft/resnet-50` (or a local
            folder, `hf:./folder`), `scenes:resnet` (bundled), or `package.module:factory`: a
            function without arguments on Python's path that returns an `nn.Module` (whose
            attribute `preprocess`, if it is a `Preprocess`, counts) or a `LoadedModel`.
        weights: None for the zoo's pretrained weights, downloaded where they are not cached (a
            factory's network is taken as it comes); "random" for the initialisation by torch's
            global random generator; or a file with a state dict: `.safetensors`, or
            `.pt`/`.pth`/`.bin` as far as it holds nothing but tensors. If the file differs from
            the zoo's network in the number of classes alone, the network is built with the file's.
        classes: names of the outputs, in order: a sequence; a text file with one per line; or a
            JSON file with a list, or with an object from index to name. None: the zoo's names.
        preprocess: None for, in this order, what the safetensors file says (metadata keys
            `resize`, `crop`, `mean`, `std`, JSON values; `classes` likewise), what the zoo says,
            and ImageNet's usual (shorter side 256, centre 224).
        device: where the network goes.

    Raises:
        ModelError: the specification, a file or a download is at fault, or a package is missing.
    """
    zoo, _, name = spec.partition(":")
    if not zoo or not name:
        raise ModelError(
            f"model {spec!r} names no zoo; write e.g. torchvision:{spec.strip(':') or 'resnet50'}, "
            f"with one of {', '.join(_ZOOS)}, or package.module:factory"
        )
    build = partial(_ZOOS[zoo], name) if zoo in _ZOOS else partial(_own, zoo, name)
    if weights is None or weights == "random":
        model = build(pretrained=weights is None, num_classes=None)
    else:
        model = _with_weights(build, Path(weights), spec)
    if classes is not None:
        model = replace(model, classes=_read_classes(classes, spec, _number_of_outputs(model)))
    module = model.module.to(device).eval()
    return replace(model, module=module, preprocess=preprocess or model.preprocess, name=spec)


def available_models(zoo: str | None = None) -> list[str]:
    """The specifications that can be listed: bundled networks and those of installed zoos.

    `zoo` is one of "scenes", "torchvision", "timm" and asks for its networks alone. The Hugging
    Face hub (`hf:`) cannot be listed.
    """
    listings: dict[str, Callable[[], list[str]]] = {
        "scenes": lambda: ["resnet", "vgg"],
        "torchvision": lambda: _torchvision_names(import_torchvision()),
        "timm": lambda: list(_import_zoo("timm").list_models()),
    }
    if zoo is not None and zoo not in listings:
        raise ModelError(f"zoo {zoo!r} has no list; give one of {', '.join(listings)}")
    installed = [name for name in listings if name == "scenes" or importlib.util.find_spec(name)]
    asked = installed if zoo is None else [zoo]
    return [f"{prefix}:{name}" for prefix in asked for name in listings[prefix]()]


# --- zoos ---------------------------------------------------------------------------------------


class _Zoo(Protocol):
    def __call__(self, name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel: ...


def _torchvision(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    torchvision = import_torchvision()
    names = _torchvision_names(torchvision)
    if name not in names:
        raise ModelError(f"torchvision has no network {name!r}{_did_you_mean(name, names)}")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    options: dict[str, Any] = {}
    if not pretrained:
        options = {} if num_classes is None else {"num_classes": num_classes}
        if name in torchvision.models.list_models(module=torchvision.models.segmentation):
            # torchvision would download the backbone's weights, and its files have the second head.
            options |= {"weights_backbone": None}
            options |= {} if name.startswith("lraspp") else {"aux_loss": True}
        if name in ("googlenet", "inception_v3"):
            # What torchvision itself sets for their pretrained weights, which want another
            # normalisation than their transforms give.
            options |= {"transform_input": True, "init_weights": False}
    with _fetching(f"torchvision:{name}", pretrained):
        module = torchvision.models.get_model(
            name, weights=weights if pretrained else None, **options
        )
    transforms = weights.transforms()
    return LoadedModel(
        module,
        Preprocess(
            resize=_side(transforms.resize_size),
            crop=_side(getattr(transforms, "crop_size", None)),
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            interpolation=transforms.interpolation.value,
        ),
        tuple(weights.meta["categories"]) if num_classes is None else (),
    )


def _torchvision_names(torchvision: ModuleType) -> list[str]:
    models = torchvision.models
    return [name for zoo in (models, models.segmentation) for name in models.list_models(zoo)]


def _timm(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    timm = _import_zoo("timm")
    # A colon leads elsewhere, as in hf-hub:owner/name, and timm itself knows where.
    if ":" not in name and not timm.is_model(name):
        names = timm.list_models() + timm.list_pretrained()
        raise ModelError(f"timm has no network {name!r}{_did_you_mean(name, names)}")
    options = {} if num_classes is None else {"num_classes": num_classes}
    with _fetching(f"timm:{name}", pretrained):
        module = timm.create_model(name, pretrained=pretrained, **options)
    config = timm.data.resolve_model_data_config(module)
    channels, *size = config["input_size"]
    height, width = (math.floor(side / config["crop_pct"]) for side in size)
    squash = config["crop_mode"] == "squash" or height != width
    subset = timm.data.infer_imagenet_subset(module)
    return LoadedModel(
        module,
        Preprocess(
            resize=(height, width) if squash else height,
            crop=_side(size),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"],
            channels=channels,
        ),
        tuple(timm.data.ImageNetInfo(subset).label_descriptions()) if subset else (),
    )


def _hf(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    transformers = _import_zoo("transformers", "hf")
    factory = transformers.AutoModelForImageClassification
    with _fetching(f"hf:{name}", True):
        config = transformers.AutoConfig.from_pretrained(name)
        processor = transformers.AutoImageProcessor.from_pretrained(name)
        if num_classes is not None:
            config.num_labels = num_classes
        if pretrained:
            module, report = factory.from_pretrained(name, config=config, output_loading_info=True)
        else:
            module, report = factory.from_config(config), {"missing_keys": ()}
    if report["missing_keys"]:
        raise ModelError(
            f"hf:{name} has no weights for {', '.join(sorted(report['missing_keys'])[:3])}; "
            "it is no finished image classifier, choose one that is"
        )
    return LoadedModel(
        module.float(),
        _hf_preprocess(name, processor, getattr(config, "num_channels", 3)),
        tuple(str(config.id2label[index]) for index in range(config.num_labels)),
        multi_label=config.problem_type == "multi_label_classification",
    )


def _hf_preprocess(name: str, processor: Any, channels: int) -> Preprocess:
    def run(picture: Image.Image) -> Tensor:
        values: Tensor = processor(picture, return_tensors="pt")["pixel_values"][0]
        return values

    # Processors differ in how they scale and normalise, but each maps a channel linearly, and so
    # their answers to black and to white tell mean and standard deviation.
    mode = "L" if channels == 1 else "RGB"
    black, white = (run(Image.new(mode, (64, 64), colour)) for colour in ("black", "white"))
    centre = (..., black.shape[-2] // 2, black.shape[-1] // 2)
    std = 1 / (white - black)[centre].double()
    mean = -black[centre] * std
    fields = processor.to_dict()
    resize = _hf_size(fields.get("size"))
    crop = _hf_size(fields.get("crop_size")) if fields.get("do_center_crop") else None
    if fields.get("crop_pct") and isinstance(resize, int):  # ConvNeXt and ResNet
        if resize < 384:
            resize, crop = int(resize / fields["crop_pct"]), resize
        else:
            resize = (resize, resize)
    preprocess = Preprocess(
        resize=resize if fields.get("do_resize") else None,
        crop=crop,
        mean=tuple(round(value, 6) for value in mean.tolist()),
        std=tuple(round(value, 6) for value in std.tolist()),
        interpolation=Image.Resampling(fields["resample"]).name.lower(),  # type: ignore[arg-type]
        channels=channels,
    )
    picture = Image.linear_gradient("L").resize((480, 360)).rotate(30).convert(mode)
    expected, actual = run(picture), preprocess(picture)
    if expected.shape != actual.shape or (expected - actual).abs().mean() * std.mean() > 0.01:
        warnings.warn(
            f"hf:{name} prepares images in its own way ({type(processor).__name__}), which "
            f"{preprocess} only approximates; give preprocess= if you know better",
            stacklevel=2,
        )
    return preprocess


def _hf_size(size: Mapping[str, int] | None) -> int | tuple[int, int] | None:
    if not size or not (size.get("shortest_edge") or size.get("height")):
        return None
    return size.get("shortest_edge") or (size["height"], size["width"])


def _scenes(name: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    from seewhy.data.scenes.networks import load_network

    module, classes, preprocess = load_network(name)
    if not pretrained:
        for part in module.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
    return LoadedModel(module, preprocess, tuple(classes), multi_label=True)


_ZOOS: dict[str, _Zoo] = {
    "scenes": _scenes,
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _hf,
}


def _own(module: str, factory: str, *, pretrained: bool, num_classes: int | None) -> LoadedModel:
    """The network of the user's `module:factory`, which knows no pretrained and no other size."""
    spec = f"{module}:{factory}"
    unknown = ModelError(
        f"model {spec!r}: {module!r} is neither one of {', '.join(_ZOOS)} nor a Python module "
        f"on the path{_did_you_mean(module, _ZOOS)}"
    )
    if module.startswith("."):
        raise unknown
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module exists, and something that it imports does not
        raise unknown from error
    make = getattr(imported, factory, None)
    if not callable(make) or isinstance(make, nn.Module):
        raise ModelError(
            f"model {spec!r}: {module} has no function {factory!r} that returns a network"
            f"{_did_you_mean(factory, [name for name in vars(imported) if name[0] != '_'])}"
        )
    made = make()
    if isinstance(made, LoadedModel):
        return made
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"model {spec!r}: {factory}() returned {type(made).__name__}; "
            "it must return an nn.Module or a seewhy.LoadedModel"
        )
    preprocess = getattr(made, "preprocess", None)
    return LoadedModel(
        made, preprocess if isinstance(preprocess, Preprocess) else _IMAGENET_PREPROCESS
    )


# --- weights ------------------------------------------------------------------------------------


def _with_weights(build: Callable[..., LoadedModel], path: Path, spec: str) -> LoadedModel:
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
    outputs = _number_of_outputs(model)
    sizes = {
        theirs[0] if len(theirs) and ours[:1] == (outputs,) and ours[1:] == theirs[1:] else None
        for ours, theirs in pairs
    }
    return sizes.pop() if len(sizes) == 1 else None


def _number_of_outputs(model: LoadedModel) -> int | None:
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


# --- class names --------------------------------------------------------------------------------


def _read_classes(
    source: str | Path | Sequence[str], spec: str, outputs: int | None
) -> tuple[str, ...]:
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


# --- packages -----------------------------------------------------------------------------------

_torchvision_lock = threading.Lock()
# The operators live as long as this object does.
_torchvision_schemas: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a PyTorch that its compiled operators do not fit.

    PyPI's torchvision is compiled against PyPI's CUDA build of torch. Beside a CPU-only torch its
    library cannot be loaded, and the import ends at the first operator that it wants to register
    something for. Networks and transforms need none of these operators, so where the import fails
    for this reason it is repeated with the operators declared, though not implemented.

    Raises:
        ModelError: torchvision is not installed.
    """
    global _torchvision_schemas
    with _torchvision_lock:
        try:
            return _import("torchvision", "torchvision")
        except RuntimeError as error:
            if "torchvision::nms does not exist" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        _torchvision_schemas = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            _torchvision_schemas.define(  # type: ignore[no-untyped-call]
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        return importlib.import_module("torchvision")


def _import_zoo(package: str, extra: str = "") -> ModuleType:
    """Import timm or transformers, which import torchvision where it is installed."""
    if importlib.util.find_spec("torchvision"):
        import_torchvision()
    return _import(package, extra or package)


def _import(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModelError(
            f'{package} is not installed; get it with: pip install "seewhy[{extra}]"'
        ) from error


# --- small things -------------------------------------------------------------------------------


@contextmanager
def _fetching(spec: str, downloads: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each zoo has its own errors for a missing network
        if not downloads:
            raise
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        local = ", or a local folder, hf:./folder" if spec.startswith("hf:") else ""
        raise ModelError(
            f"{spec} could not be fetched ({reason}). Where there is no connection, give the "
            f"weights as a file, weights=FILE (--weights FILE){local}"
        ) from error


def _side(size: Sequence[int] | None) -> int | tuple[int, int] | None:
    """A zoo's size, [side] or [height, width], as `Preprocess` writes it."""
    if size is None:
        return None
    return size[0] if len(size) == 1 else (size[0], size[1])


def _did_you_mean(word: str, options: Collection[str]) -> str:
    by_case = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(word.casefold(), by_case, n=3)
    return f"; did you mean {', '.join(repr(by_case[name]) for name in near)}?" if near else ""


def _some(keys: Collection[str]) -> str:
    return ", ".join(list(keys)[:3]) + (", ..." if len(keys) > 3 else "")
