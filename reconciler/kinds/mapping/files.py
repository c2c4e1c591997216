"""The files of a mapping, and the mode."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import HostError
from ...host.port import File as Bytes
from ...host.port import Host, Observer
from ...model import (
    EXISTS,
    MARK,
    Absent,
    Field,
    Json,
    State,
    Unknown,
)
from ...rscd.patching import Whole
from ...rscd.text import RscFile
from .._file import FileState, described, digest, put, whole
from .._ini import IniLens, IniState

MODE = "mode"
"""The first part of the field of the mode; the place where it is kept follows."""


class MappingState(State):
    """The three files, and the file with the mode."""

    files: Mapping[str, FileState | None] = {}
    modes: Mapping[str, IniState | Absent] = {}
    """The files in which somebody says that the mode is."""
    order: Mapping[str, tuple[str, ...]] = {}
    """The lines that are asked for in each file, in their order."""
    held: Mapping[str, tuple[str, ...]] = {}
    """The lines in each file that the log holds."""
    untouched: frozenset[str] = frozenset()
    """The files that are as we left them, to the byte."""
    moved: Mapping[str, frozenset[str]] = {}
    """Lines that were there and change their place, so that they decide."""

    def bytes(self) -> dict[str, bytes]:
        """The files that are there."""
        return {name: file.data.encode("latin-1") for name, file in self.files.items() if file is not None}

    def file(self, name: str) -> RscFile:
        """One file's lines; none where it is missing."""
        return RscFile(name, self.bytes().get(name, b""))


INI = IniLens()
"""The mode is a key of an ini file."""


def _state(host: Observer, part: str, found: Bytes) -> FileState:
    RscFile(part, found.data)
    return FileState.model_validate(described(host, found))


def _modes(host: Observer, paths: set[str]) -> dict[str, IniState | Absent]:
    """The files that the mode may be in."""
    found: dict[str, IniState | Absent] = {}
    for path in paths:
        seen = INI.read(host, path)
        if isinstance(seen, Unknown):
            raise HostError(seen.reason)
        assert isinstance(seen, IniState | Absent)
        found[path] = seen
    return found


def _made(base: FileState, whole: Whole, mark: Json) -> FileState:
    """A file with these bytes; as old as the file that the mark tells of, where it is that one again."""
    data = whole.data.decode("latin-1")
    mtime = mark["mtime"] if mark is not None and mark["sha256"] == digest(data) else whole.mtime
    return base.model_copy(update={"data": data, "mtime_ns": mtime})


def _write(host: Host, path: str, wanted: FileState | None) -> None:
    put(host, path, whole(host, path), wanted if wanted is not None else Absent())


def _mode_patched(before: IniState | Absent, field: Field, value: Json) -> IniState | Absent:
    """The file of the mode with the word set, or with its key given back."""
    part = (field[2], field[3])
    if isinstance(value, str):
        after = INI.patch(before, {EXISTS: True, part: value})
    else:
        there = "around" not in value["file"]
        values: dict[Field, Json] = {part: value, MARK: value.get("mark")}
        if there and isinstance(before, Absent):
            values[EXISTS] = True
            for key in ("owner", "group", "mode"):
                values[(key,)] = value["file"][key]
        after = INI.patch(before, values)
        if not there and isinstance(after, IniState) and not after.data.strip():
            after = Absent.model_validate(value["file"])
    assert isinstance(after, IniState | Absent)
    return after
