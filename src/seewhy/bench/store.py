"""A run on disk: a manifest, one Parquet file for each finished shard, and the checksums of all.

A file is complete or absent, whenever a run is interrupted: its checksum is stored, then the file
is written under a temporary name, flushed to the disk and renamed. A leftover temporary file ends
in `.tmp` and is overwritten later. Every file is checked against its checksum when it is read, and
a file that is damaged, or was copied from another run, is named in an error.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
from filelock import FileLock, Timeout
from pyarrow import parquet

from seewhy.bench.manifest import check_manifest
from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.rows import Answers, Omission, Row
from seewhy.evaluation.values import FIELDS, Growing
from seewhy.reading import parsed, text_of
from seewhy.writing import write_whole

MANIFEST = "manifest.json"
CHECKSUMS = "checksums.txt"  # as `sha256sum` writes and checks them; of a file the last one counts
PICTURES = "pictures.parquet"
LOCK = ".lock"
ANOTHER = "name a new folder with folder= (--out)"  # as in Python, and on the command line
_TEXTS = ("image", "target", "method", "metric")
_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")

_TEXT, _NUMBER, _FLAG = pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
_KINDS: dict[Any, Any] = {str: _TEXT, int: pyarrow.int64(), float: _NUMBER, bool: _FLAG}
_KINDS[tuple[float, ...]] = pyarrow.list_(_NUMBER)
# The columns of a shard: network and dataset, those of a row, and why there is none.
_OF_ROWS = pyarrow.schema(
    {"network": _TEXT, "dataset": _TEXT}
    | {field.name: _KINDS[field.type] for field in fields(Row)}
    | {"reason": _TEXT, "failed": _FLAG}
)
_OF_PICTURES = pyarrow.schema(
    dict.fromkeys(("network", "dataset", "image", "target", "method"), _TEXT)
    | {"picture": pyarrow.binary()}
)


@dataclass(frozen=True, eq=False)
class Run:
    """A run's folder, finished or not.

    folder: its path.
    manifest: the config, versions, device and so on: see docs/bench.md.
    """

    folder: Path
    manifest: dict[str, Any]

    @staticmethod
    def open(folder: str | Path) -> Run:
        """The run in a folder, finished or not.

        Raises ValueError where the folder holds no run, or a damaged file of one.
        """
        run = Run.at(folder)
        run.check()
        return run

    @staticmethod
    def at(folder: str | Path) -> Run:
        """The run in a folder, whatever state its files are in.

        Raises ValueError where the folder holds none, or a manifest that is none.
        """
        path = Path(folder) / MANIFEST
        if not path.is_file():
            raise ValueError(f"{folder}: holds no run of `seewhy bench`, as {MANIFEST} is missing")
        try:
            manifest = check_manifest(parsed(text_of(path)))
        except ValueError as error:
            raise ValueError(f"{path}: no manifest of a run ({error})") from None
        return Run(Path(folder), manifest)

    @staticmethod
    def create(folder: Path, manifest: dict[str, Any]) -> Run:
        """A new run. Raises OSError that names the file which cannot be written."""
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder, manifest)
        run.put(MANIFEST, json.dumps(manifest, indent=2).encode())
        return run

    def put(self, name: str, content: bytes) -> None:
        """Put a file of the run into its place, and its checksum down before.

        Raises OSError that names the file, also where somebody has removed or renamed the folder
        of the run: what is finished would not be in a new one.
        """
        append_line(self.folder / CHECKSUMS, f"{sha256(content).hexdigest()}  {name}")
        write_whole(self.folder / name, content)

    @property
    def files(self) -> dict[int, Path]:
        """The finished shards' files by number, in the plan's order."""
        numbers = (int(path.stem) for path in self._there() if re.fullmatch(r"[0-9]+", path.stem))
        known = sorted(number for number in numbers if number < int(self.manifest["shards"]))
        return {number: self._file(number) for number in known if self._file(number).exists()}

    def check(self) -> None:
        """Raise ValueError where the manifest or a shard's file is not what was written."""
        self._check_manifest()
        for path in self._there():
            self._content(path)

    def set_damaged_aside(self) -> list[str]:
        """Give damaged shards another name, so that they are made again; says which, and why.

        Raises ValueError where the manifest is damaged: then it is unknown what the rows belong to.
        """
        self._check_manifest()
        said = []
        for path in self._there():
            try:
                self._content(path)
            except ValueError as error:
                os.replace(path, path.with_name(f"{path.name}.damaged"))
                said.append(str(error).partition("; ")[0])
        return said

    @property
    def by_config(self) -> bool:
        """Whether `seewhy bench` made it from a config file; else `seewhy evaluate` did."""
        return bool(self.manifest["config_text"])

    @property
    def continuing(self) -> str:
        """What to do for the run to go on."""
        if self.by_config:
            return "run `seewhy bench` with the same config to continue"
        return "repeat the same call of `seewhy evaluate` to continue"

    @property
    def complete(self) -> bool:
        """Whether all shards are finished, with or without failures."""
        return len(self.files) == int(self.manifest["shards"])

    def table(self) -> Any:
        """All rows so far as a `pyarrow.Table`, in the plan's order."""
        tables = [self._read(file) for file in self.files.values()]
        return pyarrow.concat_tables([_OF_ROWS.empty_table(), *tables])

    def failed(self) -> dict[int, int]:
        """How many rows of each finished shard say that something failed; without the zeros."""
        counts = {
            shard: sum(self._read(file, ["failed"])["failed"].to_pylist())
            for shard, file in self.files.items()
        }
        return {shard: count for shard, count in counts.items() if count}

    def failures(self) -> list[dict[str, Any]]:
        """All failures: network, dataset, image, target, method (or None) and reason of each."""
        columns = ["network", "dataset", "image", "target", "method", "reason", "failed"]
        rows = (
            row for file in self.files.values() for row in self._read(file, columns).to_pylist()
        )
        return [row for row in rows if row.pop("failed")]

    def samples(self, shard: int) -> dict[str, str]:
        """The fingerprints of a finished shard's samples, by key, as they were graded."""
        with self._opening(self._file(shard), _OF_ROWS) as opened:
            found: dict[str, str] = _described(opened)["samples"]
            return found

    def fingerprint(self) -> str:
        """Of all finished shards as they were written."""
        sums = self._checksums()
        names = [f"rows/{path.name}" for path in self.files.values()]
        return sha256("".join(sums.get(name, "") for name in names).encode()).hexdigest()

    def evaluations(self) -> dict[tuple[str, str], Evaluation]:
        """The evaluation of each network and dataset, by their names, from the finished shards."""
        images: Counter[tuple[str, str]] = Counter()
        values: dict[tuple[str, str], Growing] = defaultdict(Growing)
        omissions: dict[tuple[str, str], list[Omission]] = defaultdict(list)
        for file in self.files.values():
            with self._opening(file, _OF_ROWS, _TEXTS) as opened:
                about = _described(opened)
                cell = str(about["network"]), str(about["dataset"])
                images[cell] += int(about["images"])
                table = opened.read([*FIELDS, "reason", "failed"])
                graded = table.filter(table["reason"].is_null())
                if any(graded[name].null_count for name in FIELDS):
                    raise ValueError("a value lacks its image, method or metric")
                values[cell].add_arrow(graded)
                for record in table.filter(table["reason"].is_valid()).to_pylist():
                    known = {name: record[name] for name in Omission.__dataclass_fields__}
                    known["method"] = known["method"] or ""
                    omissions[cell].append(Omission(**known))
        methods = tuple(self.manifest["config"].get("methods", ()))
        return {
            cell: Evaluation(count, values[cell].values, tuple(omissions[cell]), methods)
            for cell, count in images.items()
        }

    def add(
        self,
        shard: int,
        network: str,
        dataset: str,
        answers: Sequence[Answers],
        samples: Mapping[str, str] | None = None,
    ) -> None:
        """Write a finished shard down; OSError names the file that could not be written.

        samples: fingerprints of what the answers are about, by key.
        """
        cell = {"network": network, "dataset": dataset}
        records: list[dict[str, Any]] = []
        for one in answers:
            records += ({**cell, **vars(row), "failed": False} for row in one.rows)
            records += (
                {**cell, **vars(omission), "method": omission.method or None, "curve": ()}
                for omission in one.omissions
            )
        about = {**cell, "images": len(answers), "samples": dict(samples or {})}
        self.put(f"rows/{self._file(shard).name}", _parquet(records, _OF_ROWS, about))

    def add_pictures(self, records: Sequence[dict[str, Any]], about: Mapping[str, Any]) -> None:
        """Write pictures down, see `seewhy.bench.pictures`; OSError names the file."""
        self.put(PICTURES, _parquet(records, _OF_PICTURES, about))

    def pictures(self) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
        """What `add_pictures` wrote; None where it has written nothing, or that is damaged."""
        path = self.folder / PICTURES
        if not path.exists():
            return None
        try:
            with self._opening(path, _OF_PICTURES) as opened:
                return opened.read().to_pylist(), _described(opened)
        except ValueError:
            return None

    def _file(self, shard: int) -> Path:
        return self.folder / "rows" / f"{shard:05}.parquet"

    def _there(self) -> list[Path]:
        return sorted((self.folder / "rows").glob("*.parquet"))

    def _check_manifest(self) -> None:
        path = self.folder / MANIFEST
        if sha256(path.read_bytes()).hexdigest() != self._checksums().get(MANIFEST):
            raise ValueError(
                f"{path}: damaged ({CHECKSUMS} says otherwise); bring it back, or start a new run"
            )

    def _read(self, file: Path, columns: list[str] | None = None) -> Any:
        with self._opening(file, _OF_ROWS) as opened:
            return opened.read(columns).replace_schema_metadata()

    @contextmanager
    def _opening(self, file: Path, schema: Any, dictionaries: Sequence[str] = ()) -> Iterator[Any]:
        """A Parquet file of the run; whatever is wrong with it becomes a ValueError.

        dictionaries: columns of texts to be read as such.
        """
        content = pyarrow.BufferReader(self._content(file))
        try:
            with parquet.ParquetFile(content, read_dictionary=dictionaries) as opened:
                if opened.schema.to_arrow_schema().remove_metadata() != schema:
                    raise ValueError("its columns are not those of a run")
                yield opened
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(_broken(file, str(error))) from error

    def _content(self, file: Path) -> bytes:
        """The bytes of a file of the run, which are those that were written, or a ValueError."""
        try:
            content = file.read_bytes() if file.is_file() else b""
        except OSError as error:
            raise ValueError(_broken(file, error.strerror or str(error))) from None
        name = file.relative_to(self.folder).as_posix()
        expected = self._checksums().get(name)
        if expected is None:
            raise ValueError(_broken(file, "this run has not written it"))
        if sha256(content).hexdigest() != expected:
            raise ValueError(_broken(file, "it is not what was written there"))
        return content

    def _checksums(self) -> dict[str, str]:
        """The checksum of each file that was written, by its name below the folder."""
        path = self.folder / CHECKSUMS
        if not path.is_file():
            return {}
        state = path.stat()
        return _checksums(path, state.st_size, state.st_mtime_ns)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder of a run for this process alone; a lock ends with its process, however that ends.

    Raises ValueError where another process has it, it cannot be made, or the file system has no
    locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: {error.strerror or error}; {ANOTHER}") from None
    try:
        held = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{folder}: another process is at work there; wait for it, or {ANOTHER}"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise ValueError(
            f"{folder / LOCK}: cannot be locked ({error}); name a folder on another file system "
            "with folder= (--out)"
        ) from None
    with held:
        yield


def append_line(path: Path, line: str) -> None:
    """Append a line to a file and flush it to the disk; OSError names the file.

    What a write that was cut off has left is a line of its own.
    """
    try:
        with path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * torn + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror or error})") from error


@lru_cache(maxsize=4)
def _checksums(path: Path, size: int, changed: int) -> dict[str, str]:
    """What the file of checksums says, as long as it has the same size and time of change."""
    lines = path.read_bytes().decode("ascii", errors="replace").splitlines()
    return {found[2]: found[1] for found in map(_LINE.fullmatch, lines) if found}


def _broken(file: Path, why: str) -> str:
    return f"{file}: broken ({why}); remove it, and `seewhy bench` makes it again"


def _described(opened: Any) -> dict[str, Any]:
    """What a Parquet file of a run says of itself beside its rows."""
    about: dict[str, Any] = json.loads(opened.schema_arrow.metadata[b"seewhy"])
    return about


def _parquet(records: Sequence[dict[str, Any]], schema: Any, about: Mapping[str, Any]) -> bytes:
    stream = BytesIO()
    described = schema.with_metadata({"seewhy": json.dumps(about)})
    parquet.write_table(pyarrow.Table.from_pylist(records, schema=described), stream)
    return stream.getvalue()
