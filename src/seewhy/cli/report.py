"""`seewhy report`: a run as one page for the browser, or two runs compared."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from seewhy.bench import check_packages
from seewhy.cli import options
from seewhy.cli.common import err, out, progress, usage_errors


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run of `seewhy bench` or `seewhy evaluate`.")
    ],
    other: Annotated[
        Path | None, typer.Argument(help="Another run, to compare with the first.")
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option("--out", help="The page. Default: RUN/report.html, or OTHER/comparison.html."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric by which the gallery chooses its images. Default: the run's first metric "
            "that is not just hit or miss."
        ),
    ] = None,
    images: Annotated[
        int,
        typer.Option(
            min=0,
            help="Images of each kind in the gallery: best and worst of each method, and those on "
            "which methods disagree most; fewer if there are many methods, or the run has fewer "
            "pictures. 0 for no gallery.",
        ),
    ] = 3,
    plugin: options.Plugins = None,
) -> None:
    """Write a run as one web page, which can be viewed offline.

    With a second run, the page shows what differs between the two on the same images. Everything
    comes from the runs' folders. No file or module that they name is opened, imported or run.
    Metrics of a plugin need --plugin.
    """
    with usage_errors():
        check_packages()
        from seewhy.bench.report import write_comparison, write_report
        from seewhy.bench.store import Run
        from seewhy.draw.page import check_page

        first = Run.open(run)
        path = path or (run / "report.html" if other is None else other / "comparison.html")
        check_page(path)
        second = None if other is None else Run.open(other)
        title = "Reporting" if second is None else "Comparing"
        with progress(title, len(first.manifest["cells"])) as advance:
            if second is None:
                write_report(first, path, metric=metric, images=images, advance=advance)
            else:
                write_comparison(first, second, path, advance=advance)
        for folder, one in ((other, second), (run, first)):
            if one is not None and not one.complete:
                err.print(f"{escape(str(folder))} is incomplete: the page says how far it is")
    out.print(f"Open [b]{escape(str(path.resolve()))}[/b]", soft_wrap=True)
