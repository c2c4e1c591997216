"""The host and the log that something is asked of, and who asks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import HostError, Usage
from ..model import Json

if TYPE_CHECKING:
    from ..core.ledger import Ledger
    from ..engine.survey import Surveyor
    from ..host.port import Host, Observer
    from ..log.store import LogReader
    from ..log.writer import LogWriter

STATE = "/var/lib/reconciler/events.db"


class Place:
    """A host (this one, or a root directory) with its log.

    ``root``: the directory that is the host's root; None: this very host.
    ``log``: the log's path, where it is not the usual one.
    """

    remembered: Ledger | None = None
    """What the log amounted to when a run last asked."""

    def __init__(self, root: str | None = None, log: str | None = None) -> None:
        if "" in (root, log):
            raise Usage("--root and --log need a path, and got an empty text")
        self.root = None if root is not None and os.path.realpath(root) == "/" else root
        self.given_log = log

    def observer(self) -> Observer:
        """The read-only half of the host."""
        if self.root is None:
            from ..host.live import LiveObserver  # noqa: PLC0415 - start-up counts

            return LiveObserver()
        from ..host.files import FileObserver  # noqa: PLC0415

        return FileObserver(self.root)

    def host(self) -> Host:
        """The whole host."""
        if self.root is None:
            from ..host.live import LiveHost  # noqa: PLC0415

            return LiveHost()
        from ..host.files import FileHost  # noqa: PLC0415

        return FileHost(self.root)

    def log_path(self) -> str:
        """The event log's path; in a root directory no link leads out of it."""
        if self.given_log:
            return self.given_log
        if self.root is None:
            return STATE
        inner = self.observer().canonical(os.path.dirname(STATE))
        place = os.path.abspath(self.root)
        for part in inner.strip("/").split("/"):
            place = os.path.join(place, part)
            if os.path.islink(place):
                raise HostError(
                    f"{place}: a link that leads nowhere inside the root; make its target, or name the log with --log"
                )
        return os.path.join(place, os.path.basename(STATE))

    def reader(self) -> LogReader:
        """The log, to be read."""
        from ..log.store import LogReader  # noqa: PLC0415

        return LogReader(self.log_path())

    @contextmanager
    def writer(self, doing: str, patience: float) -> Iterator[LogWriter]:
        """The log under its lock; ``patience``: seconds to wait for another run."""
        from ..log.writer import LogWriter  # noqa: PLC0415

        log = LogWriter(self.log_path(), doing, patience)
        try:
            yield log
        finally:
            log.close()

    def ledger(self) -> Ledger:
        """What the log amounts to."""
        from ..engine.survey import ledger_of  # noqa: PLC0415

        return ledger_of(self.reader())

    def facts(self) -> dict[str, str | None]:
        """What the host says of itself: hostname, machine_id, os, distribution."""
        from ..engine.survey import facts  # noqa: PLC0415

        return facts(self.observer())

    def surveyor(self) -> Surveyor:
        """The host and its log, to be looked at, once the log is found intact."""
        from ..engine.survey import Surveyor  # noqa: PLC0415
        from .guards import intact  # noqa: PLC0415

        log = self.reader()
        intact(log)
        return Surveyor(self.observer(), log)

    def state(self, *inner: str) -> str:
        """The directory that holds the log and what lies beside it, or one in it; made where it is missing."""
        from ..log.writer import make_directory  # noqa: PLC0415

        directory = os.path.dirname(os.path.abspath(self.log_path()))
        make_directory(directory)
        for name in inner:
            directory = os.path.join(directory, name)
            make_directory(directory)
        return directory

    def words(self) -> list[str]:
        """The options that lead another process to the same host and log."""
        root = ["--root", os.path.abspath(self.root)] if self.root else []
        return root + (["--log", os.path.abspath(self.given_log)] if self.given_log else [])

    def identity(self, facts: dict[str, str | None]) -> Json:
        """The host as plans and events name it."""
        return {"name": facts.get("hostname") or "unknown", "id": facts.get("machine_id") or "unknown"}

    def started(self, verb: str, facts: dict[str, str | None], **more: Json) -> dict[str, Json]:
        """What the first event of a run says: shape 1 of ``run.started``."""
        return {
            "v": 1,
            "verb": verb,
            "actor": actor(),
            "command": [word.encode("utf-8", "backslashreplace").decode() for word in sys.argv[1:]],
            "version": __version__,
            "host": self.identity(facts),
            "commit": None,
            **more,
        }


def actor() -> Json:
    """Who runs this: user, login user, the user behind sudo, terminal."""
    login = None
    with suppress(OSError, ValueError), open("/proc/self/loginuid", encoding="ascii") as file:
        number = int(file.read())
        login = None if number == 0xFFFFFFFF else number
    terminal = None
    with suppress(OSError):
        terminal = os.ttyname(0)
    return {
        "uid": os.getuid(),
        "login_uid": login,
        "sudo_user": os.environ.get("SUDO_USER"),
        "terminal": terminal,
    }
