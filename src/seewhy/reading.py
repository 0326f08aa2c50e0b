"""Reading small untrusted files completely, within limits, or refusing them with a clear error.

The errors say what is wrong; the callers add the file's name.
"""

import json
from pathlib import Path
from typing import Any

MOST = 64_000_000  # bytes


def text_of(path: Path, most: int = MOST) -> str:
    """The UTF-8 text of a regular file of `most` bytes.

    Raises ValueError for a file that is missing or no regular one (a pipe would be waited for),
    that may not be read, is too long, or is no UTF-8.
    """
    try:
        if not path.exists():
            raise ValueError("no such file")
        if not path.is_file():
            raise ValueError("not a regular file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    if len(content) > most:
        raise ValueError(f"longer than {most:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason} at byte {error.start})") from None


def parsed(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises ValueError for what is no JSON, is nested too deeply, or says one key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found
