"""When a check's light is green, amber or red: thresholds, measured on scenes (docs/trust.md)."""

from dataclasses import dataclass
from typing import Literal

Light = Literal["green", "amber", "red", "grey"]


@dataclass(frozen=True)
class Thresholds:
    """How a value becomes a light.

    what: the value in words. green, red: a value that reaches the one is green, one that falls
    short of the other is red.
    """

    what: str
    green: float
    red: float

    @property
    def higher(self) -> bool:
        """Whether high values are the good ones."""
        return self.green > self.red

    def light(self, value: float) -> Light:
        """The light of a value; a better value never has a worse light."""
        sign = 1 if self.higher else -1
        if sign * value >= sign * self.green:
            return "green"
        return "red" if sign * value < sign * self.red else "amber"

    def __str__(self) -> str:
        """One line, such as "margin: green from 0.10, red below 0.00, amber between …"."""
        better, worse = ("from", "below") if self.higher else ("up to", "above")
        return (
            f"{self.what}: green {better} {self.green:.2f}, red {worse} {self.red:.2f}, "
            "amber between (thresholds from scenes)"
        )


THRESHOLDS = {
    "insertion and deletion": Thresholds(
        "insertion minus deletion, as a share of the confidence in the whole photo", 0.82, 0.55
    ),
    "confidence drop": Thresholds("average drop", 0.1, 0.9),
    "target selectivity": Thresholds("correlation with the runner-up's map", 0.57, 0.78),
    "randomised layers": Thresholds(
        "mean rank correlation with the maps of random layers", 0.69, 0.84
    ),
    "blind baselines": Thresholds(
        "insertion minus deletion, as a share of the confidence, beyond the best baseline's",
        0.02,
        -0.2,
    ),
}
"""The rule of each check, by name and in order."""


def caution(model: str) -> str:
    """What to keep in mind with the lights of a network of that name; "" where they fit."""
    if model.startswith("scenes:"):
        return ""
    return (
        "The lights' thresholds were measured on scenes and their two networks, and are not known "
        "to fit this network: on ImageNet networks good maps were often red. Read the numbers and "
        "compare methods with each other, rather than go by the colours."
    )
