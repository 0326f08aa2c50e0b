"""Plugins: other people's modules that register methods, refinements, metrics, datasets, networks.

A plugin registers its contents when it is imported. Installed plugins, the entry points of the
group `seewhy.plugins`, are loaded with Seewhy; others are named, and may be in a folder.
"""

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from multiprocessing import current_process
from pathlib import Path

from seewhy.notes import note

GROUP = "seewhy.plugins"


@dataclass(frozen=True)
class Plugin:
    """A plugin that was named: its module, and the folder in which that is looked for first."""

    module: str
    folder: Path


NAMED: dict[Plugin, None] = {}
"""Those that were loaded by their names, in that order: worker processes load them, too."""

INSTALLED: dict[str, str] = {}
"""The packages whose entry points were loaded, with their versions."""


def load_plugins(names: Iterable[str], folder: str | Path = ".") -> None:
    """Import plugins by their names.

    names: modules on Python's path or in the folder, such as "mycam" or "mylab.maps", or files
        relative to it, such as "tools/mycam.py".

    Raises ValueError if there is no such module, or it cannot be imported.
    """
    for name in names:
        at, module = Path(folder).expanduser(), name
        if name.endswith(".py"):
            at, module = (at / name).parent, (at / name).stem
        load([Plugin(module, Path(os.path.realpath(at)))])


def load(plugins: Iterable[Plugin]) -> None:
    """Import plugins as they were in another process."""
    for plugin in plugins:
        try:
            with on_path(plugin.folder):
                found = importlib.import_module(plugin.module)
        except (Exception, SystemExit) as error:  # plugins are anyone's
            reason = f"{type(error).__name__}: {error}"
            if isinstance(error, ModuleNotFoundError) and error.name == plugin.module:
                reason = f"no such module, neither on Python's path nor in {plugin.folder}"
            raise ValueError(f"plugin {plugin.module!r}: {reason}") from error
        asked = plugin.folder.joinpath(*plugin.module.split(".")).with_suffix(".py")
        loaded = getattr(found, "__file__", None) or "a part of Python"
        if asked.is_file() and os.path.realpath(asked) != os.path.realpath(loaded):
            raise ValueError(
                f"plugin {plugin.module!r}: another module of this name is loaded already "
                f"({loaded}); give {asked} another name"
            )
        NAMED[plugin] = None


def load_installed() -> None:
    """Load the entry points of all installed packages; one that fails is left out with a note.

    Processes that another one starts, which has said so already, say nothing.
    """
    for point in entry_points(group=GROUP):
        try:
            found = point.load()
            if callable(found):
                found()
            if point.dist is not None:
                INSTALLED[point.dist.name] = point.dist.version
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {error}"
            if current_process().name == "MainProcess":
                note(f"the plugin {point.name!r} ({point.value}) is left out: {what}")


@contextmanager
def on_path(folder: Path) -> Iterator[None]:
    """Python modules are looked for in the folder first."""
    found = str(folder.absolute())  # Python remembers what "." was when it first looked there
    sys.path.insert(0, found)
    try:
        yield
    finally:
        if found in sys.path:  # what was imported may have changed it
            sys.path.remove(found)
