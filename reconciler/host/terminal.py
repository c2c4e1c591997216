"""A terminal in between: a program of another account never gets hold of the one that root types on.

Whoever has root's terminal open can read from it after root's command has ended.  So the program gets a
pseudo-terminal of its own, and what is typed and printed is carried across while it runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import tty

CHUNK = 1 << 16


class Relay:
    """The pseudo-terminal for those of the first three files that are terminals."""

    def __init__(self) -> None:
        self.replaced = [fd for fd in (0, 1, 2) if os.isatty(fd)]
        self.ours, self.its = os.openpty() if self.replaced else (-1, -1)
        self._kept: list[object] | None = None
        if self.replaced:
            for fd in (self.ours, self.its):
                os.set_inheritable(fd, False)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.its, termios.TCSANOW, termios.tcgetattr(self.replaced[0]))
            self.resize()

    def resize(self) -> None:
        """Give the program's terminal the size of ours."""
        if self.replaced:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(self.replaced[0], termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
                fcntl.ioctl(self.ours, termios.TIOCSWINSZ, size)

    def take(self) -> None:
        """In the child, which leads a session by now: this is its terminal."""
        if self.replaced:
            fcntl.ioctl(self.its, termios.TIOCSCTTY, 0)
            for fd in self.replaced:
                os.dup2(self.its, fd)

    def begin(self) -> None:
        """In the parent: what is typed goes through as it is, so that keys mean something to the program alone."""
        if not self.replaced:
            return
        os.close(self.its)
        if 0 in self.replaced and os.tcgetpgrp(0) == os.getpgrp():
            self._kept = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSADRAIN)

    def carry(self, seconds: float) -> None:
        """Carry across what is there, waiting at most so long for something."""
        if not self.replaced:
            select.select([], [], [], seconds)
            return
        watched = [self.ours] + ([0] if self._kept is not None else [])
        try:
            ready, _, _ = select.select(watched, [], [], seconds)
        except InterruptedError:
            return
        if 0 in ready and not self._copy(0, self.ours):
            with contextlib.suppress(OSError):
                os.write(self.ours, b"\x04")
        if self.ours in ready:
            self._copy(self.ours, 1 if 1 in self.replaced else self.replaced[-1])

    def drain(self) -> None:
        """Carry across what the program left behind."""
        while self.replaced and select.select([self.ours], [], [], 0)[0]:
            if not self._copy(self.ours, 1 if 1 in self.replaced else self.replaced[-1]):
                return

    def _copy(self, source: int, to: int) -> bool:
        try:
            data = os.read(source, CHUNK)
        except OSError:
            return False
        view = memoryview(data)
        while view:
            view = view[os.write(to, view) :]
        return bool(data)

    def end(self) -> None:
        """Our terminal is as it was."""
        if self._kept is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._kept)  # type: ignore[arg-type] # as tcgetattr gave it
        if self.replaced:
            os.close(self.ours)
