"""What the viewer says on the terminal: a line of writing each, and no flood of them."""

from __future__ import annotations

import logging
from collections import Counter
from time import monotonic

from seewhy.printable import printable

MINUTE = 60.0
A_MINUTE = 20  # lines of one kind


class Calm(logging.Filter):
    """Lets so many messages of one kind through a minute, and then says how many there were.

    Of one kind are those that one line of code makes, whatever is filled in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = monotonic()
        self._seen: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a message is let through."""
        if monotonic() - self._begun > MINUTE:
            self._begun = monotonic()
            self._seen.clear()
        kind = record.name, str(record.msg)
        self._seen[kind] += 1
        if self._seen[kind] == A_MINUTE:
            record.msg = f"{record.msg} (more of these within a minute are not told)"
        return self._seen[kind] <= A_MINUTE


class Writing(logging.Formatter):
    """Messages without control codes, each set off from the next; tracebacks without what they say.

    What visitors send may be in a message, but never begins a line.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message in the end."""
        return printable(super().formatMessage(record)).replace("\n", "\n    ")


def log_calmly() -> None:
    """Send what all parts of the viewer log to the terminal, in this way alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(Writing("%(levelname)s %(message)s"))
    handler.addFilter(Calm())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
