"""Limits of the viewer, so that no visitor can exhaust the machine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one viewer.

    megabytes: size of a photo's file.
    megapixels: size of a photo.
    seconds: time of one job, whose process is then ended.
    queue: number of waiting jobs; one runs at a time.
    maps: maps of one query (methods x targets).
    photos, results: how many of each visitor's newest are kept in memory.
    memory: megabytes of all photos together, and of all results together.
    patience: seconds within which a request's body must arrive.
    """

    megabytes: float = 20
    megapixels: float = 16
    seconds: float = 120
    queue: int = 8
    maps: int = 12
    photos: int = 8
    results: int = 4
    memory: float = 400
    patience: float = 30

    def __post_init__(self) -> None:
        """Check the bounds before anything is served."""
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name}={value} (--max-{name}); give a number above 0")

    @property
    def bytes(self) -> int:
        """Of a photo's file."""
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Of a photo."""
        return int(self.megapixels * 1e6)
