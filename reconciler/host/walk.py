"""Walking a tree that another account can write, and changing owners and modes in it.

Every directory is opened from its parent's descriptor with O_NOFOLLOW; nothing is reached by a path
string twice.  Symbolic links are owned themselves and never followed, devices, sockets and FIFOs are never
opened, other mounts are not entered.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar

from ..errors import HostError
from ..formats.text import printable
from .native import KINDS, ODD, Native, change_of, joined, native
from .port import CAPABILITY, FROZEN, MEANWHILE, REPLACED, Alike, Attributes, Facts, Groups, Scope, Type, Visitor, inner
from .resolve import shut, trusted, why
from .statx import FORMATS, kernel

PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
QUARANTINE = b".reconciler-quarantine"
SLICE = 4000
"""Names of one directory that are shown together."""
MANY = 10_000
"""Plain changes that are kept as the library takes them."""


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
    """The SHA-256 of the regular file behind an O_PATH descriptor, a colon, and the number of its bytes."""
    handle = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{digest}:{file.tell()}"


def matches(fd: int, digest: str) -> bool:
    """Whether the regular file behind an O_PATH descriptor has these bytes; its size is asked first."""
    told, _, size = digest.partition(":")
    if size and os.fstat(fd).st_size != int(size):
        return False
    return digest_of(fd).partition(":")[0] == told


def written_by_nobody(fd: int) -> bool:
    """Whether nobody has the file open for writing, or mapped: the kernel gives a lease to read on no other."""
    handle = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


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
        self.closed = shut(self.facts.uid, self.facts.mode)

    def xattrs(self, name: bytes) -> Mapping[str, bytes]:
        """The extended attributes of a name, or of the directory itself."""
        return xattrs_of(self._reach() + name if name else self.fd)

    def attributed(self, names: list[bytes], wanted: Sequence[str]) -> list[bytes]:
        """The names among these that have one of some extended attributes: nearly always none."""
        fast, reach = native(), self._reach()
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
        """The digest of a regular file's bytes; empty where it is none, or cannot be read."""
        return self._of_file(name, digest_of) or ""

    def holds(self, name: bytes, digest: str) -> bool:
        """Whether a regular file has these bytes."""
        return bool(self._of_file(name, lambda fd: matches(fd, digest)))

    def _of_file(self, name: bytes, ask: Callable[[int], Any]) -> Any:
        try:
            fd = os.open(name, PATH_ONLY, dir_fd=self.fd)
        except OSError:
            return None
        try:
            return ask(fd) if kernel()(fd, b"") and kernel().facts().type == Type.FILE else None
        except OSError:
            return None
        finally:
            os.close(fd)

    @contextmanager
    def alone(self, name: bytes, facts: Facts) -> Iterator[Facts | None]:
        """What a name is by now, while no other process of this walk changes that file."""
        look, links = kernel(), Standing.links
        if links is None:
            yield facts
            return
        if not look(self.fd, name):
            yield None
            return
        # One byte for each inode: the lock is for that file, whatever its name.
        byte = look.inode()[1] & 0x7FFF_FFFF_FFFF_FFFE
        fcntl.lockf(links, fcntl.LOCK_EX, 1, byte)
        try:
            yield look.facts() if look(self.fd, name) else None
        finally:
            fcntl.lockf(links, fcntl.LOCK_UN, 1, byte)

    def change(self, those: Sequence[Alike]) -> list[tuple[bytes, str]]:
        """Give names (or the directory itself) their owner, mode and attributes, and look whether they have them.

        In a directory that others can write, each thing is held by a descriptor first, and told by that alone.
        """
        left: list[tuple[bytes, str]] = []
        plain: list[Alike] = []
        for alike in those:
            names, facts, wanted = alike
            if not self.closed or wanted.xattrs or wanted.digest or not names[0]:
                left += self._one_by_one(names, facts, wanted)
            else:
                plain.append(alike)
        fast = native()
        for some in (plain[start : start + KINDS] for start in range(0, len(plain), KINDS)):
            left += self._plainly(self._fast(fast, some) if fast is not None else some)
        return left

    def _fast(self, fast: Native, those: list[Alike]) -> list[Alike]:
        """Change all that is plain in one call; what is not as it should be then is to be done again."""
        names = those[0][0] if len(those) == 1 else [name for some, _, _ in those for name in some]
        each = b"".join([bytes([number]) * len(some) for number, (some, _, _) in enumerate(those)])
        changes = [_change(facts, wanted.uid, wanted.gid, wanted.mode) for _, facts, wanted in those]
        rest = fast.change(self.fd, names, each, changes)
        return [([names[at]], *those[each[at]][1:]) for at in rest]

    def _plainly(self, those: list[Alike]) -> list[tuple[bytes, str]]:
        left: list[tuple[bytes, str]] = []
        for names, facts, wanted in those:
            own, mode = moves(facts, wanted)
            for name in names:
                try:
                    if own is not None:
                        os.chown(name, *own, dir_fd=self.fd, follow_symlinks=False)
                    if mode is not None:
                        # No symbolic link, and nobody can make it one: the directory is closed.
                        os.chmod(name, mode, dir_fd=self.fd)
                except OSError as error:
                    left += self._refused(name, error)
                    continue
                if kernel()(self.fd, name) and not kept(facts, kernel().facts(), wanted, inner(self, name)):
                    left.append((name, MEANWHILE))
        return left

    def _one_by_one(self, names: list[bytes], facts: Facts, wanted: Attributes) -> list[tuple[bytes, str]]:
        left: list[tuple[bytes, str]] = []
        for name in names:
            try:
                if not name:
                    if not amend(self.fd, self.fd, facts, wanted, self.path):
                        left.append((name, MEANWHILE))
                    self.facts = kernel().facts()
                    self.__post_init__()
                    continue
                fd = os.open(name, PATH_ONLY, dir_fd=self.fd)
                try:
                    now, found = wanted, facts
                    if wanted.digest and is_still(fd, facts):
                        now, found = proven(fd, facts, wanted, inner(self, name))
                        if now is not wanted:
                            left.append((name, REPLACED))
                    # The magic link of a descriptor is that very inode, a symbolic link's own included.
                    handle = f"/proc/self/fd/{fd}"
                    if not is_still(fd, found) or not amend(fd, handle, found, now, inner(self, name)):
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
        raise HostError(f"{printable(inner(self, name)) or 'its top'}: {why(error)}") from None


