"""A finished evaluation: its rows, what they say together, and the files that it becomes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from seewhy.evaluation.rows import Answers, Omission, Row
from seewhy.evaluation.statistics import Comparison, Summary, compare, summarize
from seewhy.evaluation.values import Values


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of an evaluation.

    images: number of images in the evaluation.
    values: the value of each image, target, method and metric, as columns.
    omissions: images, targets and methods without rows, with the reason.
    methods: names of the methods in the order in which they were asked; () where it is unknown.
    """

    images: int
    values: Values
    omissions: tuple[Omission, ...]
    methods: tuple[str, ...] = ()

    @staticmethod
    def of(answers: Sequence[Answers], methods: Iterable[str] = ()) -> Evaluation:
        """The evaluation that these answers make."""
        return Evaluation(
            len(answers),
            Values.of(row for one in answers for row in one.rows),
            tuple(omission for one in answers for omission in one.omissions),
            tuple(methods),
        )

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """A `Row` for each value, in order; rows take far more memory than `values`."""
        return tuple(self.values.rows())

    @property
    def failures(self) -> tuple[Omission, ...]:
        """The omissions where something went wrong."""
        return tuple(one for one in self.omissions if one.failed)

    @property
    def left_out(self) -> dict[str, int]:
        """How many targets the settings exclude, by reason."""
        return dict(Counter(one.reason for one in self.omissions if not one.failed))

    @property
    def first(self) -> str | None:
        """The first method that has values, with which the others are compared."""
        valued = self.values.methods  # begins with what did not fail on the first image
        return next((one for one in (*self.methods, *valued) if one in valued), None)

    def summary(self) -> list[Summary]:
        """Means with intervals and ranks, see `seewhy.evaluation.statistics.summarize`."""
        return summarize(self.values)

    def comparisons(self, reference: str | None = None) -> list[Comparison]:
        """Paired tests between methods, see `seewhy.evaluation.statistics.compare`."""
        return compare(self.values, reference)

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`; needs the package pyarrow."""
        return self.values.to_arrow()

    def save(self, folder: str | Path) -> list[Path]:
        """Write `rows`, `summary`, `comparisons` and `omissions` as CSV, and return the paths.

        Comparisons are of every method with the first one. If pyarrow is installed, the rows are
        also written as Parquet.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tables: dict[str, tuple[Iterable[Any], type]] = {
            "rows": (self.values.rows(), Row),
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
        table.writerows(map(vars, records))
