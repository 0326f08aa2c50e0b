"""Where a run's numbers may go while it runs: TensorBoard, or a logger of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class Logger(Protocol):
    """Takes numbers under names, as a run goes on."""

    def start(self, config: Mapping[str, Any]) -> None:
        """Called once, with the config as plain data."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Called after each shard, with the number of images done."""
        ...

    def close(self) -> None:
        """Called once, at the end, after an error too."""
        ...


class TensorBoard:
    """Event files in the run's folder, below `tensorboard`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def start(self, config: Mapping[str, Any]) -> None:
        """See `Logger`."""
        self._writer.add_text("config", f"```\n{config}\n```")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Logger`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Logger`."""
        self._writer.close()


LOGGERS: dict[str, Callable[[Path], Logger]] = {"tensorboard": TensorBoard}


def logger(name: str, folder: Path) -> Logger:
    """The logger of that name for a run in a folder.

    Raises ValueError for an unknown name, and where its package is missing.
    """
    if name not in LOGGERS:
        raise ValueError(f"there is no log {name!r}; there are {', '.join(LOGGERS)}")
    try:
        return LOGGERS[name](folder)
    except ImportError:
        raise ValueError(f"--log {name} needs the package {name}; install it") from None
