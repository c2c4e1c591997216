"""A host whose every answer is kept, so that a snapshot can give it again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from ..errors import HostError, Unsafe
from ..model import inside
from .port import (
    Begin,
    Directory,
    Entity,
    Facts,
    File,
    Groups,
    Observer,
    Owned,
    Process,
    Result,
    Scope,
    Stat,
    Traits,
    Type,
    Visitor,
)

Answer = TypeVar("Answer")
OWNED = 1000
"""How many paths of one number are kept."""


@dataclass(frozen=True)
class Failure:
    """An answer that was an error."""

    text: str
    unsafe: bool

    def again(self) -> HostError:
        """The same error."""
        return (Unsafe if self.unsafe else HostError)(self.text)


@dataclass
class Leaf:
    """One directory of a tree, with what is in it besides directories."""

    facts: int
    groups: list[tuple[int, list[str]]] = field(default_factory=list)
    xattrs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    inodes: dict[str, tuple[int, int]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)


@dataclass
class Tree:
    """All of a tree that judging it can ask for."""

    facts: list[tuple[Any, ...]] = field(default_factory=list)
    directories: dict[str, Leaf] = field(default_factory=dict)
    mounts: list[str] = field(default_factory=list)
    gaps: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Record:
    """Everything that was asked of a host, with the answers."""

    stats: dict[str, Stat | Failure | None] = field(default_factory=dict)
    files: dict[str, File | Failure | None] = field(default_factory=dict)
    traits: dict[str, Traits | Failure] = field(default_factory=dict)
    names: dict[str, list[str] | Failure] = field(default_factory=dict)
    links: dict[str, str | Failure] = field(default_factory=dict)
    canonical: dict[str, str | Failure] = field(default_factory=dict)
    trees: dict[str, Tree | Failure | None] = field(default_factory=dict)
    mounts: list[tuple[str, str]] = field(default_factory=list)
    owned: dict[str, list[str]] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    remote: dict[str, Entity | str | None] = field(default_factory=dict)
    named: dict[str, str | None] = field(default_factory=dict)
    groups: dict[str, list[int] | None] = field(default_factory=dict)
    queries: dict[tuple[str, ...], Result | Failure] = field(default_factory=dict)
    live: bool = False
    boot: str = ""


class Dump(Visitor[Directory]):
    """Writes down every directory that it is shown."""

    def __init__(self, *, digesting: bool = False) -> None:
        """``digesting``: of every file's bytes, and not of privileged files alone."""
        self.tree, self._digesting = Tree(), digesting
        self._numbers: dict[tuple[Any, ...], int] = {}

    def _number(self, facts: Facts) -> int:
        key = (facts.type, facts.mode, facts.uid, facts.gid, facts.nlink, facts.frozen)
        if key not in self._numbers:
            self._numbers[key] = len(self.tree.facts)
            self.tree.facts.append(key)
        return self._numbers[key]

    def enter(self, at: Directory) -> None:
        """The directory itself."""
        leaf = self.tree.directories[os.fsdecode(at.path)] = Leaf(self._number(at.facts))
        self._more(at, leaf, b"", at.facts)

    def files(self, at: Directory, groups: Groups) -> None:
        """What is in it."""
        leaf = self.tree.directories[os.fsdecode(at.path)]
        for facts, names in groups.items():
            leaf.groups.append((self._number(facts), [os.fsdecode(name) for name in names]))
            for name in names:
                self._more(at, leaf, name, facts)

    def _more(self, at: Directory, leaf: Leaf, name: bytes, facts: Facts) -> None:
        text = os.fsdecode(name)
        found = at.xattrs(name)
        if found:
            leaf.xattrs[text] = dict(found)
        if facts.type != Type.DIRECTORY and facts.nlink > 1:
            leaf.inodes[text] = at.inode(name)
        if facts.type == Type.FILE and (self._digesting or facts.mode & 0o6000 or "security.capability" in found):
            leaf.digests[text] = at.digest(name)

    def mount(self, path: bytes) -> None:
        """Something else is mounted there."""
        self.tree.mounts.append(os.fsdecode(path))

    def gap(self, path: bytes, reason: str) -> None:
        """It cannot be looked at."""
        self.tree.gaps.append((os.fsdecode(path), reason))

    def told(self) -> Tree:
        """What was written down since this was last asked."""
        found, self.tree, self._numbers = self.tree, Tree(), {}
        return found


