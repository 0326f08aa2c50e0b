"""What exactly was run, and by what."""

from collections.abc import Iterable
from typing import Any

from seewhy.bench.store import Run

FACTS = (
    "config_hash", "seed", "created", "device", "engine", "workers", "git", "versions", "weights",
    "images",
)  # fmt: skip


def facts(run: Run, names: Iterable[str]) -> dict[str, str]:
    """Parts of the manifest as texts, each under a name such as "config.networks.0.model"."""
    return dict(_flattened({name: run.manifest.get(name) for name in names}, ""))


def differing(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """What the manifests say differently: a name and the two values."""
    before, now = (facts(run, ("config", *FACTS)) for run in (first, second))
    return [
        (name, before.get(name, "–"), now.get(name, "–"))
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _flattened(value: Any, name: str) -> Iterable[tuple[str, str]]:
    parts: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        parts = enumerate(value)
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield name, "–" if value is None else text
        return
    for part, inner in parts:
        yield from _flattened(inner, f"{name}.{part}" if name else str(part))
