"""Which rows of tokens are rows of others, as the autograd graph tells.

A decoder's queries are as many as there are patches, perhaps, but they were made anew.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from seewhy.core.rules import edges, kind_of


def made_from_rows(starts: Iterable[Any], ends: Iterable[Any]) -> set[Any]:
    """The nodes of a graph, on the way back from its ends, whose rows are those of the starts."""
    known = {end for end in ends if end is not None}
    left, made = [*known], dict[Any, list[Any]]()
    while left:
        node = left.pop()
        for origin in _origins_of_rows(node):
            made.setdefault(origin, []).append(node)
            if origin not in known:
                known.add(origin)
                left.append(origin)
    left = [*starts]
    found: set[Any] = set()
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += made.get(node, [])
    return found


def _origins_of_rows(node: Any) -> Iterator[Any]:
    """What a node's rows are rows of.

    Of attention that is the queries: the left one in each product. Rows that were picked out, such
    as an encoder's best proposals, are none of the grid any more.
    """
    kind, origins = kind_of(node), [origin for origin, _ in edges(node)]
    if kind in ("Addmm", "Baddbmm", "Bmm", "Mm"):
        origins = origins[:-1]
    elif kind.startswith("ScaledDotProduct"):
        origins = origins[:1]
    elif kind.startswith("GridSampler"):
        origins = origins[1:]
    elif kind in ("Gather", "Index", "IndexSelect"):
        origins = []
    return (origin for origin in origins if origin is not None)
