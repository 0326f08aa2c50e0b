"""A finished evaluation: its rows, what they say together, and the files that it becomes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from seewhy.evaluation.rows import Answers, Omission, Row
from seewhy.evaluation.summary import Comparison, Summary, compare, summarize


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The answers of all images.

    Attributes:
        images: how many were asked for.
        rows: one for each image, target, method and metric.
        omissions: what has no rows, and why.
    """

    images: int
    rows: tuple[Row, ...]
    omissions: tuple[Omission, ...]

    @staticmethod
    def of(answers: Sequence[Answers]) -> Evaluation:
        """The evaluation that these answers make."""
        return Evaluation(
            len(answers),
            tuple(row for one in answers for row in one.rows),
            tuple(omission for one in answers for omission in one.omissions),
        )

    @property
    def failures(self) -> tuple[Omission, ...]:
        """The omissions where something went wrong."""
        return tuple(one for one in self.omissions if one.failed)

    @property
    def left_out(self) -> dict[str, int]:
        """How many targets the question itself leaves out, by reason."""
        return dict(Counter(one.reason for one in self.omissions if not one.failed))

    @property
    def first(self) -> str | None:
        """The method of the first row, with which the others are compared."""
        return self.rows[0].method if self.rows else None

    def summary(self) -> list[Summary]:
        """Means with intervals and ranks, see `seewhy.evaluation.summary.summarize`."""
        return summarize(self.rows)

    def comparisons(self, reference: str | None = None) -> list[Comparison]:
        """Paired tests between methods, see `seewhy.evaluation.summary.compare`."""
        return compare(self.rows, reference)

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`; needs the package pyarrow."""
        import pyarrow

        types = {
            "str": pyarrow.string(),
            "int": pyarrow.int64(),
            "float": pyarrow.float64(),
            "bool": pyarrow.bool_(),
            "tuple[float, ...]": pyarrow.list_(pyarrow.float64()),
        }
        schema = pyarrow.schema([(field.name, types[str(field.type)]) for field in fields(Row)])
        return pyarrow.Table.from_pylist([asdict(row) for row in self.rows], schema=schema)

    def save(self, folder: str | Path) -> list[Path]:
        """Write `rows`, `summary`, `comparisons` and `omissions` as CSV, and return the paths.

        Compared is every method with the first. Where pyarrow is installed the rows are written as
        Parquet too.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tables: dict[str, tuple[Sequence[Any], type]] = {
            "rows": (self.rows, Row),
            "summary": (self.summary(), Summary),
            "comparisons": (self.comparisons(self.first), Comparison),
            "omissions": (self.omissions, Omission),
        }
        paths = []
        for name, (records, kind) in tables.items():
            paths.append(folder / f"{name}.csv")
            write_csv(paths[-1], records, kind)
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            return paths
        paths.append(folder / "rows.parquet")
        parquet.write_table(self.to_arrow(), paths[-1])
        return paths


def write_csv(path: Path, records: Iterable[Any], kind: type) -> None:
    """Write records of a dataclass, one per line under their fields' names; without curves."""
    names = [field.name for field in fields(kind) if field.name != "curve"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, extrasaction="ignore")
        table.writeheader()
        table.writerows(map(asdict, records))