def dumped(parts: Iterator[Tree]) -> Tree | None:
    """The parts of a tree as one; None where there is no such tree."""
    whole: Tree | None = None
    for part in parts:
        whole = whole or Tree()
        shift = len(whole.facts)
        whole.facts += part.facts
        for path, leaf in part.directories.items():
            leaf.facts += shift
            leaf.groups = [(number + shift, names) for number, names in leaf.groups]
            if path in whole.directories:
                known = whole.directories[path]
                known.groups += leaf.groups
                for table, more in (
                    (known.xattrs, leaf.xattrs),
                    (known.inodes, leaf.inodes),
                    (known.digests, leaf.digests),
                ):
                    table.update(more)  # type: ignore[arg-type] # each with its own
            else:
                whole.directories[path] = leaf
        whole.mounts += part.mounts
        whole.gaps += part.gaps
    return whole


class Recording:
    """A host whose answers are kept."""

    recorded = False
    recording = True

    def __init__(self, host: Observer) -> None:
        self.host, self.live, self.where = host, host.live, host.where
        self.record = Record(live=host.live, boot=host.boot(), mounts=host.mounts())
        self.digested: set[str] = set()
        """Trees that had privileged files, which get that back where they still have the same bytes."""
        self._processes: list[Process] | None = None

    def _kept(self, table: dict[Any, Any], key: Any, ask: Callable[[], Answer]) -> Answer:
        if key not in table:
            try:
                table[key] = ask()
            except HostError as error:
                table[key] = Failure(str(error), isinstance(error, Unsafe))
        found: Answer | Failure = table[key]
        if isinstance(found, Failure):
            raise found.again()
        return found

    def stat(self, path: str) -> Stat | None:
        """The facts of the entry itself."""
        return self._kept(self.record.stats, path, lambda: self.host.stat(path))

    def read(self, path: str) -> File | None:
        """The regular file."""
        return self._kept(self.record.files, path, lambda: self.host.read(path))

    def traits(self, path: str) -> Traits:
        """Attributes and flags."""
        return self._kept(self.record.traits, path, lambda: self.host.traits(path))

    def names(self, path: str) -> list[str]:
        """The names in a directory."""
        return list(self._kept(self.record.names, path, lambda: self.host.names(path)))

    def readlink(self, path: str) -> str:
        """Where a link points."""
        return self._kept(self.record.links, path, lambda: self.host.readlink(path))

    def canonical(self, path: str) -> str:
        """The path with links resolved."""
        return self._kept(self.record.canonical, path, lambda: self.host.canonical(path))

    def visit(self, top: str, begin: Begin[Directory], scope: Scope | None = None) -> Iterator[Any]:
        """Written down first, then shown to who asked."""
        begin_dump = partial(Dump, digesting=any(inside(path, top) or inside(top, path) for path in self.digested))
        self._kept(self.record.trees, top, lambda: dumped(self.host.visit(top, lambda: begin_dump)))
        yield from self.host.visit(top, begin)

    def mounts(self) -> list[tuple[str, str]]:
        """What is mounted where."""
        return self.record.mounts

    def owned(self, uids: Set[int], gids: Set[int], skip: Sequence[str]) -> Iterator[Owned]:
        """Paths of these numbers; kept without regard to what is to be left out."""
        found: dict[str, list[str]] = {
            **{f"uid:{uid}": [] for uid in uids}, **{f"gid:{gid}": [] for gid in gids}
        }  # fmt: skip
        for path, uid, gid in self.host.owned(uids, gids, ()):
            for key in (f"uid:{uid}", f"gid:{gid}"):
                if key in found and len(found[key]) <= OWNED:
                    found[key].append(path)
        self.record.owned |= found
        return self.host.owned(uids, gids, skip)

    def processes(self) -> list[Process]:
        """What runs."""
        if self._processes is None:
            self._processes = self.record.processes = self.host.processes()
        return self._processes

    def remote(self, database: str, name: str) -> Entity | str | None:
        """What name services say."""
        return self._kept(self.record.remote, f"{database}:{name}", lambda: self.host.remote(database, name))

    def named(self, database: str, number: int) -> str | None:
        """The name of a number."""
        return self._kept(self.record.named, f"{database}:{number}", lambda: self.host.named(database, number))

    def groups(self, name: str, gid: int) -> frozenset[int] | None:
        """All groups of a user."""

        def ask() -> list[int] | None:
            found = self.host.groups(name, gid)
            return None if found is None else sorted(found)

        told = self._kept(self.record.groups, f"{name}:{gid}", ask)
        return None if told is None else frozenset(told)

    def boot(self) -> str:
        """The id of this boot."""
        return self.record.boot

    def query(self, argv: Sequence[str], feed: bytes | None = None) -> Result:
        """What a program tells; what it is fed is no part of a snapshot."""
        if feed is not None:
            return self.host.query(argv, feed)
        return self._kept(self.record.queries, tuple(argv), lambda: self.host.query(argv))

    def validate(self, argv: Sequence[str], data: bytes) -> Result:
        """What a checker says now."""
        return self.host.validate(argv, data)
