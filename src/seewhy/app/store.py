"""The viewer's memory: each visitor's newest photos and results, never on disk."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from math import inf
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar("Item")

IDLE = 600.0  # seconds after which what a visitor has left may go, where there is no room


@dataclass
class _Kept(Generic[Item]):
    """An item, whose it is, its size, when it was used last, and until when jobs may need it."""

    item: Item
    owner: str
    size: float
    used: float
    held: list[float] = field(default_factory=list)


class Store(Generic[Item]):
    """The newest `capacity` items of each owner, each under a random token.

    what: the word for an item in messages.
    most: maximum size of all items together. Items that their owner still uses are not removed for
        another owner, who gets a message to wait.
    """

    def __init__(self, what: str, capacity: int, most: float = inf) -> None:
        self._what, self._capacity, self._most = what, capacity, most
        self._items: OrderedDict[str, _Kept[Item]] = OrderedDict()  # the one unused longest first
        self._lock = Lock()

    def add(self, item: Item, owner: str = "", size: float = 0) -> str:
        """Keep an item, if need be in place of the owner's one unused for longest; its token.

        Raises ValueError where there is no room, as the owner's items wait for their jobs, or
        everyone's are in use.
        """
        token = secrets.token_urlsafe(16)
        with self._lock:
            while sum(kept.owner == owner for kept in self._items.values()) >= self._capacity:
                self._remove_first(
                    self._loose(owner),
                    f"jobs of yours wait for all {self._capacity} {self._what}s that you may have "
                    "here; try again when they are done",
                )
            while sum(kept.size for kept in self._items.values()) + size > self._most:
                self._remove_first(
                    [*self._loose(None, IDLE), *self._loose(owner)],
                    f"there is no room for another {self._what}, as others are at work; try again "
                    "in some minutes, or with a smaller photo",
                )
            self._items[token] = _Kept(item, owner, size, monotonic())
        return token

    def __getitem__(self, token: object) -> Item:
        """The item of a token. Raises ValueError where there is none, or no longer."""
        with self._lock:
            return self._used(token).item

    def owner(self, token: object) -> str:
        """Whose the item of a token is. Raises ValueError where there is none."""
        with self._lock:
            return self._used(token).owner

    def hold(self, token: str, seconds: float) -> None:
        """Keep an item until `begin`, or so long, as a job waits for it; nothing without one."""
        with self._lock:
            if token in self._items:
                self._used(token).held.append(monotonic() + seconds)

    def begin(self, token: str) -> None:
        """One of the jobs that wait for an item begins; nothing where there is none."""
        with self._lock:
            if token in self._items:
                del self._items[token].held[:1]

    def _used(self, token: object) -> _Kept[Item]:
        if not isinstance(token, str) or token not in self._items:
            raise ValueError(f"this {self._what} is no longer here; please give it again")
        self._items.move_to_end(token)
        self._items[token].used = monotonic()
        return self._items[token]

    def _loose(self, owner: str | None, idle: float = 0) -> list[str]:
        """Tokens of what may go, the one unused longest first; None for all owners."""
        now = monotonic()
        return [
            token
            for token, kept in self._items.items()
            if owner in (None, kept.owner)
            and all(end < now for end in kept.held)
            and now - kept.used >= idle
        ]

    def _remove_first(self, tokens: list[str], why_not: str) -> None:
        """Remove the item of the first token. Raises ValueError where there is none."""
        if not tokens:
            raise ValueError(why_not)
        del self._items[tokens[0]]
