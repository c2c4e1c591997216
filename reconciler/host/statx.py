"""The kernel's statx: type, owner, mode, links, flags and mount of a path in one call, without opening it.

Python's own stat tells neither the mount (st_dev cannot tell bind mounts apart, and differs within one overlay)
nor the immutable flag.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from typing import Any

from .port import Facts
from .resolve import TYPES

FORMATS = {kind: bits for bits, kind in TYPES.items()}
"""The type bits of a mode."""

ASKED = 0x7FF | 0x1000  # STATX_BASIC_STATS | STATX_MNT_ID
BY_NAME = 0x100 | 0x800  # AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT
BY_FD = 0x1000 | 0x800  # AT_EMPTY_PATH | AT_NO_AUTOMOUNT
FROZEN = 0x30  # STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND
WHAT = slice(8, 30)
"""The bytes of struct statx that tell attributes, links, owner, group and mode."""
WHERE = slice(144, 152)
"""The bytes that tell the mount."""
NO_MOUNT = bytes(8)
"""What a kernel before 5.8 says."""


class Statx:
    """One buffer for the answers; what was asked last is what it holds."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        # A slice of it is bytes, which its type does not tell.
        self.buffer: Any = ctypes.create_string_buffer(256)
        self.address = ctypes.addressof(self.buffer)
        self.call = getattr(libc, "statx", None)
        if self.call is not None:
            self.call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
        self._known: dict[bytes, Facts] = {}

    def __call__(self, directory: int, name: bytes) -> bool:
        """Ask for a name in an open directory; for an empty name about what the descriptor itself is."""
        if self.call is not None:
            if self.call(directory, name, BY_NAME if name else BY_FD, ASKED, self.address):
                return False
            if self.buffer[WHERE] != NO_MOUNT:
                return True
        return self._slowly(directory, name)

    def _slowly(self, directory: int, name: bytes) -> bool:
        """The same from fstat and fdinfo, for a kernel before 5.8 or a C library before 2.28."""
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory) if name else directory
        except OSError:
            return False
        try:
            found = os.fstat(fd)
            with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
                mount = next((int(line.split()[1]) for line in info if line.startswith(b"mnt_id:")), 0)
        finally:
            if name:
                os.close(fd)
        # A C library with statx on an old kernel still tells the attributes.
        attributes = struct.unpack_from("=Q", self.buffer, 8)[0] if self.call is not None else 0
        told = struct.pack("=QIIIH", attributes, found.st_nlink, found.st_uid, found.st_gid, found.st_mode)
        ctypes.memmove(self.address + WHAT.start, told, len(told))
        struct.pack_into("=Q", self.buffer, WHERE.start, mount)
        struct.pack_into("=Q", self.buffer, 32, found.st_ino)
        struct.pack_into("=II", self.buffer, 136, os.major(found.st_dev), os.minor(found.st_dev))
        return True

    def facts(self) -> Facts:
        """What the last answer says."""
        return self.told(self.buffer[WHAT])

    def told(self, what: bytes) -> Facts:
        """What an answer says; equal answers are one object."""
        found = self._known.get(what)
        if found is None:
            attributes, nlink, uid, gid, mode = struct.unpack("=QIIIH", what)
            kind = TYPES[mode & 0o170000]
            found = Facts(kind, mode & 0o7777, uid, gid, nlink, bool(attributes & FROZEN))
            self._known[what] = found
        return found

    def flags(self) -> frozenset[str]:
        """The attributes of the last answer by which even root is kept from writing."""
        attributes = struct.unpack_from("=Q", self.buffer, 8)[0]
        return frozenset(name for name, bit in (("immutable", 0x10), ("append-only", 0x20)) if attributes & bit)

    def mount(self) -> bytes:
        """The mount of the last answer."""
        found: bytes = self.buffer[WHERE]
        return found

    def inode(self) -> tuple[int, int]:
        """The device and inode number of the last answer."""
        major, minor = struct.unpack_from("=II", self.buffer, 136)
        return os.makedev(major, minor), int(struct.unpack_from("=Q", self.buffer, 32)[0])


@cache
def kernel() -> Statx:
    """The one instance of a process; made when first needed."""
    return Statx()
