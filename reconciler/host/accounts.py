"""The host's four account files, read together and written together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from ..errors import HostError
from .names import Names
from .port import File, Host, Observer
from .userdb import Table

PATHS = {"passwd": "/etc/passwd", "shadow": "/etc/shadow", "group": "/etc/group", "gshadow": "/etc/gshadow"}
CREATING = ("group", "gshadow", "shadow", "passwd")
"""The order in which files are replaced: an account shows only when all of it is there."""
REMOVING = tuple(reversed(CREATING))


class AccountFiles:
    """The tables of passwd, shadow, group and gshadow; a host may lack the two shadow files."""

    def __init__(self, host: Observer) -> None:
        self.files = {name: host.read(path) for name, path in PATHS.items()}
        self.tables = {name: Table.parse(file.data) for name, file in self.files.items() if file is not None}
        self.host = host

    def table(self, name: str) -> Table | None:
        """One table; None where the host has no such file."""
        return self.tables.get(name)

    def need(self, name: str) -> Table:
        """One table that has to be there."""
        table = self.tables.get(name)
        if table is None:
            raise HostError(f"{PATHS[name]}: missing; this is no system whose accounts could be edited")
        return table

    def save(self, host: Host, order: Iterable[str]) -> None:
        """Replace the files whose bytes changed, keeping their owner, mode and attributes."""
        changed = False
        for name in order:
            file, table = self.files[name], self.tables.get(name)
            if file is None or table is None:
                continue
            data = table.render()
            if data != file.data:
                host.replace(PATHS[name], replace(file, data=data, mtime_ns=None))
                changed = True
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


def number_range(host: Observer, what: str, *, system: bool) -> tuple[int, int]:
    """The range that login.defs gives for new ``UID`` or ``GID`` numbers."""
    settings: dict[str, int] = {}
    file: File | None = host.read("/etc/login.defs")
    for line in (file.data if file else b"").decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdecimal():
            settings[words[0]] = int(words[1])
    low = settings.get(f"{what}_MIN", 1000)
    if not system:
        return low, settings.get(f"{what}_MAX", 60000)
    return settings.get(f"SYS_{what}_MIN", 101), settings.get(f"SYS_{what}_MAX", low - 1)


def free_number(host: Observer, what: str, *, system: bool, wanted: Iterable[int] = ()) -> int:
    """A number that no user and no group has: a wanted one where possible, else as useradd chooses."""
    low, high = number_range(host, what, system=system)
    names = Names(host)
    used = {int(c[2]) for t in ("passwd", "group") for c in _entries(host, t) if len(c) > 2 and c[2].isdecimal()}
    own = {int(c[2]) for c in _entries(host, "passwd" if what == "UID" else "group") if len(c) > 2 and c[2].isdecimal()}
    tell = names.user if what == "UID" else names.group
    for number in wanted:
        if low <= number <= high and number not in own and tell(number) == number:
            return number
    candidates = range(high, low - 1, -1) if system else range(low, high + 1)
    for number in candidates:
        if number not in used and tell(number) == number:
            return number
    raise HostError(f"/etc/login.defs: no free {what} between {low} and {high}; widen the range or name one")


def _entries(host: Observer, name: str) -> list[list[str]]:
    file = host.read(PATHS[name])
    return Table.parse(file.data if file else b"").entries()


def today() -> str:
    """The days since 1970, as shadow counts them."""
    import time  # noqa: PLC0415 - only when an account is made

    return str(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()) // 86400)
