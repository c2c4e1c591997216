"""Walking a tree that another account can write, and changing owners and modes in it.

Every directory is opened from its parent's descriptor with O_NOFOLLOW; nothing is reached by a path
string twice.  Symbolic links are owned themselves and never followed, devices, sockets and FIFOs are never
opened, other mounts are not entered.
"""

from __future__ import annotations

import hashlib
import os
import resource
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..errors import HostError
from .port import FROZEN, MEANWHILE, Attributes, Facts, Groups, Visitor
from .resolve import printable, trusted, why
from .statx import FORMATS, kernel
from .swift import ODD, joined, swift

PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
SLICE = 4000
"""Names of one directory that are shown together."""


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
    closed: bool = field(init=False)
    """Whether nobody but root can put other things behind the names in it."""

    def __post_init__(self) -> None:
        self.closed = trusted(self.facts.uid) and not self.facts.mode & 0o022

    def inner(self, name: bytes) -> bytes:
        """The path of a name in it, relative to the top."""
        return self.path + b"/" + name if self.path else name

    def xattrs(self, name: bytes) -> Mapping[str, bytes]:
        """The extended attributes of a name, or of the directory itself."""
        return xattrs_of(self._reach() + name if name else self.fd)

    def attributed(self, names: list[bytes], wanted: Sequence[str]) -> list[bytes]:
        """The names among these that have one of some extended attributes: nearly always none."""
        fast, reach = swift(), self._reach()
        if fast is not None:
            return fast.attributes(reach, names, joined([os.fsencode(each) for each in wanted]))
        found = []
        for name in names:
            with suppress(OSError):
                have = os.listxattr(reach + name, follow_symlinks=False)
                if have and not set(have).isdisjoint(wanted):
                    found.append(name)
        return found

    def _reach(self) -> bytes:
        """What goes before a name in this directory to reach it; nothing where we can stand in it."""
        if not Standing.free:
            return b"/proc/self/fd/%d/" % self.fd
        if Standing.at is not self:
            os.fchdir(self.fd)
            Standing.at = self
        return b""

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

    def change(self, names: list[bytes], facts: Facts, wanted: Attributes) -> list[tuple[bytes, str]]:
        """Give names (or the directory itself) their owner, mode and attributes, and look whether they have them.

        ``facts``: what was found there.  In a directory that others can write, each thing is held by a descriptor
        first, and told by that alone.  Answers with the names that were left as they are, and why.
        """
        if not self.closed or wanted.xattrs or not names[0]:
            return self._one_by_one(names, facts, wanted)
        chown, uid, gid, mode = os.chown, wanted.uid, wanted.gid, wanted.mode
        own = facts.uid != uid or facts.gid != gid
        # A change of owner clears setuid bits, so that these files get their mode after it.
        remode = facts.type != "link" and mode is not None and (facts.mode != mode or bool(own and mode & 0o6000))
        fast, left, rest = swift(), list[tuple[bytes, str]](), names
        if fast is not None:
            want = owned(facts, wanted)
            rest = fast.change(self.fd, names, (uid, gid) if own else None, mode if remode else None, want)
        for name in rest:
            try:
                if own:
                    chown(name, uid, gid, dir_fd=self.fd, follow_symlinks=False)
                if remode:
                    # No symbolic link, and nobody can make it one: the directory is closed.
                    os.chmod(name, mode or 0, dir_fd=self.fd)
            except OSError as error:
                left += self._refused(name, error)
                continue
            if kernel()(self.fd, name):
                checked(kernel().facts(), wanted, self.inner(name))
        return left

    def _one_by_one(self, names: list[bytes], facts: Facts, wanted: Attributes) -> list[tuple[bytes, str]]:
        left = []
        for name in names:
            try:
                if not name:
                    amend(self.fd, self.fd, facts, wanted, self.path)
                    self.facts = kernel().facts()
                    self.__post_init__()
                    continue
                fd = os.open(name, PATH_ONLY, dir_fd=self.fd)
                try:
                    if kernel()(fd, b"") and kernel().facts() is facts:
                        # The magic link of a descriptor is that very inode, a symbolic link's own included.
                        amend(fd, f"/proc/self/fd/{fd}", facts, wanted, self.inner(name))
                    else:
                        left.append((name, MEANWHILE))
                finally:
                    os.close(fd)
            except OSError as error:
                left += self._refused(name, error)
        return left

    def _refused(self, name: bytes, error: OSError) -> list[tuple[bytes, str]]:
        """What a failed change means: the path vanished, must be left, or the whole run fails."""
        if isinstance(error, FileNotFoundError):
            return []
        if isinstance(error, PermissionError) and kernel()(self.fd, name) and kernel().facts().frozen:
            return [(name, FROZEN)]
        raise HostError(f"{printable(self.inner(name)) or 'its top'}: {why(error)}") from None


class Standing:
    """Where this process stands."""

    free: ClassVar[bool] = False
    """Whether it may change its working directory: a member of a crew has one that nobody else minds."""
    at: ClassVar[Opened | None] = None


