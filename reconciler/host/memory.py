"""A host in a dictionary: for the laws, where thousands of hosts are needed a second.

It is held to the real one by a contract test; where the two differ, this one is wrong.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..errors import HostError, Unsafe
from .port import (
    Alike,
    Begin,
    Directory,
    Entity,
    Facts,
    File,
    Link,
    OpenDirectory,
    Owned,
    Process,
    Result,
    Scope,
    Stat,
    Traits,
    Type,
    Visitor,
)

if TYPE_CHECKING:
    from .port import Host, Observer


@dataclass
class Node:
    """One path of the imagined file system."""

    type: Type
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    data: bytes = b""
    target: str = ""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    mtime_ns: int = 0
    nlink: int = 1


class MemoryHost:
    """A whole host in memory."""

    live = False
    recorded = False
    where = "/"

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {"/": Node(Type.DIRECTORY)}
        self.clock = 0

    def add(self, path: str, data: bytes | str = b"", *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Put a regular file and the directories above it in place."""
        parts = path.split("/")[1:-1]
        for depth in range(len(parts)):
            self.nodes.setdefault("/" + "/".join(parts[: depth + 1]), Node(Type.DIRECTORY))
        raw = data.encode() if isinstance(data, str) else data
        self.nodes[path] = Node(Type.FILE, mode, uid, gid, raw, mtime_ns=self._tick())

    def _tick(self) -> int:
        self.clock += 1
        return self.clock

    def _resolve(self, path: str, *, follow: bool) -> str | None:
        """The canonical path; None where a directory on the way is missing."""
        done: list[str] = []
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        for _ in range(400):
            if not pending:
                return "/" + "/".join(done)
            part = pending.pop()
            if part == "..":
                del done[-1:]
                continue
            whole = "/" + "/".join([*done, part])
            node = self.nodes.get(whole)
            if node is None:
                return whole if not pending else None
            if node.type == Type.LINK and (pending or follow):
                if node.uid:
                    raise Unsafe(f"{path}: {whole} is a symbolic link that another account could have made")
                if node.target.startswith("/"):
                    done.clear()
                pending.extend(p for p in reversed(node.target.split("/")) if p not in ("", "."))
                continue
            if pending and node.type != Type.DIRECTORY:
                return None
            done.append(part)
        raise HostError(f"{path}: more than 40 symbolic links on the way")

    def _node(self, path: str, *, follow: bool = False) -> Node | None:
        where = self._resolve(path, follow=follow)
        return None if where is None else self.nodes.get(where)

    def stat(self, path: str) -> Stat | None:
        """The facts of the entry itself."""
        where = self._resolve(path, follow=False)
        node = self.nodes.get(where) if where else None
        return None if node is None or where is None else self._stat(where, node)

    def _stat(self, where: str, node: Node) -> Stat:
        number = int.from_bytes(hashlib.sha256(where.encode("utf-8", "surrogateescape")).digest()[:4], "big")
        return Stat(node.type, node.mode, node.uid, node.gid, node.nlink, len(node.data), node.mtime_ns, 1, number)

    def read(self, path: str) -> File | None:
        """The regular file at ``path``."""
        node = self._node(path, follow=True)
        if node is None:
            return None
        if node.type != Type.FILE:
            raise HostError(f"{path}: a {node.type}, not a regular file")
        if node.nlink > 1:
            raise Unsafe(f"{path}: has {node.nlink} hard links")
        return File(node.data, node.mode, node.uid, node.gid, dict(node.xattrs), node.mtime_ns)

    def traits(self, path: str) -> Traits:
        """The extended attributes of the entry itself."""
        where = self._resolve(path, follow=False)
        node = self.nodes.get(where) if where is not None else None
        return Traits(dict(node.xattrs) if node else {})

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        where = self._resolve(path, follow=True)
        return sorted(self._children(where)) if where else []

    def _children(self, where: str) -> list[str]:
        prefix = where.rstrip("/") + "/"
        return [
            p[len(prefix) :] for p in self.nodes if p.startswith(prefix) and p != "/" and "/" not in p[len(prefix) :]
        ]

    def readlink(self, path: str) -> str:
        """Where a link points."""
        node = self._node(path)
        if node is None or node.type != Type.LINK:
            raise HostError(f"{path}: no such link")
        return node.target

    def canonical(self, path: str) -> str:
        """The path with links resolved."""
        return self._resolve(path, follow=True) or path

    def _tree(self, top: str) -> list[str]:
        below = [p for p in self.nodes if p.startswith(top.rstrip("/") + "/") and p != "/"]
        return sorted([top, *below], key=lambda p: [part.encode("utf-8", "surrogateescape") for part in p.split("/")])

    def visit(self, top: str, begin: Begin[Directory], scope: Scope | None = None) -> Iterator[Any]:
        """Show a visitor the tree at ``top``."""
        where = self._resolve(top, follow=False)
        if where is None or where not in self.nodes:
            return
        if self.nodes[where].type != Type.DIRECTORY:
            raise HostError(f"{top}: not a directory")
        visitor = begin()()
        self._show(where, where, visitor, {})
        yield visitor.told()

    def _show(self, top: str, where: str, visitor: Visitor[Any], known: dict[tuple[Any, ...], Facts]) -> None:
        def facts(node: Node) -> Facts:
            key = (node.type, node.mode, node.uid, node.gid, node.nlink)
            return known.setdefault(key, Facts(*key))

        at = Shown(self, where, os.fsencode(where[len(top) :].lstrip("/")), facts(self.nodes[where]))
        names = sorted(self._children(where), key=os.fsencode)
        prefix = where.rstrip("/") + "/"
        visitor.enter(at)
        inner = [(os.fsencode(name), self.nodes[prefix + name]) for name in names]
        groups: dict[Facts, list[bytes]] = {}
        for name, node in inner:
            if node.type != Type.DIRECTORY:
                groups.setdefault(facts(node), []).append(name)
        if groups:
            visitor.files(at, groups)
        for name, node in inner:
            if node.type == Type.DIRECTORY:
                self._show(top, prefix + os.fsdecode(name), visitor, known)
        visitor.leave(at)

    def mounts(self) -> list[tuple[str, str]]:
        """Nothing is mounted."""
        return []

    def owned(self, uids: Set[int], gids: Set[int], skip: Sequence[str]) -> Iterator[Owned]:
        """Paths of these numbers outside ``skip``."""
        for path, node in sorted(self.nodes.items()):
            theirs = node.uid in uids or node.gid in gids
            if theirs and not any(path == s or path.startswith(s + "/") for s in skip):
                yield path, node.uid, node.gid

    def processes(self) -> list[Process]:
        """Nothing runs here."""
        return []

    def remote(self, database: str, name: str) -> Entity | str | None:
        """There are no name services."""
        return None

    def named(self, database: str, number: int) -> str | None:
        """There are no name services."""
        return None

    def groups(self, name: str, gid: int) -> frozenset[int] | None:
        """The files alone are the truth."""
        return None

    def boot(self) -> str:
        """Never booted."""
        return ""

    def query(self, argv: Sequence[str], feed: bytes | None = None) -> Result:
        """There are no programs."""
        raise HostError(f"{argv[0]}: no program runs in memory")

    run = query

    def validate(self, argv: Sequence[str], data: bytes) -> Result:
        """Nothing can be checked without a program."""
        raise HostError(f"{argv[0]}: no such program on PATH")

    def replace(self, path: str, file: File) -> None:
        """Put a file in place."""
        where = self._resolve(path, follow=True)
        if where is None or self.nodes.get(where.rsplit("/", 1)[0] or "/") is None:
            raise HostError(f"{path}: its directory is missing")
        self.read(path)
        mtime = file.mtime_ns if file.mtime_ns is not None else self._tick()
        self.nodes[where] = Node(Type.FILE, file.mode, file.uid, file.gid, file.data, "", dict(file.xattrs), mtime)

    def remove(self, path: str) -> None:
        """Remove a file or link."""
        where = self._resolve(path, follow=False)
        if where is not None and where in self.nodes:
            if self.nodes[where].type == Type.DIRECTORY:
                raise HostError(f"{path}: is a directory")
            del self.nodes[where]

    def discard(self, path: str) -> None:
        """No replacement is ever half written here."""

    def mkdir(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Make a directory."""
        where = self._resolve(path, follow=False)
        if where is None or self.nodes.get(where.rsplit("/", 1)[0] or "/") is None:
            raise HostError(f"{path}: its parent directory is missing")
        if where in self.nodes:
            raise HostError(f"{path}: file exists")
        self.nodes[where] = Node(Type.DIRECTORY, mode, uid, gid)

    def rmdir(self, path: str) -> bool:
        """Remove an empty directory."""
        where = self._resolve(path, follow=False)
        if where is None or where not in self.nodes:
            return True
        if self.nodes[where].type != Type.DIRECTORY:
            raise HostError(f"{path}: not a directory")
        if self._children(where):
            return False
        del self.nodes[where]
        return True

    def symlink(self, path: str, link: Link) -> None:
        """Put a link in place of another one, or make it."""
        where = self._resolve(path, follow=False)
        if where is None or self.nodes.get(where.rsplit("/", 1)[0] or "/") is None:
            raise HostError(f"{path}: its directory is missing")
        if where in self.nodes and self.nodes[where].type != Type.LINK:
            raise HostError(f"{path}: a {self.nodes[where].type}, not a symbolic link; it was not replaced")
        mtime = link.mtime_ns if link.mtime_ns is not None else self._tick()
        self.nodes[where] = Node(
            Type.LINK, 0o777, link.uid, link.gid, target=link.target, mtime_ns=mtime, xattrs=dict(link.xattrs)
        )

    def rename(self, old: str, new: str) -> None:
        """Move a subtree."""
        if new in self.nodes:
            raise HostError(f"{new}: is there already; {old} was not moved over it")
        for path in self._tree(old):
            self.nodes[new + path[len(old) :]] = self.nodes.pop(path)

    def erase(self, path: str) -> int:
        """Remove a subtree."""
        tree = [p for p in self._tree(path) if p in self.nodes]
        for inner in tree:
            del self.nodes[inner]
        return len(tree)

    def amend(self, top: str, begin: Begin[OpenDirectory], scope: Scope | None = None) -> Iterator[Any]:
        """Show a visitor the tree at ``top``, who may change owners and modes in it; more than ``scope`` of it."""
        yield from self.visit(top, begin)  # type: ignore[arg-type] # what is shown can do both

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is in memory is never synced."""
        yield

    @contextmanager
    def accounts_locked(self) -> Iterator[None]:
        """Nobody else is here."""
        yield


@dataclass
class Shown:
    """One directory as visitors see it."""

    host: MemoryHost
    where: str
    path: bytes
    facts: Facts

    def _at(self, name: bytes) -> str:
        return self.where.rstrip("/") + "/" + os.fsdecode(name) if name else self.where

    def xattrs(self, name: bytes) -> Mapping[str, bytes]:
        """The extended attributes of a name."""
        return dict(self.host.nodes[self._at(name)].xattrs)

    def attributed(self, names: list[bytes], wanted: Sequence[str]) -> list[bytes]:
        """The names among these that have one of some extended attributes."""
        return [name for name in names if not self.host.nodes[self._at(name)].xattrs.keys().isdisjoint(wanted)]

    def inode(self, name: bytes) -> tuple[int, int]:
        """A number of its own for every path."""
        return 1, int.from_bytes(hashlib.sha256(os.fsencode(self._at(name))).digest()[:4], "big")

    def digest(self, name: bytes) -> str:
        """The digest of a regular file's bytes."""
        node = self.host.nodes[self._at(name)]
        return f"{hashlib.sha256(node.data).hexdigest()}:{len(node.data)}" if node.type == Type.FILE else ""

    def holds(self, name: bytes, digest: str) -> bool:
        """Whether a regular file has these bytes."""
        return self.digest(name).partition(":")[0] == digest.partition(":")[0]

    @contextmanager
    def alone(self, name: bytes, facts: Facts) -> Iterator[Facts | None]:
        """As it was found: there is one process."""
        yield facts

    def change(self, those: Sequence[Alike]) -> list[tuple[bytes, str]]:
        """Owner, then mode, then attributes."""
        for name, wanted in ((name, wanted) for names, _, wanted in those for name in names):
            path = self._at(name)
            node = self.host.nodes[path]
            if (node.uid, node.gid) != (wanted.uid, wanted.gid) and node.type == Type.FILE:
                node.mode &= ~0o6000
                node.xattrs.pop("security.capability", None)
            xattrs = dict(node.xattrs)
            for key, value in wanted.xattrs.items():
                if value is None:
                    xattrs.pop(key, None)
                else:
                    xattrs[key] = value
            mode = node.mode if wanted.mode is None or node.type == Type.LINK else wanted.mode
            self.host.nodes[path] = replace(node, uid=wanted.uid, gid=wanted.gid, mode=mode, xattrs=xattrs)
            if not name:
                self.facts = replace(self.facts, mode=mode, uid=wanted.uid, gid=wanted.gid)
        return []


if TYPE_CHECKING:
    _observer: Observer = MemoryHost()
    _host: Host = MemoryHost()
