"""What the viewer remembers: the newest photos and results, in memory alone."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Store(Generic[Item]):
    """The newest `capacity` items, each under a token that nobody can guess.

    what: the word for an item in messages.
    """

    def __init__(self, what: str, capacity: int) -> None:
        self._what, self._capacity = what, capacity
        self._items: OrderedDict[str, Item] = OrderedDict()
        self._lock = Lock()

    def add(self, item: Item) -> str:
        """Keep an item, if need be in place of the one unused for longest; returns its token."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._items[token] = item
            while len(self._items) > self._capacity:
                self._items.popitem(last=False)
        return token

    def __getitem__(self, token: object) -> Item:
        """The item of a token. Raises ValueError where there is none, or no longer."""
        with self._lock:
            if not isinstance(token, str) or token not in self._items:
                raise ValueError(f"this {self._what} is no longer here; please give it again")
            self._items.move_to_end(token)
            return self._items[token]
