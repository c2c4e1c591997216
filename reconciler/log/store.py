"""The log's file: one SQLite table that only grows, one writer under a lock that the kernel frees."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat as st
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted

from ..core.events import START, Event, canonical
from ..errors import LogError
from ..formats.text import printable
from ..host.resolve import trusted
from ..model import Json
from .projection import VERSION as BOOKS
from .projection import Projection
from .upcast import upcast
from .vault import Vault

APPLICATION = 0x52434E43
VERSION = 1

COLUMNS = "seq, id, at, run, type, deployment, address, data, prev, hash"


def now() -> str:
    """The time as events carry it: UTC, RFC 3339, microseconds."""
    return timestamp(datetime.now(UTC))


def timestamp(moment: datetime) -> str:
    """A time in the form whose order as text is the order in time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Archived:
    """What a log goes on from where its oldest events were archived: all that has to be known of them."""

    seq: int = 0
    hash: str = START
    peaks: tuple[tuple[int, str], ...] = ()
    """The perfect subtrees over the archived events: level, root in hex."""
    facts: Mapping[str, Json] = field(default_factory=dict)

    def json(self) -> Json:
        """The form in which it is kept, and digested."""
        return {"seq": self.seq, "hash": self.hash, "peaks": [list(p) for p in self.peaks], "facts": dict(self.facts)}

    def digest(self) -> str:
        """What the event of the archiving says of it."""
        return hashlib.sha256(canonical(self.json()).encode()).hexdigest()


Row = tuple[int, str, str, str, str, str | None, str | None, str, str, str]


def entry_of(row: Row) -> bytes:
    """The canonical text of all columns but the hash, put together as it stands: what hash and tree are over."""
    seq, ident, at, run, type_, deployment, address, data, prev, _ = row
    of = "null" if deployment is None else quoted(deployment)
    about = "null" if address is None else quoted(address)
    return (
        f'{{"address":{about},"at":{quoted(at)},"data":{data},"deployment":{of},"id":{quoted(ident)},'
        f'"prev":{quoted(prev)},"run":{quoted(run)},"seq":{seq},"type":{quoted(type_)}}}'
    ).encode("utf-8", "surrogatepass")


def tail(base: sqlite3.Connection) -> tuple[int, str]:
    """The number and the hash of the last event."""
    row = base.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return (row[0], row[1]) if row else (0, START)


def stamp(path: str) -> list[int]:
    """What changes when anything writes a database file: SQLite's counter, size, times, inode."""
    with open(path, "rb") as file:
        head, told = file.read(28), os.fstat(file.fileno())
    return [int.from_bytes(head[24:28], "big"), told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino]


