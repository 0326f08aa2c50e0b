"""A run on disk: a manifest, and one Parquet file for each finished shard.

A file is there whole or not at all, at whatever instant a run is cut off: it is written beside its
place, flushed to the disk and renamed. A leftover has the name of the file that it would have
become and `.tmp`, and is written over when that file is made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from seewhy.evaluation import Answers, Evaluation, Omission, Row

MANIFEST = "manifest.json"


@dataclass(frozen=True, eq=False)
class Run:
    """A run's folder as it is at the moment.

    Attributes:
        folder: where it is.
        manifest: what was run, by what, on what: see docs/bench.md.
    """

    folder: Path
    manifest: dict[str, Any]

    @staticmethod
    def open(folder: str | Path) -> Run:
        """The run in a folder, finished or not.

        Raises ValueError where the folder holds no run, or a broken file of one.
        """
        path = Path(folder) / MANIFEST
        if not path.is_file():
            raise ValueError(f"{folder}: holds no run of `seewhy bench`, as {MANIFEST} is missing")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: no manifest of a run ({error})") from None
        run = Run(Path(folder), manifest)
        for file in run.files.values():
            with _opening(file) as opened:
                if opened.schema_arrow.remove_metadata() != _schema():
                    raise ValueError("its columns are not those of a run")
        return run

    @property
    def files(self) -> dict[int, Path]:
        """The finished shards' files by number, in the plan's order."""
        return {int(path.stem): path for path in sorted((self.folder / "rows").glob("*.parquet"))}

    @property
    def complete(self) -> bool:
        """Whether all shards are finished, with or without failures."""
        return len(self.files) == int(self.manifest["shards"])

    def table(self) -> Any:
        """All rows so far as a `pyarrow.Table`, in the plan's order."""
        import pyarrow

        tables = [self._read(file) for file in self.files.values()]
        return pyarrow.concat_tables([_schema().empty_table(), *tables])

    def failed(self) -> dict[int, int]:
        """How many rows of each finished shard say that something failed; without the zeros."""
        counts = {
            shard: sum(self._read(file, ["failed"])["failed"].to_pylist())
            for shard, file in self.files.items()
        }
        return {shard: count for shard, count in counts.items() if count}

    def failures(self) -> list[dict[str, Any]]:
        """What failed: network, dataset, image, target, method (or None) and reason of each."""
        columns = ["network", "dataset", "image", "target", "method", "reason", "failed"]
        rows = (
            row for file in self.files.values() for row in self._read(file, columns).to_pylist()
        )
        return [row for row in rows if row.pop("failed")]

    def evaluations(self) -> dict[tuple[str, str], Evaluation]:
        """What the finished shards say of each network and dataset, by their names."""
        images: dict[tuple[str, str], int] = {}
        rows: dict[tuple[str, str], list[Row]] = {}
        omissions: dict[tuple[str, str], list[Omission]] = {}
        for file in self.files.values():
            about = self._about(file)
            cell = about["network"], about["dataset"]
            images[cell] = images.get(cell, 0) + about["images"]
            for record in self._read(file).to_pylist():
                if record["reason"] is None:
                    values = {**record, "curve": tuple(record["curve"])}
                    rows.setdefault(cell, []).append(_made(Row, values))
                else:
                    values = {**record, "method": record["method"] or ""}
                    omissions.setdefault(cell, []).append(_made(Omission, values))
        return {
            cell: Evaluation(count, tuple(rows.get(cell, ())), tuple(omissions.get(cell, ())))
            for cell, count in images.items()
        }

    def add(self, shard: int, network: str, dataset: str, answers: Sequence[Answers]) -> None:
        """Write a finished shard down; OSError names the file that could not be written."""
        import pyarrow
        from pyarrow import parquet

        about = {"network": network, "dataset": dataset, "images": len(answers)}
        schema = _schema().with_metadata({"seewhy": json.dumps(about)})
        records = [
            {"network": network, "dataset": dataset, **record}
            for one in answers
            for record in _records(one)
        ]
        buffer = BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(records, schema=schema), buffer)
        write_whole(self.folder / "rows" / f"{shard:05}.parquet", buffer.getvalue())

    def _read(self, file: Path, columns: list[str] | None = None) -> Any:
        with _opening(file) as opened:
            return opened.read(columns).replace_schema_metadata()

    def _about(self, file: Path) -> dict[str, Any]:
        with _opening(file) as opened:
            about: dict[str, Any] = json.loads(opened.schema_arrow.metadata[b"seewhy"])
            return about


def write_whole(path: Path, content: bytes) -> None:
    """Put a file into its place whole or not at all, folders included.

    Raises OSError that names the file.
    """
    beside = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        if os.name == "posix":  # the new name is on the disk once its folder is
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def _opening(file: Path) -> Iterator[Any]:
    """A shard's file; whatever is wrong with it becomes a ValueError that names it."""
    from pyarrow import lib, parquet

    try:
        with parquet.ParquetFile(file) as opened:
            yield opened
    except (lib.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: broken ({error}); remove it, and `seewhy bench` makes it again"
        ) from error


@cache
def _schema() -> Any:
    import pyarrow

    text, number, flag = pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
    return pyarrow.schema(
        {
            "network": text,
            "dataset": text,
            "image": text,
            "target": text,
            "class_index": pyarrow.int64(),
            "probability": number,
            "difficult": flag,
            "method": text,
            "metric": text,
            "value": number,
            "curve": pyarrow.list_(number),
            "reason": text,
            "failed": flag,
        }
    )


def _records(answers: Answers) -> Iterator[dict[str, Any]]:
    for row in answers.rows:
        yield {**vars(row), "failed": False}
    for omission in answers.omissions:
        yield {**vars(omission), "method": omission.method or None, "curve": ()}


def _made(kind: Any, record: dict[str, Any]) -> Any:
    return kind(**{name: record[name] for name in kind.__dataclass_fields__})
