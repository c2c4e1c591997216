"""Names and numbers of users and groups, as this host tells them."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TypeGuard

from ..errors import HostError
from ..formats.text import printable
from ..model import Owner
from .accounts import AccountFiles
from .held import account_files
from .port import Entity, Observer
from .userdb import Table

"""A name; a bare number only where the host has no name for it."""


def sources(nsswitch: bytes, database: str) -> list[str] | None:
    """The name services that nsswitch.conf asks for a database, in their order; None where it says nothing.

    >>> sources(b"passwd: files [NOTFOUND=return] sss # all\\n", "passwd")
    ['files', 'sss']
    """
    for line in nsswitch.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("#")[0].partition(":")
        if key.strip() == database:
            return [word for word in value.split() if not word.startswith("[") and not word.endswith("]")]
    return None


class Names:
    """The host's users and groups at one moment."""

    def __init__(self, host: Observer) -> None:
        self.host = host
        self._remote: dict[tuple[str, int], Owner] = {}

    @cached_property
    def _files(self) -> AccountFiles:
        return account_files(self.host)

    @cached_property
    def _users(self) -> Table:
        return self._files.table("passwd") or Table()

    @cached_property
    def _groups(self) -> Table:
        return self._files.table("group") or Table()

    def user(self, uid: int) -> Owner:
        """The name of a uid, or the uid itself."""
        found = self._users.numbers().get(uid)
        return found[0] if found else self._named("passwd", uid)

    def group(self, gid: int) -> Owner:
        """The name of a gid, or the gid itself."""
        found = self._groups.numbers().get(gid)
        return found[0] if found else self._named("group", gid)

    def _named(self, database: str, number: int) -> Owner:
        key = (database, number)
        if key not in self._remote:
            self._remote[key] = self.host.named(database, number) or number
        return self._remote[key]

    def uid(self, owner: Owner) -> int | None:
        """The uid of a name; None where the host has no such user."""
        return self._number("passwd", self._users, owner)

    def gid(self, owner: Owner) -> int | None:
        """The gid of a name; None where the host has no such group."""
        return self._number("group", self._groups, owner)

    def _number(self, database: str, table: Table, owner: Owner) -> int | None:
        if isinstance(owner, int):
            return owner
        columns = table.get(owner)
        if columns and len(columns) > 2 and columns[2].isdecimal():
            return int(columns[2])
        found = self.host.remote(database, owner)
        if isinstance(found, Entity):
            return found.number
        return int(owner) if owner.isdecimal() else None

    def number(self, part: str, owner: Owner) -> int | None:
        """The number of an ``owner`` or ``group``; None where the host has no such name."""
        return self.uid(owner) if part == "owner" else self.gid(owner)

    def today(self, part: str, name: Owner, number: int | None) -> Owner:
        """Who has a number now that an ``owner`` or ``group`` had under a name.

        The name, where it still means that number, or nobody on this host.
        """
        if number is None or (isinstance(name, str) and self.number(part, name) in (None, number)):
            return name
        return self.user(number) if part == "owner" else self.group(number)

    def known_user(self, owner: Owner | None) -> Owner | None:
        """An owner as states hold it: a number only where the host has no name for it."""
        return self.user(int(owner)) if _is_number(owner) else owner

    def known_group(self, owner: Owner | None) -> Owner | None:
        """A group as states hold it."""
        return self.group(int(owner)) if _is_number(owner) else owner

    def need_uid(self, owner: Owner) -> int:
        """The uid of a name, or an error that says what is missing."""
        return _needed(self.uid(owner), "user", owner)

    def need_gid(self, owner: Owner) -> int:
        """The gid of a name, or an error that says what is missing."""
        return _needed(self.gid(owner), "group", owner)


def _is_number(owner: Owner | None) -> TypeGuard[Owner]:
    return isinstance(owner, int) or (isinstance(owner, str) and owner.isdecimal())


def _needed(number: int | None, what: str, owner: Owner) -> int:
    if number is None:
        raise HostError(absent("account" if what == "user" else "group", str(owner)))
    return number


LOCAL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,31}[$]?")
"""Names that an account or a group of the local files can have."""


def absent(kind: str, name: str) -> str:
    """That an account or group is not on this host, and what to do about it.

    >>> absent("account", "daemon:daemon")
    "account daemon:daemon does not exist on this host; write 'owner: daemon' and 'group: daemon', each by itself"
    >>> absent("group", "agents")
    "group agents does not exist on this host; declare it with '- group: agents'"
    """
    said = f"{kind} {printable(name)} does not exist on this host"
    owner, colon, group = name.partition(":")
    if colon:
        return f"{said}; write 'owner: {printable(owner)}' and 'group: {printable(group)}', each by itself"
    if not LOCAL.fullmatch(name):
        return f"{said}; such a name comes from a directory service alone: see 'getent passwd' whether one answers"
    return f"{said}; declare it with '- {kind}: {name}'"
