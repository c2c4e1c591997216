"""All that is seen of an account."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ...host.accounts import AccountFiles
from ...host.port import Entity, Observer
from ...model import State

Position = int | None


SHADOW_TAIL = ":0:99999:7:::"


class Membership(State):
    """The place of an account in one group's member lists, by commas; None: not in that list."""

    group: Position = None
    gshadow: Position = None
    half: bool = False
    """Whether only one of the two files lists it, though both know the group."""


class AccountState(State):
    """Everything that the files hold of an account."""

    uid: int | None
    """None: any free number; ``system`` says of which range."""
    group: str | int
    comment: str = ""
    home: str = "/"
    shell: str = "/bin/sh"
    password: str = "!"  # noqa: S105 - the marker of a locked password
    aging: str | None = None
    """What shadow holds behind the password; None: as today's new accounts have it."""
    shadowed: bool = True
    groups: Mapping[str, Membership] = {}
    below: tuple[str | None, str | None] = (None, None)
    system: bool = True
    remote: bool = False


def lock(password: str) -> str:
    """The password field, locked.

    >>> lock("$6$x"), lock("!"), lock("*")
    ('!$6$x', '!', '!*')
    """
    return password if password.startswith("!") else "!" + password


def memberships(files: AccountFiles, name: str) -> dict[str, Membership]:
    """The groups that list this name, and where in their lists."""
    tables = {kind: table for kind in ("group", "gshadow") if (table := files.table(kind)) is not None}
    found: dict[str, dict[str, int]] = {}
    for kind, table in tables.items():
        for group in table.listing(name):
            for _, place in table.places(group, name)[:1]:
                found.setdefault(group, {})[kind] = place
    known = {group: sum(table.find(group) is not None for table in tables.values()) for group in found}
    return {group: Membership(**places, half=len(places) < known[group]) for group, places in found.items()}


def join(files: AccountFiles, name: str, wanted: Mapping[str, Membership]) -> None:
    """Make the member lists hold this name where wanted, and nowhere else."""
    now = memberships(files, name)
    for group in [*now, *(g for g in wanted if g not in now)]:
        place = wanted.get(group)
        for kind in ("group", "gshadow"):
            table = files.table(kind)
            if table is None:
                continue
            # A new membership names no place: it goes to the end of both lists.
            new = place is not None and place.group is None and place.gshadow is None
            spot = getattr(place, kind) if place is not None else None
            there = bool(table.places(group, name))
            if there and not (new or spot is not None):
                table.delist(group, name)
            elif not there and (new or spot is not None):
                table.enlist(group, name, spot)


def agree(host: Observer, name: str, uid: int | None) -> str:
    """Wait until the name services say what the files say; ten seconds at most.  Empty where they do."""
    for _ in range(50):
        found = host.remote("passwd", name)
        if isinstance(found, Entity) and found.number == uid:
            return ""
        time.sleep(0.2)
    return f"account {name}: written, but name services do not agree after ten seconds; look at nsswitch.conf"
