"""The books: what the log amounts to, as facts each valid from one event to another, in the log's own file.

Everything here follows from the events and can be made again from them.  A fact is a key and a JSON value; posting a
new value ends the old fact at that event and begins the new one.  A run's own line alone is written over while the
run goes on, and of a transition that is under way nothing is kept once its outcome is known.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping

from ..core.events import OPEN, RUN, canonical, run_key
from ..errors import LogError
from ..model import Json

VERSION = 2
"""What the facts are; books of another version are made anew from the events."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS books (key TEXT NOT NULL, value TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS books_now ON books(key) WHERE until IS NULL;
CREATE INDEX IF NOT EXISTS books_since ON books(since);
CREATE TABLE IF NOT EXISTS posted (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO posted VALUES (1, 0);
"""


class Projection:
    """The facts of one log, read or posted through a connection that somebody else owns."""

    def __init__(self, base: sqlite3.Connection | None = None) -> None:
        """Without a connection: books of their own, in a file that vanishes."""
        if base is None:
            base = sqlite3.connect("", isolation_level=None)
            base.executescript(SCHEMA)
        self._base = base

    def close(self) -> None:
        """Let go of the connection."""
        self._base.close()

    def _ask(self, query: str, values: tuple[Json, ...] = ()) -> Iterator[tuple[Json, ...]]:
        try:
            yield from self._base.execute(query, values)
        except sqlite3.Error as error:
            raise LogError(f"the books of the log cannot be read: {error}; restore events.db from a backup") from None

    def posted(self) -> int:
        """The last event that is taken into account."""
        return next((int(row[0]) for row in self._ask("SELECT seq FROM posted")), -1)

    def now(self, *prefixes: str) -> dict[str, Json]:
        """What holds now of the keys that begin so."""
        found: dict[str, Json] = {}
        for low, high in map(_range, prefixes):
            query = "SELECT key, value FROM books WHERE until IS NULL AND key >= ? AND key < ? ORDER BY key"
            found |= {key: json.loads(value) for key, value in self._ask(query, (low, high))}
        return found

    def at(self, seq: int, *prefixes: str) -> dict[str, Json]:
        """What held right after event ``seq`` of the keys that begin so."""
        found: dict[str, Json] = {}
        for low, high in map(_range, prefixes):
            query = (
                "SELECT key, value FROM books WHERE key >= ? AND key < ? AND since <= ? "
                "AND (until IS NULL OR until > ?) ORDER BY key"
            )
            found |= {key: json.loads(value) for key, value in self._ask(query, (low, high, seq, seq))}
        return found

    def runs(self) -> Iterator[Json]:
        """The lines of all runs, the last one first."""
        query = "SELECT value FROM books WHERE until IS NULL AND key >= ? AND key < ? ORDER BY key DESC"
        for (value,) in self._ask(query, _range(RUN)):
            yield json.loads(value)

    def run(self, number: int) -> Json:
        """One run's line; None where there is no such run."""
        query = "SELECT value FROM books WHERE until IS NULL AND key = ?"
        return next((json.loads(row[0]) for row in self._ask(query, (run_key(number),))), None)

    def post(self, seq: int, facts: Mapping[str, Json]) -> None:
        """Take the facts of one event down; None ends a fact."""
        for key, value in facts.items():
            if key.startswith(RUN):
                text = canonical(value)
                done = self._base.execute("UPDATE books SET value = ? WHERE key = ? AND until IS NULL", (text, key))
                if not done.rowcount:
                    self._base.execute("INSERT INTO books VALUES (?, ?, ?, NULL)", (key, text, seq))
                continue
            if key.startswith(OPEN) and value is None:
                self._base.execute("DELETE FROM books WHERE key = ? AND until IS NULL", (key,))
                continue
            self._base.execute("UPDATE books SET until = ? WHERE key = ? AND until IS NULL", (seq, key))
            if value is not None:
                self._base.execute("INSERT INTO books VALUES (?, ?, ?, NULL)", (key, canonical(value), seq))
        self._base.execute("UPDATE posted SET seq = ?", (seq,))

    def lines(self) -> Iterator[tuple[Json, ...]]:
        """Every fact that ever held, in one order, to compare books with."""
        yield from self._ask("SELECT key, value, since, until FROM books ORDER BY key, since, until IS NULL")

    def begin(self, seq: int, facts: Mapping[str, Json]) -> None:
        """Forget everything, and begin with what held right after event ``seq``."""
        self._base.execute("DELETE FROM books")
        self.post(seq, facts)


def _range(prefix: str) -> tuple[str, str]:
    return prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