class Standing:
    """Where this process stands."""

    free: ClassVar[bool] = False
    """Whether it may change its working directory: a worker of a parallel walk has one that nobody else minds."""
    at: ClassVar[Opened | None] = None
    links: ClassVar[int | None] = None
    """An open file, a byte of which a worker locks while it changes a file that has several names."""


def proven(fd: int, found: Facts, wanted: Attributes, path: bytes) -> tuple[Attributes, Facts]:
    """What a file may get back that was setuid: all of it only on the bytes that had it, which nobody can change now.

    First it is taken away from everybody who could open it to write; then nobody may have it open or mapped from
    before; then its bytes are compared.
    """
    plain = replace(wanted, mode=None if wanted.mode is None else wanted.mode & ~0o6000, digest="")
    plain = replace(plain, xattrs={key: None if key == CAPABILITY else value for key, value in plain.xattrs.items()})
    mode = found.mode if wanted.mode is None else wanted.mode
    amend(fd, f"/proc/self/fd/{fd}", found, Attributes(wanted.uid, wanted.gid, mode & ~0o6022), path)
    found = kernel().facts() if kernel()(fd, b"") else found
    sound = written_by_nobody(fd) and matches(fd, wanted.digest)
    return wanted if sound else plain, found


def amend(fd: int, handle: int | str, found: Facts, wanted: Attributes, path: bytes) -> bool:
    """Give the thing behind a descriptor its owner, then its mode, then its extended attributes; False as `kept`.

    That order matters: changing the owner clears setuid bits and capabilities, changing the mode moves an ACL's
    mask.  Nothing is called that would change nothing, since even a vain chown does harm.
    """
    look, first = kernel(), found
    if (found.uid, found.gid) != (wanted.uid, wanted.gid):
        os.chown(handle, wanted.uid, wanted.gid)
        if found.mode & 0o6000:
            found = look.facts() if look(fd, b"") else found
    if wanted.mode is not None and found.type != Type.LINK and found.mode != wanted.mode:
        os.chmod(handle, wanted.mode)
    have = xattrs_of(fd) if wanted.xattrs else {}
    for key, value in wanted.xattrs.items():
        if value is None and key in have:
            os.removexattr(handle, key)
        elif value is not None and have.get(key) != value:
            os.setxattr(handle, key, value)
    return not look(fd, b"") or kept(first, look.facts(), wanted, path)


def is_still(fd: int, facts: Facts) -> bool:
    """Whether the thing behind a descriptor is as it was found."""
    return kernel()(fd, b"") and kernel().facts() is facts


def mode_after(facts: Facts, wanted: Attributes) -> int:
    """The mode that a path with these facts has after a change; a symbolic link has no mode of its own."""
    return facts.mode if wanted.mode is None or facts.type == Type.LINK else wanted.mode


def moves(facts: Facts, wanted: Attributes) -> tuple[tuple[int, int] | None, int | None]:
    """The owner and the mode that a path has to be given; None: what it has."""
    own = facts.uid != wanted.uid or facts.gid != wanted.gid
    mode = wanted.mode
    # A change of owner clears setuid bits, so that these files get their mode after it.
    stays = facts.type == Type.LINK or mode is None or (facts.mode == mode and not (own and mode & 0o6000))
    return (wanted.uid, wanted.gid) if own else None, None if stays else mode


