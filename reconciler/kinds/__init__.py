"""The kinds of thing that a deployment can speak of: one file each, found by looking in this folder."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ..model import Address
from .base import Kind


class Kinds(dict[str, Kind[Any]]):
    """Every kind by its name, and what the kind of an address can; a kind that is not known here can nothing."""

    def address(self, text: str) -> Address:
        """Read ``kind:name`` as a user writes it.

        >>> str(kinds().address("daemon:ndtask"))
        'daemon:ndtask.service'
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

    def single(self, address: Address) -> bool:
        """Whether it is one path, and nothing inside it."""
        return self.located(address) and not self.spans(address)

    def runs(self, address: Address) -> bool:
        """Whether it has a process."""
        return address.kind in self and self[address.kind].runs

    def owns(self, address: Address) -> bool:
        """Whether paths and processes belong to it, by its number."""
        return address.kind in self and self[address.kind].owns

    def paths(self, address: Address) -> tuple[str, ...]:
        """Every path that it writes as a file of its own."""
        return self[address.kind].paths(address.name) if address.kind in self else ()


@cache
def kinds() -> Kinds:
    """Every kind by its name, in the order in which a plan works through them."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found = [module.KIND for module in modules if hasattr(module, "KIND")]
    return Kinds({kind.name: kind for kind in sorted(found, key=lambda kind: kind.rank)})
