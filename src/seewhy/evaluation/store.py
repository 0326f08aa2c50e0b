"""Answers on disk as they come, so that a long evaluation can go on where it was cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seewhy.evaluation.rows import Answers, Omission, Row
from seewhy.reading import parsed


class AnswersFile:
    """A file of JSON lines: first the settings, then one line per finished image.

    The line that was being written when a run was cut off is forgotten. Raises ValueError where
    the file belongs to an evaluation with other settings, or a line of it is damaged.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.done: list[Answers] = []
        settings = json.loads(json.dumps(settings))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
            return
        lines = list(self._lines())
        if not lines or lines[0] != settings:
            before = lines[0] if lines else {}
            other = [key for key in settings if before.get(key) != settings[key]]
            raise ValueError(
                f"{path}: belongs to an evaluation with other settings ({', '.join(other)}); "
                "name a new folder, or remove the file"
            )
        self.done = [self._answers(number, line) for number, line in enumerate(lines[1:], 2)]

    def add(self, answers: Answers) -> None:
        """Write down the answers of one image."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(answers)) + "\n")

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The whole lines; what follows them is cut off, so that the next one begins anew."""
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if whole != raw:
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                found = parsed(line)
                if not isinstance(found, dict):
                    raise ValueError("no object")
            except ValueError as error:
                raise self._damaged(number, error) from None
            yield found

    def _answers(self, number: int, line: dict[str, Any]) -> Answers:
        try:
            return Answers(
                line["image"],
                tuple(Row(**{**row, "curve": tuple(row["curve"])}) for row in line["rows"]),
                tuple(Omission(**omission) for omission in line["omissions"]),
            )
        except (KeyError, TypeError) as error:
            raise self._damaged(number, error) from None

    def _damaged(self, number: int, error: Exception) -> ValueError:
        return ValueError(
            f"{self.path}, line {number}: damaged ({error}); remove that line, and its image is "
            "done again"
        )