@lru_cache(MANY)
def _change(facts: Facts, uid: int, gid: int, mode: int | None) -> bytes:
    """A plain change as the library takes it; there are as many as there are kinds of path."""
    wanted = Attributes(uid, gid, mode)
    return change_of(*moves(facts, wanted), owned(facts, wanted))


def owned(facts: Facts, wanted: Attributes) -> bytes:
    """Owner, group and mode after a change, as statx tells them."""
    return struct.pack("=IIH", wanted.uid, wanted.gid, FORMATS[facts.type] | mode_after(facts, wanted))


def kept(before: Facts, now: Facts, wanted: Attributes, path: bytes) -> bool:
    """Whether a path has what it was given; a `HostError` where its file system does not keep that.

    False: its owner, who is not root, changed the mode again at once.
    """
    mode = mode_after(now, wanted)
    if (now.uid, now.gid) == (wanted.uid, wanted.gid):
        if now.mode == mode:
            return True
        if not trusted(now.uid) or now.mode != before.mode:
            return False
    raise HostError(
        f"{printable(path) or 'its top'}: is {now.uid}:{now.gid}:{now.mode:04o} after it was set to "
        f"{wanted.uid}:{wanted.gid}:{mode:04o}; its file system does not keep owners and modes"
    )


class Walker:
    """One pass over a tree, below an open directory, for one visitor at a time."""

    def __init__(self, parent: int, name: str, scope: Scope | None = None) -> None:
        deep()
        self.scope = scope
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
        """Open one directory; None where there is none any more, or not to be entered."""
        look, path, fast, fd = kernel(), inner(parent, name), native(), -1
        if fast is not None:
            fd = fast.open(parent.fd, name, self.mount, look.address)
        if fd < 0:
            opened = self._open(parent, name, visitor)
            if opened is None:
                return None
            fd = opened
        at = Opened(fd, path, look.facts())
        if name == QUARANTINE and trusted(at.facts.uid) and not at.facts.mode & 0o077:
            os.close(fd)  # ours, and no part of anything
            return None
        return at

    def _open(self, parent: Opened, name: bytes, visitor: Visitor[Any]) -> int | None:
        """The same in Python, with what is said of a directory that cannot be opened."""
        look, path = kernel(), inner(parent, name)
        if not look(parent.fd, name):
            self._missed(parent, name, visitor)
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
        return fd

    def _missed(self, at: Opened, name: bytes, visitor: Visitor[Any]) -> None:
        """A name that statx does not tell of: it vanished, or it cannot be looked at."""
        try:
            os.stat(name, dir_fd=at.fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            visitor.gap(inner(at, name), f"cannot be looked at: {why(error)}")

    def read(self, at: Opened, visitor: Visitor[Any]) -> None:
        """Read the names in a directory."""
        names: list[bytes] = []
        below: list[bytes] = []
        fast = native()
        try:
            if fast is not None:
                names, below = fast.names(at.fd)
            else:
                with os.scandir(at.fd) as listing:
                    for item in listing:
                        (below if item.is_dir(follow_symlinks=False) else names).append(os.fsencode(item.name))
        except OSError as error:
            visitor.gap(at.path, f"cannot be listed: {why(error)}")
        if self.scope is not None:
            leads = self.scope.leads
            names, below = ([name for name in some if leads(inner(at, name))] for some in (names, below))
        names.sort()
        below.sort()
        at.names, at.below, at.pending = names, below, iter(below)

    def groups(self, at: Opened, names: list[bytes], visitor: Visitor[Any]) -> Groups:
        """Some of the names in a directory, by their facts."""
        look, fast, found = kernel(), native(), dict[Facts, list[bytes]]()
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
                self._missed(at, name, visitor)
                continue
            if look.mount() == self.mount:
                found.setdefault(look.facts(), []).append(name)
            else:
                visitor.mount(inner(at, name))
        for facts in [facts for facts in found if facts.type == Type.DIRECTORY]:
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
            top, self.top = self.top, None
            self._down(top, visitor)

    def _down(self, top: Opened, visitor: Visitor[Any]) -> None:
        stack: list[Opened] = []
        try:
            at: Opened | None = top
            while at is not None or stack:
                if at is not None:
                    stack.append(at)
                    # Listed after it was shown: where it was taken from others just now, nobody adds to it any more.
                    visitor.enter(at)
                    self.read(at, visitor)
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

    def enter(self, at: Opened, visitor: Visitor[Any]) -> None:
        """Show a visitor a directory that was listed ahead; once it is taken from others it is listed again."""
        others = not at.closed
        visitor.enter(at)
        if others and at.closed:
            at.names, at.below = [], []
            self.read(at, visitor)

    def close(self) -> None:
        """Let go of the top."""
        if self.top is not None:
            os.close(self.top.fd)
            self.top = None
