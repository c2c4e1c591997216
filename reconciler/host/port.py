"""The port: what may be asked of a host, and what may be done to it.

Planning is handed an `Observer` and nothing else, so a dry run holds nothing that could write.
Paths are absolute and are meant inside the host, whatever directory that host lives in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Generic, NamedTuple, Protocol, TypeVar


class Type(StrEnum):
    """What stands in a directory."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    FIFO = "fifo"
    SOCKET = "socket"
    CHARACTER = "character"
    BLOCK = "block"


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
    changed_ns: int = field(default=0, compare=False)
    """When its owner, mode or bytes last changed; 0 where that is not known."""


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
class Link:
    """A symbolic link, whole."""

    target: str
    uid: int
    gid: int
    mtime_ns: int | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What a walk tells of one path.

    Within one walk equal facts are one object, so that whoever judges paths can remember a verdict by it.
    """

    type: Type
    mode: int
    uid: int
    gid: int
    nlink: int
    frozen: bool = False
    """Whether it is immutable or append-only, so that not even root may change it."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What one path of a tree is to have; ``None`` leaves that part alone."""

    uid: int
    gid: int
    mode: int | None = None
    xattrs: Mapping[str, bytes | None] = field(default_factory=dict)
    digest: str = ""
    """Setuid, setgid and capabilities are for these bytes alone (see `digest` of a directory); empty: for any."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What besides owner and mode decides who may do what with a path."""

    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    """``immutable``, ``append-only``; on a live host also ``read-only``, ``noexec``, ``nosuid`` of the mount."""


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
    permitted: int = 0
    """The capabilities that it has or can take at once, as bits."""
    no_new_privs: bool = False
    apart: bool = False
    """Whether it sees other mounts than we do, as in a container."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A user or a group as a name service tells it."""

    name: str
    number: int


class Directory(Protocol):
    """One directory met while walking; a name is that of a thing in it, the empty name is the directory itself."""

    @property
    def path(self) -> bytes:
        """Relative to the top; the top itself is empty."""

    @property
    def facts(self) -> Facts:
        """What it is."""

    def xattrs(self, name: bytes) -> Mapping[str, bytes]: ...
    def attributed(self, names: list[bytes], wanted: Sequence[str]) -> list[bytes]: ...
    def inode(self, name: bytes) -> tuple[int, int]: ...
    def digest(self, name: bytes) -> str:
        """The SHA-256 of a regular file's bytes, a colon, and their number."""

    def holds(self, name: bytes, digest: str) -> bool:
        """Whether a regular file has these bytes; its size is asked first."""


def inner(at: Directory, name: bytes) -> bytes:
    """The path of a name in a directory, relative to the top; of the directory itself for an empty name."""
    return at.path + b"/" + name if at.path and name else at.path or name


Alike = tuple[list[bytes], "Facts", "Attributes"]
"""Names that are alike: what was found there, and what they are to have."""


class OpenDirectory(Directory, Protocol):
    """A directory in which owners and modes can be changed."""

    def change(self, those: Sequence[Alike]) -> list[tuple[bytes, str]]:
        """Give names what they are to have; those that were left as they are, each with the reason."""

    def alone(self, name: bytes, facts: Facts) -> AbstractContextManager[Facts | None]:
        """What a name is by now, while no other process of this walk changes that file; None where it vanished.

        ``facts``: what it was found to be.  A file with several names may be in the hands of another process.
        """


Groups = Mapping[Facts, list[bytes]]
"""Names in a directory by what they are, each list by the bytes of the names."""
CAPABILITY = "security.capability"
ACL, DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"
"""Who may do what with a thing, and with what is made in a directory."""
FROZEN = "immutable or append-only (chattr -i -a to allow it)"
REPLACED = "holds other bytes than when it was setuid; it comes back without setuid, setgid and capabilities"
MEANWHILE = "was changed by someone else while this ran; apply again"
At_contra = TypeVar("At_contra", contravariant=True)


