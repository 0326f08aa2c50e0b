"""`seewhy explain`: pictures of the evidence for a class in photos."""

import glob
import json
import os
import re
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

import typer
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from rich.markup import escape
from rich.table import Table

from seewhy.cli import options
from seewhy.cli.common import err, flag, out, progress, tell_failed, usage_errors
from seewhy.cli.output import MARK, Output, ours, shortened, unused
from seewhy.core.targets import Predicted
from seewhy.data.finding import find_images
from seewhy.data.grey import checked
from seewhy.data.images import ImageError, encoded
from seewhy.explanation import gallery_of
from seewhy.models import DEFAULT_MODEL, LoadedModel, ModelError
from seewhy.models.loaded import number_of_classes
from seewhy.naming import parse
from seewhy.photos import Answer, PhotoTarget, answers, question
from seewhy.printable import abridged

LOSSY = (".jpg", ".jpeg", ".webp", ".heic", ".heif", ".avif")


MapFormat = Literal["npy", "npz", "png"]
Style = Literal["overlay", "contour"]


def explain(
    photos: Annotated[
        list[str] | None,
        typer.Argument(help="Photos, folders or globs. Default: the bundled sample scenes."),
    ] = None,
    model: options.ModelName = None,
    weights: options.Weights = None,
    classes: options.Classes = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeatable, or with commas, e.g. tsgb,grad_cam+gradual. See `seewhy methods`. "
            "Default: grad_cam, or another method if the network does not allow that."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Class name or index, or top3 for the three most likely classes; repeatable. "
            "Default: the predicted class, or each --text."
        ),
    ] = None,
    text: options.Texts = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Layer for the CAM family; several are averaged. See `seewhy layers`."),
    ] = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    activation: options.ActivationName = None,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="The grey values that become black and white, for X-rays and the like. Default: "
            "the file's own window, else its range of values.",
        ),
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Output folder.")] = Path("seewhy"),
    maps: Annotated[
        MapFormat | None,
        typer.Option(help="Also save the maps: as numbers (npy, npz) or 16-bit grey (png)."),
    ] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace existing files.")] = False,
    style: Annotated[Style, typer.Option(help="How the map is drawn.")] = "overlay",
    as_json: Annotated[
        bool, flag("--json", "Print one JSON object per photo instead of a table.")
    ] = False,
    device: options.Device = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Photos per forward pass.")] = 8,
    plugin: options.Plugins = None,
) -> None:
    """Explain photos: which parts of them are evidence for a class.

    For each photo, writes one picture for each target and method, and a gallery of all of them.
    Existing files are kept. The default network is photos:efficientnet_lite0, which is installed
    with Seewhy and predicts ImageNet's 1000 classes.
    """
    failures: dict[Path, list[str]] = {}
    with usage_errors():
        if model is None and not photos:
            model, photos = "scenes:resnet", sample_scenes(folder)
        elif model is None:
            model = DEFAULT_MODEL
            err.print(f"No --model given: explaining with [b]{model}[/b].")
        elif not photos:
            raise ValueError("name at least one photo, folder or glob")
        if window is not None:
            checked(window)
        methods = list(map(parse, options.parted(method))) or None
        paths = found_photos(photos or [], folder, failures)
        loaded = options.load(model, weights, classes, size, mean, std, device, activation, text)
        targets = parse_targets(target or [], loaded) if target or not text else list(text)
        asked = question(loaded, methods, targets, layer)
        output = Output(folder, paths, overwrite)
    taken: set[str] = set()
    names = {path: unused(shortened(path.stem, 100), taken) for path in paths}
    galleries = {path: output.path(names[path], "gallery", suffix="png") for path in paths}
    for path, gallery in galleries.items():  # before anything is computed
        try:
            output.check(gallery)
        except ValueError as error:
            failures[path] = [str(error)]
    wanted = [path for path in paths if path not in failures]
    done = 0
    with progress("Explaining", len(wanted), quiet=as_json) as advance:
        found = answers(
            asked, [(str(path), path) for path in wanted], window=window, batch_size=batch_size
        )
        for path, answer in zip(wanted, found, strict=True):
            reasons = [str(failure) for failure in answer.failures]
            files = save(answer, output, galleries[path], names[path], style, maps, reasons)
            if reasons:
                failures[path] = reasons
            done += bool(files)
            if as_json:
                print_record(path, answer, files, reasons)
            elif answer.explanations:
                report(path, answer, files)
            advance(1)
    if as_json:
        for path in [one for one in failures if one not in wanted]:
            print_record(path, Answer([], []), [], failures[path])
    else:
        where = f"; the pictures are in {escape(str(folder))}" if done else ""
        asked_for = len({*paths, *failures})  # also what is not there
        out.print(f"\n{done} of {asked_for} photo{'s' * (asked_for > 1)} explained{where}")
    for path, reasons in failures.items():
        for reason in reasons:
            tell_failed(abridged(path), reason.removeprefix(f"{abridged(path)}: "))
    if failures:
        raise typer.Exit(1)


def parse_targets(texts: list[str], model: LoadedModel) -> list[PhotoTarget]:
    """Class names and indices; top3 is three targets; none is the predicted class."""
    if not texts:
        return [None]
    count = number_of_classes(model) or 1000
    targets: list[PhotoTarget] = []
    for text in texts:
        if match := re.fullmatch(r"top(\d{1,9})", text):
            if int(match[1]) == 0:
                raise ValueError(f"--target {text}: ranks count from 1; top1 is the likeliest")
            targets += [Predicted(rank) for rank in range(1, min(int(match[1]), count) + 1)]
            continue
        try:
            index = model.class_index(text)
        except ModelError as error:
            hint = "; for several classes repeat --target" if "," in text else ""
            hint += "; for the likeliest classes give top1, top3, …" * text.startswith("top")
            raise ValueError(f"--target {text}: {error}{hint}") from None
        if index >= count:
            raise ValueError(
                f"--target {text}: {model.name} tells {count} classes apart, from 0 on"
            )
        targets.append(index)
    return targets


