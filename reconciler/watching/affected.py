"""Where to look: which paths and units concern which addresses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

from ..errors import ReconcilerError
from ..host.port import Observer, Scope
from ..host.units import PLACES as UNITS
from ..kinds import kinds
from ..model import Address, Target, inside
from .notices import Notice

YAML = (".yaml", ".yml")
MOST_LINKS = 40
MOST = 1000
"""More paths of one tree than this, and the whole tree is looked at."""


@dataclass
class Concern:
    """What is to be looked at next, and why."""

    everything: bool = False
    desired: bool = False
    """Whether the desired files may have changed."""
    log: bool = False
    """Whether somebody wrote to the log."""
    moved: bool = False
    """Whether directories came or went, so that eyes have to be set anew."""
    addresses: set[Address] = field(default_factory=set)
    alone: dict[Address, set[bytes]] = field(default_factory=dict)
    whole: dict[Address, set[bytes]] = field(default_factory=dict)
    notices: dict[Address, list[Notice]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.everything or self.desired or self.log or self.moved or bool(self.addresses)

    def add(self, address: Address, notice: Notice | None = None) -> None:
        """Have a thing looked at."""
        self.addresses.add(address)
        if notice is not None:
            self.notices.setdefault(address, []).append(notice)

    def take(self, other: Concern) -> None:
        """What another one says too."""
        self.everything |= other.everything
        self.desired |= other.desired
        self.log |= other.log
        self.moved |= other.moved
        self.addresses |= other.addresses
        for mine, theirs in ((self.alone, other.alone), (self.whole, other.whole)):
            for address, paths in theirs.items():
                mine.setdefault(address, set()).update(paths)
                if len(mine[address]) > MOST:
                    # Whoever makes more of them than that gets the whole tree looked at, and none of our memory.
                    self.alone.pop(address, None)
                    self.whole[address] = {b""}
        for address, listed in other.notices.items():
            self.notices[address] = [*self.notices.get(address, ()), *listed][-MOST:]

    def scope(self, tree: Address) -> Scope | None:
        """The part of a tree that is concerned; None for all of it."""
        alone, whole = self.alone.get(tree, set()), self.whole.get(tree, set())
        if self.everything or b"" in whole or (tree in self.addresses and not alone and not whole):
            return None
        return Scope(frozenset(alone), frozenset(whole))


@dataclass
class Places:
    """The paths and units that matter, by what they concern."""

    files: dict[str, set[Address]] = field(default_factory=dict)
    trees: dict[str, Address] = field(default_factory=dict)
    units: dict[str, Address] = field(default_factory=dict)
    desired: tuple[str, ...] = ()
    log: str = ""
    root: str = ""
    """What goes before every path of a host that lives in a directory."""

    @classmethod
    def of(cls, host: Observer, targets: Mapping[Address, Target], desired: Iterable[str], log: str) -> Places:
        """What has to be looked after for these targets; links are followed to where they lead as well."""
        root = "" if host.where == "/" else os.path.realpath(host.where)
        watched = tuple(dict.fromkeys(chain.from_iterable(map(_and_below, desired))))
        found = cls(desired=watched, log=log, root=root)
        for address, target in targets.items():
            kind, wish = kinds().get(address.kind), target.wish
            if kind is not None and kind.spans:
                for path in _leading(host, address.name):
                    found.trees.setdefault(root + path, address)
            if kind is not None and kind.runs:
                found.units[address.name] = address
            for path in kind.watches(address.name) if kind is not None else ():
                for real in _leading(host, path):
                    found.files.setdefault(root + real, set()).add(address)
            for secret in (wish.secrets() if wish else {}).values():
                if secret.from_.file:
                    found.files.setdefault(secret.from_.file, set()).add(address)
        return found

    def directories(self) -> set[str]:
        """The directories in which names matter: those of all files, with all above them."""
        found: set[str] = set()
        tops = [*self.files, *self.trees, *self.desired, self.log]
        pending = [_parent(path) for path in tops if path]
        pending += [path for path in self.desired if not path.endswith(YAML)]
        if self.units:
            units = [f"{self.root}{place}" for place in UNITS]
            pending += [*units, *(f"{place}/{unit}.d" for place in units for unit in self.units)]
            pending += [f"{units[0]}/{target}.wants" for target in ("multi-user.target", "default.target")]
        for path in pending:
            while path not in found:
                found.add(path)
                path = _parent(path)  # noqa: PLW2901 - upwards
        return found

    def inside_tree(self, path: str) -> bool:
        """Whether a path lies in a tree, so that events of a whole file system that tell of it matter."""
        return any(inside(path, top) for top in self.trees)

    def concerned(self, notice: Notice) -> Concern:
        """What a notice asks to look at."""
        found, path = Concern(), notice.path
        name = path.rpartition("/")[2]
        if any(inside(path, top) for top in self.desired):
            found.desired = path.endswith(YAML) or path in self.desired or notice.whole
        elif notice.whole:
            found.desired = any(inside(top, path) for top in self.desired)
        if self.log and path in (self.log, f"{self.log}-journal"):
            found.log = path == self.log
            return found
        for address in self.files.get(path, ()):
            found.add(address, notice)
        # A directory on the way came, went, or was put in place of another one.
        above = [file for file in self.files if file.startswith(path + "/")] if notice.whole else []
        for address in {address for file in above for address in self.files[file]}:
            found.add(address, notice)
        found.moved = bool(above) or (found.desired and notice.whole)
        for unit, address in self.units.items():
            if self._of_unit(path, unit):
                found.add(address, notice)
                found.moved |= name == f"{unit}.d" or name.endswith((".wants", ".requires"))
        for top, address in self.trees.items():
            if inside(path, top):
                relative = path[len(top) :].lstrip("/").encode("utf-8", "surrogateescape")
                found.add(address, notice)
                (found.whole if notice.whole else found.alone).setdefault(address, set()).add(relative)
                found.moved |= not relative and notice.whole
            elif inside(top, path):
                found.add(address, notice)
                found.whole.setdefault(address, set()).add(b"")
                found.moved = True
        return found

    def _of_unit(self, path: str, unit: str) -> bool:
        """Whether a path below systemd's directories belongs to a unit."""
        if not any(inside(path, self.root + place) for place in UNITS):
            return False
        directory, _, name = path.rpartition("/")
        last = directory.rpartition("/")[2]
        template = unit.partition("@")[0] + "@.service" if "@" in unit else unit
        known = {unit, template}
        return name in known or any(part in (f"{each}.d" for each in known) for part in (name, last))


def _leading(host: Observer, path: str) -> list[str]:
    """A path, and where its links lead."""
    with suppress(ReconcilerError):
        return list(dict.fromkeys((path, host.canonical(path))))
    return [path]


def links(path: str) -> list[str]:
    """Every symbolic link on the way to where a path leads: releases are often switched by replacing one."""
    found: list[str] = []
    pending, at = os.path.abspath(path).strip("/").split("/"), ""
    while pending and len(found) < MOST_LINKS:
        name = pending.pop(0)
        here = os.path.normpath(f"{at}/{name}")
        if not os.path.islink(here):
            at = here
            continue
        found.append(here)
        whole = os.path.normpath(os.path.join(at or "/", os.readlink(here)))
        pending, at = [*whole.strip("/").split("/"), *pending], ""
    return found


def _and_below(path: str) -> Iterator[str]:
    """A path of the desired state, where it leads and by which links, and the directories below."""
    yield from links(path)
    for start in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        yield start
        for directory, below, _ in os.walk(start):
            yield from (os.path.join(directory, name) for name in below)


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"
