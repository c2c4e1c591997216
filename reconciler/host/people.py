"""The accounts of a host as others ask for them: with their numbers and groups, or why they cannot be told."""

from __future__ import annotations

from functools import cached_property

from ..rscd.accounts import Account, Unasked
from .held import account_files
from .names import Names
from .port import Entity, Observer
from .userdb import Table, members_of


class HostAccounts:
    """The host's users and their groups, local ones by the files and others by the name services."""

    def __init__(self, host: Observer) -> None:
        self.host = host
        self._names = Names(host)

    @cached_property
    def _passwd(self) -> Table:
        return account_files(self.host).table("passwd") or Table()

    @cached_property
    def _groups(self) -> list[list[str]]:
        table = account_files(self.host).table("group") or Table()
        return [columns for columns in table.entries() if len(columns) > 3]

    def user(self, name: str) -> Account | Unasked | None:
        """The account of that name."""
        columns = self._passwd.get(name)
        if columns and len(columns) > 3 and columns[2].isdecimal():
            return Account(name, int(columns[2]), self._of(name, columns[3]))
        found = self.host.remote("passwd", name)
        if isinstance(found, Entity):
            return Account(found.name, found.number)
        return Unasked(found) if isinstance(found, str) else None

    def number(self, uid: int) -> Account | Unasked | None:
        """The first account of that number."""
        name = self._names.user(uid)
        return self.user(name) if isinstance(name, str) else None

    def _of(self, name: str, primary: str) -> frozenset[str]:
        return frozenset(c[0] for c in self._groups if c[2] == primary or name in members_of(c))
