"""What a watch says, to people and to programs: lines on stderr or fields in the journal, and sd_notify."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ..formats.text import printable
from ..model import Json
from . import beside

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
"""Priorities as syslog has them."""
JOURNAL = "/run/systemd/journal/socket"
MESSAGES = {
    "ready": "1b1e0a1f2fb44d22a2e0d5f5c2a97a01",
    "done": "1b1e0a1f2fb44d22a2e0d5f5c2a97a02",
    "drift": "1b1e0a1f2fb44d22a2e0d5f5c2a97a03",
    "fight": "1b1e0a1f2fb44d22a2e0d5f5c2a97a04",
    "trouble": "1b1e0a1f2fb44d22a2e0d5f5c2a97a05",
    "mistake": "1b1e0a1f2fb44d22a2e0d5f5c2a97a06",
    "waiting": "1b1e0a1f2fb44d22a2e0d5f5c2a97a07",
    "lost": "1b1e0a1f2fb44d22a2e0d5f5c2a97a08",
}
"""The journal's message ids, by what is said."""


@dataclass(frozen=True)
class Line:
    """One thing that is said once."""

    what: str
    text: str
    priority: int = NOTICE
    fields: Mapping[str, Json] = field(default_factory=dict)
    quiet: bool = False
    """Whether people were told of it already."""


class Teller:
    """Somebody who is told."""

    def tell(self, line: Line) -> None:
        """Something is said once."""

    def figures(self, state: Mapping[str, Json]) -> None:
        """What holds now."""

    def close(self) -> None:
        """Nothing more is said."""


class Voice(Teller):
    """Lines on stderr; under systemd the journal gets the fields as well."""

    def __init__(self, style: str = "text") -> None:
        self.style = style
        self._journal: socket.socket | None = None
        if _stderr_is_journal():
            with suppress(OSError):
                self._journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._journal.connect(JOURNAL)

    def tell(self, line: Line) -> None:
        """Say it where it is read."""
        if line.quiet:
            return
        text = "\n".join(map(printable, line.text.splitlines()))
        if self.style == "json":
            told = {"what": line.what, "text": text, **line.fields}
            with suppress(BrokenPipeError):
                print(json.dumps(told, ensure_ascii=True), flush=True)  # noqa: T201 - data for programs
        if self._journal is not None:
            try:
                self._journal.send(entry(line, text))
                return
            except OSError:
                pass  # too long, or the journal is being started again: then as a line
        if self.style != "json" or self._journal is not None:
            with suppress(BrokenPipeError, OSError):
                sys.stderr.write(f"{text}\n")
                sys.stderr.flush()


def entry(line: Line, text: str) -> bytes:
    """A line in the journal's own protocol: values with a newline are sent with their length."""
    fields = {
        "MESSAGE": text,
        "PRIORITY": str(line.priority),
        "SYSLOG_IDENTIFIER": "reconciler",
        "MESSAGE_ID": MESSAGES.get(line.what, MESSAGES["trouble"]),
        "RECONCILER_EVENT": line.what,
        **{
            f"RECONCILER_{key.upper()}": value if isinstance(value, str) else json.dumps(value)
            for key, value in line.fields.items()
            if value is not None
        },
    }
    raw = b""
    for key, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            raw += key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            raw += key.encode() + b"=" + data + b"\n"
    return raw


def _stderr_is_journal() -> bool:
    """Whether stderr is the stream that systemd names in JOURNAL_STREAM."""
    with suppress(OSError, ValueError):
        device, inode = map(int, os.environ.get("JOURNAL_STREAM", "").split(":"))
        found = os.fstat(2)
        return (found.st_dev, found.st_ino) == (device, inode)
    return False


class Manager:
    """The service manager that started us; nothing is said where there is none."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        span, whose = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        ours = whose in ("", str(os.getpid()))
        self.every = int(span) / 2e6 if span.isdecimal() and int(span) and ours else None
        """How often it wants to hear that we live, in seconds."""
        self._last = 0.0

    def ready(self) -> None:
        """All is set up."""
        self._say("READY=1")

    def reloading(self) -> None:
        """The desired state is being read again."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """We are about to end."""
        self._say("STOPPING=1")
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._say(f"STATUS={printable(text)}")

    def ping(self) -> None:
        """Say that we live, no more often than is asked for."""
        now = time.monotonic()
        if self.every is not None and now - self._last >= self.every / 2:
            self._last = now
            self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto(text.encode(), self._address)


class StateFile(Teller):
    """What holds, in a file beside the log, for `status --live`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def figures(self, state: Mapping[str, Json]) -> None:
        """Put it in place."""
        beside.put(self.path, json.dumps(state))
