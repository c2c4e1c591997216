"""The port: what may be asked of a host, and what may be done to it.

Planning is handed an `Observer` and nothing else, so a dry run holds nothing that could write.
Paths are absolute and are meant inside the host, whatever directory that host lives in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

Type = Literal["file", "directory", "link", "fifo", "socket", "character", "block"]


@dataclass(frozen=True, slots=True)
class Stat:
    """The facts of one directory entry; ``mode`` holds the permission bits alone."""

    type: Type
    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    mtime_ns: int
    dev: int
    ino: int


@dataclass(frozen=True, slots=True)
class File:
    """A regular file, whole: what has to come back when it is given back."""

    data: bytes
    mode: int
    uid: int
    gid: int
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One path met while walking a tree; ``path`` is relative to the top, the top itself is empty."""

    path: bytes
    stat: Stat
    xattrs: Callable[[], Mapping[str, bytes]]
    frozen: Callable[[], bool]
    mount: bool = False
    digest: Callable[[], str] = str
    """The SHA-256 of a regular file's bytes."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What one path of a tree is to have; ``None`` leaves that part alone."""

    uid: int
    gid: int
    mode: int | None = None
    xattrs: Mapping[str, bytes | None] = field(default_factory=dict)


class Skipped(NamedTuple):
    """A path of a tree that was left alone, and why."""

    path: bytes
    reason: str


class Result(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Process:
    """One live process, as /proc tells it."""

    pid: int
    name: str
    exe: str
    args: tuple[str, ...]
    cwd: str
    uids: frozenset[int]
    gids: frozenset[int]
    groups: frozenset[int]
    ambient: int
    start: int
    cgroup: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A user or a group as a name service tells it."""

    name: str
    number: int


Order = Literal["pre", "post"]
Decide = Callable[[Entry], Attributes | None]


class Observer(Protocol):
    """The half of the port that cannot change anything."""

    live: bool
    """Whether this is a running host, where programs may be asked."""
    where: str
    """The directory that is this host's root, as the administrator names it."""

    def stat(self, path: str) -> Stat | None: ...
    def read(self, path: str) -> File | None: ...
    def names(self, path: str) -> list[str]: ...
    def readlink(self, path: str) -> str: ...
    def canonical(self, path: str) -> str: ...
    def walk(self, top: str) -> Iterator[Entry]: ...
    def mounts(self) -> list[tuple[str, str]]: ...
    def owned(self, uid: int | None, gid: int | None, skip: Sequence[str]) -> Iterator[str]: ...
    def processes(self) -> list[Process]: ...
    def remote(self, database: str, name: str) -> Entity | str | None: ...
    def named(self, database: str, number: int) -> str | None: ...
    def boot(self) -> str: ...
    def query(self, argv: Sequence[str], feed: bytes | None = None) -> Result: ...
    def validate(self, argv: Sequence[str], data: bytes) -> Result: ...


class Host(Observer, Protocol):
    """The whole port: an observer that can also act."""

    def replace(self, path: str, file: File) -> None: ...
    def remove(self, path: str) -> None: ...
    def discard(self, path: str) -> None: ...
    def mkdir(self, path: str, mode: int, uid: int, gid: int) -> None: ...
    def rmdir(self, path: str) -> bool: ...
    def symlink(self, path: str, target: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def erase(self, path: str) -> int: ...
    def amend(self, top: str, order: Order, decide: Decide) -> Iterator[Skipped]: ...
    def accounts_locked(self) -> AbstractContextManager[None]: ...
    def run(self, argv: Sequence[str]) -> Result: ...
