"""The language of exports, users and users.local: every byte is kept, options are typed.  Pure.

A line is ``<host>[,<host>…] <option>[,<option>…]`` in exports and ``<role>:<user> <option>[,…]``, a bare ``<user>``
or the word ``nouser`` in the other two.  Several values of an option are joined with ``:``.  ``#`` begins a comment
at the start of a line or behind a blank.  Sources: the vendor's pages on the three files; where they are silent
(quoting, blanks between options, subnets) the line is read as it most likely is, and `lints` says so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

from ..errors import HostError

EXPORTS, USERS_LOCAL, USERS = "exports", "users.local", "users"
FILES = (EXPORTS, USERS_LOCAL, USERS)
"""In the order in which they decide."""
NOUSER = "nouser"
BOM = "\ufeff"
REMARK = re.compile(r"[ \t]+#.*$")
NAMED = {"user", "map", "anon", "rootdir"}
"""Options with one value; a colon in it is a part of it."""
LISTS = {"allowed", "validusers", "root", "hosts", "commands"}
FLAGS = {"ro", "rw", "nomknod", "nosuid", "validuser"}
KNOWN = NAMED | LISTS | FLAGS


@dataclass(frozen=True)
class Option:
    """One option: its name, and its values where it has some."""

    name: str
    values: tuple[str, ...] = ()
    bare: bool = True
    """Whether there is no ``=``."""

    @classmethod
    def parse(cls, text: str) -> Option:
        """Read one option.

        >>> Option.parse("hosts=a:b").values, Option.parse("map=CORP:x").values, Option.parse("rw").bare
        (('a', 'b'), ('CORP:x',), True)
        """
        name, sign, value = text.partition("=")
        values = tuple(part for part in ([value] if name.strip() in NAMED else value.split(":")) if part)
        return cls(name.strip(), tuple(v.strip() for v in values) if sign else (), bare=not sign)

    def __str__(self) -> str:
        return self.name if self.bare else f"{self.name}={':'.join(self.values)}"


@dataclass(frozen=True)
class Entry:
    """One line that says something."""

    file: str
    number: int
    """The line, counted from 1."""
    text: str
    """The line without its ending."""
    names: tuple[str, ...]
    """Hosts, or one who."""
    options: tuple[Option, ...] = ()
    odd: str = ""
    """What about its form is not documented."""

    @property
    def who(self) -> str:
        """For users and users.local: whom it is about."""
        return self.names[0]

    @property
    def nouser(self) -> bool:
        """Whether this is the word that admits listed users alone."""
        return self.file != EXPORTS and self.names == (NOUSER,) and not self.options

    def values(self, name: str) -> tuple[str, ...] | None:
        """All values of an option; None where the line does not have it."""
        found = [option for option in self.options if option.name == name]
        return tuple(value for option in found for value in option.values) if found else None

    def value(self, name: str) -> str | None:
        """The one value of an option; of several the last."""
        found = self.values(name)
        return found[-1] if found else None

    @property
    def permission(self) -> str | None:
        """``rw`` or ``ro``; of both the wider, since nothing says which one counts."""
        names = {option.name for option in self.options}
        return "rw" if "rw" in names else "ro" if "ro" in names else None

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The client hosts that the line is for: in exports those it names, else its condition; empty: all."""
        return self.names if self.file == EXPORTS else self.values("hosts") or ()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its hosts, each in the one form that all ways to write it have in common."""
        return tuple(map(plain_host, self.hosts))

    @cached_property
    def key(self) -> str:
        """What tells lines of one file apart: hosts, or who and the condition.

        Two lines with the same key are two versions of one line.
        """
        names = sorted(self.words)
        return ",".join(names) if self.file == EXPORTS else self.who + (f" hosts={':'.join(names)}" if names else "")

    def covers(self, other: Entry) -> bool:
        """Whether no caller that the other line fits would pass this one by."""
        return not unreached(other, [self])

    def meets(self, other: Entry) -> bool:
        """Whether there may be a caller whom both lines fit, and for whom their order decides."""
        if self.nouser or other.nouser:
            return False
        if self.file == EXPORTS:
            return not set(self.words).isdisjoint(other.words)
        if not whose_meets(self.who, other.who):
            return False
        return not self.words or not other.words or any(may_be(a, b) for a in self.words for b in other.words)


def unreached(entry: Entry, earlier: Sequence[Entry]) -> bool:
    """Whether some caller that a line fits passes all of these others by."""
    if entry.nouser:
        return True
    if entry.file == EXPORTS:
        return not set(entry.words) <= {word for other in earlier for word in other.words}
    above = [other for other in earlier if not other.nouser and whose_covers(other.who, entry.who)]
    if any(not other.words for other in above):
        return False
    return not entry.words or not all(
        any(host_covers(have, word) for other in above for have in other.words) for word in entry.words
    )


@lru_cache(maxsize=1 << 16)
def plain_host(word: str) -> str:
    """A host word in the form that all ways to write it have in common.

    >>> plain_host("10.1.*"), plain_host("FE80:0::1"), plain_host("App1")
    ('10.1.0.0/16', 'fe80::1', 'app1')
    """
    found = network(word) or address(word)
    return str(found) if found is not None else word.casefold()


@lru_cache(maxsize=1 << 16)
def host_covers(a: str, b: str) -> bool:
    """Whether every host of the plain word ``b`` is one of ``a``."""
    if a in ("*", b):
        return True
    net, inner = network(a), network(b) or address(b)
    if net is None or inner is None or net.version != inner.version:
        return False
    if isinstance(inner, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return inner.subnet_of(net)  # type: ignore[arg-type] # of one version, as was asked
    return inner in net


@lru_cache(maxsize=1 << 16)
def may_be(a: str, b: str) -> bool:
    """Whether a host may be meant by both plain words; a name may be any address."""
    if host_covers(a, b) or host_covers(b, a):
        return True
    kinds = {(network(word) or address(word)) is None for word in (a, b)}
    return len(kinds) == 2


@lru_cache(maxsize=1 << 16)
def caller(who: str) -> tuple[str | None, str]:
    """Role and user of a who; the role is None for a bare user.

    >>> caller("BLAdmins:joe"), caller("joe")
    (('BLAdmins', 'joe'), (None, 'joe'))
    """
    role, colon, user = who.rpartition(":")
    return (role, user) if colon else (None, user)


@lru_cache(maxsize=1 << 16)
def whose_covers(a: str, b: str) -> bool:
    """Whether every caller of ``b`` is one of ``a``."""
    (role, user), (other_role, other_user) = caller(a), caller(b)
    if (role is None) != (other_role is None):
        return False
    return role in ("*", other_role) and user in ("*", other_user) if role is not None else user in ("*", other_user)


@lru_cache(maxsize=1 << 16)
def whose_meets(a: str, b: str) -> bool:
    """Whether some caller is one of both."""
    (role, user), (other_role, other_user) = caller(a), caller(b)
    if (role is None) != (other_role is None):
        return False
    roles = role is None or role == other_role or "*" in (role, other_role)
    return roles and (user == other_user or "*" in (user, other_user))


class RscFile:
    """The lines of one file, each with its own ending."""

    def __init__(self, name: str, data: bytes) -> None:
        """Read a file's bytes; raises `HostError` where they are no text."""
        if b"\0" in data:
            raise HostError(f"{name}: holds NUL bytes; this is no text file that the agent could read")
        text = data.decode("utf-8", "surrogateescape")
        self.name = name
        self.bom = BOM if text.startswith(BOM) else ""
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.lines: list[str] = re.findall(r"[^\n]*\n|[^\n]+$", text.removeprefix(BOM))
        self._entries: list[Entry] | None = None
        self._first: dict[str, Entry] = {}

    def render(self) -> bytes:
        """The file's bytes."""
        return (self.bom + "".join(self.lines)).encode("utf-8", "surrogateescape")

    @property
    def entries(self) -> list[Entry]:
        """Every line that says something, in order."""
        if self._entries is None:
            found = (parse_line(self.name, index + 1, line) for index, line in enumerate(self.lines))
            self._entries = [entry for entry in found if entry is not None]
            self._first = {}
            for entry in self._entries:
                self._first.setdefault(entry.key, entry)
        return self._entries

    def first(self, key: str) -> Entry | None:
        """The first line with a key: of several the one that could decide."""
        return self._first.get(key) if self.entries else None

    def reword(self, index: int, text: str) -> None:
        """Give a line other text; its ending stays."""
        line = self.lines[index]
        self.lines[index] = text + line[len(line.rstrip("\r\n")) :]
        self._entries = None

    def cut(self, index: int) -> None:
        """Take a line out; a file that ends without a newline goes on doing so."""
        bare = self.bare
        del self.lines[index]
        if bare and self.lines:
            self.lines[-1] = self.lines[-1].rstrip("\r\n")
        self._entries = None

    def insert(self, index: int, text: str) -> None:
        """Put a line in; a file that ends without a newline goes on doing so."""
        if index == len(self.lines) and self.bare:
            self.lines[-1] += self.newline
            self.lines.append(text)
        else:
            self.lines.insert(index, text + self.newline)
        self._entries = None

    @property
    def bare(self) -> bool:
        """Whether its last line lacks the newline."""
        return bool(self.lines) and not self.lines[-1].endswith("\n")

    def end_bare(self) -> None:
        """Take the last newline away."""
        self.lines[-1] = self.lines[-1].rstrip("\r\n")