def sample_scenes(folder: Path) -> list[str]:
    """The bundled sample scenes, written as pictures where they are not there yet."""
    from seewhy import demo

    paths = []
    below = Output(folder, (), overwrite=False).folder / "scenes"
    output = Output(below, (), overwrite=False)
    for scene in demo.sample_scenes():
        path = below / f"{scene.key}.png"
        if not path.exists():
            output.write(path, scene.image.save)
        paths.append(str(path))
    err.print(
        f"No photo given: explaining {len(paths)} bundled sample scenes, in {below}, with the "
        "bundled network [b]scenes:resnet[/b]."
    )
    return paths


def found_photos(arguments: list[str], folder: Path, failures: dict[Path, list[str]]) -> list[Path]:
    """The photos that the arguments lead to; those that lead nowhere are failures.

    What commands like this wrote is left out, unless it is named outright: pictures in the output
    folder, where that is within a folder that is read, and those that are marked as ours.

    Raises ImageError where none leads anywhere.
    """
    paths: dict[str, Path] = {}  # by what they lead to: a file may be named in several ways
    problem: ImageError | None = None
    results = Path(os.path.realpath(folder))
    for argument in arguments:
        try:
            hits = find_images(argument)
            if hits != [Path(argument).expanduser()]:
                within = searched(argument).is_relative_to(results)
                hits = [
                    hit
                    for hit in hits
                    if (within or results not in Path(os.path.realpath(hit)).parents)
                    and not ours(hit)
                ]
                if not hits:
                    raise ImageError(f"{argument}: holds no images but those written by seewhy")
            for hit in hits:
                paths.setdefault(os.path.realpath(hit), hit)
        except ImageError as error:
            problem = error
            failures[Path(argument)] = [str(error)]
    if not paths and problem is not None:
        raise problem
    return list(paths.values())


def searched(argument: str) -> Path:
    """The folder in which a folder or a glob looks for photos."""
    path = Path(argument).expanduser()
    while glob.has_magic(str(path)) and not path.exists():  # a folder may be called "photos [2]"
        path = path.parent
    return Path(os.path.realpath(path))


def save(
    answer: Answer,
    output: Output,
    gallery: Path,
    name: str,
    style: Style,
    maps: MapFormat | None,
    reasons: list[str],
) -> list[Path]:
    """Write the pictures of one photo, last the gallery of them all; its path comes first.

    So where a gallery is there, nothing was cut off. What cannot be written is added to the
    reasons, and the rest is written all the same.
    """
    files: list[Path] = []

    def write(path: Path, saver: Callable[[Path], None]) -> None:
        try:
            output.write(path, saver)
            files.append(path)
        except Exception as error:  # a full disk, or a map that cannot be drawn
            reasons.append(str(error))

    for one in answer.explanations:
        draw = one.contour if style == "contour" else one.overlay
        # Photos that were compressed with loss would be many times as large as PNGs.
        lossy = Path(one.source or "").suffix.lower() in LOSSY
        picture = output.path(name, one.target, one.method, suffix="jpg" if lossy else "png")
        write(picture, lambda path, draw=draw: save_marked(draw(), path))  # type: ignore[misc]
        if maps is not None:
            # A 16-bit map is a .png too, beside the picture.
            suffix = "map.png" if maps == "png" else maps
            write(output.path(name, one.target, one.method, suffix=suffix), one.save_saliency)
    if answer.explanations:
        write(gallery, lambda path: save_marked(gallery_of(answer.explanations), path))
    return sorted(files, key=lambda file: file != gallery)


def save_marked(picture: Image.Image, path: Path) -> None:
    """Write a picture that says whose it is; a PNG quickly rather than small where it is large."""
    if path.suffix == ".jpg":
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = MARK[1]
        path.write_bytes(encoded(picture, "JPEG", quality=90, exif=exif))
        return
    about = PngInfo()
    about.add_text(*MARK)
    level = 1 if picture.width * picture.height > 4_000_000 else 6
    path.write_bytes(encoded(picture, "PNG", pnginfo=about, compress_level=level))


def report(path: Path, answer: Answer, files: list[Path]) -> None:
    """Tell what the network said of one photo and where the pictures are."""
    out.print(f"\n[b]{escape(str(path))}[/b]")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right")
    of = " of the picture" if answer.measure == "share" else ""
    for _, name, number in answer.top:
        table.add_row(f"{answer.written(number)}{of}", escape(name))
    out.print(table)
    if files:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        out.print(f"  [dim]{escape(str(files[0]))}{more}[/dim]", soft_wrap=True)


def print_record(path: Path, answer: Answer, files: list[Path], reasons: list[str]) -> None:
    """Print what is known of one photo as a line of JSON."""
    record = {
        "photo": str(path),
        "top": [
            # JSON knows no infinity.
            {"class": index, "name": name, answer.measure: number if isfinite(number) else None}
            for index, name, number in answer.top
        ],
        "explanations": [one.record() for one in answer.explanations],
        "files": [str(file) for file in files],
        "failures": reasons,
    }
    print(json.dumps(record), flush=True)
