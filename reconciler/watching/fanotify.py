"""fanotify: whole file systems for the price of one mark, and the process that did it.

Needs CAP_SYS_ADMIN, and Linux 5.17 for the names.  Directories are marked one by one where files are looked
after; for a tree its file system is marked, where the kernel can (not on overlays), so that a million files cost no
watch each.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..host.actor import Who, who
from .notices import Lost, Notice

CLOEXEC, NONBLOCK, DIRECTORY_AND_NAME = 0x1, 0x2, 0xC00
ADD, FILESYSTEM = 0x1, 0x100
MODIFY, ATTRIB = 0x2, 0x4
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, OVERFLOW = 0x400, 0x800, 0x4000
ON_CHILD, ON_DIRECTORY = 0x08000000, 0x40000000
NAMES = MOVED_FROM | MOVED_TO | CREATE | DELETE | ON_DIRECTORY
FILES = NAMES | MODIFY | ATTRIB | DELETE_SELF | MOVE_SELF | ON_CHILD
"""In a directory: what is in its files matters too.  Nothing that reading causes."""
TREES = NAMES | ATTRIB
"""On a file system: owners and modes alone matter, so that writing costs its writers nothing."""
HERE = -100
IDENTITY_ONLY = 0x200
HEAD, INFO, HANDLE = struct.Struct("=IBBHQii"), struct.Struct("=BBH8s"), struct.Struct("=Ii")
ROOM = 1 << 16
REMEMBERED = 4096


class Fanotify:
    """The kernel's eye; raises OSError where there is none for us."""

    def __init__(self, matters: Callable[[str], bool]) -> None:
        self._c = ctypes.CDLL(None, use_errno=True)
        self._c.fanotify_mark.argtypes = [
            ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p,
        ]  # fmt: skip
        self._c.open_by_handle_at.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        self._c.name_to_handle_at.argtypes = [
            ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int,
        ]  # fmt: skip
        self.fd: int = self._c.fanotify_init(CLOEXEC | NONBLOCK | DIRECTORY_AND_NAME, os.O_RDONLY | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.matters = matters
        """Whether a path that only a whole file system's mark tells of is any of our business."""
        self._marked: dict[bytes, str] = {}
        self._tops: dict[str, tuple[bytes, int]] = {}
        self._near: dict[bytes, str | None] = {}

    def fileno(self) -> int:
        """What to wait for."""
        return self.fd

    def forget(self) -> None:
        """Before the marks are set anew; the kernel keeps those that stay."""
        self._marked.clear()
        self._near.clear()
        for _, mount in self._tops.values():
            os.close(mount)
        self._tops.clear()

    def directory(self, path: str) -> bool:
        """Look after the names and files in a directory; False where that cannot be."""
        key = self._key(path)
        if key is None or self._mark(0, FILES, path):
            return False
        self._marked[key] = path
        return True

    def tree(self, path: str) -> bool:
        """Look after owners and modes in a whole tree; False where its file system cannot be marked.

        Events name directories by handles, which a container may not be allowed to open, whatever it may mark.
        """
        handle = self._handle(path, 0)
        try:
            number, mount = _file_system(path), os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        found = None if handle is None else self._reached(mount, handle)
        if found != os.path.realpath(path) or self._mark(FILESYSTEM, TREES, path):
            os.close(mount)
            return False
        # One file system may be mounted several times, and what lies in one mount has no path in another.
        self._tops[path] = number, mount
        return True

    def notices(self) -> Iterator[Notice | Lost]:
        """What happened since this was last asked."""
        processes: dict[int, Who | None] = {}
        while True:
            try:
                data = os.read(self.fd, ROOM)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                length, _, _, start, mask, _, pid = HEAD.unpack_from(data, at)
                if mask & OVERFLOW:
                    yield Lost("the kernel's queue of file events was full")
                elif (path := self._path(data, at + start, at + length)) is not None:
                    if mask & ON_DIRECTORY and mask & (MOVED_FROM | MOVED_TO | DELETE):
                        self._near.clear()
                    if pid not in processes:
                        processes[pid] = who(pid)
                    came = bool(mask & (NAMES & ~ON_DIRECTORY)) and bool(mask & ON_DIRECTORY)
                    yield Notice(path, came or bool(mask & (DELETE_SELF | MOVE_SELF)), processes[pid])
                at += length

    def close(self) -> None:
        """Let go of everything."""
        for fd in (self.fd, *(mount for _, mount in self._tops.values())):
            os.close(fd)

    def _mark(self, kind: int, mask: int, path: str) -> int:
        return int(self._c.fanotify_mark(self.fd, ADD | kind, mask, HERE, os.fsencode(path)))

    def _key(self, path: str) -> bytes | None:
        """The file system and handle by which events name a directory."""
        for flags in (IDENTITY_ONLY, 0):
            handle = self._handle(path, flags)
            if handle is not None:
                with suppress(OSError):
                    return _file_system(path) + handle
                return None
        return None

    def _handle(self, path: str, flags: int) -> bytes | None:
        """The handle of a directory, as the kernel takes it."""
        room = ctypes.create_string_buffer(HANDLE.pack(128, 0), HANDLE.size + 128)
        mount = ctypes.create_string_buffer(4)
        if self._c.name_to_handle_at(HERE, os.fsencode(path), room, mount, flags):
            return None
        return room.raw[: HANDLE.size + HANDLE.unpack_from(room.raw)[0]]

    def _path(self, data: bytes, at: int, end: int) -> str | None:
        """The path that an event tells of; None where it is none of our business."""
        if at + INFO.size + HANDLE.size > end:
            return None
        _, _, length, number = INFO.unpack_from(data, at)
        size, kind = HANDLE.unpack_from(data, at + INFO.size)
        begin = at + INFO.size + HANDLE.size
        handle = data[begin : begin + size]
        name = data[begin + size : at + length].split(b"\0", 1)[0]
        whole = HANDLE.pack(size, kind) + handle
        directory = self._marked.get(number + whole)
        if directory is None:
            directory = self._opened(number, whole)
        if directory is None:
            return None
        return directory if name in (b"", b".") else f"{directory.rstrip('/')}/{os.fsdecode(name)}"

    def _opened(self, number: bytes, handle: bytes) -> str | None:
        """The path of a directory that no mark of its own names; kept, since one is told of again and again."""
        key = number + handle
        if key in self._near:
            return self._near[key]
        found = None
        for mount in [mount for other, mount in self._tops.values() if other == number]:
            path = self._reached(mount, handle)
            if path is not None and self.matters(path):
                found = path
                break
        if len(self._near) >= REMEMBERED:
            self._near.clear()
        self._near[key] = found
        return found

    def _reached(self, mount: int, handle: bytes) -> str | None:
        """The path of a directory, by its handle."""
        fd = self._c.open_by_handle_at(mount, handle, os.O_PATH | os.O_CLOEXEC)
        if fd < 0:
            return None
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)


def _file_system(path: str) -> bytes:
    """The number by which events name a file system."""
    return struct.pack("=Q", os.statvfs(path).f_fsid & (2**64 - 1))


def told_by() -> str:
    """What tells a watch of changes here."""
    try:
        Fanotify(lambda path: False).close()
    except OSError as error:
        return f"inotify; no fanotify ({(error.strerror or '').lower()}), so that drift names no process"
    return "fanotify: drift names the process"
