"""The host's four account files, read together and written together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from ..errors import HostError
from .port import File, Host, Observer
from .userdb import Table

PATHS = {"passwd": "/etc/passwd", "shadow": "/etc/shadow", "group": "/etc/group", "gshadow": "/etc/gshadow"}
CREATING = ("group", "gshadow", "shadow", "passwd")
"""The order in which files are replaced: an account shows only when all of it is there."""
REMOVING = tuple(reversed(CREATING))


class AccountFiles:
    """The tables of passwd, shadow, group and gshadow, each read when it is first asked for."""

    def __init__(self, host: Observer, known: AccountFiles | None = None, *, held: bool = False) -> None:
        """``held``: what is saved is only put down, and written when all of it is written.

        ``known``: tables that are taken over where the files still have the bytes that those were made of.
        """
        self.host, self._held = host, held
        self._files: dict[str, File | None] = {}
        self._tables: dict[str, Table | None] = {}
        self._known: dict[str, tuple[File | None, Table | None]] = {}
        if known is not None and not known._order:
            self._known = {name: (known._files[name], table) for name, table in known._tables.items()}
        self._order: dict[str, None] = {}
        """The files to be written, in the order in which each was last saved."""
        self.chosen: dict[tuple[str, bool], int] = {}
        """The number that was last chosen, by database and range."""

    def table(self, name: str) -> Table | None:
        """One table; None where the host has no such file."""
        if name not in self._tables:
            file = self._files[name] = self.host.read(PATHS[name])
            before, table = self._known.pop(name, (None, None))
            if file is not None and (before is None or before.data != file.data):
                table = Table.parse(file.data)
            self._tables[name] = table if file is not None else None
        return self._tables[name]

    def need(self, name: str) -> Table:
        """One table that has to be there."""
        table = self.table(name)
        if table is None:
            raise HostError(f"{PATHS[name]}: missing; this is no system whose accounts could be edited")
        return table

    def save(self, host: Host, order: Iterable[str]) -> None:
        """Replace the files whose bytes changed, keeping their owner, mode and attributes."""
        for name in order:
            self._order.pop(name, None)
            self._order[name] = None
        if not self._held:
            self.write(host)

    def write(self, host: Host) -> None:
        """Replace all that was saved and whose bytes changed."""
        changed = False
        for name in list(self._order):
            table, file = self.table(name), self._files[name]
            if file is not None and table is not None:
                made = replace(file, data=table.render(), mtime_ns=None)
                if made.data != file.data:
                    host.replace(PATHS[name], made)
                    self._files[name], changed = made, True
            del self._order[name]
        if changed and host.live:
            forget_caches(host)


def forget_caches(host: Host) -> None:
    """Tell the caches of the name services, where they run, that the files changed."""
    if host.stat("/run/nscd/socket") is not None:
        for database in ("passwd", "group"):
            with suppress(HostError):
                host.run(["nscd", "-i", database])
    if host.stat("/var/lib/sss/pipes/nss") is not None:
        with suppress(HostError):
            host.run(["sss_cache", "-UG"])
