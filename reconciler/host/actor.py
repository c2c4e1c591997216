"""Who is behind a process id, as far as /proc can still tell."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from ..formats.text import printable
from ..model import Json


@dataclass(frozen=True)
class Who:
    """The process that an event came from, as far as it could still be asked."""

    pid: int
    name: str = ""
    """Empty where the process had ended before it could be asked."""
    program: str = ""
    uid: int | None = None
    login: int | None = None
    """The user that somebody logged in as, before any su or sudo."""

    @property
    def text(self) -> str:
        """How the process is named to people."""
        if not self.name:
            return f"process {self.pid}, which has ended"
        user = _user(self.uid if self.login is None else self.login)
        # A name that its owner chose must not read like more than a name.
        name = self.name if re.fullmatch(r"[\w.:/@+-]+", self.name) else json.dumps(self.name)
        return printable(f"process {self.pid} ({name})" + (f" of {user}" if user else ""))

    def json(self) -> Json:
        """The form that events carry."""
        return {
            "pid": self.pid,
            "name": printable(self.name) or None,
            "program": printable(self.program) or None,
            "uid": self.uid,
            "login_uid": self.login,
        }


def who(pid: int) -> Who | None:
    """What can be known of a process that did something a moment ago; None for ourselves."""
    if pid <= 0 or pid == os.getpid():
        return None
    found = Who(pid)
    with suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            found = replace(found, name=file.read().strip())
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            told = dict(line.split(":\t", 1) for line in file if ":\t" in line)
        found = replace(found, uid=int(told["Uid"].split()[0]))
        with open(f"/proc/{pid}/loginuid", encoding="ascii") as file:
            number = int(file.read())
        found = replace(found, login=None if number == 0xFFFFFFFF else number)
        found = replace(found, program=os.readlink(f"/proc/{pid}/exe"))
    return found


@lru_cache(maxsize=64)
def _user(uid: int | None) -> str:
    if uid is None:
        return ""
    import pwd  # noqa: PLC0415 - only where a process is named

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
