"""Networks by name: those for photos, those of the model zoos, the bundled ones, or your own."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from seewhy.data.preprocess import Preprocess
from seewhy.models import zoos
from seewhy.models.answers import Activation
from seewhy.models.loaded import LoadedModel, ModelError
from seewhy.models.metadata import read_classes, with_classes
from seewhy.models.texts import with_texts
from seewhy.models.weights import SUFFIXES, with_weights
from seewhy.models.zoos import ZOOS, Build, Zoo
from seewhy.naming import add, suggestion
from seewhy.notes import note
from seewhy.options import check, checking, shown

DEFAULT_MODEL = "photos:efficientnet_lite0"
"""The network that explains photos where none is named: installed with Seewhy, offline."""


def load_model(
    spec: str = DEFAULT_MODEL,
    *,
    weights: str | Path | None = None,
    classes: str | Path | Sequence[str] | None = None,
    preprocess: Preprocess | Mapping[str, Any] | None = None,
    activation: Activation | None = None,
    texts: Sequence[str] | None = None,
    device: str | torch.device = "cpu",
) -> LoadedModel:
    """Load a network by its specification.

    spec: `photos:efficientnet_lite0` (installed with Seewhy; `_lite1` and `_lite2` with
        `seewhy[photos]`), `torchvision:resnet50`, `timm:convnext_tiny`,
        `hf:microsoft/resnet-50` (or a local folder, `hf:./folder`), `scenes:resnet` (bundled),
        or `package.module:name`: an `nn.Module` on Python's path (which is copied), or a
        function without arguments that returns one or a `LoadedModel`. A `Preprocess` in the
        module's attribute `preprocess` is used.
    weights: None for the zoo's pretrained weights, which are downloaded unless they are cached
        (your own network keeps its weights); "random" for an initialisation of a zoo's network by
        torch's global random generator; or a file with a state dict, alone or in a checkpoint:
        `.safetensors`, `.pt`, `.pth`, `.bin`, `.ckpt`, `.tar`, `.th` or `.pkl`. Files that would
        run code are refused. Prefixes of wrappers are removed, and extra tensors are ignored, with
        a note. If the file differs from the zoo's network only in the number of classes, the
        network gets the file's number.
    classes: names of the classes, in order: a sequence; a text file with one per line; or a
        JSON file with a list, or an object from index to name or name to index. None: the zoo's
        names.
    preprocess: a `Preprocess`; or some of its settings, such as `{"mean": 127, "std": 128}`;
        or None for, in this order, the safetensors file's metadata (JSON values under `resize`,
        `crop`, `mean`, `std`, `interpolation`, `channels`; also `classes` and `activation`), the
        zoo's settings, and ImageNet's usual preprocessing (shorter side 256, centre 224), with a
        note if that is assumed for your own network.
    activation: how outputs become probabilities, see `LoadedModel`; None: as in the file or the
        zoo.
    texts: the texts of a text-image network (`hf:` CLIP and SigLIP), which become its classes, see
        `seewhy.targets.Text`.
    device: the device of the network.

    Raises ModelError for a wrong specification, file or setting, a failed download, or a missing
    package; TypeError for a network or preprocessing of another type.
    """
    if not isinstance(spec, str):
        raise TypeError(
            f"model is a {type(spec).__name__}; give a name such as 'photos:efficientnet_lite0'; "
            "a network that you have is used by seewhy.LoadedModel(module, preprocess, classes)"
        )
    check("load_model", load_model, {"weights": weights, "device": device})
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a missing one
        said = str(error).splitlines()[0]
        raise ModelError(f"device={str(device)!r} (--device): {said}") from None
    zoo, _, name = spec.partition(":")
    if not zoo or not name:
        if Path(spec).suffix in SUFFIXES:
            raise ModelError(
                f"model {spec!r} is a file of weights; name the network that they fit, such as "
                "torchvision:resnet50 or package.module:factory, with weights=FILE (--weights FILE)"
            )
        if zoo in ZOOS:
            raise ModelError(f"model {spec!r} names no network; write {zoo}:NAME")
        raise ModelError(
            f"model {spec!r} names no zoo; write e.g. torchvision:{spec.strip(':') or 'resnet50'}, "
            f"with one of {', '.join(ZOOS)}, or package.module:factory"
        )
    if texts is not None and zoo != "hf":
        raise ModelError(f"texts= (--text) is for text-image networks of hf:, which {spec} is not")
    if texts is not None and classes is not None:
        raise ModelError("give texts= or classes=: of a text-image network texts are classes")

    def build(**about: Any) -> LoadedModel:
        if zoo not in ZOOS:
            return zoos.as_loaded(zoos.own_network(zoo, name), spec)
        make = ZOOS[zoo].function if texts is None else zoos.hf_text_image
        # Where files are read, and as photos come, whatever torch's defaults and the zoo's are.
        with torch.device("cpu"):
            made = zoos.as_loaded(make(name, **about), spec)
        made.module.float()
        return made

    if weights is None or weights == "random":
        model = build(pretrained=weights is None, num_classes=None)
        if weights == "random" and zoo not in ZOOS:
            raise ModelError(
                f"weights='random': {spec} is a network of your own, which keeps the weights that "
                "it comes with; name a function that returns it with random ones"
            )
    else:
        model = with_weights(build, Path(weights), spec)
    try:
        module = model.module.to(device)
    except NotImplementedError:  # torch's, for what has no values
        raise ModelError(
            f"model {spec!r}: weights are on the device 'meta', where they hold no values; load "
            "them in the function, as in model.to_empty(device='cpu') and model.load_state_dict(…)"
        ) from None
    model = replace(
        model,
        module=module.eval(),
        preprocess=_preprocess(model, preprocess, spec),
        activation=activation or model.activation,
        name=spec,
    )
    if texts is not None:
        with torch.device("cpu"):
            return with_texts(model, zoos.from_hub(name, "Tokenizer"), texts)
    if classes is not None:
        where, names = read_classes(classes)
        model = with_classes(model, names, where)
    return model


def register_models(
    source: str, names: Callable[[], Sequence[str]] | None = None
) -> Callable[[Build], Build]:
    """Make a function a source of networks: `load_model("SOURCE:NAME")`.

    It is `function(name, *, pretrained, num_classes)` and returns a `LoadedModel`, or an
    `nn.Module`. With `pretrained=False` the user's file replaces the weights; `num_classes` is
    None, or the number of classes in that file. `names` returns the names for `list_models`.
    """

    def register(function: Build) -> Build:
        add("model source", ZOOS, source, Zoo(function, names))
        return function

    return register


def _preprocess(
    model: LoadedModel, given: Preprocess | Mapping[str, Any] | None, spec: str
) -> Preprocess:
    """The user's settings, else the file's, else the network's; a note of what is assumed."""
    if given is not None and not isinstance(given, Mapping):
        return given  # a `LoadedModel` checks it
    changes = dict(given or {})
    known = [field.name for field in fields(Preprocess)]
    for name in changes:
        if name not in known:
            meant = suggestion(str(name), known)
            raise ModelError(f"preprocess of {spec}: there is no setting {shown(name)}{meant}")
    try:
        found = replace(model.preprocess, **changes)
    except (TypeError, ValueError) as error:
        raise ModelError(f"preprocess of {spec}: {error}") from error
    assumed_all = model.preprocess is zoos.assumed(zoos.channels_of(model.module))
    if assumed_all and not {"resize", "mean", "std"} <= set(changes):
        note(
            f"{spec} does not define its preprocessing; assuming {found}. If that is wrong, give "
            "preprocess= (--size, --mean, --std), or let the network have an attribute `preprocess`"
        )
    return found


@checking
def list_models(zoo: str | None = None) -> list[str]:
    """The specifications of the bundled networks and those of installed zoos.

    `zoo` is "photos", "scenes", "torchvision", "timm" or a plugin's source, and selects its
    networks. The Hugging Face hub (`hf:`) cannot be listed.
    """
    lists = {name: one.names for name, one in ZOOS.items() if one.names}
    if zoo is not None and zoo not in lists:
        raise ModelError(f"zoo {zoo!r} has no list; give one of {', '.join(lists)}")
    missing = [name for name in ("torchvision", "timm") if not importlib.util.find_spec(name)]
    asked = [name for name in lists if name not in missing] if zoo is None else [zoo]
    return [f"{prefix}:{name}" for prefix in asked for name in lists[prefix]()]
