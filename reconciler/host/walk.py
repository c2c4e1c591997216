"""Walking a tree that another account can write, and changing owners and modes in it.

Every directory is opened from its parent's descriptor with O_NOFOLLOW; nothing is reached by a path
string twice.  Symbolic links are owned themselves and never followed, devices, sockets and FIFOs are never
opened, other mounts are not entered.
"""

from __future__ import annotations

import hashlib
import os
import resource
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import HostError
from .port import Attributes, Facts, Visitor
from .resolve import trusted, why
from .statx import BASIC, MOUNT, NO_AUTOMOUNT, NO_FOLLOW, WHAT, WHERE, kernel

PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CAPABILITY = "security.capability"


def deep() -> None:
    """Let this process hold a descriptor for every level of a deep tree."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def xattrs_of(place: int | str | bytes) -> dict[str, bytes]:
    """The extended attributes of a descriptor or path itself; empty where the file system has none."""
    path = f"/proc/self/fd/{place}" if isinstance(place, int) else place
    follow = isinstance(place, int)
    try:
        return {
            name: os.getxattr(path, name, follow_symlinks=follow) for name in os.listxattr(path, follow_symlinks=follow)
        }
    except OSError:
        return {}


def digest_of(fd: int) -> str:
    """The SHA-256 of the regular file behind an O_PATH descriptor."""
    handle = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(slots=True)
class Opened:
    """An open directory of a walk; names are looked up in it and nowhere else."""

    fd: int
    path: bytes
    facts: Facts
    names: list[bytes] = field(default_factory=list)
    """What is in it besides directories, by their bytes."""
    below: list[bytes] = field(default_factory=list)
    """Its directories, by their bytes."""
    pending: Iterator[bytes] = field(default_factory=lambda: iter(()))

    def inner(self, name: bytes) -> bytes:
        """The path of a name in it, relative to the top."""
        return self.path + b"/" + name if self.path else name

    @property
    def closed(self) -> bool:
        """Whether nobody but root can put other things behind the names in it."""
        return trusted(self.facts.uid) and not self.facts.mode & 0o022

    def xattrs(self, name: bytes) -> Mapping[str, bytes]:
        """The extended attributes of a name, or of the directory itself."""
        handle = b"/proc/self/fd/%d" % self.fd
        try:
            # Nothing is found nearly always, and that costs one call.
            if not (os.listxattr(handle + b"/" + name, follow_symlinks=False) if name else os.listxattr(self.fd)):
                return {}
        except OSError:
            return {}
        return xattrs_of(handle + b"/" + name) if name else xattrs_of(self.fd)

    def inode(self, name: bytes) -> tuple[int, int]:
        """The device and inode of a name; of one that vanished one that nothing has."""
        return kernel().inode() if kernel()(self.fd, name) else (0, 0)

    def digest(self, name: bytes) -> str:
        """The SHA-256 of a regular file's bytes; empty where it is none, or cannot be read."""
        try:
            fd = os.open(name, PATH_ONLY, dir_fd=self.fd)
        except OSError:
            return ""
        try:
            return digest_of(fd) if kernel()(fd, b"") and kernel().facts().type == "file" else ""
        except OSError:
            return ""
        finally:
            os.close(fd)

    def change(self, name: bytes, wanted: Attributes) -> None:
        """Give a name (or the directory itself) its owner, mode and attributes, and look whether it has them.

        In a directory that others can write, the thing is held by a descriptor first and told by that alone.
        """
        if not name:
            amend(self.fd, f"/proc/self/fd/{self.fd}", None, wanted)
            if kernel()(self.fd, b""):
                self.facts = kernel().facts()
        elif self.closed:
            amend(self.fd, os.fsdecode(name), self.fd, wanted)
        else:
            fd = os.open(name, PATH_ONLY, dir_fd=self.fd)
            try:
                amend(fd, f"/proc/self/fd/{fd}", None, wanted)
            finally:
                os.close(fd)


