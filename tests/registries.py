"""What is registered by name, and a way to forget what a test adds to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from seewhy import metrics, naming, plugins
from seewhy.data.load import READERS
from seewhy.models.zoos import ZOOS


@contextmanager
def forgotten() -> Iterator[None]:
    """Afterwards all registries are as before, and modules that were named as plugins are gone."""
    tables = (
        naming.METHODS, naming.REFINEMENTS, metrics.METRICS, metrics.SHARED, READERS, ZOOS,
        plugins.NAMED, plugins.INSTALLED,
    )  # fmt: skip
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for plugin in plugins.NAMED.keys() - before[-2].keys():
            sys.modules.pop(plugin.module, None)
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)
