"""The way back as a POSIX shell script, for a host where this tool is gone.

The plan is carried out on a recorder that writes nothing: what each kind would do to the host becomes lines of
shell.  Whoever reads the script sees every path, owner, mode and line that it will set.  It holds no secret: what
only a sealed before-image knows is named, to be given back by hand.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..core.kind import SECRET
from ..core.plan import Plan, Transition
from ..formats.modes import SPECIAL
from ..formats.text import printable
from ..host.accounts import PATHS as ACCOUNT_FILES
from ..host.port import (
    CAPABILITY,
    Alike,
    Attributes,
    Begin,
    Directory,
    Facts,
    File,
    Link,
    Observer,
    OpenDirectory,
    Result,
    Scope,
    Stat,
    Through,
    Type,
    inner,
)
from ..kinds import kinds
from ..log.vault import Vault
from ..model import Absent, Address, Json
from ..trees.classify import absolute

HEAD = r"""#!/bin/sh
# {title}
# Written by reconciler {version} on {host}, from event {seq} of its log.
# Run it as root while no program of the deployment's accounts runs. ROOT=DIR works on a root directory instead.
# It needs a POSIX shell and its utilities; sha256sum and setfattr only where a line below says so.
# Exit code 0: all is given back. 1: what could not be is named on stderr; the rest is done.
set -u
umask 077
LC_ALL=C
export LC_ALL
ROOT=$(cd -P "${{ROOT:-/}}" && pwd -P) || exit 1
[ "$ROOT" != / ] || ROOT=
failed=0
spare=$(mktemp) || exit 1
trap 'rm -f "$spare"' EXIT

