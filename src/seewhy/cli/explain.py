"""`seewhy explain`: pictures of what in photos speaks for a class."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from seewhy.cli.common import (
    Classes,
    Device,
    Mean,
    ModelName,
    Size,
    Std,
    Weights,
    err,
    load,
    out,
    progress,
    usage_errors,
)

if TYPE_CHECKING:
    from seewhy.models import LoadedModel
    from seewhy.photos import Answer, PhotoTarget


class MapFormat(StrEnum):
    """How the saliency itself is saved."""

    npy = "npy"
    npz = "npz"
    png = "png"


class Style(StrEnum):
    """How the saliency is drawn."""

    overlay = "overlay"
    contour = "contour"


def explain(
    photos: Annotated[
        list[str] | None,
        typer.Argument(help="Photos, folders or globs. None: the bundled sample scenes."),
    ] = None,
    model: ModelName = None,
    weights: Weights = None,
    classes: Classes = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable, e.g. tsgb, grad_cam+gradual. See `seewhy methods`."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Class name or index, or top3 for the three likeliest; repeatable. Without it: "
            "the predicted class."
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Layer of the CAM family; several are averaged. See `seewhy layers`."),
    ] = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    folder: Annotated[Path, typer.Option("--out", help="Where the pictures go.")] = Path("seewhy"),
    maps: Annotated[
        MapFormat | None,
        typer.Option(help="Save the maps too: raw numbers (npy, npz) or 16-bit grey (png)."),
    ] = None,
    style: Annotated[Style, typer.Option(help="How the map is drawn.")] = Style.overlay,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per photo instead of a table.")
    ] = False,
    device: Device = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Photos per forward pass.")] = 8,
) -> None:
    """Explain photos: what in them speaks for a class.

    Writes, for each photo, one picture for each target and method, and a gallery of them all.
    """
    from seewhy.core.probe import layer_names
    from seewhy.data.images import ImageError, load_image
    from seewhy.naming import parse

    with usage_errors():
        if model is None:
            err.print("No --model given: explaining with the bundled network [b]scenes:resnet[/b].")
            photos = photos or sample_scenes(folder)
        elif not photos:
            raise ValueError("name at least one photo, folder or glob")
        methods = [str(parse(name)) for name in method or ["tsgb"]]
        failures: dict[Path, str] = {}
        paths = found_photos(photos, failures)
        loaded = load(model or "scenes:resnet", weights, classes, size, mean, std, device)
        targets = parse_targets(target or [], loaded)
        layer_names(loaded.module, layer)
        names = unique_names(paths)
        folder.mkdir(parents=True, exist_ok=True)

    with progress("Explaining", len(paths), quiet=as_json) as advance:
        for start in range(0, len(paths), batch_size):
            batch = {}
            for path in paths[start : start + batch_size]:
                try:
                    batch[path] = load_image(path)
                    loaded.preprocess.geometry(batch[path])
                except ImageError as error:
                    batch.pop(path, None)
                    failures[path] = str(error)
                    advance(1)
            for path, answer in answers(loaded, batch, methods, targets, layer, failures):
                files = save(answer, folder, names[path], style, maps)
                report(path, answer, files, as_json)
                advance(1)
    if not as_json:
        done = len(paths) - len(failures.keys() & set(paths))
        out.print(f"\n{done} of {len(paths)} photos explained; the pictures are in {folder}")
    if failures:
        for path, reason in failures.items():
            reason = reason.removeprefix(f"{path}: ")
            err.print(f"[red]failed[/red] {escape(str(path))}: {escape(reason)}", soft_wrap=True)
        raise typer.Exit(1)


def parse_targets(texts: list[str], model: LoadedModel) -> list[PhotoTarget]:
    """Class names and indices; top3 is three targets; none is the predicted class."""
    from seewhy.core.targets import Predicted

    targets: list[PhotoTarget] = []
    for text in texts:
        if match := re.fullmatch(r"top(\d+)", text):
            targets += [Predicted(rank) for rank in range(1, int(match[1]) + 1)]
        else:
            targets.append(model.class_index(text))
    return targets or [None]


def sample_scenes(folder: Path) -> list[str]:
    """The bundled sample scenes, written as pictures."""
    from seewhy import demo

    below = folder / "scenes"
    below.mkdir(parents=True, exist_ok=True)
    paths = []
    for scene in demo.sample_scenes():
        path = below / f"{scene.key}.png"
        scene.image.save(path)
        paths.append(str(path))
    err.print(f"No photo given: explaining {len(paths)} bundled sample scenes, written to {below}.")
    return paths


def found_photos(arguments: list[str], failures: dict[Path, str]) -> list[Path]:
    """The photos that the arguments lead to; those that lead nowhere are failures.

    Raises ImageError where none leads anywhere.
    """
    from seewhy.data.finding import find_images
    from seewhy.data.images import ImageError

    paths: dict[Path, None] = {}
    problem: ImageError | None = None
    for argument in arguments:
        try:
            paths.update(dict.fromkeys(find_images(argument)))
        except ImageError as error:
            problem = error
            failures[Path(argument)] = str(error)
    if not paths and problem is not None:
        raise problem
    return list(paths)


def unique_names(paths: list[Path]) -> dict[Path, str]:
    """A file name for the pictures of each photo: its own stem, numbered where two are alike."""
    names: dict[Path, str] = {}
    for path in paths:
        name, number = path.stem, 2
        while name in names.values():
            name, number = f"{path.stem}-{number}", number + 1
        names[path] = name
    return names


def answers(
    model: LoadedModel,
    batch: Mapping[Path, Any],
    methods: list[str],
    targets: list[PhotoTarget],
    layer: list[str] | None,
    failures: dict[Path, str],
) -> Iterator[tuple[Path, Answer]]:
    """Answers for a batch; where it fails as a whole, each photo is tried by itself."""
    from seewhy.photos import explain_photos

    paths = list(batch)
    if not paths:
        return
    try:
        sources = [str(path) for path in paths]
        found = explain_photos(
            model, list(batch.values()), methods, targets, layer=layer, sources=sources
        )
        yield from zip(paths, found, strict=True)
    except (ValueError, TypeError, RuntimeError) as error:
        if len(paths) == 1:
            failures[paths[0]] = str(error)
            return
        for path in paths:
            yield from answers(model, {path: batch[path]}, methods, targets, layer, failures)


def save(
    answer: Answer, folder: Path, name: str, style: Style, maps: MapFormat | None
) -> list[Path]:
    """Write the pictures of one photo; the gallery of them all comes first."""
    from seewhy.explanation import gallery_of

    gallery = folder / f"{name}.png"
    gallery_of(answer.explanations).save(gallery)
    files = [gallery]
    for explanation in answer.explanations:
        stem = folder / f"{name}.{slug(explanation.target)}.{slug(explanation.method)}"
        picture = Path(f"{stem}.png")
        drawn = explanation.contour() if style is Style.contour else explanation.overlay()
        drawn.save(picture)
        files.append(picture)
        if maps is not None:
            # A 16-bit map is a .png too, beside the picture.
            suffix = "map.png" if maps is MapFormat.png else maps.value
            files.append(Path(f"{stem}.{suffix}"))
            explanation.save_saliency(files[-1])
    return files


def slug(text: str) -> str:
    """Text as part of a file name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-")[:60]


def report(path: Path, answer: Answer, files: list[Path], as_json: bool) -> None:
    """Tell what the network said of one photo and where the pictures are."""
    if as_json:
        top = [{"class": i, "name": name, "probability": p} for i, name, p in answer.top]
        records = [explanation.record() for explanation in answer.explanations]
        record = {"photo": str(path), "top": top, "explanations": records}
        print(json.dumps({**record, "files": [str(file) for file in files]}), flush=True)
        return
    out.print(f"\n[b]{escape(str(path))}[/b]")
    table = Table(box=None, show_header=False, padding=(0, 1))
    for _, name, probability in answer.top:
        table.add_row(f"{100 * probability:5.1f} %", escape(name))
    out.print(table)
    out.print(f"  [dim]{escape(str(files[0]))} and {len(files) - 1} more[/dim]", soft_wrap=True)
