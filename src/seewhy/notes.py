"""Notes to the user: what was assumed, ignored or adapted, although nothing is wrong."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


class Note(UserWarning):
    """Something worth knowing about a photo or a network. The command line shows it as a line."""


def note(text: str) -> None:
    """Tell the user, as a warning of the category `Note`."""
    warnings.warn(text, Note, stacklevel=3)


def unheard() -> AbstractContextManager[None]:
    """Inside, notes are dropped."""
    return warnings.catch_warnings(category=Note, action="ignore")


@contextmanager
def telling(tell: Callable[[str], object]) -> Iterator[None]:
    """Inside, each note is told once, and not shown as one of Python's warnings."""
    told: set[str] = set()
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if not issubclass(category, Note):
                shown(message, category, *where)
            elif (text := str(message)) not in told:
                told.add(text)
                tell(text)

        warnings.simplefilter("always", Note)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
