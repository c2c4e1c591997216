"""Where a watch has its desired state from, and what stays in force while that cannot be read."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from ..app.request import Request
from ..desired.documents import contents_of
from ..errors import Mistake, Mistakes
from ..host.port import Observer
from ..model import Json
from . import beside

REVIVAL = 60.0
"""Seconds until a sync that ended is started again."""
STAYING = "--interval="
"""How the word begins by which a sync stays."""


class Source(Protocol):
    """What gives the desired state."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files and directories whose change calls for another look."""

    def read(self, host: Observer) -> Request | None:
        """The desired state as it is now; raises `Mistakes` where it cannot be used, None where there is none yet."""


class Files:
    """Files in directories."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        # Whoever changes the working directory does not change what is watched.
        self.paths = tuple(os.path.abspath(path) for path in (paths or ("desired",)))
        self._named = paths or ("desired",)

    def read(self, host: Observer) -> Request:
        """What the files say."""
        mistakes: list[Mistake] = []
        contents = contents_of(self._named, mistakes)
        if mistakes:
            raise Mistakes(mistakes)
        return Request(host, (), contents=contents)


class Applied:
    """What a repository's last commit that was applied here says; `follow` looks whether there is a newer one."""

    def __init__(self, last: Callable[[], tuple[Mapping[str, bytes], Json] | None], paths: tuple[str, ...]) -> None:
        self._last = last
        self.paths = paths

    def read(self, host: Observer) -> Request | None:
        """What the last commit that was applied says."""
        found = self._last()
        return None if found is None else Request(host, (), contents=found[0], origin=found[1])


class Follower:
    """A sync that stays beside a watch and brings new commits about; its writing to the log is what we notice.

    It is a process of its own, so that a server that does not answer keeps no repair waiting.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._next = 0.0

    def begin(self) -> None:
        """Start it."""
        if self._words:
            # Ignored until it has a handler of its own, so that it may be told to look at any time.
            before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
            try:
                self._process = subprocess.Popen(self._words, stdin=subprocess.DEVNULL)
            finally:
                signal.signal(signal.SIGHUP, before)
            self._next = time.monotonic() + REVIVAL

    def keep(self) -> None:
        """Start it again where it ended."""
        if self._process is not None and self._process.poll() is not None and time.monotonic() >= self._next:
            self.begin()

    def again(self) -> None:
        """Have it look at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGHUP)

    def once(self) -> None:
        """Have it look, and wait for that."""
        if self._words:
            words = [word for word in self._words if not word.startswith(STAYING)]
            subprocess.run(words, stdin=subprocess.DEVNULL, check=False)

    def end(self) -> None:
        """Have it end; what a kill cuts off, the next run settles."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Kept:
    """The last desired state that could be used, beside the log, so that a mistake and a restart do not end it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def put(self, wanted: Request) -> None:
        """Keep it; what was kept before goes."""
        contents = {path: base64.b64encode(data).decode() for path, data in wanted.desired.contents.items()}
        text = json.dumps({"v": 1, "contents": contents, "origin": wanted.origin})
        with suppress(OSError), open(self.path, encoding="utf-8") as file:
            if file.read() == text:
                return
        beside.put(self.path, text)

    def get(self, host: Observer) -> Request | None:
        """What was kept; None where nothing was, or it cannot be used any more."""
        with suppress(OSError, ValueError, KeyError, TypeError, Mistakes):
            with open(self.path, encoding="utf-8") as file:
                told = json.load(file)
            contents = {str(path): base64.b64decode(data) for path, data in told["contents"].items()}
            return Request(host, (), contents=contents, origin=told["origin"])
        return None