bad() {{ printf '%s\n' "$*" >&2; failed=1; }}
there() {{ [ -e "$1" ] || [ -L "$1" ]; }}
# at PATH: goes to the directory of a path, where $name is its last part; not where a link leads elsewhere.
at() {{
  name=./${{1##*/}}
  place=$ROOT${{1%/*}}
  if cd -P "$place/" 2>/dev/null; then
    here=$(pwd -P && echo .)
    [ "${{here%??}}" != "${{place:-/}}" ] || return 0
  fi
  ! there "$ROOT$1" || bad "$1: its directory is not where it was; left alone"
  return 1
}}
# alone PATH NAMES: whether a file has no more names than it had; one more may be somebody else's file.
alone() {{
  [ ! -L "$name" ] && [ -d "$name" ] && return 0
  ls -ldn "$name" | {{ read -r kind names rest; [ "$names" = "$2" ]; }} && return 0
  bad "$1: has other names elsewhere; left alone"
  return 1
}}
# same SHA256 PATH: whether a file that gets setuid, setgid or capabilities back holds the bytes that had them.
same() {{
  at "$2" || return 1
  [ -f "$name" ] && [ ! -L "$name" ] && [ "$(sha256sum < "$name" | cut -c1-64)" = "$1" ] && return 0
  bad "$2: holds other bytes than it did; it stays without setuid, setgid and capabilities"
  return 1
}}
# mode MODE PATH: exactly these bits; by number alone a directory would keep its setgid.
mode() {{ at "$2" && chmod u-s,g-s "$name" && chmod "$1" "$name" || bad "$2: chmod failed"; }}
# own UID:GID MODE PATH [NAMES]: a link is owned itself; mode - leaves it.
own() {{
  at "$3" && there "$name" && alone "$3" "${{4:-1}}" || return 0
  [ "$2" = - ] || [ ! -L "$name" ] || {{ bad "$3: is a link by now; left alone"; return 0; }}
  chown -h "$1" "$name" || {{ bad "$3: chown failed"; return 0; }}
  [ "$2" = - ] || mode "$2" "$3"
}}
# attribute NAME HEX PATH [NAMES]: an extended attribute; - takes it away.
attribute() {{
  at "$3" && there "$name" && alone "$3" "${{4:-1}}" || return 0
  if [ "$2" = - ]; then setfattr -h -x "$1" "$name" 2>/dev/null || :
  else setfattr -h -n "$1" -v "$2" "$name" || bad "$3: attribute $1 is missing"; fi
}}
# dated STAMP PATH: when it was last changed, of a link its own time.
dated() {{
  at "$2" && {{ [ ! -L "$name" ] || set -- "$1" "$2" -h; }} && touch ${{3:-}} -d "$1" "$name" ||
    bad "$2: its time is not as it was"
}}
# as_left PATH SUM: whether a file is as it was left; SUM is what cksum says, - for no file.
as_left() {{
  if [ "$2" = - ]; then at "$1" && ! there "$name"
  else at "$1" && [ -f "$name" ] && [ ! -L "$name" ] && [ "$(cksum < "$name")" = "$2" ] && alone "$1" 1; fi && return 0
  bad "$1: is not as it was left; give it back by hand"
  return 1
}}
# new COMMAND: makes $name where nothing is, without an ACL that its directory would give it.
new() {{ there "$name" || {{ "$@" && case $(ls -ldn "$name") in ??????????+*) setfacl -b -k "$name" ;; esac; }}; }}
# put PATH: the new bytes are in $spare; owner, mode and attributes of the file stay.
put() {{ at "$1" && new touch "$name" && cat "$spare" > "$name" || bad "$1: cannot be written"; }}
# take PATH and untie PATH: a file that was looked at goes; of what was not, a link alone.
take() {{ at "$1" && rm -f "$name" || bad "$1: cannot be removed"; }}
untie() {{ ! at "$1" || [ ! -L "$name" ] || rm -f "$name"; }}
# link TARGET PATH: a symbolic link, where nothing else is.
link() {{
  untie "$2" && at "$2" && ! there "$name" && ln -s -- "$1" "$name" && return 0
  bad "$2: the link cannot be made"
  return 1
}}
# make PATH and drop PATH: a directory; only an empty one goes.
make() {{ at "$1" && new mkdir "$name" || bad "$1: cannot be made"; }}
drop() {{ ! at "$1" || rmdir "$name" 2>/dev/null || :; }}
# move OLD NEW: within one file system; what is there already stays.
move() {{
  at "$2" && ! there "$name" && at "$1" && mv "$name" "$ROOT$2" || there "$ROOT$2" || bad "$1: cannot be moved to $2"
}}
# line FILE OLD NEW: one line of an account file; an empty NEW takes it out.
line() {{
  at "$1" && OLD=$2 NEW=$3 awk '
    $0 == ENVIRON["OLD"] && !done {{ done = 1; if (ENVIRON["NEW"] != "") print ENVIRON["NEW"]; next }}
    {{ print }} END {{ exit !done }}' "$name" > "$spare" && put "$1" || bad "$1: a line to be given back is not there"
}}
# leave FILE NAME: the line of an account or a group.
leave() {{ at "$1" && NAME=$2 awk -F: '$1 != ENVIRON["NAME"]' "$name" > "$spare" && put "$1"; }}
"""


@dataclass
class Noted:
    """A directory in which a change is noted down instead of made."""

    recorder: Recorder
    top: str
    real: Directory

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def change(self, those: Sequence[Alike]) -> list[tuple[bytes, str]]:
        """One line or more for each."""
        for name, facts, wanted in ((name, facts, wanted) for names, facts, wanted in those for name in names):
            path = absolute(self.top, inner(self.real, name))
            self.recorder.note(path, facts, partial(self.real.digest, name), wanted)
        return []


class Recorder:
    """A host that notes down what would be done to it; what was noted is what it shows from then on."""

    def __init__(self, host: Observer) -> None:
        self._host = host
        self.live, self.where, self.recorded = host.live, host.where, host.recorded
        self.lines: list[str] = []
        self._files: dict[str, File | None] = {}
        self._made: dict[str, Stat | None] = {}
        self.hidden = ""
        """Why the bytes that are written now must not be shown; empty where they may."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def read(self, path: str) -> File | None:
        """The file as it would be by now."""
        return self._files[path] if path in self._files else self._host.read(path)

    def stat(self, path: str) -> Stat | None:
        """The path as it would be by now."""
        return self._made[path] if path in self._made else self._host.stat(path)

    def _at(self, path: str) -> str:
        """A path as the script names it: through no link, so that one that is there later is noticed."""
        return quoted(self._real(path))

    def _real(self, path: str) -> str:
        parent, _, last = path.rpartition("/")
        return f"{self._host.canonical(parent or '/').rstrip('/')}/{last}"

    def replace(self, path: str, file: File) -> None:
        """The lines that differ, and what else the file is to have."""
        old = self.read(path)
        if path in ACCOUNT_FILES.values():
            self.lines += list(_account_lines(path, old.data if old else b"", file.data))
        elif self.hidden and (old is None or old.data != file.data):
            self.lines.append(f"bad {quoted(f'{printable(path)}: {self.hidden}')}")
            return
        else:
            self._replace(path, old, file)
        self._files[path] = file
        self._made.pop(path, None)

    def _replace(self, path: str, old: File | None, file: File) -> None:
        name, body = quoted(self._host.canonical(path)), []
        if old is None or old.data != file.data:
            body += [f'  {{ {"; ".join(_pieces(old.data if old else b"", file.data))}; }} > "$spare" && put {name}']
        body.append(f"  own {file.uid}:{file.gid} {file.mode:04o} {name}")
        for key, value in file.xattrs.items():
            if old is None or old.xattrs.get(key) != value:
                body.append(f"  attribute {quoted(key)} 0x{value.hex()} {name}")
        if file.mtime_ns is not None:
            body.append(f"  dated {stamp(file.mtime_ns)} {name}")
        guard = checksum(old.data) if old is not None else "-"
        self.lines += [f"if as_left {name} {quoted(guard)}; then", *body, "fi"]

    def remove(self, path: str) -> None:
        """A file that goes, if it is as it was left; a link."""
        there = self.stat(path)
        old = None if there is not None and there.type == Type.LINK else self.read(path)
        name = self._at(path)
        if old is not None:
            self.lines.append(f"as_left {name} {quoted(checksum(old.data))} && take {name}")
        else:
            self.lines.append(f"untie {name}")
        self._files[path] = self._made[path] = None

    def discard(self, path: str) -> None:
        """Nothing was half-written."""

    def mkdir(self, path: str, mode: int, uid: int, gid: int) -> None:
        """A directory."""
        self.lines.append(f"make {self._at(path)}")
        self.lines.append(f"own {uid}:{gid} {mode:04o} {self._at(path)}")

    def rmdir(self, path: str) -> bool:
        """A directory, where nothing is in it."""
        self.lines.append(f"drop {self._at(path)}")
        return True

    def symlink(self, path: str, link: Link) -> None:
        """A link, in place of the one that is there."""
        name, top = self._at(path), self._host.stat("/")
        body = [f"  attribute {quoted(key)} 0x{value.hex()} {name}" for key, value in link.xattrs.items()]
        if top is None or (top.uid, top.gid) != (link.uid, link.gid):
            body.append(f"  own {link.uid}:{link.gid} - {name}")
        if link.mtime_ns is not None:
            body.append(f"  dated {stamp(link.mtime_ns)} {name}")
        self.lines += (
            [f"if link {quoted(link.target)} {name}; then", *body, "fi"]
            if body
            else [f"link {quoted(link.target)} {name}"]
        )

    def rename(self, old: str, new: str) -> None:
        """A move, into quarantine or out of it."""
        self.lines.append(f"move {self._at(old)} {self._at(new)}")
        self._made[old] = None

    def amend(self, top: str, begin: Begin[OpenDirectory], scope: Scope | None = None) -> Iterator[Any]:
        """Owners, modes and attributes of a tree's paths, in the order in which they would be changed."""
        visitor = begin()()
        # No walk follows a link, so that all below it lies where the top does.
        real = self._real(top)
        yield from self._host.visit(top, lambda: partial(Through, visitor, partial(Noted, self, real)))

    def note(self, path: str, facts: Facts, digest: Callable[[], str], wanted: Attributes) -> None:
        """One path that is changed."""
        name = quoted(path)
        names = f" {facts.nlink}" if facts.nlink > 1 and facts.type != Type.DIRECTORY else ""
        bits = wanted.mode or 0
        special = facts.type == Type.FILE and bool(bits & SPECIAL)
        mode = "-" if wanted.mode is None else f"{bits & ~SPECIAL if special else bits:04o}"
        self.lines.append(f"own {wanted.uid}:{wanted.gid} {mode} {name}{names}")
        guard = (
            f"same {digest().partition(':')[0]} {name} && "
            if facts.type == Type.FILE and (special or wanted.xattrs)
            else ""
        )
        if special:
            self.lines.append(f"{guard}mode {bits:04o} {name}")
        for key, value in wanted.xattrs.items():
            told = "-" if value is None else "0x" + value.hex()
            if key == CAPABILITY and value is not None:
                self.lines.append(f"{guard}attribute {quoted(key)} {told} {name}{names}")
            else:
                self.lines.append(f"attribute {quoted(key)} {told} {name}{names}")

    def run(self, argv: Sequence[str]) -> Result:
        """A program of the host, where the script works on the running one."""
        words = " ".join(quoted(word) for word in argv)
        self.lines.append(f'[ -n "$ROOT" ] || {words} || bad {quoted(" ".join(argv) + ": failed")}')
        return Result(0, "", "")

    @contextmanager
    def accounts_locked(self) -> Iterator[None]:
        """The script is run by hand, when nobody else edits accounts."""
        yield


def script(host: Observer, plan: Plan, vault: Vault, about: Mapping[str, Json], sealed: Mapping[Address, str]) -> str:
    """The whole script for a plan; ``sealed``: the before-images of each thing, for what a script must not hold."""
    recorder = Recorder(host)
    lines = [HEAD.format(**{key: printable(str(value)) for key, value in about.items()})]
    for transition in plan.transitions:
        address = transition.address
        recorder.lines, recorder.hidden = [], _hidden(transition, sealed.get(address, "none"))
        # Whether the name service agrees is asked of a host that was really changed.
        recorder.live = host.live and not kinds().owns(address)
        _perform(recorder, transition, vault)
        lines += [f"# {transition.verb} {printable(str(address))}", *recorder.lines, ""]
    lines.append("exit $failed")
    return "\n".join(lines) + "\n"


def _perform(recorder: Recorder, transition: Transition, vault: Vault) -> None:
    found, step, address = transition.prospect, transition.step, transition.address
    kind = kinds()[address.kind]
    host: Any = recorder
    for path, reason in kind.perform(host, kind.renewed(host, found, vault), step, step.changes, vault):
        recorder.lines.append(f"bad {quoted(f'{path}: {reason}')}")


def _hidden(transition: Transition, sealed: str) -> str:
    """Why what this transition writes must not stand in a script; empty where it may."""
    if isinstance(transition.prospect.after, Absent):
        return ""
    for change in transition.step.changes:
        if SECRET in change.shown or (isinstance(change.after, dict) and change.after.get("private")):
            return f"what was there is secret, and not in this script; it is sealed in the log's blob {sealed}"
    return ""


def _account_lines(path: str, old: bytes, new: bytes) -> Iterator[str]:
    """The lines of an account file that go, come or change; of a password only its place is named."""
    before, after = (data.decode("utf-8", "surrogateescape").splitlines() for data in (old, new))
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        gone, come = before[i:j], after[k:m]
        names = {text.split(":")[0]: text for text in come}
        for text in gone:
            name = text.split(":")[0]
            if name not in names:
                yield f"leave {path} {quoted(name)}"
                continue
            wanted = names.pop(name)
            if any(_password(line) for line in (text, wanted)):
                yield f"bad {quoted(f'{path}: the line of {name} holds a password; give it back by hand')}"
            else:
                yield f"line {path} {quoted(text)} {quoted(wanted)}"
        for name, text in names.items():
            if _password(text):
                yield f"bad {quoted(f'{path}: the line of {name} holds a password; give it back by hand')}"
            else:
                added = shell_bytes(text.encode("utf-8", "surrogateescape") + b"\n")
                yield f'at {path} && {{ cat "$name"; {added}; }} > "$spare" && put {path}'


def _password(text: str) -> bool:
    """Whether a line holds a password's hash."""
    columns = text.split(":")
    return len(columns) > 1 and columns[1].strip("!*x") != ""


def _pieces(old: bytes, new: bytes) -> Iterator[str]:
    """Commands that print the new bytes, taking the lines that stay from the file itself, which is `$name`."""
    before, after = (re.findall(rb"[^\n]*\n|[^\n]+$", data) for data in (old, new))
    for tag, i, j, k, m in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            yield f'tail -n +{i + 1} "$name" | head -n {j - i}'
        elif k < m:
            yield shell_bytes(b"".join(after[k:m]))
    yield ":"


def shell_bytes(data: bytes) -> str:
    """A command that prints exactly these bytes."""
    shown = "".join(
        "\\\\" if c == 92 else "%%" if c == 37 else "'\\''" if c == 39 else "\\n" if c == 10
        else chr(c) if 32 <= c < 127 else f"\\{c:03o}"
        for c in data
    )  # fmt: skip
    # What begins with a hyphen would be taken for an option.
    return f"printf '\\055{shown[1:]}'" if shown.startswith("-") else f"printf '{shown}'"


def quoted(text: str) -> str:
    """One word of shell, whatever is in it; the bytes of a name that is no text stand in it as they are."""
    return "'" + text.replace("'", "'\\''") + "'"


def stamp(mtime_ns: int) -> str:
    """A time as touch -d takes it, to the nanosecond."""
    seconds, rest = divmod(mtime_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def checksum(data: bytes) -> str:
    """What the program cksum says of these bytes: the POSIX CRC and the length."""
    crc, length = 0, len(data)
    tail = bytearray()
    while length:
        tail.append(length & 0xFF)
        length >>= 8
    for byte in data + bytes(tail):
        crc = ((crc << 8) & 0xFFFFFFFF) ^ TABLE[(crc >> 24) ^ byte]
    return f"{crc ^ 0xFFFFFFFF} {len(data)}"


def _table() -> list[int]:
    found = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        found.append(crc)
    return found


TABLE = _table()
