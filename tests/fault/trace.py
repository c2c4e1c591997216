"""What a process does to a directory, recorded with strace, and what a power loss may leave of it.

The model: the bytes and attributes of a file are safe once that file was synced; a name (made, renamed, removed) is
safe once its directory was synced.  Every other operation may be lost, each by itself; a rename is whole or not at
all.  Owners and modes of existing paths that a walk changes (chown, chmod) count as safe: they are settled
path by path.  SQLite's calls are seen like any other.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,symlinkat,symlink,fchmod,fchown,chmod,chown,lchown,fchownat,fchmodat,utimensat,lseek,read"
)
FD = r"(?:AT_FDCWD|\d+)<([^>]*)>"


@dataclass
class Inode:
    """One file: its bytes and attributes; ``path`` where it was found before the trace."""

    path: Path | None = None
    data: bytearray = field(default_factory=bytearray)
    attributes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dirty: bool = False


@dataclass
class Op:
    """One change; ``subject`` is an inode's number for bytes and attributes, else a directory."""

    at: int
    what: str
    subject: int | str
    more: tuple[object, ...]
    safe_at: int | None = None


@dataclass
class Trace:
    """The changes below a directory, in order, with the moment from which each is safe."""

    top: str
    names: dict[str, int]
    inodes: dict[int, Path | None]
    ops: list[Op] = field(default_factory=list)
    length: int = 0
    _offsets: dict[int, int] = field(default_factory=dict)
    _descriptors: dict[str, str] = field(default_factory=dict)

    def take(  # noqa: C901, PLR0912, PLR0915 - one branch for each system call that changes a file
        self, call: str, text: str, result: int, opened: str
    ) -> None:
        """One line of the trace."""
        self.length += 1
        fd = re.match(r"\d+<([^>]*)>", text)
        target = fd[1].removesuffix(" (deleted)") if fd else ""
        found = [
            os.path.normpath(os.path.join(base or "/", _unhex(name).decode("utf-8", "surrogateescape")))
            for base, name in re.findall(rf'(?:{FD}, )?"((?:\\x[0-9a-f]{{2}})*)"', text)
        ]
        inode = self.names.get(target)
        if call == "openat":
            self._descriptors[f"/proc/self/fd/{result}"] = opened
        if call == "openat" and opened.startswith(self.top + "/"):
            known = self.names.get(opened)
            if "O_CREAT" in text and known is None:
                number = self.names[opened] = len(self.inodes)
                self.inodes[number] = None
                self._name(opened, "create", number)
            elif "O_TRUNC" in text and known is not None:
                self._byte(known, "cut", 0)
            if opened in self.names:
                self._offsets[self.names[opened]] = 0
        elif inode is not None and call == "lseek":
            self._offsets[inode] = result
        elif inode is not None and call == "read":
            self._offsets[inode] = self._offsets.get(inode, 0) + result
        elif inode is not None and call == "write":
            self._byte(inode, "data", self._offsets.get(inode, 0), _first(text)[:result])
            self._offsets[inode] = self._offsets.get(inode, 0) + result
        elif inode is not None and call == "pwrite64":
            self._byte(inode, "data", int(text.rsplit(", ", 1)[1]), _first(text)[:result])
        elif inode is not None and call == "ftruncate":
            self._byte(inode, "cut", int(text.rsplit(", ", 1)[1]))
        elif inode is not None and call in ("fchmod", "fchown"):
            self._byte(inode, call, *(int(word, 8 if call == "fchmod" else 10) for word in text.split(", ")[1:]))
        elif inode is None and call in ("fchmod", "fchown") and target:
            words = text.split(", ")[1:]
            self._name(target, call[1:], *(int(word, 8 if call == "fchmod" else 10) for word in words))
            if self.ops:
                self.ops[-1].safe_at = self.length
        elif inode is not None and call == "utimensat":
            seconds, rest = re.findall(r"tv_sec=(\d+)[^,]*, tv_nsec=(\d+)", text)[1]
            self._byte(inode, "utime", int(seconds) * 10**9 + int(rest))
        elif call in ("fsync", "fdatasync"):
            for op in self.ops:
                if op.safe_at is None and op.subject in (inode if inode is not None else -1, target):
                    op.safe_at = self.length
        elif call.startswith("rename") and found[-1].startswith(self.top + "/"):
            if found[0] in self.names:
                self.names[found[-1]] = self.names.pop(found[0])
            self._name(found[-1], "rename", found[0])
        elif (call.startswith("unlink") or call == "rmdir") and found:
            self.names.pop(found[-1], None)
            self._name(found[-1], "remove")
        elif call.startswith("mkdir"):
            self._name(found[-1], "mkdir")
        elif call.startswith("symlink"):
            self._name(found[-1], "symlink", _unhex(text.split('"')[1]).decode())
        elif call in ("chown", "lchown", "chmod", "fchownat", "fchmodat"):
            path, words = self._descriptors.get(found[0], found[0]), text.split(", ")
            call, words = ("chmod", words[-1:]) if call == "chmod" else (call, words[1:])
            if call == "fchownat":
                call, words = "lchown", words[1:3]
            elif call == "fchmodat":
                call, words = "chmod", words[1:2]
            self._name(path, call, *(int(word, 8 if call == "chmod" else 10) for word in words))
            if self.ops:
                self.ops[-1].safe_at = self.length

    def _name(self, path: str, what: str, *more: object) -> None:
        if path.startswith(self.top + "/"):
            self.ops.append(Op(self.length, what, os.path.dirname(path), (path, *more)))

    def _byte(self, inode: int, what: str, *more: object) -> None:
        self.ops.append(Op(self.length, what, inode, more))


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _first(text: str) -> bytes:
    return _unhex(text.split(", ")[1].strip('"'))


