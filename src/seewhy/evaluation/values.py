"""The values of an evaluation as columns: a run may have millions of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seewhy.evaluation.rows import Row

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FIELDS = tuple(field.name for field in fields(Row))
"""Of a row; the curve is the last one."""


@dataclass(frozen=True, eq=False)
class Table:
    """One metric's values: a row for each pair of image and target, a column for each method.

    metric: its name.
    methods: (M,), those that have values, in the order of the evaluation.
    pairs: (P,), each row's index among the pairs of the evaluation.
    values: (P, M), nan where there is none.
    image, target: (P,), indices into `images` and `targets`.
    images, targets: names.
    """

    metric: str
    methods: tuple[str, ...]
    pairs: Ints
    values: Floats
    image: Ints
    target: Ints
    images: Sequence[str]
    targets: Sequence[str]

    def key(self, row: int) -> tuple[str, str]:
        """The image and target of a row."""
        return self.images[self.image[row]], self.targets[self.target[row]]


@dataclass(frozen=True, eq=False)
class Values:
    """All values as columns; names are stored once, and columns hold indices into them.

    images, targets, methods, metrics: names, in the order in which they come.
    image, target, class_index, probability, difficult: (P,), of each pair of image and target.
    pair, method, metric, value: (N,), of each value.
    points: (N,), the length of each value's curve.
    curve: all curves, one after the other.
    """

    images: tuple[str, ...]
    targets: tuple[str, ...]
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    image: NDArray[np.int32]
    target: NDArray[np.int32]
    class_index: NDArray[np.int64]
    probability: Floats
    difficult: NDArray[np.bool_]
    pair: NDArray[np.int32]
    method: NDArray[np.int16]
    metric: NDArray[np.int16]
    value: Floats
    points: NDArray[np.int32]
    curve: NDArray[np.floating[Any]]

    @staticmethod
    def of(rows: Values | Iterable[Row]) -> Values:
        """The values of rows; values themselves are returned as they are."""
        if isinstance(rows, Values):
            return rows
        own = list(rows)
        columns = {name: [getattr(row, name) for row in own] for name in FIELDS}
        curves = columns.pop("curve")
        columns["points"] = list(map(len, curves))
        columns["curve"] = [point for curve in curves for point in curve]
        names: dict[str, list[str]] = {}
        for name in _NAMES:
            names[name] = list(dict.fromkeys(columns[name]))
            place = {text: number for number, text in enumerate(names[name])}
            columns[name] = [place[text] for text in columns[name]]
        whole = Growing()
        whole.add(names, columns)
        return whole.values

    @staticmethod
    def joined(parts: Iterable[Values]) -> Values:
        """The values of all parts, in their order."""
        whole = Growing()
        for part in parts:
            names = {name: getattr(part, listed) for name, listed in _NAMES.items()}
            whole.add(names, {name: part.column(name) for name in _COLUMNS})
        return whole.values

    def column(self, name: str, some: slice = slice(None)) -> NDArray[Any]:
        """A field of some values' rows, (N,); texts as places; of "curve" all, one by one."""
        found: NDArray[Any] = getattr(self, name)
        return found[self.pair[some]] if name in _OF_A_PAIR else found[some]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def graded(self) -> int:
        """How many images have values."""
        return len(np.unique(self.image))

    def rows(self) -> Iterator[Row]:
        """Every value as a row, in order."""
        ends = np.cumsum(self.points)
        for begin in range(0, len(self), _AT_ONCE):
            some = slice(begin, begin + _AT_ONCE)
            columns: list[Iterable[Any]] = []
            for name in FIELDS[:-1]:
                own = self.column(name, some).tolist()
                named = name in _NAMES
                columns.append(map(getattr(self, _NAMES[name]).__getitem__, own) if named else own)
            spans = zip(ends[some] - self.points[some], ends[some], strict=True)
            columns.append(tuple(self.curve[start:end].tolist()) for start, end in spans)
            yield from (Row(*row) for row in zip(*columns, strict=True))

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`."""
        import pyarrow

        columns: dict[str, Any] = {}
        for name in FIELDS:
            own = pyarrow.array(self.column(name))
            if name == "curve":
                ends = np.concatenate([[0], np.cumsum(self.points)]).astype(np.int32)
                own = pyarrow.ListArray.from_arrays(ends, own.cast(pyarrow.float64()))
            elif name in _NAMES:
                own = pyarrow.array(getattr(self, _NAMES[name]), pyarrow.string()).take(own)
            columns[name] = own
        return pyarrow.table(columns)

    def table(self, metric: str) -> Table:
        """The values of a metric. Raises ValueError for one without any."""
        own = self.metric == self.metrics.index(metric)
        methods, column = _numbered(self.method[own], len(self.methods))
        pairs, row = _numbered(self.pair[own], len(self.image))
        values = np.full((len(pairs), len(methods)), np.nan)
        values[row, column] = self.value[own]
        return Table(
            metric,
            tuple(self.methods[place] for place in methods),
            pairs,
            values,
            self.image[pairs].astype(np.int64),
            self.target[pairs].astype(np.int64),
            self.images,
            self.targets,
        )

    def curves(self) -> Iterator[tuple[str, str, Ints, NDArray[np.floating[Any]]]]:
        """Of each metric and method that has any, the curves' images, (N,), and they, (N, points).

        Those with as many points as the first of them.
        """
        (own,) = np.nonzero(self.points)
        lengths = self.points[own]
        ends = np.cumsum(lengths, dtype=np.int64)
        key = self.metric[own] * np.int32(len(self.methods)) + self.method[own]
        for each in np.unique(key):
            (group,) = np.nonzero(key == each)
            group = group[lengths[group] == lengths[group[0]]]
            points = ends[group, None] - np.arange(lengths[group[0]], 0, -1)
            metric, method = divmod(int(each), len(self.methods))
            images = self.image[self.pair[own[group]]].astype(np.int64)
            yield self.metrics[metric], self.methods[method], images, self.curve[points]


class Growing:
    """Values that come part by part, in buffers that grow in place: lists of parts, which are then
    joined, would need the memory twice."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {listed: {} for listed in _NAMES.values()}
        self._pairs: dict[tuple[int, int], int] = {}
        self._buffers = {name: bytearray() for name in _KINDS}
        self._curves: Any = np.float32

    def add(self, names: Mapping[str, Iterable[str]], columns: Mapping[str, Any]) -> None:
        """Put values behind what there is.

        columns: the fields of a row, (N,); of `names` the places among them. "points" is the length
            of each curve, and "curve" holds all curves, one after the other.
        """
        arrays = {name: np.asarray(own) for name, own in columns.items()}
        for name, listed in _NAMES.items():
            own = self._names[listed]
            places = [own.setdefault(text, len(own)) for text in names[name]]
            arrays[name] = np.array(places, dtype=np.int64)[arrays[name].astype(np.int64)]
        key = arrays["image"] * (len(self._names["targets"]) + 1) + arrays["target"]
        _, first, pair = np.unique(key, return_index=True, return_inverse=True)
        known, before = self._pairs, len(self._pairs)
        place = np.empty(len(first), dtype=np.int64)  # among all pairs, in the order they come in
        for number in np.argsort(first):
            at = int(arrays["image"][first[number]]), int(arrays["target"][first[number]])
            place[number] = known.setdefault(at, len(known))
        arrays["pair"] = place[pair]
        new = np.sort(first[place >= before])  # a pair may have come before
        arrays |= {name: arrays[name][new] for name in _OF_A_PAIR}
        single = arrays["curve"].astype(np.float32)
        if self._curves == np.float32 and not np.array_equal(single, arrays["curve"]):
            # Half the memory where it loses nothing, as with scores of a network in float32.
            self._curves = np.float64
            earlier = np.frombuffer(self._buffers["curve"], np.float32)
            self._buffers["curve"] = bytearray(earlier.astype(np.float64))
        for name, kind in _KINDS.items():
            self._buffers[name] += arrays[name].astype(kind or self._curves, copy=False).tobytes()

    def add_arrow(self, table: Any) -> None:
        """Put the rows of a `pyarrow.Table` behind what there is.

        It has a column for each field of a row; texts are dictionaries, as `read_dictionary` makes
        them.
        """
        columns: dict[str, Any] = {}
        names: dict[str, list[str]] = {}
        for name in FIELDS:
            own = table[name]
            if name in _NAMES:
                own = own.unify_dictionaries().combine_chunks()
                names[name], columns[name] = own.dictionary.to_pylist(), own.indices.to_numpy()
            elif name == "curve":
                own = own.combine_chunks()
                columns["points"] = np.diff(own.offsets.to_numpy())
                columns["curve"] = own.flatten().to_numpy()
            else:
                columns[name] = own.to_numpy()
        self.add(names, columns)

    @property
    def values(self) -> Values:
        """All so far; nothing can be added behind it."""
        columns: dict[str, Any] = {name: tuple(own) for name, own in self._names.items()}
        for name, kind in _KINDS.items():
            columns[name] = np.frombuffer(self._buffers[name], kind or self._curves)
        return Values(**columns)


_NAMES = {"image": "images", "target": "targets", "method": "methods", "metric": "metrics"}
_OF_A_PAIR = ("image", "target", "class_index", "probability", "difficult")
_AT_ONCE = 50_000  # rows whose fields are in memory together
_KINDS: dict[str, Any] = {
    "image": np.int32,
    "target": np.int32,
    "class_index": np.int64,
    "probability": np.float64,
    "difficult": np.bool_,
    "pair": np.int32,
    "method": np.int16,
    "metric": np.int16,
    "value": np.float64,
    "points": np.int32,
    "curve": None,  # single precision where that is enough
}
_COLUMNS = tuple(name for name in _KINDS if name != "pair")


def _numbered(places: NDArray[np.integer[Any]], count: int) -> tuple[Ints, Ints]:
    """The different ones of places below `count`, rising, and which of them each is."""
    there = np.zeros(count, dtype=np.bool_)
    there[places] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[places]