class Visitor(Generic[At_contra]):
    """What is shown every directory of one part of a tree: the directory, then what is in it, then what is below.

    Large trees are walked by several processes, each with visitors of its own: what one of them finds out is
    what it tells at the end, and that has to survive pickling.
    """

    def enter(self, at: At_contra) -> None:
        """The directory itself, before anything in it."""

    def files(self, at: At_contra, groups: Groups) -> None:
        """What is in it besides directories; of a large directory in several parts."""

    def leave(self, at: At_contra) -> None:
        """The directory again, when all below it was shown."""

    def mount(self, path: bytes) -> None:
        """Something else is mounted at this path; it is not entered."""

    def gap(self, path: bytes, reason: str) -> None:
        """This path cannot be looked at."""

    def told(self) -> Any:
        """What this visitor found."""


class Through(Visitor[Any]):
    """Shows another visitor every directory as something else makes it appear."""

    def __init__(self, other: Visitor[Any], seen: Callable[[Any], Any]) -> None:
        self.other, self.seen = other, seen
        self._way: list[Any] = []

    def enter(self, at: Any) -> None:
        """The directory itself; the other one is shown the same until it is left."""
        self._way.append(self.seen(at))
        self.other.enter(self._way[-1])

    def files(self, at: Any, groups: Groups) -> None:
        """What is in it."""
        self.other.files(self._way[-1], groups)

    def leave(self, at: Any) -> None:
        """The directory once more."""
        self.other.leave(self._way.pop())

    def mount(self, path: bytes) -> None:
        """Passed on."""
        self.other.mount(path)

    def gap(self, path: bytes, reason: str) -> None:
        """Passed on."""
        self.other.gap(path, reason)

    def told(self) -> Any:
        """What the other one tells."""
        return self.other.told()


@dataclass(frozen=True)
class Scope:
    """The part of a tree that is walked: some paths, and what is on the way to them."""

    alone: frozenset[bytes] = frozenset()
    """Paths that are shown without what is below them; the top is the empty path."""
    whole: frozenset[bytes] = frozenset()
    """Paths that are shown with all below them."""

    def __bool__(self) -> bool:
        return bool(self.alone or self.whole)

    @cached_property
    def way(self) -> frozenset[bytes]:
        """All that is named, and every directory on the way there."""
        found: set[bytes] = {b""}
        for named in (*self.alone, *self.whole):
            path = named
            while path and path not in found:
                found.add(path)
                path = path.rpartition(b"/")[0]
        return frozenset(found)

    def leads(self, path: bytes) -> bool:
        """Whether a path is shown.

        >>> [Scope(whole=frozenset([b"a/b"])).leads(path) for path in (b"a", b"a/b/c", b"a/c", b"b")]
        [True, True, False, False]
        """
        if path in self.way or b"" in self.whole:
            return True
        while path and path not in self.whole:
            path = path.rpartition(b"/")[0]
        return bool(path)


Begin = Callable[[], Callable[[], Visitor[At_contra]]]
"""Called once in every process that takes part in a walk; gives what makes a visitor for each part."""


Owned = tuple[str, int, int]
"""A path with the numbers of the user and the group that it belongs to."""


class Observer(Protocol):
    """The half of the port that cannot change anything."""

    live: bool
    """Whether this is a running host, where programs may be asked."""
    where: str
    """The directory that is this host's root, as the administrator names it."""
    recorded: bool
    """Whether this is a snapshot, from which secrets are left out."""

    def stat(self, path: str) -> Stat | None: ...
    def read(self, path: str) -> File | None: ...
    def traits(self, path: str) -> Traits: ...
    def names(self, path: str) -> list[str]: ...
    def readlink(self, path: str) -> str: ...
    def canonical(self, path: str) -> str: ...
    def visit(self, top: str, begin: Begin[Directory], scope: Scope | None = None) -> Iterator[Any]: ...
    def mounts(self) -> list[tuple[str, str]]: ...
    def owned(self, uids: Set[int], gids: Set[int], skip: Sequence[str]) -> Iterator[Owned]: ...
    def processes(self) -> list[Process]: ...
    def remote(self, database: str, name: str) -> Entity | str | None: ...
    def named(self, database: str, number: int) -> str | None: ...
    def groups(self, name: str, gid: int) -> frozenset[int] | None: ...
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
    def symlink(self, path: str, link: Link) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def erase(self, path: str) -> int: ...
    def amend(self, top: str, begin: Begin[OpenDirectory], scope: Scope | None = None) -> Iterator[Any]: ...
    def together(self) -> AbstractContextManager[None]: ...
    def accounts_locked(self) -> AbstractContextManager[None]: ...
    def run(self, argv: Sequence[str]) -> Result: ...
