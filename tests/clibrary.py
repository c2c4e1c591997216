"""What the C library reads in account files: the oracle for who is in a group."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


class Entry(ctypes.Structure):
    """The C library's group."""

    _fields_ = (
        ("name", ctypes.c_char_p), ("password", ctypes.c_char_p), ("gid", ctypes.c_uint32),
        ("members", ctypes.POINTER(ctypes.c_char_p)),
    )  # fmt: skip


def listed(path: Path, group: str) -> set[str]:
    """Who is in a group, as the C library reads the file."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype, libc.fgetgrent.restype = ctypes.c_void_p, ctypes.POINTER(Entry)
    file, found = ctypes.c_void_p(libc.fopen(os.fsencode(path), b"r")), set[str]()
    while entry := libc.fgetgrent(file):
        if entry[0].name == group.encode():
            members = entry[0].members
            found |= {members[n].decode() for n in range(next(n for n in range(10**6) if members[n] is None))}
    libc.fclose(file)
    return found
