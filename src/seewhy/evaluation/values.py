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
        about = {name: [getattr(row, name) for row in own] for name in _COLUMNS}
        texts = {name: _places(about[name]) for name in _NAMES}
        lengths = np.array([len(row.curve) for row in own], dtype=np.int64)
        curve = np.array([point for row in own for point in row.curve], dtype=np.float64)
        return Values._made(texts, about, curve, lengths)

    @staticmethod
    def of_arrow(table: Any) -> Values:
        """The values of a `pyarrow.Table` that has a column for each field of a row.

        Texts are dictionaries, as `read_dictionary` makes them.
        """
        texts, about = {}, {}
        for name in _NAMES:
            column = table[name].unify_dictionaries().combine_chunks()
            texts[name] = column.dictionary.to_pylist(), column.indices.to_numpy()
        for name in ("class_index", "probability", "difficult", "value"):
            about[name] = table[name].to_numpy()
        curves = table["curve"].combine_chunks()
        lengths = np.diff(curves.offsets.to_numpy())
        return Values._made(texts, about, curves.flatten().to_numpy(), lengths)

    @staticmethod
    def _made(
        texts: Mapping[str, tuple[Sequence[str], Any]],
        about: Mapping[str, Any],
        curve: NDArray[np.floating[Any]],
        lengths: Ints,
    ) -> Values:
        names = {name: tuple(found) for name, (found, _) in texts.items()}
        places = {name: np.asarray(own) for name, (_, own) in texts.items()}
        key = places["image"].astype(np.int64) * max(1, len(names["target"])) + places["target"]
        _, first, pair = np.unique(key, return_index=True, return_inverse=True)
        order = np.argsort(first)  # in which the pairs come
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        first = first[order]
        single = curve.astype(np.float32)
        arrays = {name: np.asarray(about[name]) for name in about} | places
        arrays |= {name: arrays[name][first] for name in _OF_A_PAIR} | {"pair": place[pair]}
        # Half the memory where it loses nothing, as with scores of a network in float32.
        arrays["curve"] = single if np.array_equal(single, curve) else curve
        arrays["points"] = lengths
        columns: dict[str, Any] = {_NAMES[name]: own for name, own in names.items()}
        for name, kind in _KINDS.items():
            columns[name] = arrays[name].astype(kind or arrays[name].dtype, copy=False)
        return Values(**columns)

    @staticmethod
    def joined(parts: Iterable[Values]) -> Values:
        """The values of all parts, in their order."""
        whole = Growing()
        for part in parts:
            whole.add(part)
        return whole.values

    def __len__(self) -> int:
        return len(self.value)

    @property
    def graded(self) -> int:
        """How many images have values."""
        return len(np.unique(self.image))

    def rows(self) -> Iterator[Row]:
        """Every value as a row, in order."""
        begin = 0
        image, target = self.image.tolist(), self.target.tolist()
        for pair, method, metric, value, end in zip(
            self.pair.tolist(),
            self.method.tolist(),
            self.metric.tolist(),
            self.value.tolist(),
            np.cumsum(self.points).tolist(),
            strict=True,
        ):
            yield Row(
                self.images[image[pair]],
                self.targets[target[pair]],
                int(self.class_index[pair]),
                float(self.probability[pair]),
                bool(self.difficult[pair]),
                self.methods[method],
                self.metrics[metric],
                value,
                tuple(self.curve[begin:end].tolist()),
            )
            begin = end

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`."""
        import pyarrow

        columns: dict[str, Any] = {}
        for field in fields(Row):
            name = field.name
            if name == "curve":
                ends = np.concatenate([[0], np.cumsum(self.points)]).astype(np.int32)
                points = pyarrow.array(self.curve.astype(np.float64))
                columns[name] = pyarrow.ListArray.from_arrays(ends, points)
                continue
            own = getattr(self, name)
            if name in _OF_A_PAIR:
                own = own[self.pair]
            if name in _NAMES:
                listed = pyarrow.array(getattr(self, _NAMES[name]), pyarrow.string())
                columns[name] = listed.take(pyarrow.array(own))
            else:
                columns[name] = pyarrow.array(own)
        return pyarrow.table(columns)

    def table(self, metric: str) -> Table:
        """The values of a metric. Raises ValueError for one without any."""
        (own,) = np.nonzero(self.metric == self.metrics.index(metric))
        methods, column = np.unique(self.method[own], return_inverse=True)
        pairs, row = np.unique(self.pair[own], return_inverse=True)
        values = np.full((len(pairs), len(methods)), np.nan)
        values[row, column] = self.value[own]
        return Table(
            metric,
            tuple(self.methods[place] for place in methods),
            pairs.astype(np.int64),
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
        self._known: dict[tuple[int, int], int] = {}
        self._columns = {name: bytearray() for name in _KINDS}
        self._curves: Any = np.float32

    def add(self, part: Values) -> None:
        """Put a part behind what there is."""
        arrays = {name: getattr(part, name) for name in _KINDS}
        for name, listed in _NAMES.items():
            own = self._names[listed]
            new = [own.setdefault(one, len(own)) for one in getattr(part, listed)]
            arrays[name] = np.array(new, dtype=np.int64)[arrays[name]]
        known, before = self._known, len(self._known)
        keys = zip(arrays["image"].tolist(), arrays["target"].tolist(), strict=True)
        places = np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
        for name in _OF_A_PAIR:
            arrays[name] = arrays[name][places >= before]  # a pair may be in several parts
        arrays["pair"] = places[part.pair]
        if part.curve.dtype != self._curves == np.float32:
            self._curves = np.float64
            single = np.frombuffer(self._columns["curve"], np.float32)
            self._columns["curve"] = bytearray(single.astype(np.float64))
        for name, kind in _KINDS.items():
            column = arrays[name].astype(kind or self._curves, copy=False)
            self._columns[name] += column.tobytes()

    @property
    def values(self) -> Values:
        """All so far; nothing can be added behind it."""
        columns: dict[str, Any] = {name: tuple(own) for name, own in self._names.items()}
        for name, kind in _KINDS.items():
            columns[name] = np.frombuffer(self._columns[name], kind or self._curves)
        return Values(**columns)


_COLUMNS = tuple(field.name for field in fields(Row) if field.name != "curve")
_NAMES = {"image": "images", "target": "targets", "method": "methods", "metric": "metrics"}
_OF_A_PAIR = ("image", "target", "class_index", "probability", "difficult")
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


def _places(texts: Sequence[str]) -> tuple[list[str], Ints]:
    """The different texts as they come, and the place of each among them."""
    known: dict[str, int] = {}
    places = [known.setdefault(text, len(known)) for text in texts]
    return list(known), np.array(places, dtype=np.int64)