def amend(fd: int, handle: int | str, found: Facts, wanted: Attributes, path: bytes) -> None:
    """Give the thing behind a descriptor its owner, then its mode, then its extended attributes.

    That order matters: changing the owner clears setuid bits and capabilities, changing the mode moves an ACL's
    mask.  Nothing is called that would change nothing, since even a vain chown does harm.
    """
    look = kernel()
    if (found.uid, found.gid) != (wanted.uid, wanted.gid):
        os.chown(handle, wanted.uid, wanted.gid)
        found = look.facts() if look(fd, b"") else found
    if wanted.mode is not None and found.type != "link" and found.mode != wanted.mode:
        os.chmod(handle, wanted.mode)
    have = xattrs_of(fd) if wanted.xattrs else {}
    for key, value in wanted.xattrs.items():
        if value is None and key in have:
            os.removexattr(handle, key)
        elif value is not None and have.get(key) != value:
            os.setxattr(handle, key, value)
    if look(fd, b""):
        checked(look.facts(), wanted, path)


def owned(facts: Facts, wanted: Attributes) -> bytes:
    """Owner, group and mode after a change, as statx tells them."""
    mode = facts.mode if wanted.mode is None or facts.type == "link" else wanted.mode
    return struct.pack("=IIH", wanted.uid, wanted.gid, FORMATS[facts.type] | mode)


def checked(now: Facts, wanted: Attributes, path: bytes) -> None:
    """Raise a `HostError` where a path has not what it was given."""
    mode = now.mode if wanted.mode is None or now.type == "link" else wanted.mode
    if (now.uid, now.gid, now.mode) != (wanted.uid, wanted.gid, mode):
        raise HostError(
            f"{printable(path) or 'its top'}: is {now.uid}:{now.gid}:{now.mode:04o} after it was set to "
            f"{wanted.uid}:{wanted.gid}:{mode:04o}; its file system does not keep owners and modes"
        )


class Walker:
    """One pass over a tree, below an open directory, for one visitor at a time."""

    def __init__(self, parent: int, name: str, only: Sequence[bytes] | None = None) -> None:
        deep()
        self.only = only
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
        self.read(at, visitor)
        return at

    def read(self, at: Opened, visitor: Visitor[Any]) -> None:
        """Read the names in a directory."""
        names: list[bytes] = []
        below: list[bytes] = []
        fast = swift()
        try:
            if fast is not None:
                names, below = fast.names(at.fd)
            else:
                with os.scandir(at.fd) as listing:
                    for item in listing:
                        (below if item.is_dir(follow_symlinks=False) else names).append(os.fsencode(item.name))
        except OSError as error:
            visitor.gap(at.path, f"cannot be listed: {why(error)}")
        if self.only is not None:
            names, below = ([name for name in some if self._leads(at.inner(name))] for some in (names, below))
        names.sort()
        below.sort()
        at.names, at.below, at.pending = names, below, iter(below)

    def _leads(self, path: bytes) -> bool:
        """Whether a path is on the way to one of those that are asked for, or below it."""
        return any(path == o or path.startswith(o + b"/") or o.startswith(path + b"/") for o in self.only or ())

    def groups(self, at: Opened, names: list[bytes], visitor: Visitor[Any]) -> Groups:
        """Some of the names in a directory, by their facts."""
        look, fast, found = kernel(), swift(), dict[Facts, list[bytes]]()
        if fast is not None:
            kinds, which = fast.look(at.fd, names, self.mount)
            if len(kinds) == 1 and not any(which):
                found[look.told(kinds[0])] = names
            else:
                known = [look.told(kind) for kind in kinds]
                for name, number in zip(names, which, strict=True):
                    if number < ODD:
                        found.setdefault(known[number], []).append(name)
            names = [name for name, number in zip(names, which, strict=True) if number == ODD] if ODD in which else []
        for name in names:
            if not look(at.fd, name):
                continue  # vanished since it was listed
            if look.mount() == self.mount:
                found.setdefault(look.facts(), []).append(name)
            else:
                visitor.mount(at.inner(name))
        for facts in [facts for facts in found if facts.type == "directory"]:
            del found[facts]  # made since it was listed
        return found

    def files(self, at: Opened, names: list[bytes], visitor: Visitor[Any]) -> None:
        """Show a visitor names in a directory, a part at a time."""
        for start in range(0, len(names), SLICE):
            if groups := self.groups(at, names[start : start + SLICE], visitor):
                visitor.files(at, groups)

    def below(self, parent: Opened, name: bytes, visitor: Visitor[Any]) -> None:
        """Show a visitor a directory and all below it."""
        at = self.open(parent, name, visitor)
        if at is not None:
            self._down(at, visitor)

    def whole(self, visitor: Visitor[Any]) -> None:
        """Show a visitor the whole tree; the top is closed then."""
        if self.top is not None:
            self.read(self.top, visitor)
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
                    self.files(at, at.names, visitor)
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
