"""The prospects of one plan, and what they tell of paths, kept so that asking costs the same however many there are."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..host.port import Type
from ..model import Absent, Address, Json

if TYPE_CHECKING:
    from .kind import Proposal


@dataclass(frozen=True)
class Foretold:
    """What becomes of a path inside a thing when that has its turn."""

    parts: Mapping[str, Json] | None
    """Parts of its state, by the names of the state's fields; None: it is gone."""
    type: str = ""
    """What stands there, where it goes."""
    anew: bool = False
    """Whether it comes into being, so that nothing is foretold of what stands there already."""


class Planned(dict[Address, "Proposal"]):
    """The prospects of a plan so far, in an order in which each can look at what it needs."""

    def __init__(self, located: Callable[[Address], bool] = lambda address: address.name.startswith("/")) -> None:
        super().__init__()
        self._located = located
        self.going: Counter[str] = Counter()
        """The paths that this plan takes away."""
        self.made: Counter[str] = Counter()
        """The directories that go with them where nothing else is in them."""
        self.foretold: dict[str, dict[Address, Foretold]] = {}
        """By path what things round it make of it."""

    def __setitem__(self, address: Address, prospect: Proposal) -> None:
        if address in self:
            self._count(address, self[address], -1)
        super().__setitem__(address, prospect)
        self._count(address, prospect, 1)

    def _count(self, address: Address, prospect: Proposal, by: int) -> None:
        for path, told in prospect.foretold.items():
            if by > 0:
                self.foretold.setdefault(path, {})[address] = told
            else:
                self.foretold[path].pop(address, None)
        after = prospect.after
        if not (prospect.steps and isinstance(after, Absent) and self._located(address)):
            return
        if not after.around.get("passed"):
            self.going[address.name] += by
            self.made.update(dict.fromkeys(after.around.get("missing", ()), by))
        for path, told in prospect.foretold.items():
            if told.parts is None:
                (self.made if told.type == Type.DIRECTORY else self.going)[path] += by


class Paths:
    """Addresses whose names are paths, to be asked which lie inside one."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._sorted = sorted((address.name, address) for address in addresses)

    def inside(self, top: str) -> list[Address]:
        """Those strictly below ``top``.

        >>> listed = [Address("file", name) for name in ("/a", "/a/b", "/a-b", "/a/b/c")]
        >>> [str(address) for address in Paths(listed).inside("/a")]
        ['file:/a/b', 'file:/a/b/c']
        """
        prefix = top.rstrip("/") + "/"
        first = bisect_left(self._sorted, (prefix,))
        last = bisect_left(self._sorted, (prefix[:-1] + "0",))  # the character behind the slash
        return [address for _, address in self._sorted[first:last]]