def parse_line(file: str, number: int, line: str) -> Entry | None:
    """One line; None for a blank one and a comment."""
    text = line.rstrip("\r\n")
    body = REMARK.sub("", text.removeprefix(BOM)).strip()
    if not body or body.startswith("#"):
        return None
    first, *more = body.split(None, 1)
    rest = more[0] if more else ""
    pieces = [piece for piece in re.split(r"[,\s]+", rest) if piece]
    blank = bool(re.search(r"\S\s+\S", rest))
    names = tuple(part for part in first.split(",") if part) if file == EXPORTS else (first,)
    odd = "blanks between options; the agent may read no further than the first" if blank else ""
    return Entry(file, number, text, names or (first,), tuple(map(Option.parse, pieces)), odd)


def compose(names: Iterable[str], options: Iterable[str], gap: str = " ") -> str:
    """A line as we write it."""
    wanted = ",".join(options)
    return ",".join(names) + (gap + wanted if wanted else "")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=1 << 16)
def network(text: str) -> Network | None:
    """The subnet that a host word may mean: ``10.1.0.0/16``, ``10.1.0.0/255.255.0.0``, ``10.1.*``, ``10.1.``."""
    stem = text.rstrip("*")
    if stem != text or text.endswith("."):
        parts = [part for part in stem.split(".") if part]
        if 1 <= len(parts) <= 3 and all(part.isascii() and part.isdecimal() for part in parts):
            text = ".".join([*parts, *["0"] * (4 - len(parts))]) + f"/{8 * len(parts)}"
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


@lru_cache(maxsize=1 << 16)
def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host word is, if it is one."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


Files = Mapping[str, bytes]
"""The bytes of the files that are there, by their names."""


def entries(files: Files, name: str) -> list[Entry]:
    """The entries of one of the three files; none where it is missing."""
    return RscFile(name, files[name]).entries if name in files else []


class Bytes(Protocol):
    """A file that was read."""

    @property
    def data(self) -> bytes:
        """All of it."""


def gathered(read: Callable[[str], Bytes | None], directory: str) -> Files:
    """Those of the three files that are in a directory, by a function that reads a path."""
    found = ((name, read(f"{directory}/{name}")) for name in FILES)
    return {name: file.data for name, file in found if file is not None}
