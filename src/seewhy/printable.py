"""Making untrusted text safe to show on a terminal, in a log or in a table."""

import re

LONGEST = 1000  # characters of a path

# Control codes but for tab and line feed, which a terminal would obey; separators of lines and
# marks of direction, which make a text look like another; bytes of a file's name that are no UTF-8,
# and other halves of characters, which nothing can write.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""The text with whatever is no writing spelled out, as in `\x1b[2J` or `caf\xe9.png`."""
    return _UNFIT.sub(_spelled, text)


def on_one_line(text: str) -> str:
    r"""`printable`, with line feeds and tabs spelled out, too: fit to be a name."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def abridged(path: object) -> str:
    """A path in a message; of one that is longer than those of real files, the beginning."""
    text = str(path)
    return text if len(text) <= LONGEST else f"{text[:100]}… ({len(text)} characters)"


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python writes a byte that is no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
