"""The parts of an evaluation: rows of values, and omissions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One value: of one image, target, method and metric.

    image: key of the sample.
    target: the dataset's label of what is explained; "" if it has none.
    class_index: the network's class that stands for it.
    probability: of that class, 0 to 1.
    difficult: whether the target belongs to the pointing game's difficult subset (Zhang et
        al. 2018): boxes over less than a quarter of an image that holds another category too.
    method, metric: their names.
    value: in the metric's unit.
    curve: the scores that the value sums up, at equal steps: of insertion and deletion from no
        pixel changed to all, of ROAD's two orders at a tenth to nine tenths of them; else ().
    """

    image: str
    target: str
    class_index: int
    probability: float
    difficult: bool
    method: str
    metric: str
    value: float
    curve: tuple[float, ...] = ()


@dataclass(frozen=True)
class Omission:
    """What has no rows, and why: a whole image, a target of it, or a method on it.

    `failed` says that something went wrong, such as a broken file; otherwise the task leaves
    it out, such as a category that the network does not know.
    """

    image: str
    target: str
    method: str
    reason: str
    failed: bool


@dataclass(frozen=True)
class Answers:
    """All about one image: every row that it gives, and what it does not give."""

    image: str
    rows: tuple[Row, ...] = ()
    omissions: tuple[Omission, ...] = ()

    @staticmethod
    def lost(image: str, reason: str) -> "Answers":
        """The answers of an image of which nothing could be graded."""
        return Answers(image, (), (Omission(image, "", "", reason, True),))

    @property
    def failed(self) -> bool:
        """Whether something went wrong with any of it."""
        return any(one.failed for one in self.omissions)
