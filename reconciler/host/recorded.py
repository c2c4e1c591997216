"""A host as a snapshot tells of it: what was not looked at is unknown, never absent, and nothing is executed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import Unseen
from ..formats.text import printable
from .port import Begin, Directory, Entity, Facts, File, Owned, Process, Result, Scope, Stat, Traits, Visitor
from .recording import OWNED, Failure, Leaf, Record, Tree

if TYPE_CHECKING:
    from .port import Observer


class RecordedObserver:
    """The read-only half of a host that is not here."""

    recorded = True

    def __init__(self, record: Record, name: str, *, local_names: bool) -> None:
        """``local_names``: whether the host asks nobody but its own files for users and groups."""
        self.record, self.live = record, record.live
        self.where = f"the snapshot of {printable(name)}"
        self._local = local_names

    def _unseen(self, what: str) -> NoReturn:
        raise Unseen(
            f"{printable(what)} is not in {self.where}; take it again there with 'reconciler observe' and these files"
        )

    def _told(self, table: Mapping[Any, Any], key: Any, what: str) -> Any:
        if key not in table:
            self._unseen(what)
        found = table[key]
        if isinstance(found, Failure):
            raise found.again()
        return found

    def _absent(self, path: str) -> bool:
        """Whether a path is known not to be there, from what is known of those above it."""
        if path in self.record.stats:
            return self.record.stats[path] is None
        parent, _, name = path.rpartition("/")
        listed = self.record.names.get(parent or "/")
        if isinstance(listed, list) and name not in listed:
            return True
        for top, tree in self.record.trees.items():
            if isinstance(tree, Tree) and path.startswith(top.rstrip("/") + "/"):
                inner = parent[len(top) :].lstrip("/")
                leaf = tree.directories.get(inner)
                below = f"{inner}/{name}".lstrip("/")
                if leaf is not None and below not in tree.directories:
                    return not any(name in names for _, names in leaf.groups) and below not in tree.mounts
        return bool(parent) and self._absent(parent)

    def _of(self, table: Mapping[str, Any], path: str, missing: Any) -> Any:
        """What was answered of a path; ``missing`` where it is known not to be there."""
        return missing if path not in table and self._absent(path) else self._told(table, path, path)

    def stat(self, path: str) -> Stat | None:
        """The facts of the entry itself."""
        found: Stat | None = self._of(self.record.stats, path, None)
        return found

    def read(self, path: str) -> File | None:
        """The regular file, without its secrets."""
        found: File | None = self._of(self.record.files, path, None)
        return found

    def traits(self, path: str) -> Traits:
        """Attributes and flags."""
        found: Traits = self._of(self.record.traits, path, Traits())
        return found

    def names(self, path: str) -> list[str]:
        """The names in a directory."""
        return list(self._of(self.record.names, path, []))

    def readlink(self, path: str) -> str:
        """Where a link points."""
        return str(self._told(self.record.links, path, path))

    def canonical(self, path: str) -> str:
        """The path with links resolved, as far as that is known."""
        found = self.record.canonical.get(path, path)
        if isinstance(found, Failure):
            raise found.again()
        return found

    def visit(self, top: str, begin: Begin[Directory], scope: Scope | None = None) -> Iterator[Any]:
        """Show a visitor the tree as it was."""
        if top not in self.record.trees and self._absent(top):
            return
        inner, tree = "", self.record.trees.get(top)
        if tree is None and top not in self.record.trees:
            for place, other in self.record.trees.items():
                below = top[len(place) :].lstrip("/")
                if isinstance(other, Tree) and top.startswith(place.rstrip("/") + "/") and below in other.directories:
                    inner, tree = below, other
            if tree is None:
                self._unseen(top)
        if isinstance(tree, Failure):
            raise tree.again()
        if tree is not None:
            visitor = begin()()
            Replay(tree, inner).show(visitor)
            yield visitor.told()

    def mounts(self) -> list[tuple[str, str]]:
        """What was mounted where."""
        return self.record.mounts

    def owned(self, uids: Set[int], gids: Set[int], skip: Sequence[str]) -> Iterator[Owned]:
        """Paths that belonged to these numbers."""
        for number, of_user in [*((n, True) for n in sorted(uids)), *((n, False) for n in sorted(gids))]:
            who = f"{'uid' if of_user else 'gid'} {number}"
            listed = self._told(self.record.owned, who.replace(" ", ":"), f"what belongs to {who}")
            left = [p for p in listed if not any(p == s or p.startswith(s.rstrip("/") + "/") for s in skip)]
            if not left and len(listed) > OWNED:
                self._unseen(f"all that belongs to {who}")
            yield from ((path, number if of_user else -1, -1 if of_user else number) for path in left)

    def processes(self) -> list[Process]:
        """What ran."""
        return self.record.processes

    def remote(self, database: str, name: str) -> Entity | str | None:
        """What name services said."""
        key = f"{database}:{name}"
        if key in self.record.remote:
            return self.record.remote[key]
        if self._local:
            return None
        return f"{printable(name)} was asked of no name service in {self.where}"

    def named(self, database: str, number: int) -> str | None:
        """The name of a number."""
        return self.record.named.get(f"{database}:{number}")

    def groups(self, name: str, gid: int) -> frozenset[int] | None:
        """All groups of a user."""
        found = self.record.groups.get(f"{name}:{gid}")
        return None if found is None else frozenset(found)

    def boot(self) -> str:
        """The boot that it was."""
        return self.record.boot

    def query(self, argv: Sequence[str], feed: bytes | None = None) -> Result:
        """What a program told then."""
        found: Result = self._told(self.record.queries, tuple(argv), " ".join(argv))
        return found

    def validate(self, argv: Sequence[str], data: bytes) -> Result:
        """Nothing is executed for a snapshot; the host itself will check."""
        return Result(0, "", "")


class Replay:
    """Shows a visitor a tree that was written down."""

    def __init__(self, tree: Tree, inner: str) -> None:
        self.tree, self.inner = tree, inner
        unified: dict[tuple[Any, ...], Facts] = {}
        self.facts = [unified.setdefault(tuple(each), Facts(*each)) for each in tree.facts]
        self.children: dict[str, list[str]] = {}
        for path in tree.directories:
            if path:
                self.children.setdefault(path.rpartition("/")[0], []).append(path)

    def show(self, visitor: Visitor[Any]) -> None:
        """From the top down, names in the order of their bytes."""
        prefix = f"{self.inner}/" if self.inner else ""
        for path in self.tree.mounts:
            if path.startswith(prefix):
                visitor.mount(os.fsencode(path[len(prefix) :]))
        for path, reason in self.tree.gaps:
            if path.startswith(prefix):
                visitor.gap(os.fsencode(path[len(prefix) :]), reason)
        self._one(self.inner, visitor)

    def _one(self, path: str, visitor: Visitor[Any]) -> None:
        leaf = self.tree.directories[path]
        shown = path[len(self.inner) :].lstrip("/")
        at = Shown(os.fsencode(shown), self.facts[leaf.facts], leaf)
        visitor.enter(at)
        groups: dict[Facts, list[bytes]] = {}
        for number, names in leaf.groups:
            groups.setdefault(self.facts[number], []).extend(os.fsencode(name) for name in names)
        if groups:
            visitor.files(at, {facts: sorted(names) for facts, names in groups.items()})
        for child in sorted(self.children.get(path, ()), key=os.fsencode):
            self._one(child, visitor)
        visitor.leave(at)


class Shown:
    """One directory as visitors see it."""

    def __init__(self, path: bytes, facts: Facts, leaf: Leaf) -> None:
        self.path, self.facts, self._leaf = path, facts, leaf

    def xattrs(self, name: bytes) -> Mapping[str, bytes]:
        """The extended attributes of a name."""
        return self._leaf.xattrs.get(os.fsdecode(name), {})

    def attributed(self, names: list[bytes], wanted: Sequence[str]) -> list[bytes]:
        """The names among these that have one of some extended attributes."""
        return [name for name in names if not self.xattrs(name).keys().isdisjoint(wanted)]

    def inode(self, name: bytes) -> tuple[int, int]:
        """The device and inode of a name with further links."""
        return self._leaf.inodes.get(os.fsdecode(name), (0, 0))

    def digest(self, name: bytes) -> str:
        """The digest of a privileged file's bytes."""
        return self._leaf.digests.get(os.fsdecode(name), "")

    def holds(self, name: bytes, digest: str) -> bool:
        """Whether a privileged file had these bytes."""
        return self.digest(name).partition(":")[0] == digest.partition(":")[0]


if TYPE_CHECKING:
    _observer: Observer = RecordedObserver(Record(), "", local_names=True)
