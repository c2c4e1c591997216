"""watchdog: inotify, and polling where inotify does not see (network file systems, no more watches)."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver
from watchdog.observers.polling import PollingObserver

from .notices import Lost, Notice

EVENTS: list[type[FileSystemEvent]] = [
    DirAttribEvent, DirCreatedEvent, DirDeletedEvent, DirMovedEvent,
    FileAttribEvent, FileCreatedEvent, FileDeletedEvent, FileModifiedEvent, FileMovedEvent,
]  # fmt: skip
"""Nothing that reading causes, or our own looks would wake us.  Changes of owner and mode come along with those of
bytes: watchdog asks the kernel for the former only where the latter are asked for."""
POLL = 5.0
"""Seconds between two looks where there are no events."""
SLOWEST = 60.0
"""Seconds until threads that broke off are started anew, at most."""
COMING = {"created", "moved", "deleted"}


def most_queued() -> int:
    """How many events the kernel keeps before it drops them."""
    with suppress(OSError, ValueError), open("/proc/sys/fs/inotify/max_queued_events", encoding="ascii") as file:
        return int(file.read())
    return 16384


class Barking(FileSystemEventHandler):
    """Passes on what watchdog's threads tell; of trees all but that bytes changed, which is no business of theirs."""

    def __init__(self, heard: Callable[[FileSystemEvent], None], *, bytes_matter: bool) -> None:
        self.heard = heard
        self.ignored = {"opened", "closed_no_write"} | (set() if bytes_matter else {"modified", "closed"})

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called in a thread of watchdog's."""
        if event.event_type not in self.ignored:
            self.heard(event)


class Dogs:
    """Watches directories and trees; whoever waits is woken through a pipe."""

    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._seen: deque[Notice] = deque()
        self._lock = threading.Lock()
        self._room = most_queued() // 4
        self._since = 0
        self._native: Any = None
        self._polling: Any = None
        self._watches: dict[tuple[str, bool], tuple[Any, Any]] = {}
        self._broken = False
        self._crashes, self._again = 0, 0.0
        self._hook, threading.excepthook = threading.excepthook, self._crashed
        self.polled: set[str] = set()
        """What is looked after by polling."""

    def fileno(self) -> int:
        """What to wait for."""
        return self._ours

    def _crashed(self, what: Any) -> None:
        """A thread of watchdog's ended; whoever owns a tree can bring that about by renaming directories fast."""
        self._broken = True
        with suppress(BlockingIOError, OSError):
            os.write(self._theirs, b"!")

    def _revive(self) -> None:
        """Begin anew with all watches; after each crash a little later."""
        self._broken, self._crashes = False, self._crashes + 1
        wanted, polled = list(self._watches), set(self.polled)
        for observer in (self._native, self._polling):
            if observer is not None:
                observer.stop()
        self._native = self._polling = None
        self._watches.clear()
        self.polled.clear()
        for path, whole in wanted:
            self.watch(path, whole=whole, poll=path in polled)
        self._again = time.monotonic() + min(2.0**self._crashes, SLOWEST)

    def keep(self, wanted: set[tuple[str, bool]]) -> None:
        """Let go of everything but these paths (with or without all below)."""
        for key in set(self._watches) - wanted:
            observer, watch = self._watches.pop(key)
            self.polled.discard(key[0])
            with suppress(KeyError, OSError):
                observer.unschedule(watch)

    def watch(self, path: str, *, whole: bool, poll: bool = False) -> bool:
        """Look after a directory, or a whole tree; False where not even polling can."""
        if (path, whole) in self._watches:
            return True
        for polling in (True,) if poll else (False, True):
            observer = self._observer(polling=polling)
            try:
                handler = Barking(self._heard, bytes_matter=not whole or polling)
                watch = observer.schedule(handler, path, recursive=whole, event_filter=None if polling else EVENTS)
            except (OSError, RuntimeError):
                continue
            self._watches[path, whole] = observer, watch
            if polling:
                self.polled.add(path)
            return True
        return False

    def _observer(self, *, polling: bool) -> Any:
        if polling:
            if self._polling is None:
                self._polling = PollingObserver(timeout=POLL)
                self._polling.start()
            return self._polling
        if self._native is None:
            self._native = InotifyObserver()
            self._native.start()
        return self._native

    def _heard(self, event: FileSystemEvent) -> None:
        whole = event.is_directory and event.event_type in COMING
        found = [Notice(os.fsdecode(path), whole) for path in (event.src_path, event.dest_path) if path]
        with self._lock:
            self._since += 1
            if len(self._seen) < 4 * self._room:
                self._seen += found
        with suppress(BlockingIOError):
            os.write(self._theirs, b"!")

    def notices(self) -> Iterator[Notice | Lost]:
        """What happened since this was last asked.

        The kernel drops events when its queue is full.  Those in the queue are told all the same, so whoever got not
        even a quarter of it since the last look has lost none.
        """
        with suppress(BlockingIOError):
            os.read(self._ours, 1 << 16)
        if self._broken and time.monotonic() >= self._again:
            self._revive()
            yield Lost("a thread that listens to file events broke off, and was started anew")
        with self._lock:
            seen, self._seen = self._seen, deque()
            many, self._since = self._since > self._room, 0
        if many:
            yield Lost("more file events came than the kernel keeps")
        yield from seen

    def close(self) -> None:
        """Call all dogs back."""
        threading.excepthook = self._hook
        for observer in (self._native, self._polling):
            if observer is not None:
                observer.stop()
                observer.join(2)
        for fd in (self._ours, self._theirs):
            os.close(fd)
