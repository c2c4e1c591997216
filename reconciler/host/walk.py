"""Walking a tree that another account can write, and changing owners and modes in it.

Every directory is opened from its parent's descriptor with O_NOFOLLOW; nothing is reached by a path
string twice.  Symbolic links are owned themselves and never followed, devices, sockets and FIFOs are never
opened for reading, other mounts are not entered.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from .port import Attributes, Decide, Entry, Order, Skipped
from .resolve import facts, why

PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def deep() -> None:
    """Let this process hold a descriptor for every level of a deep tree."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def xattrs_of(fd: int) -> dict[str, bytes]:
    """The extended attributes behind an O_PATH descriptor; empty where the file system has none."""
    path = f"/proc/self/fd/{fd}"
    try:
        return {name: os.getxattr(path, name) for name in os.listxattr(path)}
    except OSError:
        return {}


class _Facts:
    """The kernel's statx, which tells the mount and the immutable flag of a descriptor without opening it."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._statx = getattr(libc, "statx", None)
        self._buffer = ctypes.create_string_buffer(256)

    def _ask(self, fd: int) -> bool:
        empty_path, mount_id = 0x1000, 0x1000
        return self._statx is not None and self._statx(fd, b"", empty_path, mount_id, self._buffer) == 0

    def mount(self, fd: int) -> int:
        """The id of the mount (st_dev cannot tell bind mounts apart, and differs within one overlay)."""
        if self._ask(fd) and struct.unpack_from("=I", self._buffer, 0)[0] & 0x1000:
            return int(struct.unpack_from("=Q", self._buffer, 144)[0])
        with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
            return next((int(line.split()[1]) for line in info if line.startswith(b"mnt_id:")), -1)

    def frozen(self, fd: int) -> bool:
        """Whether the file is immutable or append-only, so that not even root may change it."""
        return self._ask(fd) and bool(struct.unpack_from("=Q", self._buffer, 8)[0] & 0x30)


@cache
def kernel() -> _Facts:
    """The one instance; made when first needed."""
    return _Facts()


@dataclass
class _Level:
    """One open directory on the way down."""

    fd: int
    path: bytes
    entry: Entry
    names: Iterator[bytes]


@dataclass
class Walker:
    """One pass over a tree, below an open top directory."""

    parent: int
    name: str
    skipped: list[Skipped] = field(default_factory=list)

    def entries(self, order: Order = "pre", decide: Decide | None = None) -> Iterator[Entry]:
        """Yield every path; with ``decide``, change each as it says before (or after) going on.

        Children come in the order of their names' bytes.
        """
        deep()
        top = self._open(self.parent, os.fsencode(self.name), b"", None)
        if top is None:
            return
        entry, fd = top
        if entry.stat.type != "directory":
            try:
                self._act(fd, entry, decide)
                yield entry
            finally:
                os.close(fd)
            return
        mount = kernel().mount(fd)
        stack = [self._enter(fd, b"", entry)]
        try:
            if order == "pre":
                self._act(stack[-1].fd, entry, decide)
                yield entry
            while stack:
                level = stack[-1]
                name = next(level.names, None)
                if name is None:
                    stack.pop()
                    if order == "post":
                        self._act(level.fd, level.entry, decide)
                        yield level.entry
                    os.close(level.fd)
                    continue
                opened = self._open(level.fd, name, level.path + b"/" + name if level.path else name, mount)
                if opened is None:
                    continue
                entry, fd = opened
                if entry.stat.type == "directory" and not entry.mount:
                    stack.append(self._enter(fd, entry.path, entry))
                    if order == "pre":
                        self._act(stack[-1].fd, entry, decide)
                        yield entry
                    continue
                try:
                    if not entry.mount:
                        self._act(fd, entry, decide)
                    yield entry
                finally:
                    os.close(fd)
        finally:
            for level in stack:
                os.close(level.fd)

    def _enter(self, path_fd: int, path: bytes, entry: Entry) -> _Level:
        """Turn an O_PATH descriptor of a directory into one that can be listed."""
        try:
            fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self.skipped.append(Skipped(path, f"cannot be listed: {why(error)}"))
            return _Level(path_fd, path, entry, iter(()))
        os.close(path_fd)
        with os.scandir(fd) as listing:
            names = sorted(os.fsencode(item.name) for item in listing)
        return _Level(
            fd,
            path,
            Entry(
                path, entry.stat, lambda: xattrs_of(fd), lambda: kernel().frozen(fd), entry.mount, lambda: digest_of(fd)
            ),
            iter(names),
        )

    def _open(self, parent: int, name: bytes, path: bytes, mount: int | None) -> tuple[Entry, int] | None:
        try:
            fd = os.open(name, PATH_ONLY, dir_fd=parent)
        except FileNotFoundError:
            return None  # vanished since it was listed
        except OSError as error:
            self.skipped.append(Skipped(path, why(error)))
            return None
        found = facts(os.fstat(fd))
        crossing = mount is not None and kernel().mount(fd) != mount
        more = (lambda: xattrs_of(fd), lambda: kernel().frozen(fd), crossing, lambda: digest_of(fd))
        return Entry(path, found, *more), fd

    def _act(self, fd: int, entry: Entry, decide: Decide | None) -> None:
        if decide is None:
            return
        wanted = decide(entry)
        if wanted is None:
            return
        try:
            amend(fd, entry, wanted)
        except FileNotFoundError:
            return
        except OSError as error:
            self.skipped.append(Skipped(entry.path, why(error)))


def digest_of(fd: int) -> str:
    """The SHA-256 of the regular file behind an O_PATH descriptor."""
    handle = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def amend(fd: int, entry: Entry, wanted: Attributes) -> None:
    """Give one opened path its owner, then its mode, then its extended attributes.

    That order matters: changing the owner clears setuid bits and capabilities, changing the mode moves an
    ACL's mask.  Nothing is called that would change nothing, since even a vain chown does harm.
    """
    handle = f"/proc/self/fd/{fd}"
    found = facts(os.fstat(fd))
    capability = None
    if (found.uid, found.gid) != (wanted.uid, wanted.gid):
        if found.type == "file" and "security.capability" not in wanted.xattrs:
            capability = entry.xattrs().get("security.capability")
        # The magic link of an O_PATH descriptor is that very inode, a symbolic link's own included.
        os.chown(handle, wanted.uid, wanted.gid)
        found = facts(os.fstat(fd))
    if wanted.mode is not None and found.type != "link" and found.mode != wanted.mode:
        os.chmod(handle, wanted.mode)
    if capability is not None:
        os.setxattr(handle, "security.capability", capability)
    for key, value in wanted.xattrs.items():
        current = entry.xattrs().get(key)
        if value is None and current is not None:
            os.removexattr(handle, key)
        elif value is not None and current != value:
            os.setxattr(handle, key, value)
