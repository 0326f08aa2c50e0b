"""What commands share: consoles, options, the network they ask for, errors and progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.text import Text

from seewhy.printable import printable

if TYPE_CHECKING:
    from seewhy.models import LoadedModel


class Safe(Console):
    """A console that spells out control codes: files' names and messages may be anyone's."""

    def render_str(self, text: str, **options: Any) -> Text:
        """What every text that is printed goes through, those in tables included."""
        return super().render_str(printable(text), **options)


# A path such as a:x:b is no emoji.
out = Safe(emoji=False)
err = Safe(stderr=True, emoji=False)

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="torchvision:NAME, timm:NAME, hf:NAME, scenes:resnet, scenes:vgg or package.module:"
        "factory. Without it: scenes:resnet, which is bundled.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Weights: .safetensors, or .pt/.pth/.bin with tensors only. Without it the zoo's "
        "pretrained ones; 'random' for none."
    ),
]
Classes = Annotated[
    Path | None, typer.Option(help="Class names: one per line, or JSON (list, or index to name).")
]
Size = Annotated[
    str | None,
    typer.Option(
        help="Network input: 256 (shorter side, then the centre square) or 256x320 (height x "
        "width, the whole photo squashed). Without it: as the model was trained."
    ),
]
Mean = Annotated[
    str | None, typer.Option(help="Normalisation: one value, or one per channel: 0.5,0.5,0.5.")
]
Std = Annotated[str | None, typer.Option(help="Normalisation, as --mean.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps …")]


@contextmanager
def usage_errors() -> Iterator[None]:
    """Wrong usage is one clear line and exit code 2, not a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        err.print(f"[red]error[/red] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None


def load(
    spec: str,
    weights: str | None,
    classes: Path | None,
    size: str | None,
    mean: str | None,
    std: str | None,
    device: str,
) -> LoadedModel:
    """The network with the preprocessing that the options ask for."""
    from seewhy.models import load_model
    from seewhy.models.zoos import ZOOS

    # package.module:factory is looked for in the working directory too; but a zoo is not, whatever
    # files there are called.
    here = [""] if spec.partition(":")[0] not in ZOOS else []
    sys.path[:0] = here
    try:
        loaded = load_model(spec, weights=weights, classes=classes, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a missing device
        if device == "cpu":
            raise
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None
    finally:
        for path in here:
            sys.path.remove(path)
    preprocess = loaded.preprocess
    if size is not None:
        preprocess = replace(preprocess, **parse_size(size))
    if mean is not None:
        preprocess = replace(preprocess, mean=parse_channels("mean", mean, preprocess.channels))
    if std is not None:
        preprocess = replace(preprocess, std=parse_channels("std", std, preprocess.channels))
    return replace(loaded, preprocess=preprocess)


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


def parse_channels(name: str, text: str, channels: int) -> tuple[float, ...]:
    """0.5 or 0.5,0.5,0.5 -> one value per channel."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} {text}: give numbers, as in 0.5 or 0.485,0.456,0.406") from None
    return values * channels if len(values) == 1 else values


@contextmanager
def progress(title: str, total: int, quiet: bool) -> Iterator[Any]:
    """A progress bar on the terminal for more than one item; calls of `advance(n)` move it."""
    shown = total > 1 and not quiet and err.is_terminal
    with Progress(console=err, transient=True, disable=not shown) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)
