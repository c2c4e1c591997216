"""A host that is asked once for what many things want to know of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .accounts import AccountFiles
from .port import Observer, Stat


class Held:
    """A host whose account files are read once, and written once for all that is done to them: by `release`.

    All else is asked of the host itself.
    """

    def __init__(self, host: Any, known: AccountFiles | None = None) -> None:
        """``known``: the account files as they were held before, to be gone on with where they are as they were."""
        self._host = host
        self.accounts = AccountFiles(host, known, held=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    @contextmanager
    def accounts_locked(self) -> Iterator[None]:
        """Whoever holds them back has them locked."""
        yield

    def release(self) -> None:
        """Write what was saved in the account files."""
        self.accounts.write(self._host)


class Glimpse(Held):
    """A host at one moment: every path that is asked for again is as it was the first time.

    Things that are looked at together ask for the same directories again and again.
    """

    def __init__(self, host: Any, known: AccountFiles | None = None) -> None:
        super().__init__(host, known)
        if isinstance(host, Held):
            self.accounts = host.accounts
        self._stats: dict[str, Stat | None] = {}
        self._names: dict[str, list[str]] = {}
        self._known: dict[str, frozenset[str]] = {}
        self._asks = getattr(host, "recording", False)
        """Whether every question is to be asked, since the answers are kept for others."""

    def stat(self, path: str) -> Stat | None:
        """The facts of the entry itself."""
        if path not in self._stats:
            self._stats[path] = None if self._missing(path) else self._host.stat(path)
        return self._stats[path]

    def names(self, path: str) -> list[str]:
        """The names in a directory."""
        if path not in self._names:
            found: list[str] = [] if self._missing(path) else self._host.names(path)
            self._names[path] = found
            self._known[path.rstrip("/")] = frozenset(found)
        return self._names[path]

    def _missing(self, path: str) -> bool:
        """Whether the directory round a path was listed, and has no such name."""
        if self._asks:
            return False
        parent, _, name = path.rpartition("/")
        return parent in self._known and name not in self._known[parent] and name not in ("", ".", "..")


def account_files(host: Observer) -> AccountFiles:
    """The account files of a host, as they are now or as they are held."""
    return host.accounts if isinstance(host, Held) else AccountFiles(host)
