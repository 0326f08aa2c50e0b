"""`seewhy evaluate`: methods graded by metrics on a dataset."""

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seewhy import evaluating
from seewhy.bench import check_packages
from seewhy.cli import options
from seewhy.cli.common import err, flag, out, progress, resumable, tell_all_failed, usage_errors
from seewhy.data.load import load_dataset
from seewhy.evaluation import protocols
from seewhy.evaluation.evaluation import Evaluation
from seewhy.metrics import metric
from seewhy.models import DEFAULT_MODEL
from seewhy.naming import parse

NARROWEST = 80  # columns, for a table of results


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="voc:FOLDER, coco:FOLDER, imagenet:FOLDER, folder:FOLDER or scenes:COUNT; with "
            "the prefix grids: for grids of its photos."
        ),
    ],
    model: options.ModelName = None,
    weights: options.Weights = None,
    classes: options.Classes = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeatable, or with commas; the others are compared with the first. Default: "
            "grad_cam and random."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeatable, or with commas, e.g. gini,iou(threshold=0.3). See `seewhy metrics`. "
            f"Default: {', '.join(evaluating.DEFAULT_METRICS)}."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Use a paper's metrics, and its methods if you name none: gig-cam, "
            "global-guidance, tsgb or gradual."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split: val, test, val2014, Segmentation/val …"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of images; for grids: of photos to choose from."),
    ] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(help="JSON file that maps each category to a list of the network's classes."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only targets among this many most likely classes.")
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Layer for the CAM family. See `seewhy layers`.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Tolerance of the pointing game in pixels of the photo, unless a metric sets its "
            "own: pointing_game(tolerance=5). Default: 15 if the longer side has 500 or more, in "
            "proportion less on smaller photos.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of insertion and deletion, unless a metric sets its own."),
    ] = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    activation: options.ActivationName = None,
    text: options.Texts = None,
    folder: Annotated[
        Path,
        typer.Option("--out", help="Output folder. The same call resumes an interrupted run."),
    ] = Path("evaluation"),
    as_json: Annotated[
        bool, flag("--json", "Print one JSON object per method and metric.")
    ] = False,
    device: options.Device = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    plugin: options.Plugins = None,
) -> None:
    """Evaluate methods with metrics on a dataset, with intervals and paired tests.

    Writes rows, summary, comparisons and omissions as CSV, and the rows as Parquet where pyarrow
    is installed.
    """
    with usage_errors(folder):
        papers = None if protocol is None else protocols.protocol(protocol)
        metrics = [*(papers.metrics if papers else ()), *options.parted(metric)]
        methods = list(map(parse, options.parted(method)))
        data = load_dataset(dataset, **({} if split is None else {"split": split}))[:limit]
        bundled = "scenes:resnet" if dataset.startswith("scenes") else DEFAULT_MODEL
        if model is None:
            err.print(f"No --model given: evaluating on [b]{bundled}[/b].")
        about = (weights, classes, size, mean, std, device, activation, text)
        loaded = options.load(model or bundled, *about)
        kept: Path | None = folder
        try:
            check_packages()
        except ValueError as error:
            kept = None
            if folder.is_dir() and any(folder.iterdir()):
                raise ValueError(f"{folder}: is not empty; name a new folder with --out") from None
            err.print(f"Nothing is kept before the end: {escape(str(error))}.")
        bar = progress("Evaluating", len(data), quiet=as_json)
        with nullcontext() if kept is None else resumable(), bar as advance:
            found = evaluating.evaluate(
                loaded,
                data,
                methods or (papers.methods if papers else evaluating.EVALUATED),
                metrics or evaluating.DEFAULT_METRICS,
                class_map=class_map,
                top=top,
                layer=layer or None,
                tolerance=tolerance,
                steps=steps,
                batch_size=batch_size,
                folder=kept,
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
        out.print(f"\nWritten to {escape(str(folder))}: {names}", soft_wrap=True)
    tell_all_failed(
        (" ".join(filter(None, (one.image, one.target, one.method))), one.reason)
        for one in found.failures
    )
    if found.failures:
        raise typer.Exit(1)


def tell(found: Evaluation, model: str, dataset: str, papers: protocols.Protocol | None) -> None:
    """Print an evaluation's summary, and the published figures of a protocol beside it."""
    summaries = found.summary()
    if not summaries:
        out.print("no values, for the reasons below")
    tests = {(one.metric, one.method): one for one in found.comparisons(found.first)}
    out.print(f"{escape(model)} on {found.images} images of {escape(dataset)}", soft_wrap=True)
    for name in dict.fromkeys(one.metric for one in summaries):
        better = "higher" if metric(name).higher_is_better else "lower"
        out.print(f"\n[b]{escape(name)}[/b], {better} is better", highlight=False)
        if metric(name).caution:
            out.print(f"[yellow]{escape(metric(name).caution)}[/yellow]", highlight=False)
        # On a narrower terminal lines go on below: else figures, and then names, would be left out.
        table = Table(box=None, width=NARROWEST if out.width < NARROWEST else None)
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
        out.print(table, crop=False)
    if summaries:
        out.print(
            "\n[dim]Means: over pairs of image and target. Intervals: bootstrap over images. p: "
            f"paired sign-flip test against {escape(str(found.first))} on the same images, each "
            "as the mean of its targets, corrected by Holm.[/dim]"
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
                where = (own[name].method, escape(model), escape(dataset))
                table.add_row(name, "measured", *where, ours)
            for figure in (one for one in papers.published if one.metric == name):
                where = (figure.method, figure.network, figure.dataset)
                table.add_row(name, "published", *where, f"{figure.percent:.2f}", style="dim")
        if papers.published:
            out.print("Published figures are the paper's, of other networks and photos.\n")
            out.print(table)
        else:
            out.print("No published figures are known here.")
