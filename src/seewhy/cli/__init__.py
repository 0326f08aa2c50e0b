"""The command line. Exit codes: 0 done, 1 some inputs failed (the rest is done), 2 wrong usage."""

from __future__ import annotations

import typer

from seewhy.cli import scenes
from seewhy.cli.bench import bench
from seewhy.cli.demo import demo
from seewhy.cli.evaluate import evaluate
from seewhy.cli.explain import explain
from seewhy.cli.lists import layers, methods, metrics, models, refinements
from seewhy.cli.report import report
from seewhy.cli.serve import serve

app = typer.Typer(
    name="seewhy",
    help="See why a vision network said what it said.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    explain,
    methods,
    refinements,
    metrics,
    models,
    layers,
    evaluate,
    bench,
    report,
    serve,
    demo,
):
    app.command()(command)
app.add_typer(scenes.app, name="scenes")

__all__ = ["app"]