class LogReader:
    """The log to be read; a missing file is an empty log, and reading makes no file."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.directory = os.path.dirname(self.path)
        self.stem = os.path.splitext(os.path.basename(self.path))[0]

    @property
    def exists(self) -> bool:
        """Whether there is a log yet."""
        return os.path.exists(self.path)

    def vault(self) -> Vault:
        """The before-images beside the log."""
        return Vault(self.directory)

    def events(self, after: int = 0, *, address: str | None = None, run: str | None = None) -> Iterator[Event]:
        """Events behind ``after``, oldest first, in today's shape: all, or those of one thing or one run."""
        yield from (_today(event) for event in self.raw(after, address=address, run=run))

    def raw(self, after: int = 0, *, address: str | None = None, run: str | None = None) -> Iterator[Event]:
        """Events as they were written."""
        for row in self.rows(after, address=address, run=run):
            seq, ident, at, in_run, type_, deployment, of, text, prev, digest = row
            try:
                data = json.loads(text)
            except (TypeError, ValueError, RecursionError):
                data = None
            data = data if isinstance(data, dict) else {"damaged": str(text)}
            yield Event(seq, ident, at, in_run, type_, deployment, of, data, prev, digest)

    def rows(self, after: int = 0, *, address: str | None = None, run: str | None = None) -> Iterator[Row]:
        """The table's rows, oldest first."""
        if not self.exists:
            return
        asked = {"address": address, "run": run}
        wanted = {name: value for name, value in asked.items() if value is not None}
        where = "".join(f" AND {name} = :{name}" for name in wanted)
        query = f"SELECT {COLUMNS} FROM events WHERE seq > :after{where} ORDER BY seq"  # noqa: S608 - our own words
        with self._said("read"), self.reading() as base:
            yield from base.execute(query, {"after": after, **wanted})

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """What SQLite or the file system refuses, in words that name the log."""
        hint = "restore it from a backup" if what == "read" else "nothing further was done"
        try:
            yield
        except sqlite3.Error as error:
            raise LogError(f"{printable(self.path)}: cannot be {what}: {error}; {hint}") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise LogError(f"{printable(error.filename or self.path)}: cannot be {what}: {reason}; {hint}") from None

    def archived(self) -> Archived:
        """What is known of the events that were archived; of none where there were none."""
        if not self.exists:
            return Archived()
        with self._said("read"), self.reading() as base:
            if not base.execute("SELECT 1 FROM sqlite_schema WHERE name = 'archived'").fetchone():
                return Archived()
            row = base.execute("SELECT text FROM archived").fetchone()
        try:
            told = json.loads(row[0])
            peaks = tuple((int(level), str(digest)) for level, digest in told["peaks"])
            return Archived(int(told["seq"]), str(told["hash"]), peaks, told["facts"])
        except (TypeError, ValueError, KeyError):
            return Archived()

    def last_before(self, at: str) -> int:
        """The number of the last event that was written not after a time; 0 where there is none."""
        if not self.exists:
            return 0
        with self._said("read"), self.reading() as base:
            return int(base.execute("SELECT coalesce(max(seq), 0) FROM events WHERE at <= ?", (at,)).fetchone()[0])

    def tail(self) -> tuple[int, str]:
        """The number and the hash of the last event."""
        if not self.exists:
            return 0, START
        with self._said("read"), self.reading() as base:
            return tail(base)

    def books(self) -> Projection | None:
        """The books as they were posted; None where they cannot be relied on, and have to be made from the events.

        Relied on are only books in a file that is, byte for byte as far as the file system tells, the one that our
        last writer left.
        """
        told = self._as_left()
        if told is None:
            return None
        base = self.lasting()
        books = Projection(base)
        try:
            return books if tail(base) == told and books.posted() == told[0] else None
        except (sqlite3.Error, LogError):
            return None  # a log without books yet; and one that cannot be read will say so

    def lasting(self) -> sqlite3.Connection:
        """A connection that books can keep."""
        return self._open()

    def untouched(self) -> bool:
        """Whether the file is the one that our last writer left, as far as the file system can tell.

        This saves following the chain in every run.  It is no proof: `reconciler log verify` always follows it.
        """
        told = self._as_left()
        return told is not None and told == self.tail()

    def _as_left(self) -> tuple[int, str] | None:
        """The number and the hash of the last event that was noted; None where the file looks other than noted."""
        try:
            with open(self.stamp_file(), encoding="ascii") as file:
                told = json.load(file)
            return (told["seq"], told["hash"]) if told == self.look(told["seq"], told["hash"]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def look(self, seq: int, digest: str) -> dict[str, Json]:
        """What is noted of the file, of the head beside it, and of what the books in it are."""
        with open(self.head_file(), encoding="ascii") as file:
            told = {"seq": seq, "hash": digest, "file": stamp(self.path), "head": file.read()}
        return told | {"books": BOOKS}

    def stamp_file(self) -> str:
        """Where the look of the log's file is kept."""
        return os.path.join(self.directory, f"{self.stem}.stamp")

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection to read with."""
        return closing(self._open())

    def _open(self) -> sqlite3.Connection:
        checked(self.path)
        quoted = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        try:
            base = sqlite3.connect(f"file:{quoted}?mode=ro", uri=True)
            try:
                base.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            except sqlite3.OperationalError:
                # A crash left a journal behind: only a writer may finish SQLite's own recovery.
                base.close()
                base = sqlite3.connect(f"file:{quoted}?mode=rw", uri=True)
                base.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            application = base.execute("PRAGMA application_id").fetchone()[0]
            version = base.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise LogError(f"{printable(self.path)}: is no event log that can be read ({error})") from None
        if application != APPLICATION:
            base.close()
            raise LogError(f"{printable(self.path)}: is not an event log of reconciler")
        if version > VERSION:
            base.close()
            raise LogError(f"{printable(self.path)}: written by a newer reconciler (format {version}); use that one")
        return base

    def head_file(self) -> str:
        """Where the head is kept beside the log."""
        return os.path.join(self.directory, f"{self.stem}.head")


def _today(event: Event) -> Event:
    data = upcast(event.data)
    if data is event.data:
        return event
    return Event(**{**event.json(), "data": data})


def checked(path: str) -> None:
    """Refuse a log that somebody else could write."""
    directory = os.path.dirname(path)
    for place in (path, os.path.join(directory, "blobs"), os.path.join(directory, "key")):
        if os.path.islink(place):
            raise LogError(
                f"{printable(place)}: a symbolic link; the log and what lies beside it are followed through none"
            )
    for place in (path, directory):
        with suppress(FileNotFoundError):
            found = os.stat(place)
            if place == path and not st.S_ISREG(found.st_mode):
                raise LogError(f"{printable(place)}: not a regular file; name another log")
            open_to_all = found.st_mode & 0o022 and not found.st_mode & st.S_ISVTX
            if not trusted(found.st_uid) or open_to_all:
                raise LogError(
                    f"{printable(place)}: can be written by others, so what it says proves nothing; chown and chmod it"
                )
