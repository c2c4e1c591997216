"""Numbers for new users and groups, as login.defs gives them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import HostError
from .held import account_files
from .names import Names
from .port import File, Observer


def number_range(host: Observer, what: str, *, system: bool) -> tuple[int, int]:
    """The range that login.defs gives for new ``UID`` or ``GID`` numbers."""
    settings: dict[str, int] = {}
    file: File | None = host.read("/etc/login.defs")
    for line in (file.data if file else b"").decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdecimal():
            settings[words[0]] = int(words[1])
    low = settings.get(f"{what}_MIN", 1000)
    if not system:
        return low, settings.get(f"{what}_MAX", 60000)
    return settings.get(f"SYS_{what}_MIN", 101), settings.get(f"SYS_{what}_MAX", low - 1)


def free_number(host: Observer, what: str, *, system: bool, wanted: Iterable[int] = ()) -> int:
    """A number that no user and no group has: a wanted one where possible, else as useradd chooses."""
    low, high = number_range(host, what, system=system)
    names, files = Names(host), account_files(host)
    users, groups = (table.numbers() if (table := files.table(name)) else {} for name in ("passwd", "group"))
    own, tell = (users, names.user) if what == "UID" else (groups, names.group)
    for number in wanted:
        if low <= number <= high and number not in own and tell(number) == number:
            return number
    # Those before the one that was chosen last are taken.
    last = files.chosen.get((what, system))
    candidates = range(last or high, low - 1, -1) if system else range(last or low, high + 1)
    for number in candidates:
        if number not in users and number not in groups and tell(number) == number:
            files.chosen[what, system] = number
            return number
    raise HostError(f"/etc/login.defs: no free {what} between {low} and {high}; widen the range or name one")


def today() -> str:
    """The days since 1970, as shadow counts them."""
    import time  # noqa: PLC0415 - only when an account is made

    return str(int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()) // 86400)
