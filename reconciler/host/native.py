"""The inner loops of a walk in C, where that was built: the same answers, in half the time.

It is a plain shared library, called through ctypes; where it is missing (no compiler when this was installed),
everything is done in Python.
"""

from __future__ import annotations

import ctypes
import os
import struct
from functools import cache
from pathlib import Path

GONE, ODD = 255, 254
KINDS, WHAT = 250, 22
ROOM = 32768
VERSION = 3
CHANGE = struct.Struct("=iIIi10s2x")


class Native:
    """The library, and buffers for what it answers."""

    def __init__(self, library: ctypes.CDLL) -> None:
        number, text, place = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
        self.open = library.walk_open
        """Open a directory: its descriptor, with statx's answer at the given address; negative: do it in Python."""
        self.open.argtypes = [number, text, text, place]
        self._list, self._look = library.walk_list, library.walk_look
        self._attributes, self._change = library.walk_attributes, library.walk_change
        self._list.argtypes = [number, place, place, ctypes.c_size_t, place]
        self._look.argtypes = [number, text, number, text, place, place]
        self._attributes.argtypes = [text, text, number, text, place]
        self._change.argtypes = [number, text, number, text, text, place]
        self._names, self._below = ctypes.create_string_buffer(ROOM), ctypes.create_string_buffer(ROOM)
        self._used = (ctypes.c_size_t * 2)()
        self._kinds = ctypes.create_string_buffer(KINDS * WHAT)
        self._which = ctypes.create_string_buffer(ROOM)

    def names(self, directory: int) -> tuple[list[bytes], list[bytes]]:
        """The names in an open directory besides directories, and its directories; in no order."""
        names: list[bytes] = []
        below: list[bytes] = []
        os.lseek(directory, 0, os.SEEK_SET)  # it may have been read before
        more = 1
        while more > 0:
            more = self._list(directory, self._names, self._below, ROOM, self._used)
            for some, buffer, used in zip((names, below), (self._names, self._below), self._used, strict=True):
                if used:
                    some.extend(ctypes.string_at(buffer, used).split(b"\0")[:-1])
        if more < 0:
            os.listdir(directory)  # says what is wrong
        return names, below

    def look(self, directory: int, names: list[bytes], mount: bytes) -> tuple[list[bytes], bytes]:
        """The distinct answers of statx, and for each name the number of its own, or `GONE`, or `ODD`."""
        count = self._look(directory, joined(names), len(names), mount, self._kinds, self._which)
        raw = ctypes.string_at(self._kinds, count * WHAT)
        kinds = [raw[start : start + WHAT] for start in range(0, len(raw), WHAT)]
        return kinds, ctypes.string_at(self._which, len(names))

    def attributes(self, stand: bytes, names: list[bytes], wanted: bytes) -> list[bytes]:
        """The names that have one of the extended attributes that are wanted, which are joined like names."""
        if not self._attributes(stand, joined(names), len(names), wanted, self._which):
            return []
        return [name for name, has in zip(names, ctypes.string_at(self._which, len(names)), strict=True) if has]

    def change(self, directory: int, names: list[bytes], each: bytes, changes: list[bytes]) -> list[int]:
        """Give every name what its number in ``each`` says of ``changes``; the places of those that have it not then.

        There are at most 256 changes, each made by `change_of`.
        """
        if not self._change(directory, joined(names), len(names), each, b"".join(changes), self._which):
            return []
        return [at for at, off in enumerate(ctypes.string_at(self._which, len(names))) if off]


def change_of(owner: tuple[int, int] | None, mode: int | None, want: bytes) -> bytes:
    """One change as the library takes it: an owner, a mode, and what statx says of both afterwards."""
    return CHANGE.pack(owner is not None, *(owner or (0, 0)), -1 if mode is None else mode, want)


def joined(names: list[bytes]) -> bytes:
    """Names as the library takes them."""
    return b"\0".join(names) + b"\0"


@cache
def native() -> Native | None:
    """The library, if it was built for this machine and this version."""
    if os.environ.get("RECONCILER_PURE_PYTHON"):
        return None
    for path in sorted(Path(__file__).parent.glob("_walk*.so")):
        try:
            library = ctypes.CDLL(str(path))
            if library.walk_version() == VERSION:
                return Native(library)
        except (OSError, AttributeError):
            continue
    return None
