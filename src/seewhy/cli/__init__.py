"""The command line. Exit codes: 0 done, 1 some inputs failed (the rest is done), 2 wrong usage."""

from __future__ import annotations

import typer

from seewhy.cli import bench, demo, evaluate, explain, lists, report, scenes, serve

app = typer.Typer(
    name="seewhy",
    help="See why a vision network said what it said.",
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

__all__ = ["app"]
