"""What is evaluated: a network on a dataset, methods by metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from seewhy.core.requests import asked_layers
from seewhy.data.class_map import ClassMap, classes_by_name, plain
from seewhy.data.dataset import Dataset
from seewhy.metrics import Metric
from seewhy.models import LoadedModel
from seewhy.naming import Method


@dataclass(frozen=True, eq=False)
class Task:
    """What is evaluated; see `seewhy.evaluate` for the parts.

    settings: what options of metrics stand at where a metric does not give them, see `metrics_of`.
    """

    model: LoadedModel
    dataset: Dataset
    methods: tuple[Method, ...]
    metrics: tuple[Metric, ...]
    class_map: ClassMap | None = None
    layer: str | Sequence[str] | None = None
    top: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def classes(self, label: str) -> tuple[int, ...]:
        """The network's classes of a label: by the map given, else the dataset's, else by name."""
        given = self.class_map or self.dataset.classes
        return self._by_name.get(plain(label), ()) if given is None else given.get(label, ())

    @cached_property
    def _by_name(self) -> Mapping[str, tuple[int, ...]]:
        return classes_by_name(self.model.names)


def compares(metric: Metric, what: Literal["method", "target"]) -> bool:
    """Whether a metric asks for something of another method, or of another target."""
    return any(need.startswith(f"other_{what}_") for need in metric.all_needs)


def check(task: Task) -> None:
    """Raise ValueError for empty lists, a metric without a second method and an unknown layer."""
    for name, given in (
        ("methods", task.methods),
        ("metrics", task.metrics),
        ("dataset", task.dataset.keys),
    ):
        if not given:
            raise ValueError(f"{name} is empty; at least one is needed")
    for metric in task.metrics:
        if compares(metric, "method") and len(task.methods) < 2:
            raise ValueError(f"the metric {str(metric)!r} compares methods; name two at least")
    asked_layers(task.model.module, task.layer)
