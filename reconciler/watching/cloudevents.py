"""Every event of the log as a CloudEvent: to stdout, a file or a webhook, each at least once and in order.

How far was delivered is kept beside the log, so that neither a restart nor a listener that is away loses an event.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

from ..core.events import Event
from ..engine.survey import facts
from ..errors import HostError, ReconcilerError, Usage
from ..formats.text import printable
from ..gitops.notify import checked_listener, posted
from ..host.port import Observer
from ..log.store import LogReader
from ..model import Json
from . import beside
from .notify import Teller

AT_ONCE = 200
SLOWEST = 300.0
"""Seconds between two tries at a listener that is away, at most."""


def cloud_event(event: Event, source: str) -> Json:
    """One event in the JSON format of CloudEvents 1.0."""
    told: dict[str, Json] = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": f"org.reconciler.{event.type}",
        "time": event.at,
        "datacontenttype": "application/json",
        "sequence": f"{event.seq:020d}",
        "data": event.json(),
    }
    return told | ({"subject": event.address} if event.address else {})


class CloudEvents(Teller):
    """Delivers what was written since."""

    def __init__(
        self, reader: Callable[[], LogReader], where: str, cursor: str, host: Observer, secret: str | None
    ) -> None:
        self._reader, self.where, self.cursor, self.secret = reader, where, cursor, secret
        self._web = where.startswith(("http://", "https://"))
        known = facts(host)
        self.source = f"/hosts/{known['machine_id'] or known['hostname'] or 'unknown'}/reconciler"
        self._after = self._known()
        self._news = threading.Event()
        self.trouble = ""
        if self._web:
            checked_listener("--cloudevents", where, secret)
            # A listener that hangs must not keep a repair waiting.
            threading.Thread(target=self._for_ever, daemon=True, name="cloudevents").start()
        elif secret is not None:
            raise Usage("--cloudevents-secret signs what goes to a URL, and this goes to a file")
        elif where != "-":
            try:
                self._opened().close()
            except OSError as error:
                reason = (error.strerror or "cannot be written").lower()
                raise Usage(f"--cloudevents {printable(where)}: {reason}") from None

    def figures(self, state: Mapping[str, Json]) -> None:
        """Deliver what is new."""
        if self._web:
            self._news.set()
        else:
            self._deliver_all()
        if self.trouble:
            raise HostError(f"--cloudevents {printable(self.where)}: {self.trouble}; delivered later, from the log")

    def _for_ever(self) -> None:
        failures = 0
        while True:
            if self._deliver_all():
                failures = 0
                self._news.wait()
                self._news.clear()
            else:
                failures += 1
                time.sleep(min(2.0**failures, SLOWEST))

    def _deliver_all(self) -> bool:
        """Deliver in order until there is no more, or until one cannot be delivered; False then."""
        try:
            # Read first, then delivered: whoever reads for long keeps the writer of the log waiting.
            while events := list(islice(self._reader().events(self._after), AT_ONCE)):
                for event in events:
                    if not self._deliver(cloud_event(event, self.source)):
                        return False
                    self._keep(event.seq)
        except ReconcilerError:
            return False
        return True

    def _known(self) -> int:
        """How far was delivered; a watch that never did begins with what comes."""
        with suppress(OSError, ValueError, KeyError, TypeError), open(self.cursor, encoding="utf-8") as file:
            return int(json.load(file)[self.where])
        return self._reader().tail()[0]

    def _keep(self, seq: int) -> None:
        self._after = seq
        beside.put(self.cursor, json.dumps({self.where: seq}))

    def _deliver(self, told: Json) -> bool:
        raw = json.dumps(told, ensure_ascii=True)
        if self._web:
            self.trouble = posted(self.where, raw.encode(), "application/cloudevents+json", self.secret)
            return not self.trouble
        self.trouble = ""
        try:
            if self.where == "-":
                sys.stdout.write(raw + "\n")
                sys.stdout.flush()
                return True
            with self._opened() as file:
                file.write(raw.encode() + b"\n")
        except OSError as error:
            self.trouble = (error.strerror or "cannot be written").lower()
        return not self.trouble

    def _opened(self) -> BinaryIO:
        """The file; nothing that could keep us waiting, as a FIFO does that nobody reads."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(os.open(self.where, flags, 0o600), "ab")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise OSError(errno.EINVAL, "is no regular file")
        return file
