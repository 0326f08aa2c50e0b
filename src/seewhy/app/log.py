"""What the viewer says on the terminal: a line of writing each, and no flood of them."""

import io
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
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


class Printed(io.TextIOBase):
    """A stream that logs what is printed to it, line by line."""

    _begun = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Log the lines that this ends."""
        *lines, self._begun = (self._begun + text)[-10_000:].split("\n")
        for line in lines:
            if line.strip():
                logging.getLogger("printed").warning("%s", line)
        return len(text)


@contextmanager
def calmly() -> Iterator[None]:
    """Inside, all that the viewer and what it is made of log or print goes to the terminal so."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Writing("%(levelname)s %(message)s"))
    handler.addFilter(Calm())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    with redirect_stdout(Printed()), redirect_stderr(Printed()):
        yield
