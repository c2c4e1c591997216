"""One host as those see it who might want more than they should: its people, its paths, who may do what with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import HostError
from ..formats.modes import CAPABILITIES
from ..formats.text import printable
from ..host.held import Glimpse, account_files
from ..host.names import Names
from ..host.port import ACL, Observer, Stat, Type
from ..host.resolve import LINKS
from ..host.userdb import Table, members_of
from ..model import clean_path
from .rights import BITS, EXECUTE, WRITE, Look, Person, may, parse_acl, rights

STICKY = 0o1000


@dataclass
class Way:
    """A path as the kernel walks it: every directory that has to be entered, and what is at the end."""

    path: str
    last: Look
    directories: list[Look] = field(default_factory=list)
    steps: list[tuple[Look, Look]] = field(default_factory=list)
    """Each directory with what it holds on this way; who can change the one can put something else there."""

    @property
    def shut(self) -> bool:
        """Whether only root can change anything on it, whatever accounts there are."""
        return _closed(self.last) and all(
            _closed(directory) or (directory.uid == child.uid == 0 and bool(directory.mode & STICKY))
            for directory, child in self.steps
        )


def _closed(look: Look) -> bool:
    return look.uid == 0 and not look.mode & 0o022 and not look.acl


class Scene:
    """A host, asked about once."""

    def __init__(self, host: Observer) -> None:
        self.host: Any = Glimpse(host)
        self._looks: dict[str, Look | None] = {}
        self._changers: dict[str, dict[str, str]] = {}

    # Who there is.

    @cached_property
    def persons(self) -> list[Person]:
        """Every local account with all its groups; by number, root first."""
        found = []
        for columns in self._table("passwd").entries():
            if len(columns) > 3 and columns[2].isdecimal() and columns[3].isdecimal():
                name, uid, gid = columns[0], int(columns[2]), int(columns[3])
                found.append(Person(name, uid, self._groups_of(name, gid)))
        return sorted(found, key=lambda person: person.uid)

    def _groups_of(self, name: str, gid: int) -> frozenset[int]:
        told = self.host.groups(name, gid)
        return told if told is not None else frozenset({gid, *self._memberships.get(name, ())})

    @cached_property
    def _memberships(self) -> dict[str, list[int]]:
        """The groups whose lists name an account, by account."""
        found: dict[str, list[int]] = {}
        for columns in self._table("group").entries():
            if len(columns) > 3 and columns[2].isdecimal():
                for name in members_of(columns):
                    found.setdefault(name, []).append(int(columns[2]))
        return found

    def _table(self, name: str) -> Table:
        return account_files(self.host).table(name) or Table()

    @cached_property
    def stronger(self) -> list[Person]:
        """Live processes that can more than the account they run as: other groups, or capabilities."""
        found = []
        known = {person.uid: person for person in self.persons}
        for process in self.host.processes():
            if process.apart or 0 in process.uids:
                continue
            powers = frozenset(name for bit, name in enumerate(CAPABILITIES) if process.permitted >> bit & 1)
            for uid in process.uids:
                account = known.get(uid)
                gids = process.gids | process.groups
                if powers or (account is not None and not gids <= account.gids):
                    how = f"process {process.pid} ({printable(process.name)})"
                    found.append(Person(account.name if account else str(uid), uid, gids, powers, how))
        return found

    @cached_property
    def group_names(self) -> dict[int, str]:
        """The groups of the files by number."""
        listed = (c for c in self._table("group").entries() if len(c) > 2 and c[2].isdecimal())
        return {int(c[2]): c[0] for c in listed}

    def locked(self, name: str) -> bool:
        """Whether no password opens an account."""
        entry = self._table("passwd").get(name)
        own = entry[1] if entry is not None and len(entry) > 1 else "x"
        if own != "x":
            return own[:1] in ("!", "*")
        try:
            columns = self._table("shadow").get(name)
        except HostError:
            return False
        return columns is None or len(columns) < 2 or columns[1][:1] in ("!", "*")

    # What there is.

    def look(self, path: str) -> Look | None:
        """What decides at a path itself; None where there is nothing."""
        if path not in self._looks:
            stat = self.host.stat(path)
            self._looks[path] = self._look(path, stat) if stat is not None else None
        return self._looks[path]

    def _look(self, path: str, stat: Stat) -> Look:
        traits = self.host.traits(path)
        return Look(stat.type, stat.uid, stat.gid, stat.mode, parse_acl(traits.xattrs.get(ACL)), traits.flags)

    def way(self, path: str) -> Way | None:
        """The way to a path, through every link on it; None where it leads nowhere."""
        top = self.look("/")
        assert top is not None
        here, at, links = [""], [top], 0
        found = Way("/", top)
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        while pending:
            part = pending.pop()
            if at[-1].type != Type.DIRECTORY:
                return None
            found.directories.append(at[-1])
            if part == "..":
                if len(here) > 1:
                    here.pop()
                    at.pop()
                continue
            whole = "/".join([*here, part])
            look = self.look(whole)
            if look is None:
                return None
            found.steps.append((at[-1], look))
            if look.type == Type.LINK:
                links += 1
                if links > LINKS:
                    return None
                target = self.host.readlink(whole)
                if target.startswith("/"):
                    here, at = [""], [top]
                pending += [word for word in reversed(target.split("/")) if word not in ("", ".")]
                continue
            here.append(part)
            at.append(look)
        found.path, found.last = "/".join(here) or "/", at[-1]
        return found

    def rights(self, path: str) -> dict[str, dict[str, str]] | None:
        """Who can read, write and execute a path, each with the reason; None where there is none."""
        way = self.way(path)
        return None if way is None else self.rights_on(way)

    def rights_on(self, way: Way) -> dict[str, dict[str, str]]:
        """The same for a way that is known."""
        found: dict[str, dict[str, str]] = {name: {} for name in BITS}
        for person in (*self.persons, *self.stronger):
            for name, why in rights(person, way.directories, way.last).items():
                found[name].setdefault(person.name, why)
        return found

    def changers(self, path: str) -> dict[str, str]:
        """Who besides root decides what is found at a path: by writing it, or by putting something else there."""
        if path not in self._changers:
            self._changers[path] = self._change(path)
        return self._changers[path]

    def _change(self, path: str) -> dict[str, str]:
        way = self.way(path)
        found: dict[str, str] = {}
        if way is None or way.shut:
            return found
        for person in (*self.persons, *self.stronger):
            if not person.root and (why := self._changes(person, way)):
                found.setdefault(person.name, why)
        return found

    def _changes(self, person: Person, way: Way) -> str:
        if way.last.uid == person.uid:
            return "owns it"
        for directory, child in way.steps:
            if directory.uid == person.uid:
                return "owns a directory on the way"
            if not may(person, directory, EXECUTE):
                return ""
            free = not directory.mode & STICKY or child.uid == person.uid
            if free and "read-only" not in directory.flags and may(person, directory, WRITE | EXECUTE):
                return "can put something else in its place"
        return "can write it" if "write" in rights(person, way.directories, way.last) else ""

    def owner(self, path: str) -> str | None:
        """The name of a path's owner."""
        way = self.way(path)
        return None if way is None else str(Names(self.host).user(way.last.uid))


def absolute(path: str) -> str:
    """A path from the command line, from the root on."""
    return clean_path(path if path.startswith("/") else os.path.join(os.getcwd(), path))
