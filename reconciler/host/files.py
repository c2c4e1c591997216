"""A host that is a directory: an unpacked or mounted file system, and the base of the live host.

No program of the root is executed, and no link leads out of it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat as st
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..errors import HostError, Unsafe
from ..formats.text import printable
from .port import (
    ACL,
    DEFAULT_ACL,
    Begin,
    Directory,
    Entity,
    File,
    Groups,
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
from .resolve import Place, facts, place, why
from .statx import Statx
from .walk import Opened, Walker, xattrs_of

if TYPE_CHECKING:
    from .port import Host, Observer

LARGEST = 64 * 1024 * 1024
"""The largest file that is read whole, in bytes."""


GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
FLAGS = 0x08 | 0x40 | 0x80
"""The flags that a new file gets from its directory, and that keep nobody from writing: S, d and A of chattr."""


def bare(fd: int, wanted: Mapping[str, bytes]) -> None:
    """Take from something new the ACLs that it got from its directory; a label is the policy's, and stays.

    ``wanted``: the attributes that it is to have.  An `OSError` where an ACL cannot be taken away.
    """
    for key in (ACL, DEFAULT_ACL):
        if key not in wanted:
            try:
                os.removexattr(fd, key)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                    raise


def flags_of(fd: int) -> int:
    """The flags of a file that stay when it is replaced; none where its file system has none."""
    return _flags(fd) & FLAGS


def flag(fd: int, wanted: int) -> None:
    """Give something new these flags, and none that it got from its directory."""
    now = _flags(fd)
    if now & FLAGS != wanted:
        with suppress(OSError):  # another file system does not have them all
            fcntl.ioctl(fd, SET_FLAGS, struct.pack("=I4x", now & ~FLAGS | wanted))


def _flags(fd: int) -> int:
    try:
        told: int = struct.unpack("=I4x", fcntl.ioctl(fd, GET_FLAGS, bytes(8)))[0]
    except OSError:
        return 0
    return told


def temporary(name: str) -> str:
    """The one name that a replacement of ``name`` is written under, so that a crash leaves nothing unknown."""
    return f".reconciler-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.tmp"


class FileObserver:
    """The read-only half of a directory that is a host's root."""

    live = False
    recorded = False

    def __init__(self, root: str) -> None:
        self.where = os.path.abspath(root)
        if not os.path.isdir(self.where):
            raise HostError(f"--root {printable(root)}: no such directory")

    def stat(self, path: str) -> Stat | None:
        """The facts of the entry itself; a link at the end is not followed."""
        with self._place(path, follow=False) as at:
            if at is None:
                return None
            try:
                return facts(os.stat(at.name, dir_fd=at.parent, follow_symlinks=False))
            except FileNotFoundError:
                return None

    def read(self, path: str) -> File | None:
        """The regular file at ``path`` (through safe links), whole; None where there is none.

        Refuses what is not a regular file, or has further hard links: its owner may not be who it seems.
        """
        with self._place(path) as at:
            if at is None:
                return None
            fd = self._open_regular(at, path)
            if fd is None:
                return None
            try:
                raw = os.fstat(fd)
                if raw.st_size > LARGEST:
                    raise HostError(f"{printable(path)}: larger than {LARGEST >> 20} MiB; not a file to edit")
                data = b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
                return File(data, st.S_IMODE(raw.st_mode), raw.st_uid, raw.st_gid, xattrs_of(fd), raw.st_mtime_ns)
            finally:
                os.close(fd)

    def _open_regular(self, at: Place, path: str) -> int | None:
        try:
            probe = os.open(at.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
        except FileNotFoundError:
            return None
        try:
            raw = os.fstat(probe)
            if not st.S_ISREG(raw.st_mode):
                raise HostError(f"{printable(path)}: a {facts(raw).type}, not a regular file")
            if raw.st_nlink > 1:
                raise Unsafe(
                    f"{printable(path)}: has {raw.st_nlink} hard links; replacing it would part them, and one "
                    "may be someone else's file. Copy it to a file of its own first"
                )
            try:
                return os.open(f"/proc/self/fd/{probe}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise HostError(f"{printable(path)}: cannot be read: {why(error)}") from None
        finally:
            os.close(probe)

    def traits(self, path: str) -> Traits:
        """Extended attributes and flags of the entry itself; nothing where there is none."""
        with self._place(path, follow=False) as at:
            if at is None:
                return Traits()
            try:
                fd = os.open(at.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
            except FileNotFoundError:
                return Traits()
            try:
                return Traits(xattrs_of(fd), self._flags(fd))
            finally:
                os.close(fd)

    def _flags(self, fd: int) -> frozenset[str]:
        told = Statx()
        return told.flags() if told(fd, b"") else frozenset()

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted; empty where there is no such directory."""
        with self._place(path) as at:
            if at is None:
                return []
            try:
                fd = os.open(at.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
            except (FileNotFoundError, NotADirectoryError):
                return []
            except OSError as error:
                raise HostError(f"{printable(path)}: cannot be listed: {why(error)}") from None
            try:
                return sorted(os.listdir(fd))
            finally:
                os.close(fd)

    def readlink(self, path: str) -> str:
        """Where the symbolic link at ``path`` points, as it is written."""
        with self._place(path, follow=False) as at:
            if at is None:
                raise HostError(f"{printable(path)}: no such link")
            return os.readlink(at.name, dir_fd=at.parent)

    def canonical(self, path: str) -> str:
        """The path with every safe link on the way resolved, inside the root."""
        with self._place(path) as at:
            return at.path if at else path

    def visit(self, top: str, begin: Begin[Directory], scope: Scope | None = None) -> Iterator[Any]:
        """Show visitors the tree at ``top`` (or a part of it), parents first, names in the order of their bytes."""
        yield from self._walk(top, begin, scope)

    def _walk(self, top: str, begin: Begin[Any], scope: Scope | None) -> Iterator[Any]:
        from .parallel import walk  # noqa: PLC0415 - start-up counts

        with self._walker(top, scope) as walker:
            if walker is not None:
                yield from walk(walker, begin)

    @contextmanager
    def _walker(self, top: str, scope: Scope | None = None) -> Iterator[Walker | None]:
        with self._place(top, follow=False) as at:
            if at is None:
                yield None
                return
            walker = Walker(at.parent, at.name, scope)
            try:
                yield walker
            except OSError as error:
                raise HostError(f"{printable(top)}: {why(error)}") from None
            finally:
                walker.close()

    def mounts(self) -> list[tuple[str, str]]:
        """Mount points inside this root, each with its file system's type."""
        found = []
        with open("/proc/self/mountinfo", "rb") as table:
            for line in table:
                left, _, right = line.decode("utf-8", "surrogateescape").partition(" - ")
                point = left.split(" ")[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
                if self.where == "/":
                    found.append((point, right.split(" ")[0]))
                elif point == self.where or point.startswith(self.where + "/"):
                    found.append((point[len(self.where) :] or "/", right.split(" ")[0]))
        return found

    def owned(self, uids: Set[int], gids: Set[int], skip: Sequence[str]) -> Iterator[Owned]:
        """Paths that belong to one of these users or groups, outside ``skip``, on local file systems."""
        avoid = {self.where.rstrip("/") + path for path in skip}
        pending = [self.where]
        while pending:
            directory = pending.pop()
            try:
                listing = os.scandir(directory)
            except OSError:
                continue
            with listing:
                for item in listing:
                    if item.path in avoid:
                        continue
                    try:
                        raw = item.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if raw.st_uid in uids or raw.st_gid in gids:
                        yield item.path[len(self.where.rstrip("/")) :], raw.st_uid, raw.st_gid
                    if st.S_ISDIR(raw.st_mode) and self._enter(item.path):
                        pending.append(item.path)

    def _enter(self, path: str) -> bool:
        return not os.path.ismount(path)

    def processes(self) -> list[Process]:
        """No process runs in a directory."""
        return []

    def remote(self, database: str, name: str) -> Entity | str | None:
        """In a root the files alone are the truth."""
        return None

    def named(self, database: str, number: int) -> str | None:
        """In a root the files alone are the truth."""
        return None

    def groups(self, name: str, gid: int) -> frozenset[int] | None:
        """In a root the files alone are the truth."""
        return None

    def boot(self) -> str:
        """A directory is never booted."""
        return ""

    def query(self, argv: Sequence[str], feed: bytes | None = None) -> Result:
        """No program of a root is executed."""
        raise HostError(f"{argv[0]}: no program runs in a root directory")

    def validate(self, argv: Sequence[str], data: bytes) -> Result:
        """Run this machine's checker on ``data`` held in memory; ``{}`` stands for the file."""
        fd = os.memfd_create("reconciler-candidate")
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.lseek(fd, 0, os.SEEK_SET)
            command = [word.replace("{}", f"/proc/self/fd/{fd}") for word in argv]
            return spawn(command, keep=(fd,))
        finally:
            os.close(fd)

    @contextmanager
    def _place(self, path: str, *, follow: bool = True) -> Iterator[Place | None]:
        try:
            with place(self.where, path, follow=follow) as at:
                yield at
        except OSError as error:
            raise HostError(f"{printable(path)}: {why(error)}") from None


def spawn(argv: Sequence[str], *, feed: bytes | None = None, keep: tuple[int, ...] = ()) -> Result:
    """Run a program from an argument list in a clean environment; a missing one is a `HostError`."""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=env["PATH"])
    if program is None:
        raise HostError(f"{printable(argv[0])}: no such program on PATH")
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=feed,
            stdin=subprocess.DEVNULL if feed is None else None,
            capture_output=True,
            env=env,
            pass_fds=keep,
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{printable(' '.join(argv))}: no answer within two minutes") from None
    except OSError as error:
        raise HostError(f"{printable(argv[0])}: {why(error)}") from None
    return Result(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


class Eraser(Visitor[Opened]):
    """Removes all that it is shown below the top."""

    def __init__(self) -> None:
        self.gone = 1
        self._way: list[Opened] = []

    def enter(self, at: Opened) -> None:
        """On the way down; whoever still stands in it can move nothing in it any more."""
        if not at.closed:
            os.fchown(at.fd, os.geteuid(), -1)
            os.fchmod(at.fd, 0o700)
            at.closed = True
        self._way.append(at)

    def files(self, at: Opened, groups: Groups) -> None:
        """What is no directory goes at once."""
        for names in groups.values():
            for name in names:
                os.unlink(name, dir_fd=at.fd)
                self.gone += 1

    def leave(self, at: Opened) -> None:
        """A directory goes when nothing is in it any more."""
        self._way.pop()
        if self._way:
            os.rmdir(at.path.rpartition(b"/")[2], dir_fd=self._way[-1].fd)
            self.gone += 1


class FileHost(FileObserver):
    """A directory as a host that can be changed; every replacement is atomic and durable."""

    _later: dict[tuple[int, int], int] | None = None
    """Directories that are still to be synced: an open descriptor each, by device and inode."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """What names are changed within is durable at the end: every directory is synced once."""
        later: dict[tuple[int, int], int] = {}
        self._later = later
        try:
            yield
            for fd in later.values():
                os.fsync(fd)
        except OSError as error:
            raise HostError(f"a directory cannot be synced: {why(error)}") from None
        finally:
            self._later = None
            for fd in later.values():
                os.close(fd)

    def replace(self, path: str, file: File) -> None:
        """Put ``file`` in place of what is at ``path`` (through safe links), or make it there."""
        with self._place(path) as at:
            if at is None:
                raise HostError(f"{printable(path)}: its directory is missing")
            found = self._open_regular(at, path)
            try:
                with self._said(path):
                    self._replace(at, file, flags_of(found) if found is not None else 0)
            finally:
                if found is not None:
                    os.close(found)

    def _replace(self, at: Place, file: File, kept: int) -> None:
        """``kept``: the flags of the file that goes."""
        spare = temporary(at.name)
        with suppress(FileNotFoundError):
            os.unlink(spare, dir_fd=at.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(spare, flags, 0o600, dir_fd=at.parent)
        try:
            try:
                view = memoryview(file.data)
                while view:
                    view = view[os.write(fd, view) :]
                found = os.fstat(fd)
                if (found.st_uid, found.st_gid) != (file.uid, file.gid):
                    os.fchown(fd, file.uid, file.gid)
                bare(fd, file.xattrs)
                have = xattrs_of(fd) if file.xattrs else {}
                for key, value in file.xattrs.items():
                    if have.get(key) != value:
                        os.setxattr(fd, key, value)
                # Last: with an ACL the group bits of the mode are its mask, and chmod moves it.
                os.fchmod(fd, file.mode)
                flag(fd, kept)
                if file.mtime_ns is not None:
                    os.utime(fd, ns=(file.mtime_ns, file.mtime_ns))
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(spare, at.name, src_dir_fd=at.parent, dst_dir_fd=at.parent)
        except BaseException:
            with suppress(OSError):
                os.unlink(spare, dir_fd=at.parent)
            raise
        self._sync(at)

    def remove(self, path: str) -> None:
        """Remove a file or a link itself; nothing happens where there is none."""
        with self._place(path, follow=False) as at, self._said(path):
            if at is not None:
                with suppress(FileNotFoundError):
                    os.unlink(at.name, dir_fd=at.parent)
                self._sync(at)

    def discard(self, path: str) -> None:
        """Remove the half-written replacement that a crash may have left beside ``path``, or where it leads."""
        with self._place(path, follow=False) as at, self._said(path):
            self._discard(at)
        # Nothing was ever written where an unsafe link leads.
        with suppress(Unsafe), self._place(path) as at, self._said(path):
            self._discard(at)

    @staticmethod
    def _discard(at: Place | None) -> None:
        if at is not None:
            with suppress(FileNotFoundError):
                os.unlink(temporary(at.name), dir_fd=at.parent)

    def mkdir(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Make one directory; its parent has to be there, and it must not."""
        with self._place(path, follow=False) as at, self._said(path):
            if at is None:
                raise HostError(f"{printable(path)}: its parent directory is missing")
            os.mkdir(at.name, 0o700, dir_fd=at.parent)
            fd = os.open(at.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
            try:
                found = os.fstat(fd)
                if (found.st_uid, found.st_gid) != (uid, gid):
                    os.fchown(fd, uid, gid)
                bare(fd, {})
                os.fchmod(fd, mode)
                os.fsync(fd)
            finally:
                os.close(fd)
            self._sync(at)

    def rmdir(self, path: str) -> bool:
        """Remove an empty directory; False where it still holds something."""
        with self._place(path, follow=False) as at, self._said(path):
            if at is None:
                return True
            try:
                os.rmdir(at.name, dir_fd=at.parent)
            except FileNotFoundError:
                return True
            except OSError as error:
                if error.errno in (39, 17):  # ENOTEMPTY, EEXIST
                    return False
                raise
            self._sync(at)
            return True

    def symlink(self, path: str, link: Link) -> None:
        """Put a symbolic link in place of another one, or make it there; nothing else is replaced."""
        with self._place(path, follow=False) as at, self._said(path):
            if at is None:
                raise HostError(f"{printable(path)}: its directory is missing")
            with suppress(FileNotFoundError):
                there = facts(os.stat(at.name, dir_fd=at.parent, follow_symlinks=False))
                if there.type != Type.LINK:
                    raise HostError(f"{printable(path)}: a {there.type}, not a symbolic link; it was not replaced")
            spare = temporary(at.name)
            with suppress(FileNotFoundError):
                os.unlink(spare, dir_fd=at.parent)
            os.symlink(link.target, spare, dir_fd=at.parent)
            try:
                self._own_link(at, spare, link)
                os.rename(spare, at.name, src_dir_fd=at.parent, dst_dir_fd=at.parent)
            except BaseException:
                with suppress(OSError):
                    os.unlink(spare, dir_fd=at.parent)
                raise
            self._sync(at)

    @staticmethod
    def _own_link(at: Place, spare: str, link: Link) -> None:
        """Give a link that was just made its owner, attributes and time, if it is still that link."""
        fd = os.open(spare, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at.parent)
        try:
            found = os.fstat(fd)
            if not st.S_ISLNK(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
                raise HostError(f"{printable(at.path)}: someone else put something in its place while it was made")
            handle = f"/proc/self/fd/{fd}"  # the magic link of a descriptor is that very inode
            if (found.st_uid, found.st_gid) != (link.uid, link.gid):
                os.chown(handle, link.uid, link.gid)
            for key, value in link.xattrs.items():
                if xattrs_of(fd).get(key) != value:
                    os.setxattr(handle, key, value)
            if link.mtime_ns is not None:
                os.utime(handle, ns=(link.mtime_ns, link.mtime_ns))
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """Move within one file system; refuses to replace what is there."""
        with self._place(old, follow=False) as source, self._place(new, follow=False) as to, self._said(old):
            if source is None or to is None:
                raise HostError(f"{printable(old)}: cannot be moved to {printable(new)}: a directory is missing")
            if self.stat(new) is not None:
                raise HostError(f"{printable(new)}: is there already; {printable(old)} was not moved over it")
            os.rename(source.name, to.name, src_dir_fd=source.parent, dst_dir_fd=to.parent)
            self._sync(source)
            self._sync(to)

    def erase(self, path: str) -> int:
        """Remove a directory and all below it for good; answers how many paths went."""
        eraser = Eraser()
        with self._walker(path) as walker:
            if walker is None:
                return 0
            walker.whole(eraser)
        with self._place(path, follow=False) as at, self._said(path):
            if at is not None:
                os.rmdir(at.name, dir_fd=at.parent)
                self._sync(at)
        return eraser.gone

    def amend(self, top: str, begin: Begin[OpenDirectory], scope: Scope | None = None) -> Iterator[Any]:
        """Show visitors the tree at ``top`` (or a part of it), who may change owners and modes in it."""
        yield from self._walk(top, begin, scope)

    @contextmanager
    def accounts_locked(self) -> Iterator[None]:
        """Hold the lock that the system's own account tools take (lckpwdf: /etc/.pwd.lock)."""
        with self._place("/etc/.pwd.lock") as at:
            if at is None:
                raise HostError("/etc: missing; this is no system whose accounts could be edited")
            with self._said("/etc/.pwd.lock"):
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                fd = os.open(at.name, flags, 0o600, dir_fd=at.parent)
            try:
                try:
                    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    self._wait(fd)
                yield
            finally:
                os.close(fd)

    def _wait(self, fd: int) -> None:
        """Wait up to fifteen seconds for the account lock, as lckpwdf does."""
        import time  # noqa: PLC0415 - only here, and rarely

        for _ in range(150):
            time.sleep(0.1)
            with suppress(OSError):
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
        raise HostError("/etc/.pwd.lock: another program is changing accounts; try again when it is done")

    def run(self, argv: Sequence[str]) -> Result:
        """No program of a root is executed."""
        return self.query(argv)

    def _sync(self, at: Place) -> None:
        fd = os.open(f"/proc/self/fd/{at.parent}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self._later is None:
                os.fsync(fd)
                return
            found = os.fstat(fd)
            if self._later.setdefault((found.st_dev, found.st_ino), fd) == fd:
                fd = -1
        finally:
            if fd >= 0:
                os.close(fd)

    @contextmanager
    def _said(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HostError(f"{printable(path)}: {why(error)}") from None


if TYPE_CHECKING:
    _observer: Observer = FileObserver("/")
    _host: Host = FileHost("/")
