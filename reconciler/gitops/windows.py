"""Maintenance windows: when unattended runs may change a host.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..errors import Usage

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FORM = re.compile(r"(?:(?P<days>[A-Za-z,-]+) )?(?P<from>\d\d:\d\d)-(?P<to>\d\d:\d\d)(?P<utc> UTC)?")
MOST = 60
"""How many days ahead an opening is looked for."""
HINT = "write it like 'Sat,Sun 02:00-04:00', 'Mon-Fri 22:00-05:00 UTC' or '01:00-03:00'"


@dataclass(frozen=True)
class Window:
    """A span of the day, on some days of the week; one that goes past midnight belongs to the day it begins on."""

    text: str
    days: frozenset[int]
    start: int
    end: int
    utc: bool

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read ``[DAYS ]HH:MM-HH:MM[ UTC]``; without UTC it is the host's own time.

        >>> Window.parse("Fri-Sun 23:30-00:30").days == {4, 5, 6}
        True
        """
        found = FORM.fullmatch(text.strip())
        if not found:
            raise Usage(f"--window {text!r}: is no window; {HINT}")
        start, end = (_minutes(found[part], text) for part in ("from", "to"))
        if start == end:
            raise Usage(f"--window {text!r}: begins when it ends; {HINT}")
        return cls(text.strip(), _days(found["days"], text), start, end, bool(found["utc"]))

    def holds(self, moment: datetime) -> bool:
        """Whether a moment lies in the window."""
        now = moment.astimezone(UTC) if self.utc else moment.astimezone()
        minute, day = now.hour * 60 + now.minute, now.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)


def opens(windows: Iterable[Window], moment: datetime) -> datetime | None:
    """When the next of some windows opens; None where one is open, or where there is none."""
    listed = list(windows)
    if not listed or any(window.holds(moment) for window in listed):
        return None
    minute = moment.replace(second=0, microsecond=0)
    # More than a week: where a clock is put forward, a whole window may not be there.
    later = (minute + timedelta(minutes=n) for n in range(1, MOST * 24 * 60))
    return next((each for each in later if any(window.holds(each) for window in listed)), minute + timedelta(days=MOST))


def _minutes(text: str, whole: str) -> int:
    hour, _, minute = text.partition(":")
    if int(hour) > 23 or int(minute) > 59:
        raise Usage(f"--window {whole!r}: there is no {text}; {HINT}")
    return int(hour) * 60 + int(minute)


def _days(text: str | None, whole: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise Usage(f"--window {whole!r}: {part!r} is no day; {HINT}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(found)
