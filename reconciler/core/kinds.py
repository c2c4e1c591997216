"""The kinds that there are, and what the kind of an address can."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from ..model import Address, above
from .kind import Kind


class Kinds(Mapping[str, Kind[Any]]):
    """Every kind by its name, and what the kind of an address can; a kind that is not known here can nothing.

    A kind is loaded when it is first asked for.  To go through all of them, in the order in which a plan works
    through them, loads them all.
    """

    def __init__(self, names: Iterable[str], load: Callable[[str], Kind[Any]]) -> None:
        self.names = tuple(names)
        self._load = load
        self._loaded: dict[str, Kind[Any]] = {}

    def __getitem__(self, name: str) -> Kind[Any]:
        found = self._loaded.get(name)
        if found is None:
            if name not in self.names:
                raise KeyError(name)
            found = self._loaded[name] = self._load(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.names, key=lambda name: self[name].rank))

    def __len__(self) -> int:
        return len(self.names)

    def address(self, text: str) -> Address:
        """Read ``kind:name`` as a user writes it.

        A kind has one way to write a name: of two texts that mean one thing, one address is made.
        """
        address = Address.parse(text)
        kind = self.get(address.kind)
        return address if kind is None else Address(address.kind, kind.resource.canonical(address.name))

    def short(self, address: Address) -> str:
        """An address as people write it."""
        kind = self.get(address.kind)
        return f"{address.kind}:{kind.short(address.name) if kind is not None else address.name}"

    def located(self, address: Address) -> bool:
        """Whether its name is a path at which it stands."""
        return address.kind in self and self[address.kind].located

    def spans(self, address: Address) -> bool:
        """Whether it holds what others hold inside it."""
        return address.kind in self and self[address.kind].spans

    def encloses(self, address: Address) -> bool:
        """Whether other things can stand in it."""
        return address.kind in self and self[address.kind].encloses

    def called(self, name: str, among: Container[Address]) -> list[Address]:
        """What of ``among`` has a name, of whatever kind."""
        return [address for kind in self.names if (address := Address(kind, name)) in among]

    def around(self, path: str, among: Container[Address]) -> list[Address]:
        """What of ``among`` spans a path, the innermost first."""
        return [address for top in (path, *above(path)) for address in self.called(top, among) if self.spans(address)]

    def single(self, address: Address) -> bool:
        """Whether it is one path, and nothing inside it."""
        return self.located(address) and not self.spans(address)

    def runs(self, address: Address) -> bool:
        """Whether it has a process."""
        return address.kind in self and self[address.kind].runs

    def replays(self, address: Address) -> bool:
        """Whether what is to stand there is worked out from what stood there first."""
        return address.kind in self and self[address.kind].replays

    def owns(self, address: Address) -> bool:
        """Whether paths and processes belong to it, by its number."""
        return address.kind in self and self[address.kind].owns

    def paths(self, address: Address) -> tuple[str, ...]:
        """Every path that it writes as a file of its own."""
        return self[address.kind].paths(address.name) if address.kind in self else ()
