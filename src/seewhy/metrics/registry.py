"""Every metric by name, with what a reader of its numbers must know."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from torch import Tensor

from seewhy.metrics import faithfulness, localization, quality, sanity
from seewhy.naming import suggestion


@dataclass(frozen=True)
class Metric:
    """A metric: its function gives one value per image, (B,).

    `range` is (lowest, highest) for probabilities as scores. `passes` counts what it costs per
    image: F is a forward, E an explanation, S the steps, shares, samples or layers asked for.
    Metrics with the same `needs` share their passes. `caution` is how the number can be had without
    a better explanation, in a sentence that is shown beside it; "" where no such way is known.
    """

    function: Callable[..., Tensor]
    higher_is_better: bool
    range: tuple[float, float]
    passes: str
    source: str
    caution: str = ""

    @property
    def name(self) -> str:
        """The name, which is the function's."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first sentence of the function's documentation."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @property
    def needs(self) -> tuple[str, ...]:
        """What the function is given: its parameters without a default, by name.

        `saliency`, `masks`, `boxes`, `inputs`, `score` and `explain` are what the metrics' modules
        say; `original` and `masked` come from `confidences`, `half` from `half_confidences`,
        `curves` from `insertion_deletion`, `road_curves` and `cascade` from the functions of that
        kind, `masked_saliency` from explaining the explanation maps; `other...` is another method's
        or target's. A need with the name of a metric is that metric's value.
        """
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.default is p.empty)


_CHATTOPADHYAY = "Chattopadhyay et al. 2018, Grad-CAM++"
_PETSIUK = "Petsiuk et al. 2018, RISE"
_POPPI = "Poppi et al. 2021, Revisiting the evaluation of class activation mapping"
_RONG = "Rong et al. 2022, ROAD"
_ARRAS = "Arras et al. 2022, CLEVR-XAI"
_YEH = "Yeh et al. 2019, On the (in)fidelity and sensitivity of explanations"
_VEIL = (
    "A map that shows nearly everything, as a veil or by broad plateaus, does well by it; read it "
    "with half_drop and energy_pointing_game."
)
_ORDER = (
    "Filled pixels are unlike any photo: maps with smooth outlines do better than others by it, "
    "whatever they show."
)
_DELETION = (
    "A few scattered pixels that upset the network do well by it, as they would on a photo without "
    "the object; read it with insertion."
)
_UNIT, _SIGNED_UNIT = (0.0, 1.0), (-1.0, 1.0)

_ALL = [
    Metric(localization.pointing_game, True, _UNIT, "0", "Zhang et al. 2018, excitation backprop"),
    Metric(localization.energy_pointing_game, True, _UNIT, "0", "Wang et al. 2020, Score-CAM"),
    Metric(
        localization.grid_pointing,
        True,
        _UNIT,
        "0",
        "Rao et al. 2022, Towards better understanding attribution methods (GridPG)",
    ),
    Metric(localization.mass_accuracy, True, _UNIT, "0", _ARRAS),
    Metric(localization.rank_accuracy, True, _UNIT, "0", _ARRAS),
    Metric(localization.iou, True, _UNIT, "0", "Jaccard index of the thresholded map"),
    Metric(localization.box_iou, True, _UNIT, "0", "Zhou et al. 2016, CAM"),
    Metric(faithfulness.average_drop, False, _UNIT, "2F", _CHATTOPADHYAY, _VEIL),
    Metric(faithfulness.half_drop, False, _UNIT, "2F", "Average drop with a hard mask", _ORDER),
    Metric(faithfulness.increase, True, _UNIT, "2F", _CHATTOPADHYAY, _VEIL),
    Metric(faithfulness.win, True, _UNIT, "2F", _CHATTOPADHYAY, _VEIL),
    Metric(faithfulness.average_gain, True, _UNIT, "2F", "Zhang et al. 2024, Opti-CAM", _VEIL),
    Metric(faithfulness.insertion, True, _UNIT, "2SF", _PETSIUK, _ORDER),
    Metric(faithfulness.deletion, False, _UNIT, "2SF", _PETSIUK, _DELETION),
    Metric(faithfulness.road, True, (-0.5, 0.5), "2SF", _RONG),
    Metric(faithfulness.road_most_first, False, _UNIT, "2SF", _RONG),
    Metric(faithfulness.road_least_first, True, _UNIT, "2SF", _RONG),
    Metric(
        faithfulness.single_deletion,
        True,
        _SIGNED_UNIT,
        "17F",
        "Hesse et al. 2024, Benchmarking the attribution quality of vision models (IDSDS)",
    ),
    Metric(faithfulness.effect_correlation, True, _SIGNED_UNIT, "0", "rendered scenes"),
    Metric(quality.coherency, True, _UNIT, "1E", _POPPI),
    Metric(quality.complexity, False, _UNIT, "0", _POPPI),
    Metric(quality.adcc, True, _UNIT, "1E + 2F", _POPPI),
    Metric(quality.gini, True, _UNIT, "0", "Hurley and Rickard 2009; Chalasani et al. 2020"),
    Metric(quality.entropy, False, (0.0, inf), "0", "Bhatt et al. 2020"),
    Metric(sanity.max_sensitivity, False, (0.0, inf), "SE", _YEH),
    Metric(sanity.infidelity, False, (0.0, 1.0), "(S + 1)F", _YEH),
    Metric(sanity.parameter_randomization, False, _SIGNED_UNIT, "(S + 1)E", "Adebayo et al. 2018"),
    Metric(
        sanity.target_selectivity, False, _SIGNED_UNIT, "1E", "correlation of two targets' maps"
    ),
]
_BY_NAME = {metric.name: metric for metric in _ALL}


def list_metrics() -> list[str]:
    """The names of all metrics."""
    return list(_BY_NAME)


def metric(name: str) -> Metric:
    """The metric of that name; a ValueError suggests the nearest."""
    if name not in _BY_NAME:
        raise ValueError(f"there is no metric {name!r}{suggestion(name, _BY_NAME)}")
    return _BY_NAME[name]
