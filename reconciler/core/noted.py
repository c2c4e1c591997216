"""Tables that note which of their keys changed, so that nobody has to look through all of them after every event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Noted(dict[K, V]):
    """A table that notes the keys whose values changed since that was last asked.

    >>> table = Noted({"a": 1})
    >>> table["a"], table["b"] = 1, 2
    >>> del table["a"]
    >>> sorted(table.taken()), table.taken()
    (['a', 'b'], [])
    """

    def __init__(self, known: Mapping[K, V] | None = None) -> None:
        super().__init__(known or {})
        self._changed: dict[K, None] = {}

    def touch(self, key: K) -> None:
        """Note that what a key stands for was changed in place."""
        self._changed[key] = None

    def taken(self) -> list[K]:
        """The keys that changed since this was last asked."""
        found = list(self._changed)
        self._changed.clear()
        return found

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self or self[key] != value:
            self._changed[key] = None
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        self._changed[key] = None
        super().__delitem__(key)

    def pop(self, key: K, *default: Any) -> Any:
        """As a dictionary does."""
        if key in self:
            self._changed[key] = None
        return super().pop(key, *default)

    def setdefault(self, key: K, default: V) -> V:
        """As a dictionary does."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, other: Mapping[K, V]) -> None:  # type: ignore[override] # from a table alone
        """As a dictionary does."""
        for key, value in other.items():
            self[key] = value

    def clear(self) -> None:
        """As a dictionary does."""
        for key in list(self):
            del self[key]

    def replaced(self, other: Mapping[K, V]) -> None:
        """Make it another table, in the other one's order."""
        self._changed |= dict.fromkeys([*self, *other])
        self.ordered(other)

    def ordered(self, other: Mapping[K, V]) -> None:
        """Take the order of a table with the same keys, whose values mean the same; nothing is noted as changed."""
        super().clear()
        for key, value in other.items():
            super().__setitem__(key, value)
