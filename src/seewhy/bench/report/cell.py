"""The numbers of one network on one dataset, each computed once for all parts of the page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from seewhy.bench.fingerprints import plugins_lacking
from seewhy.bench.store import Run
from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.statistics import Comparison, Summary, attainable
from seewhy.evaluation.values import Table
from seewhy.metrics import metric as metric_of


@dataclass(frozen=True, eq=False)
class Cell:
    """One network on one dataset, by their names in the rows, and what was found."""

    network: str
    dataset: str
    evaluation: Evaluation

    @property
    def title(self) -> str:
        """Such as "scenes:resnet on scenes:200"."""
        return f"{self.network} on {self.dataset}"

    @cached_property
    def methods(self) -> list[str]:
        """All that were asked, in the order of the rows; those without any value come last."""
        failed = [one.method for one in self.evaluation.omissions if one.method]
        return list(dict.fromkeys([*self.evaluation.values.methods, *failed]))

    @property
    def metrics(self) -> list[str]:
        """All that have values, in the order of the rows."""
        return list(self.evaluation.values.metrics)

    def table(self, metric: str) -> Table:
        """The values of a metric."""
        return self.evaluation.values.table(metric)

    @cached_property
    def summaries(self) -> dict[tuple[str, str], Summary]:
        """By metric and method; of each metric the best method comes first."""
        return {(one.metric, one.method): one for one in self.evaluation.summary()}

    @cached_property
    def comparisons(self) -> dict[tuple[str, str, str], Comparison]:
        """By metric, method and other method, either way round."""
        found = {}
        for one in self.evaluation.comparisons():
            found[one.metric, one.method, one.other] = one
            found[one.metric, one.other, one.method] = one.turned
        return found

    @cached_property
    def largest(self) -> dict[str, float]:
        """By metric, the largest of the significant differences."""
        found: dict[str, float] = {}
        for one in self.comparisons.values():
            if one.significant:
                found[one.metric] = max(found.get(one.metric, 0.0), abs(one.difference))
        return found

    def ranked(self, metric: str) -> list[str]:
        """The methods that have values, the best mean first."""
        return [method for name, method in self.summaries if name == metric]

    def beaten(self, metric: str) -> list[str]:
        """The methods that are significantly worse than the one with the best mean."""
        return [method for method, worse in self._decided(metric).items() if worse]

    def ahead(self, metric: str) -> list[str]:
        """The methods that are significantly better than the one with the best mean.

        Means are over pairs, tests over the images that both methods have values of.
        """
        return [method for method, worse in self._decided(metric).items() if not worse]

    def undecided(self, metric: str) -> list[str]:
        """The methods that do not differ significantly from the best one, or share no image."""
        decided = self._decided(metric)
        return [method for method in self.ranked(metric)[1:] if method not in decided]

    def _decided(self, metric: str) -> dict[str, bool]:
        """Whether each method that differs significantly from the best one is worse."""
        best, *others = self.ranked(metric)
        tests = {other: self.comparisons.get((metric, best, other)) for other in others}
        return {other: bool(one.better) for other, one in tests.items() if one and one.significant}

    @cached_property
    def mean_ranks(self) -> dict[str, float]:
        """Each method's rank on a pair of image and target, averaged over pairs, then metrics.

        Of metrics on which all methods have values of the same pairs; nan without any.
        """
        found = {}
        for method in self.methods:
            ranks = [
                one.mean_rank
                for metric in self.metrics
                if (one := self.summaries.get((metric, method))) and not math.isnan(one.mean_rank)
            ]
            found[method] = math.fsum(ranks) / len(ranks) if ranks else math.nan
        return found

    @property
    def by_rank(self) -> list[str]:
        """The methods, the best mean rank first and those without one last."""
        ranks = self.mean_ranks
        return sorted(self.methods, key=lambda one: (math.isnan(ranks[one]), ranks[one]))

    def compared(self, metric: str) -> int:
        """The images on which methods were compared by this metric, at most."""
        own = (one.images for key, one in self.comparisons.items() if key[0] == metric)
        return max(own, default=0)

    def attainable(self, metric: str, images: int | None = None) -> float:
        """The least p that a comparison by this metric could have, whatever the values.

        images: as if so many were compared; None for those that were.
        """
        own = sum(key[0] == metric for key in self.comparisons) // 2
        return attainable(images or self.compared(metric), own) if own else 1.0

    def costs(self, calibration: Mapping[str, Any] | None) -> dict[str, float]:
        """What methods cost in forward passes, of those that were measured."""
        measured = (calibration or {}).get(self.network) or {}
        forward, seconds = measured.get("forward"), measured.get("methods") or {}
        if not forward:
            return {}
        return {m: seconds[m] / forward for m in self.methods if seconds.get(m)}


def cells_of(run: Run) -> list[Cell]:
    """The networks and datasets of a run that have rows.

    Raises ValueError where none has.
    """
    found = [Cell(*names, evaluation) for names, evaluation in run.evaluations().items()]
    if not any(len(cell.evaluation.values) for cell in found):
        if not run.complete:
            raise ValueError(f"{run.folder}: holds no values yet; {run.continuing}")
        why = next((one.reason for cell in found for one in cell.evaluation.omissions), "")
        why = f" ({why})" if why else ""
        raise ValueError(
            f"{run.folder}: holds no values: nothing could be explained and graded{why}"
        )
    return found


def check_metrics(run: Run, metrics: Iterable[str]) -> None:
    """Raise ValueError where a metric is not known here; it names the plugins that the run had."""
    for name in metrics:
        try:
            metric_of(name)
        except ValueError:
            if not (ways := plugins_lacking(run.manifest)):
                raise
            raise ValueError(
                f"{run.folder}: the metric {name!r} is not loaded; it is of a plugin that the run "
                f"had: {ways}"
            ) from None


def metrics_in(cells: Sequence[Cell]) -> list[str]:
    """The metrics of all cells."""
    return list(dict.fromkeys(metric for cell in cells for metric in cell.metrics))
