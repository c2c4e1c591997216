"""The log under its lock, to be appended to: every event durable before anything follows from it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress

from ..core.events import Draft, Event, canonical
from ..errors import Busy, LogError
from ..formats.text import printable
from .durable import sync
from .projection import SCHEMA as BOOKS
from .projection import Projection
from .store import APPLICATION, VERSION, Archived, LogReader, Row, checked, entry_of, now, tail

SCHEMA = """
CREATE TABLE events (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL, run TEXT NOT NULL, type TEXT NOT NULL,
  deployment TEXT, address TEXT, data TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_address ON events(address, seq);
CREATE INDEX events_by_run ON events(run, seq);
CREATE INDEX events_by_time ON events(at);
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""
ARCHIVED = "CREATE TABLE IF NOT EXISTS archived (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT)"
NO_DELETE = (
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;"
)


def _connected(path: str) -> sqlite3.Connection:
    base = sqlite3.connect(path, isolation_level=None)
    # A rollback journal: the WAL of the SQLite that Debian 12 links can lose commits, and readers of a WAL write.
    base.execute("PRAGMA journal_mode = DELETE")
    base.execute("PRAGMA synchronous = EXTRA")
    return base


class LogWriter(LogReader):
    """The log under its lock, to be appended to.  Every event is durable when `append` returns."""

    def __init__(self, path: str, doing: str, patience: float = 0.0) -> None:
        super().__init__(path)
        make_directory(self.directory)
        checked(self.path)
        self._lock = self._take(doing, patience)
        try:
            with self._said("written"):
                self._base = self._create()
                self.seq, self.head = tail(self._base)
                if not self.seq and not os.path.exists(self.head_file()):
                    # From the first moment on there is a head, so that a log without one was tampered with.
                    self.keep_head()
        except BaseException:
            os.close(self._lock)
            raise

    def _take(self, doing: str, patience: float) -> int:
        import time  # noqa: PLC0415 - start-up counts

        path = os.path.join(self.directory, f"{self.stem}.lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise LogError(f"{printable(path)}: cannot be opened: {(error.strerror or '').lower()}") from None
        limit = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= limit:
                    holder = os.pread(fd, 4096, 0)
                    os.close(fd)
                    raise Busy(busy(holder)) from None
                time.sleep(0.05)
        try:
            with self._said("written"):
                os.ftruncate(fd, 0)
                os.pwrite(fd, json.dumps({"pid": os.getpid(), "since": now(), "doing": doing}).encode(), 0)
        except LogError:
            os.close(fd)
            raise
        return fd

    def _create(self) -> sqlite3.Connection:
        if self.exists:
            super()._open().close()
        else:
            self._make()
        base = _connected(self.path)
        from sqlite_utils import Database  # noqa: PLC0415 - start-up counts

        if "books" not in Database(base).table_names():
            base.executescript("BEGIN;" + BOOKS + "COMMIT;")
        return base

    def _make(self) -> None:
        """Make an empty log under another name first, so that a crash leaves none or a whole one."""
        spare = f"{self.path}.new"
        for left in (spare, f"{spare}-journal"):
            with suppress(FileNotFoundError):
                os.unlink(left)
        os.close(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        with closing(_connected(spare)) as base:
            base.execute(f"PRAGMA application_id = {APPLICATION}")
            base.execute(f"PRAGMA user_version = {VERSION}")
            base.executescript("BEGIN;" + SCHEMA + NO_DELETE + BOOKS + "COMMIT;")
        os.rename(spare, self.path)
        sync(self.directory)

    def lasting(self) -> sqlite3.Connection:
        """The writer's own connection, through which books are posted to."""
        return self._base

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """The writer's own connection."""
        return nullcontext(self._base)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that is written within, or nothing of it."""
        with self._said("written"):
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._base.execute("ROLLBACK")
                raise

    def renew_books(self, fill: Callable[[Projection], object]) -> None:
        """Make the books anew, all or nothing."""
        with self._transaction():
            books, start = Projection(self._base), self.archived()
            books.begin(start.seq, start.facts)
            fill(books)
        self.keep_stamp()

    def archive(self, start: Archived) -> None:
        """Drop the events up to ``start``, which goes in their place, all or nothing."""
        with self._transaction():
            self._base.execute("DROP TRIGGER events_no_delete")
            self._base.execute(ARCHIVED)
            self._base.execute("INSERT OR REPLACE INTO archived VALUES (1, ?)", (canonical(start.json()),))
            self._base.execute("DELETE FROM events WHERE seq <= ?", (start.seq,))
            self._base.execute(NO_DELETE)
            self._base.execute("UPDATE posted SET seq = -1")
        with self._said("written"):
            self._base.execute("VACUUM")
        self.keep_stamp()

    def append(self, drafts: Sequence[Draft], then: Callable[[Event], None] = lambda event: None) -> list[Event]:
        """Write events, each with what ``then`` posts to the books, and wait until all of it is on the disk.

        All of them share one commit: after a crash either all are there or none.
        """
        import uuid  # noqa: PLC0415 - start-up counts

        seq, head, written = self.seq, self.head, []
        with self._transaction():
            for draft in drafts:
                seq += 1
                about = (draft.run, draft.type, draft.deployment, draft.address)
                row: Row = (seq, str(uuid.uuid4()), now(), *about, canonical(draft.data), head, "")
                digest = hashlib.sha256(entry_of(row)).hexdigest()
                event = Event(*row[:7], draft.data, head, digest)
                self._base.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", (*row[:9], digest))
                then(event)
                written.append(event)
                head = digest
        self.seq, self.head = seq, head
        self.keep_stamp()
        return written

    def keep_stamp(self) -> None:
        """Note how the file looks now; lost or torn, this costs the next run a look at the whole chain."""
        with suppress(OSError, ValueError):
            text = json.dumps(self.look(self.seq, self.head))
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self.stamp_file(), flags, 0o600)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)

    def keep_head(self) -> None:
        """Keep the head beside the log, and send it where local files do not reach."""
        text = json.dumps({"seq": self.seq, "hash": self.head, "at": now()}) + "\n"
        spare = self.head_file() + ".tmp"
        with self._said("written"):
            fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(fd, text.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(spare, self.head_file())
        self.keep_stamp()
        if os.path.exists("/dev/log"):
            import syslog  # noqa: PLC0415 - only where something listens

            syslog.openlog("reconciler", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
            syslog.syslog(syslog.LOG_NOTICE, f"log head {self.path} seq={self.seq} hash={self.head}")
            syslog.closelog()

    def close(self) -> None:
        """Free the lock."""
        self._base.close()
        os.close(self._lock)


def busy(holder: bytes) -> str:
    """Who holds the lock, since when, doing what."""
    try:
        told = json.loads(holder)
        return (
            f"another run holds the lock: process {int(told['pid'])} ({printable(str(told['doing']))}), since "
            f"{printable(str(told['since']))}; wait for it, or use --lock-timeout"
        )
    except (ValueError, KeyError, TypeError):
        return "another run holds the lock; wait for it, or use --lock-timeout"


def make_directory(path: str) -> None:
    """Make the state directory, readable by root alone."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        os.makedirs(parent, mode=0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise LogError(
            f"{printable(path)}: cannot be made: {(error.strerror or '').lower()}; name another with --log"
        ) from None