def amend(fd: int, path: str, directory: int | None, wanted: Attributes) -> None:
    """Give one thing its owner, then its mode, then its extended attributes; `HostError` where it has them not.

    That order matters: changing the owner clears setuid bits and capabilities, changing the mode moves an
    ACL's mask.  Nothing is called that would change nothing, since even a vain chown does harm.
    ``directory``: where ``path`` is a name in it; else the path is the magic link of the descriptor, which is that
    very inode (a symbolic link's own included).
    """
    look = kernel()
    name = os.fsencode(path) if directory is not None else b""
    if not look(fd, name):
        return  # it vanished
    found = look.facts()
    follow = directory is None
    spot = path if directory is None else f"/proc/self/fd/{directory}/{path}"
    if (found.uid, found.gid) != (wanted.uid, wanted.gid):
        os.chown(path, wanted.uid, wanted.gid, dir_fd=directory, follow_symlinks=follow)
        if found.type == "file" and found.mode & 0o6000 and look(fd, name):
            found = look.facts()
    if wanted.mode is not None and found.type != "link" and found.mode != wanted.mode:
        # A name is no symbolic link here, and nobody can make it one: its directory is closed.
        os.chmod(path, wanted.mode, dir_fd=directory)
    for key, value in wanted.xattrs.items():
        current = xattrs_of(fd if directory is None else spot).get(key)
        if value is None and current is not None:
            os.removexattr(spot, key, follow_symlinks=follow)
        elif value is not None and current != value:
            os.setxattr(spot, key, value, follow_symlinks=follow)
    if look(fd, name):
        now = look.facts()
        if (now.uid, now.gid) != (wanted.uid, wanted.gid) or (
            wanted.mode is not None and now.type != "link" and now.mode != wanted.mode
        ):
            raise HostError(
                f"is {now.uid}:{now.gid}:{now.mode:04o} after it was set to {wanted.uid}:{wanted.gid}; "
                "its file system does not keep owners and modes"
            )


class Walker:
    """One pass over a tree, below an open directory, for one visitor at a time."""

    def __init__(self, parent: int, name: str) -> None:
        deep()
        self._parent, self._name = parent, os.fsencode(name)
        self.mount = b""
        self.top = self._opened()

    def _opened(self) -> Opened | None:
        look = kernel()
        if not look(self._parent, self._name):
            return None
        try:
            fd = os.open(self._name, DIRECTORY, dir_fd=self._parent)
        except OSError as error:
            raise HostError(why(error)) from None
        look(fd, b"")
        self.mount = look.mount()
        return Opened(fd, b"", look.facts())

    def open(self, parent: Opened, name: bytes, visitor: Visitor[Any]) -> Opened | None:
        """Open and list one directory; None where there is none any more, or not to be entered."""
        look, path = kernel(), parent.inner(name)
        if not look(parent.fd, name):
            return None
        if look.mount() != self.mount:
            visitor.mount(path)
            return None
        try:
            fd = os.open(name, DIRECTORY, dir_fd=parent.fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            visitor.gap(path, f"cannot be listed: {why(error)}")
            return None
        # Asked again of what was really opened: the name may have been given to something else meanwhile.
        if not look(fd, b"") or look.mount() != self.mount:
            os.close(fd)
            return None
        at = Opened(fd, path, look.facts())
        self.list(at, visitor)
        return at

    def list(self, at: Opened, visitor: Visitor[Any]) -> None:
        """Read the names in a directory."""
        names: list[bytes] = []
        below: list[bytes] = []
        try:
            with os.scandir(at.fd) as listing:
                for item in listing:
                    (below if item.is_dir(follow_symlinks=False) else names).append(os.fsencode(item.name))
        except OSError as error:
            visitor.gap(at.path, f"cannot be listed: {why(error)}")
        names.sort()
        below.sort()
        at.names, at.below, at.pending = names, below, iter(below)

    def entries(self, at: Opened, names: Iterable[bytes], visitor: Visitor[Any]) -> Iterator[tuple[bytes, Facts]]:
        """The facts of some of the names in a directory."""
        look, directory, mount, known = kernel(), at.fd, self.mount, kernel().known
        call, address, buffer = look.call, look.address, look.buffer
        for name in names:
            if (
                call is None
                or call(directory, name, NO_FOLLOW | NO_AUTOMOUNT, BASIC | MOUNT, address)
                or buffer[WHERE] != mount
            ):
                if not look(directory, name):
                    continue  # vanished since it was listed
                if look.mount() != mount:
                    visitor.mount(at.inner(name))
                    continue
            facts = known.get(buffer[WHAT]) or look.facts()
            if facts.type != "directory":
                yield name, facts

    def below(self, parent: Opened, name: bytes, visitor: Visitor[Any]) -> None:
        """Show a visitor a directory and all below it."""
        at = self.open(parent, name, visitor)
        if at is not None:
            self._down(at, visitor)

    def whole(self, visitor: Visitor[Any]) -> None:
        """Show a visitor the whole tree; the top is closed then."""
        if self.top is not None:
            self.list(self.top, visitor)
            self._down(self.top, visitor)
            self.top = None

    def _down(self, top: Opened, visitor: Visitor[Any]) -> None:
        stack: list[Opened] = []
        try:
            at: Opened | None = top
            while at is not None or stack:
                if at is not None:
                    stack.append(at)
                    visitor.enter(at)
                    if at.names:
                        visitor.files(at, self.entries(at, at.names, visitor))
                        at.names = []
                last = stack[-1]
                name = next(last.pending, None)
                if name is not None:
                    at = self.open(last, name, visitor)
                    continue
                visitor.leave(last)
                os.close(stack.pop().fd)
                at = None
        finally:
            for level in stack:
                os.close(level.fd)

    def close(self) -> None:
        """Let go of the top."""
        if self.top is not None:
            os.close(self.top.fd)
            self.top = None
