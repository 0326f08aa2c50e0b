"""Networks by name: torchvision, timm and transformers, the bundled ones, or your own factory."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from seewhy.data.images import Preprocess
from seewhy.models.loaded import LoadedModel, ModelError
from seewhy.models.packages import import_torchvision, import_zoo
from seewhy.models.weights import number_of_outputs, read_classes, with_weights
from seewhy.models.zoos import ZOOS, own_network, torchvision_names


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
            f"with one of {', '.join(ZOOS)}, or package.module:factory"
        )
    build = partial(ZOOS[zoo], name) if zoo in ZOOS else partial(own_network, zoo, name)
    if weights is None or weights == "random":
        model = build(pretrained=weights is None, num_classes=None)
    else:
        model = with_weights(build, Path(weights), spec)
    if classes is not None:
        model = replace(model, classes=read_classes(classes, spec, number_of_outputs(model)))
    module = model.module.to(device).eval()
    return replace(model, module=module, preprocess=preprocess or model.preprocess, name=spec)


def list_models(zoo: str | None = None) -> list[str]:
    """The specifications that can be listed: bundled networks and those of installed zoos.

    `zoo` is one of "scenes", "torchvision", "timm" and asks for its networks alone. The Hugging
    Face hub (`hf:`) cannot be listed.
    """
    listings: dict[str, Callable[[], list[str]]] = {
        "scenes": lambda: ["resnet", "vgg"],
        "torchvision": lambda: torchvision_names(import_torchvision()),
        "timm": lambda: list(import_zoo("timm").list_models()),
    }
    if zoo is not None and zoo not in listings:
        raise ModelError(f"zoo {zoo!r} has no list; give one of {', '.join(listings)}")
    installed = [name for name in listings if name == "scenes" or importlib.util.find_spec(name)]
    asked = installed if zoo is None else [zoo]
    return [f"{prefix}:{name}" for prefix in asked for name in listings[prefix]()]