def record(command: list[str], env: dict[str, str], top: Path, log: Path) -> Trace:
    """Run a command under strace, and keep what it does below ``top``."""
    names: dict[str, int] = {}
    inodes: dict[int, Path | None] = {}
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                names[path] = len(inodes)
                inodes[len(inodes)] = Path(path)
    trace = Trace(str(top), names, inodes)
    started = dict(names)
    words = ["strace", "-f", "-qq", "-y", "-xx", "-s", "4194304", "-e", f"trace={CALLS}", "-o", str(log), *command]
    done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for raw in log.read_text().splitlines():
        line = re.sub(
            r"<((?:\\x[0-9a-f]{2})+)>", lambda m: "<" + _unhex(m[1]).decode("utf-8", "surrogateescape") + ">", raw
        )
        match = re.match(r"\d+\s+(\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?", line)
        if match is not None and int(match[3]) >= 0:
            trace.take(match[1], match[2], int(match[3]), match[4] or "")
    trace.names = started
    return trace


def crash(  # noqa: C901, PLR0912 - one branch for each sort of change that may be lost
    trace: Trace, before: Path, after: Path, at: int, dice: random.Random, odds: float
) -> int:
    """Build in ``after`` what a power loss behind trace line ``at`` may leave; answers how many changes were lost."""
    copy(before, after)
    kept: list[Op] = []
    lost = 0
    for op in trace.ops:
        if op.at > at:
            break
        if (op.safe_at is None or op.safe_at > at) and dice.random() < odds:
            lost += 1
        else:
            kept.append(op)
    inodes = {number: Inode(path) for number, path in trace.inodes.items()}
    for number, inode in inodes.items():
        if inode.path is not None and any(op.subject == number for op in kept):
            inode.data = bytearray((before / inode.path.relative_to(trace.top)).read_bytes())
    for op in kept:
        if isinstance(op.subject, int):
            _bytes(inodes[op.subject], op)
    names = dict(trace.names)
    for op in kept:
        if isinstance(op.subject, str):
            _names(names, op, trace.top, after)
    for path, number in names.items():
        _settle(after / os.path.relpath(path, trace.top), inodes[number], fresh=trace.names.get(path) != number)
    for path in set(trace.names) - set(names):
        (after / os.path.relpath(path, trace.top)).unlink(missing_ok=True)
    last = {str(op.more[0]): op.what for op in kept if isinstance(op.subject, str)}
    for path in sorted((path for path, what in last.items() if what == "remove"), reverse=True):
        place = after / os.path.relpath(path, trace.top)
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    return lost


def copy(source: Path, target: Path) -> None:
    """A copy with owners, modes, times and attributes."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)


def _bytes(inode: Inode, op: Op) -> None:
    inode.dirty = True
    if op.what == "data":
        offset, data = int(str(op.more[0])), op.more[1]
        assert isinstance(data, bytes)
        inode.data.extend(bytes(max(0, offset - len(inode.data))))
        inode.data[offset : offset + len(data)] = data
    elif op.what == "cut":
        size = int(str(op.more[0]))
        del inode.data[size:]
        inode.data.extend(bytes(size - len(inode.data)))
    else:
        inode.attributes[op.what] = tuple(int(str(word)) for word in op.more)


def _names(names: dict[str, int], op: Op, top: str, after: Path) -> None:
    path = str(op.more[0])
    place = after / os.path.relpath(path, top)
    if op.what == "create":
        names[path] = int(str(op.more[1]))
    elif op.what == "rename":
        source = str(op.more[1])
        if source in names:
            names[path] = names.pop(source)
        elif (after / os.path.relpath(source, top)).is_dir() and not place.exists():
            os.rename(after / os.path.relpath(source, top), place)
    elif op.what == "remove":
        names.pop(path, None)
        if place.is_symlink():
            place.unlink()
    elif op.what == "mkdir":
        place.mkdir(parents=True, exist_ok=True)
    elif op.what == "symlink" and not os.path.lexists(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(str(op.more[1]))
    elif op.what in ("chown", "lchown") and os.path.lexists(place):
        os.chown(place, int(str(op.more[1])), int(str(op.more[2])), follow_symlinks=False)
    elif op.what == "chmod" and os.path.lexists(place) and not place.is_symlink():
        os.chmod(place, int(str(op.more[1])))


def _settle(place: Path, inode: Inode, *, fresh: bool) -> None:
    if not fresh and not inode.dirty:
        return
    if fresh:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_bytes(inode.data)
        place.chmod(0o600)
    else:
        with open(place, "r+b") as file:
            file.truncate(len(inode.data))
            file.write(inode.data)
    if "fchown" in inode.attributes:
        os.chown(place, *inode.attributes["fchown"])
    if "fchmod" in inode.attributes:
        os.chmod(place, *inode.attributes["fchmod"])
    if "utime" in inode.attributes:
        os.utime(place, ns=inode.attributes["utime"] * 2)
