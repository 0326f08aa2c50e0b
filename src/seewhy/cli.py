"""The command line. Exit codes: 0 done, 1 some inputs failed (the rest is done), 2 wrong usage."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from seewhy.evaluate import Evaluation, Protocol
    from seewhy.models import LoadedModel
    from seewhy.naming import Entry
    from seewhy.photos import Answer, PhotoTarget

app = typer.Typer(
    name="seewhy",
    help="See why a vision network said what it said.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# A path such as a:x:b is no emoji.
out = Console(emoji=False)
err = Console(stderr=True, emoji=False)

# ------------------------------------------------------------------ options that commands share

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


class MapFormat(StrEnum):
    """How the saliency itself is saved."""

    npy = "npy"
    npz = "npz"
    png = "png"


class Style(StrEnum):
    """How the saliency is drawn."""

    overlay = "overlay"
    contour = "contour"


@app.command()
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
    from seewhy.data.images import ImageError, load_image
    from seewhy.naming import parse
    from seewhy.probe import layer_names

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


@app.command()
def methods(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the methods: what they do, source, options with defaults, and cost in passes."""
    import seewhy.methods  # noqa: F401 - registers them
    from seewhy.naming import METHODS

    list_entries(METHODS, as_json)


@app.command()
def refinements(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the refinements that can follow a method, as in grad_cam+NAME."""
    import seewhy.methods  # noqa: F401 - registers them
    from seewhy.naming import REFINEMENTS

    list_entries(REFINEMENTS, as_json)


@app.command()
def metrics(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the metrics: what they measure, which way is better, range, source and cost."""
    from seewhy.metrics import metric
    from seewhy.metrics import metrics as names

    described = [metric(name) for name in names()]
    if as_json:
        rows = [
            {
                "name": one.name,
                "summary": one.summary,
                "higher_is_better": one.higher_is_better,
                # JSON knows no infinity.
                "range": [one.range[0], one.range[1] if one.range[1] < float("inf") else None],
                "passes": one.passes,
                "source": one.source,
            }
            for one in described
        ]
        print(json.dumps(rows))
        return
    for one in described:
        direction = "higher" if one.higher_is_better else "lower"
        about = f"{direction} is better, {one.range[0]:g} to {one.range[1]:g}"
        out.print(f"[b]{one.name}[/b]  [cyan]{escape(one.passes)}[/cyan]  {about}", highlight=False)
        out.print(Padding(f"{escape(one.summary)}\n[dim]{escape(one.source)}[/dim]", (0, 4)))
    out.print("\n[dim]F: forward pass, E: explanation, S: steps, samples or layers[/dim]")


@app.command()
def models(
    zoo: Annotated[
        str | None, typer.Argument(help="scenes, torchvision or timm: list all of its networks.")
    ] = None,
) -> None:
    """List the networks that --model knows."""
    from seewhy.models.load import available_models

    with usage_errors():
        found = available_models(zoo)
    if zoo:
        out.print("\n".join(found), highlight=False)
        return
    table = Table("zoo", "networks", "for example", box=None)
    for prefix in dict.fromkeys(name.split(":")[0] for name in found):
        own = [name for name in found if name.startswith(f"{prefix}:")]
        table.add_row(prefix, str(len(own)), ", ".join(own[:: max(1, len(own) // 4)][:4]))
    table.add_row("hf", "", "hf:microsoft/resnet-50, or hf:./folder")
    table.add_row("your own", "", "package.module:factory --weights FILE")
    out.print(table)


@app.command()
def layers(
    model: ModelName = None,
    weights: Weights = None,
    size: Size = None,
    all_layers: Annotated[
        bool, typer.Option("--all", help="Every layer with maps, not only the stages.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List the layers that the CAM family can explain, and mark the one chosen by default."""
    import torch
    from PIL import Image

    from seewhy.layers import public_name
    from seewhy.probe import layers_of

    with usage_errors():
        loaded = load(model or "scenes:resnet", weights, None, size, None, None, "cpu")
        side = loaded.preprocess(Image.new("RGB", (256, 256))).shape
        seen, chosen, stages = layers_of(loaded.module, torch.rand(1, *side))
    by_name = {name: layer for layer in seen for name in layer.names}  # the last call counts
    roles = {by_name[name]: (name, "stage") for name in stages}
    roles[by_name[chosen]] = (chosen, "default")
    rows = []
    for layer in dict.fromkeys(by_name.values()):
        if layer in roles or (all_layers and not layer.pooled):
            name, role = roles.get(layer, (public_name(layer, seen), ""))
            shape = [layer.layout.channels, *layer.grid]
            rows.append({"layer": name, "kind": layer.kind, "shape": shape, "role": role})
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("layer", "kind", "channels", "resolution", "", box=None)
    for row in rows:
        k, h, w = row["shape"]
        style = "bold green" if row["role"] == "default" else None
        cells = (row["layer"], row["kind"], str(k), f"{h}x{w}", row["role"])
        table.add_row(*map(str, cells), style=style)
    out.print(table)


@app.command()
def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="voc:FOLDER, coco:FOLDER, imagenet:FOLDER, folder:FOLDER or scenes:COUNT."
        ),
    ],
    model: ModelName = None,
    weights: Weights = None,
    classes: Classes = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Repeatable; the first is compared with the others. tsgb and grad_cam."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Repeatable. See `seewhy metrics`.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="A paper's metrics, and its methods where none are named: gig-cam, "
            "global-guidance, tsgb or gradual."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the dataset: val, test, val2014, Segmentation/val …")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many images.")] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(help="JSON: from each category to a list of the network's classes."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only targets among the so many likeliest classes.")
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Layer of the CAM family. See `seewhy layers`.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Of the pointing game, in pixels of the photo.")
    ] = 15,
    steps: Annotated[int, typer.Option(min=1, help="Of insertion and deletion.")] = 32,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    folder: Annotated[
        Path,
        typer.Option("--out", help="Where the tables go. The same call goes on where it stopped."),
    ] = Path("evaluation"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per method and metric.")
    ] = False,
    device: Device = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
) -> None:
    """Grade methods by metrics on a dataset, with intervals and paired tests.

    Writes rows, summary, comparisons and omissions as CSV, and the rows as Parquet where pyarrow
    is installed.
    """
    from seewhy.data.load import load_dataset
    from seewhy.evaluate import DEFAULT_METRICS
    from seewhy.evaluate import evaluate as evaluate_methods
    from seewhy.evaluate import protocol as protocol_of

    with usage_errors():
        papers = None if protocol is None else protocol_of(protocol)
        asked = [*(papers.metrics if papers else ()), *(metric or [])] or list(DEFAULT_METRICS)
        methods = method or (list(papers.methods) if papers else ["tsgb", "grad_cam"])
        data = load_dataset(dataset, **({} if split is None else {"split": split}))[:limit]
        loaded = load(model or "scenes:resnet", weights, classes, size, mean, std, device)
        with progress("Evaluating", len(data), quiet=as_json) as advance:
            found = evaluate_methods(
                loaded,
                data,
                methods,
                asked,
                class_map=class_map,
                top=top,
                layer=layer or None,
                tolerance=tolerance,
                steps=steps,
                batch_size=batch_size,
                folder=folder,
                advance=advance,
            )
        files = found.save(folder)
    if as_json:
        for summary in found.summary():
            values = {k: None if v != v else v for k, v in asdict(summary).items()}
            print(json.dumps(values))
    else:
        tell(found, loaded.name, dataset, papers)
        names = ", ".join(file.name for file in files)
        out.print(f"\nWritten to {folder}: {names}", soft_wrap=True)
    for one in found.failures:
        about = f" {one.method}" if one.method else ""
        err.print(
            f"[red]failed[/red] {escape(one.image)}{escape(about)}: {escape(one.reason)}",
            soft_wrap=True,
        )
    if found.failures:
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where the pictures go.")] = Path("demo"),
) -> None:
    """Explain a few bundled scenes by every method, and grade the methods; no download."""
    from seewhy import demo as demonstration
    from seewhy.data.scenes import SAMPLES

    with progress("Explaining scenes", len(SAMPLES), quiet=False) as advance:
        grades = demonstration.demo(folder, advance)
    table = Table("method", "pointing game", "energy on the object", box=None)
    for grade in grades:
        table.add_row(
            grade.method,
            demonstration.shown(grade.pointing),
            demonstration.shown(grade.energy),
        )
    out.print(f"scenes:resnet, graded on {grades[0].count} objects, 95 % intervals\n")
    out.print(table)
    page = (folder / "index.html").resolve()
    out.print(f"\nOpen [b]{page}[/b] or {folder / 'gallery.png'}", soft_wrap=True)


scenes_app = typer.Typer(no_args_is_help=True, help="The rendered scenes with known evidence.")
app.add_typer(scenes_app, name="scenes")


class Layout(StrEnum):
    """How scenes are written."""

    voc = "voc"
    coco = "coco"
    folder = "folder"


@scenes_app.command("export")
def scenes_export(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 100,
    layout: Annotated[Layout, typer.Option(help="Directory layout.")] = Layout.voc,
    seed: Annotated[int, typer.Option(min=0, help="Which scenes.")] = 0,
    size: Annotated[int, typer.Option(min=16, help="Side of each picture in pixels.")] = 128,
) -> None:
    """Write scenes with their labels, boxes and masks for standard dataset readers."""
    from seewhy.data.scenes import export

    with usage_errors():
        root = export(folder, count, layout.value, seed=seed, size=size)
    out.print(f"{count} scenes in {root}")


# ------------------------------------------------------------------ what the commands are made of


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

    sys.path.insert(0, "")  # package.module:factory is looked for in the working directory too
    try:
        loaded = load_model(spec, weights=weights, classes=classes, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a missing device
        if device == "cpu":
            raise
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None
    finally:
        sys.path.remove("")
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


def parse_targets(texts: list[str], model: LoadedModel) -> list[PhotoTarget]:
    """Class names and indices; top3 is three targets; none is the predicted class."""
    from seewhy.targets import Predicted

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
    from seewhy.data.images import ImageError, find_images

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


@contextmanager
def progress(title: str, total: int, quiet: bool) -> Iterator[Any]:
    """A progress bar on the terminal for more than one item; calls of `advance(n)` move it."""
    shown = total > 1 and not quiet and err.is_terminal
    with Progress(console=err, transient=True, disable=not shown) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)


def tell(found: Evaluation, model: str, dataset: str, papers: Protocol | None) -> None:
    """Print an evaluation's summary, and the published figures of a protocol beside it."""
    from seewhy.metrics import metric

    summaries = found.summary()
    if not summaries:
        out.print("no values: nothing in these images could be explained and graded")
    tests = {(one.metric, one.method): one for one in found.comparisons(found.first)}
    out.print(f"{escape(model)} on {found.images} images of {escape(dataset)}", soft_wrap=True)
    for name in dict.fromkeys(one.metric for one in summaries):
        better = "higher" if metric(name).higher_is_better else "lower"
        out.print(f"\n[b]{name}[/b], {better} is better", highlight=False)
        table = Table(box=None)
        table.add_column("method", overflow="fold")
        for heading in ("mean", "95 % interval", "by class", "values", "images", "rank", "p"):
            table.add_column(heading, no_wrap=True, justify="right")
        for one in summaries:
            if one.metric == name:
                test = tests.get((name, one.method))
                table.add_row(
                    escape(one.method),
                    f"{one.mean:.3f}",
                    f"{one.low:.3f} … {one.high:.3f}",
                    f"{one.class_mean:.3f}",
                    str(one.values),
                    str(one.images),
                    f"{one.mean_rank:.2f}",
                    "" if test is None else f"{test.p_holm:.3g}",
                )
        out.print(table)
    if summaries:
        out.print(
            "\n[dim]Intervals: bootstrap over images. p: paired sign-flip test against "
            f"{escape(str(found.first))} on the same images, corrected by Holm.[/dim]"
        )
    for reason, count in found.left_out.items():
        out.print(f"{count} targets left out: {escape(reason)}")
    if papers is not None:
        out.print(f"\n[b]{escape(papers.source)}[/b]. {escape(papers.note)}")
        own = {one.metric: one for one in summaries if one.method == papers.methods[0]}
        table = Table("metric", "", "method", "network", "data", "%", box=None)
        for name in dict.fromkeys(one.metric for one in papers.published):
            if name in own:
                ours = f"{100 * own[name].mean:.2f}"
                table.add_row(name, "measured", own[name].method, model, dataset, ours)
            for figure in (one for one in papers.published if one.metric == name):
                where = (figure.method, figure.network, figure.dataset)
                table.add_row(name, "published", *where, f"{figure.percent:.2f}", style="dim")
        if papers.published:
            out.print("Published figures are the paper's, of other networks and photos.\n")
            out.print(table)
        else:
            out.print("No published figures are known here.")


def list_entries(entries: dict[str, Entry], as_json: bool) -> None:
    """Print registered methods or refinements."""
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "summary": entry.summary,
            "options": {key: repr(value) for key, value in entry.options.items()},
            "passes": entry.passes,
            "source": entry.source,
        }
        for name, entry in sorted(entries.items())
    ]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
        call = f"[b]{row['name']}[/b]" + (f"({escape(options)})" if options else "")
        out.print(f"{call}  [cyan]{escape(row['passes'])}[/cyan]", highlight=False)
        out.print(Padding(f"{escape(row['summary'])}\n[dim]{escape(row['source'])}[/dim]", (0, 4)))
    out.print("\n[dim]F: forward pass, B: backward pass, h: backward to the layer only[/dim]")


if __name__ == "__main__":
    app()
