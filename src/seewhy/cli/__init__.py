"""The command line. Exit codes: 0 done, 1 some inputs failed (the rest is done), 2 wrong usage."""

import importlib.metadata
from typing import Annotated

import typer

from seewhy.cli import bench, demo, evaluate, explain, lists, report, scenes, serve
from seewhy.cli.common import notes

app = typer.Typer(
    name="seewhy",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    explain.explain,
    lists.methods,
    lists.refinements,
    lists.metrics,
    lists.models,
    lists.layers,
    evaluate.evaluate,
    bench.bench,
    report.report,
    serve.serve,
    demo.demo,
):
    app.command()(command)
app.add_typer(scenes.app, name="scenes")


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"seewhy {importlib.metadata.version('seewhy')}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=show_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Saliency maps of vision networks, and measurements of how good they are."""
    context.with_resource(notes())


__all__ = ["app"]
