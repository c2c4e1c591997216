"""Real processes of an account, and what they need to reach a test's directory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def account(uid: int, act: Callable[[], None]) -> Iterator[None]:
    """A process of the account, until this ends."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            act()
            while True:
                signal.pause()
        finally:
            os._exit(1)
    try:
        time.sleep(0.2)
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def reachable(path: Path) -> None:
    """Let everybody pass through the directories on the way to a path, itself too."""
    for above in (path, *path.parents):
        if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
            os.chmod(above, above.stat().st_mode | 0o011)
