"""Where a run's numbers may go while it runs: TensorBoard, or a logger of one's own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from seewhy.evaluation.rows import Answers

Log = Callable[[int, Mapping[str, float]], None]
"""Takes numbers under names, after each shard, with the number of images done."""


@contextmanager
def tensorboard(folder: Path, config: Mapping[str, Any]) -> Iterator[Log]:
    """Event files in the run's folder, below `tensorboard`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("--log tensorboard needs the package tensorboard; install it") from None
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        writer.add_text("config", f"```\n{config}\n```")

        def log(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield log


LOGGERS: dict[str, Callable[[Path, Mapping[str, Any]], AbstractContextManager[Log]]] = {
    "tensorboard": tensorboard
}
"""By name, each a context of a run's folder and config, as plain data: it ends with the run."""


def logging(name: str, folder: Path, config: Mapping[str, Any]) -> AbstractContextManager[Log]:
    """The logger of that name for a run in a folder.

    Raises ValueError for an unknown name, and when it is entered where its package is missing.
    """
    if name not in LOGGERS:
        raise ValueError(f"there is no log {name!r}; there are {', '.join(LOGGERS)}")
    return LOGGERS[name](folder, config)


class Means:
    """Means so far of this go, by "NETWORK/DATASET/METRIC/METHOD"."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, int]] = {}

    def add(self, cell: str, answers: Sequence[Answers]) -> dict[str, float]:
        """The means with these answers of a network and dataset."""
        for row in (row for one in answers for row in one.rows):
            name = f"{cell}/{row.metric}/{row.method}"
            total, count = self._values.get(name, (0.0, 0))
            self._values[name] = total + row.value, count + 1
        return {name: total / count for name, (total, count) in self._values.items()}
