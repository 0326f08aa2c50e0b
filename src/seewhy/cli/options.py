"""Options that commands share, and what they ask for: plugins, a network, names."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from seewhy.cli.common import usage_errors
from seewhy.models import LoadedModel, ModelError, load_model
from seewhy.models.answers import Activation
from seewhy.models.weights import SUFFIXES
from seewhy.models.zoos import ZOOS
from seewhy.plugins import load_plugins, on_path

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="photos:efficientnet_lite0, torchvision:NAME, timm:NAME, hf:NAME, scenes:resnet, "
        "scenes:vgg, scenes:vit, or package.module:NAME, your own network or a function that "
        "returns it. Default: photos:efficientnet_lite0, or scenes:resnet for bundled scenes.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help=f"A file of weights: {', '.join(SUFFIXES)}; files that would run code are refused. "
        "Or 'random'. Default: the zoo's pretrained weights."
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(help="Class names: one per line, or JSON (list, index to name or name to index)."),
]
Size = Annotated[
    str | None,
    typer.Option(
        help="Input size: 256 (shorter side, then the centre square) or 256x320 (height x width, "
        "the whole photo squashed). Default: as the model was trained."
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Mean for normalisation: one value, or one per channel, such as 0.5,0.5,0.5, for "
        "pixels from 0 to 1; or such as 127 for pixels from 0 to 255."
    ),
]
Std = Annotated[str | None, typer.Option(help="Standard deviation for normalisation, like --mean.")]
Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        help="A text for a text-image network (hf: CLIP or SigLIP); repeatable. The texts are the "
        "classes.",
    ),
]
ActivationName = Annotated[
    Activation | None,
    typer.Option(
        "--activation",
        help="How outputs become probabilities: softmax (one class of many), sigmoid (each class "
        "separately) or none (a regression). Default: the network's own, else softmax, or sigmoid "
        "for a single output.",
    ),
]


def load_named(plugins: list[str] | None) -> None:
    """Load the plugins that are named, before anything else is looked at."""
    with usage_errors():
        load_plugins(plugins or [])


Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        callback=load_named,
        is_eager=True,
        help="A Python module with your own methods, refinements, metrics, datasets or networks: "
        "mycam for mycam.py, in this folder or on Python's path. Repeatable. Installed plugins are "
        "always loaded.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")]


def load(
    spec: str,
    weights: str | None = None,
    classes: Path | None = None,
    size: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    device: str = "cpu",
    activation: Activation | None = None,
    texts: list[str] | None = None,
) -> LoadedModel:
    """The network with the preprocessing and the activation that the options ask for."""
    preprocess = parse_size(size) if size is not None else {}
    preprocess |= {
        name: parse_channels(name, text)
        for name, text in (("mean", mean), ("std", std))
        if text is not None
    }
    # package.module:factory is looked for in the working directory too; but a zoo is not, whatever
    # files there are called.
    here = on_path(Path()) if spec.partition(":")[0] not in ZOOS else nullcontext()
    try:
        with here:
            return load_model(
                spec,
                weights=weights,
                classes=classes,
                preprocess=preprocess,
                activation=activation,
                texts=texts or None,
                device=device,
            )
    except (ModelError, OSError):
        raise
    except Exception as error:  # the user's own factory may raise anything
        raise ValueError(f"--model {spec}: {type(error).__name__}: {error}") from None


def parse_size(text: str) -> dict[str, Any]:
    """256 -> shorter side and centre square; 256x320 -> the whole photo squashed."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise ValueError(
            f"--size {text}: give the side of a square, 256, or height x width, 256x320"
        )
    height, width = match.groups()
    if width is None:
        return {"resize": int(height), "crop": int(height)}
    return {"resize": (int(height), int(width)), "crop": None}


def parse_channels(name: str, text: str) -> float | tuple[float, ...]:
    """0.5 -> one value for all channels, 0.5,0.4,0.3 -> one for each."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} {text}: give numbers, as in 0.5 or 0.485,0.456,0.406") from None
    return values[0] if len(values) == 1 else values


def parted(texts: list[str] | None) -> list[str]:
    """Names that were given one by one, or with commas between them; none for None."""
    return [part for text in texts or () for part in _COMMA.split(text)]


# Not those between options or values: behind these a bracket closes that was opened before them.
_COMMA = re.compile(r",(?!(?:[^()]|\([^()]*\))*\))")
