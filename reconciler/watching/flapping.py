"""Flapping: something else writes again and again what we correct.  Pure.

Who corrects for ever wins nothing: the host is busy, the log grows, and nobody is told.  So after a few corrections
of the same field we step back, for longer each time, and name the other one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

TIMES, SOON = 5, 10.0
"""So many corrections of one field within so many seconds, and it is a fight."""
SLOW, HOUR = 40, 3600.0
"""The same for one that goes on for long."""
AGAIN = 60.0
"""Whoever writes so soon after we tried again has not stopped."""
FIRST, LONGEST = 60.0, 3600.0
"""How long we step back, in seconds; doubled each time."""
MANY, OFTEN, PAUSE = 300, 600.0, 10.0
"""More corrections of one thing than `MANY` within `OFTEN`, whatever the field: they are gathered for `PAUSE`."""
Key = tuple[str, ...]
"""An address and a field, or a path of a tree; the address alone for the thing as a whole."""


@dataclass
class Fight:
    """How often something was corrected, and until when it is left alone."""

    times: list[float] = field(default_factory=list)
    until: float = 0.0
    step: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def wait(self) -> float:
        """How long it is left alone this time."""
        return min(FIRST * 2.0 ** max(0, self.step - 1), LONGEST)


class Flapping:
    """All corrections that still matter."""

    def __init__(self) -> None:
        self._known: dict[Key, Fight] = {}

    def corrected(self, keys: Sequence[Key], at: float, who: str = "") -> None:
        """Somebody's changes of a thing were corrected, all at once."""
        for key in keys:
            self._corrected(key, at, who)
        for name in {key[:1] for key in keys}:
            whole = self._known.setdefault(name, Fight())
            whole.times = [*[time for time in whole.times if at - time < OFTEN][-MANY:], at]
            if len(whole.times) > MANY:
                whole.until = max(whole.until, at + PAUSE)
        if len(self._known) > MANY:
            self._forget(at)

    def _corrected(self, key: Key, at: float, who: str) -> None:
        fight = self._known.setdefault(key, Fight())
        if who:
            fight.others[who] += 1
        again = fight.step and at - fight.until < AGAIN
        if fight.step and not again and at - fight.until > LONGEST:
            fight.step = 0
        fight.times = [*(time for time in fight.times if at - time < HOUR), at]
        soon = sum(at - time < SOON for time in fight.times)
        if again or soon >= TIMES or len(fight.times) >= SLOW:
            fight.step += 1
            fight.until = at + fight.wait()
            fight.times = []

    def until(self, key: Key, now: float) -> float | None:
        """Until when a field is left alone; None where it is not."""
        ends = max((self._known[k].until for k in (key, key[:1]) if k in self._known), default=0.0)
        return ends if ends > now else None

    def going_on(self, now: float) -> dict[Key, Fight]:
        """The fights in which we step back now."""
        return {key: fight for key, fight in self._known.items() if fight.until > now and len(key) > 1}

    def next(self, now: float) -> float | None:
        """When the next of them is due to be looked at again."""
        return min((fight.until for fight in self._known.values() if fight.until > now), default=None)

    def _forget(self, now: float) -> None:
        """What is long ago, so that a month needs no more room than a day."""
        for key in [k for k, f in self._known.items() if now - max([f.until, *f.times]) > LONGEST]:
            del self._known[key]
