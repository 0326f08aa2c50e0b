"""What commands share: consoles, notes, errors and progress."""

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table
from rich.text import Text

from seewhy.notes import telling
from seewhy.printable import printable

LONGEST = 5_000  # characters
GONE = 128 + 13  # as of a process that died of SIGPIPE


class Safe(Console):
    """A console for files' names and messages, which may be anyone's.

    It spells out control codes, and cuts off what would take minutes to be highlighted.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """What every text that is printed goes through, those in tables included."""
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}…"
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """End, see `printing`."""
        raise SystemExit(GONE)


# A path such as a:x:b is no emoji.
out = Safe(emoji=False)
err = Safe(stderr=True, emoji=False, soft_wrap=True)


@contextmanager
def notes() -> Iterator[None]:
    """Show what was assumed, ignored or adapted as lines, each once, not as Python's warnings."""
    with telling(lambda text: err.print(f"[yellow]note[/yellow] {escape(text)}")):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # there is a bound of ours
        yield


@contextmanager
def usage_errors(run: Path | None = None) -> Iterator[None]:
    """Wrong usage is one clear line and exit code 2, not a traceback.

    run: a folder that is gone on with, of which missing plugins are told, too.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        tell_error(error)
        if run is not None:
            tell_plugins(run)
        raise typer.Exit(2) from None


@contextmanager
def resumable() -> Iterator[None]:
    """Inside, a run is kept in a folder: if Ctrl-C or the disk ends it, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("interrupted; what is finished is kept, and the same command goes on from there")
        raise
    except OSError as error:
        tell_error(error)
        err.print("When that is mended, the same command goes on from there.")
        raise typer.Exit(1) from None


def tell_error(error: Exception) -> None:
    """One line about an error."""
    said = str(error)
    if isinstance(error, OSError) and error.filename:  # Python's own begins with a number
        said = f"{error.filename}: {error.strerror}"
    err.print(f"[red]error[/red] {escape(said)}")


def tell_plugins(folder: Path) -> None:
    """One line about the plugins that a run in the folder had and that are not loaded, if any."""
    from seewhy.bench.fingerprints import plugins_lacking

    with suppress(ValueError, OSError, ImportError):  # there is no run, or no way to read it
        from seewhy.bench.store import Run

        if ways := plugins_lacking(Run.at(folder).manifest):
            said = escape(f"{folder} is a run with plugins that are not loaded: {ways}")
            err.print(f"[yellow]note[/yellow] {said}")


@contextmanager
def printing() -> Iterator[None]:
    """End the process where nothing can be printed: quietly if nobody reads, else with a line."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except (OSError, SystemExit) as error:
        # Consoles and Typer answer a broken pipe with an exit of their own.
        gone = isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)
        if isinstance(error, SystemExit) and not gone:
            raise
        if sys.stdout is not None:  # what is still to be written would fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not gone:
            err.print(f"[red]error[/red] {escape(str(error))}")
        sys.exit(GONE if gone else 1)


def flag(name: str, help: str, **options: Any) -> Any:
    """An option that takes no value, and has no opposite."""
    return typer.Option(name, metavar="", help=help, **options)


def table_of(*headings: str) -> Table:
    """A table without lines; what is too long for a narrow terminal is folded, and not cut off."""
    return Table(*(Column(heading, overflow="fold") for heading in headings), box=None)


def tell_failed(what: str, reason: str) -> None:
    """One line about a photo or map that failed."""
    err.print(f"[red]failed[/red] {escape(what)}: {escape(reason)}")


def tell_all_failed(failures: Iterable[tuple[str, str]]) -> None:
    """A line about each of what failed, and of those with one reason about the first ten.

    A method that does not suit a network fails with each image of a dataset.
    """
    alike: dict[str, list[str]] = {}
    for what, reason in failures:
        alike.setdefault(reason, []).append(what)
    for reason, all_of_them in alike.items():
        for what in all_of_them[:10]:
            tell_failed(what, reason)
        if left := len(all_of_them[10:]):
            err.print(f"[red]failed[/red] {left} more for the same reason")


@contextmanager
def progress(title: str, total: int, quiet: bool = False) -> Iterator[Any]:
    """A progress bar on the terminal for more than one item; calls of `advance(n)` move it."""
    shown = total > 1 and not quiet and err.is_terminal
    with Progress(console=err, transient=True, disable=not shown) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)
