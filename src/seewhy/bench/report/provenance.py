"""What exactly was run, and by what."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from seewhy.bench.store import Run
from seewhy.draw.page import Entry, table

FACTS = (
    "config_hash", "seed", "created", "device", "engine", "workers", "git", "versions", "weights",
    "images",
)  # fmt: skip


def provenance(run: Run) -> str:
    """The config as it was written, and all that the manifest says beside it."""
    rows: list[list[str | Entry]] = [
        [name, code(value)] for name, value in facts(run, FACTS).items()
    ]
    return (
        "<h2>What was run</h2><p>The config, as it was written:</p>"
        f"<pre>{escape(run.manifest['config_text'])}</pre>" + table("", [], rows, kind="facts")
    )


def differing(first: Run, second: Run) -> list[list[str | Entry]]:
    """What the manifests say differently: rows of a name and the two values."""
    before, now = (facts(run, ("config", *FACTS)) for run in (first, second))
    return [
        [name, code(before.get(name)), code(now.get(name))]
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def facts(run: Run, names: Iterable[str]) -> dict[str, Any]:
    """Parts of the manifest, each value under a name such as "config.networks.0.model"."""
    return _flattened({name: run.manifest.get(name) for name in names}, "")


def code(value: Any) -> Entry:
    """A value of a manifest."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else value
    return Entry("–" if value is None else f"<code>{escape(str(text))}</code>", kind="text")


def _flattened(value: Any, name: str) -> dict[str, Any]:
    parts: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        parts = enumerate(value)
    else:
        return {name: value}
    return {
        key: found
        for part, inner in parts
        for key, found in _flattened(inner, f"{name}.{part}" if name else str(part)).items()
    }
