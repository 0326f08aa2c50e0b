"""The command line.

Exit codes: 0 done, 1 some inputs failed (the rest is done) or the disk did, 2 wrong usage,
130 Ctrl-C, 141 the reader of a pipe ended first, as in `seewhy methods | head`.
"""

import importlib.metadata
import io
import signal
import sys
from typing import Annotated, Any

import typer

from seewhy.cli import bench, demo, evaluate, explain, lists, report, scenes, serve
from seewhy.cli.common import flag, notes, printing


class App(typer.Typer):
    """The commands as a process, which ends in words where its output cannot be written."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the command that the arguments name, and end."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see `seewhy.interrupting`
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # letters that its encoding lacks
                stream.reconfigure(errors="backslashreplace")
        with printing():
            super().__call__(*args, **options)


app = App(
    name="seewhy",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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
        bool, flag("--version", "Print the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Saliency maps of vision networks, and measurements of how good they are."""
    context.with_resource(notes())


__all__ = ["app"]
