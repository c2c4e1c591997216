"""The accounts of the host that an agent runs on, as far as they can be told.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Account:
    """A user of the host that the agent runs on."""

    name: str
    uid: int | None = None
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Unasked:
    """Why an account database cannot be asked."""

    reason: str


class Accounts(Protocol):
    """The accounts of the host, as far as they can be told."""

    def user(self, name: str) -> Account | Unasked | None: ...
    def number(self, uid: int) -> Account | Unasked | None: ...


@dataclass(frozen=True)
class Listed:
    """Accounts that are known by a list; with ``unasked`` every other name is unknown, else it is not there."""

    accounts: tuple[Account, ...] = ()
    unasked: str = ""
    fold: bool = False
    """Whether the case of names does not count, as on Windows."""

    def user(self, name: str) -> Account | Unasked | None:
        """The account of that name."""
        found = next((a for a in self.accounts if a.name == name), None)
        if found is None and self.fold:
            found = next((a for a in self.accounts if a.name.casefold() == name.casefold()), None)
        return found or (Unasked(self.unasked) if self.unasked else None)

    def number(self, uid: int) -> Account | Unasked | None:
        """The first account of that number."""
        found = next((account for account in self.accounts if account.uid == uid), None)
        return found or (Unasked(self.unasked) if self.unasked else None)
