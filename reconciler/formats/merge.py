"""What two changed of one text, in one text: by lines, and only where they do not meet.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

MOST = 4_000_000
"""How many pairs of lines are compared at most."""


@dataclass(frozen=True)
class Hunk:
    """Lines ``first`` to ``last`` of the text before, and what stands there after."""

    first: int
    last: int
    lines: tuple[str, ...]


def merged(base: Sequence[str], ours: Sequence[str], theirs: Sequence[str]) -> list[str] | None:
    """The text with the changes of both; None where they touch the same lines or it would take too long."""
    if base == ours:
        return list(theirs)
    both = [_hunks(base, ours), _hunks(base, theirs)]
    if both[0] is None or both[1] is None:
        return None
    listed = sorted([*both[0], *both[1]], key=lambda hunk: (hunk.first, hunk.last))
    done, at = list[str](), 0
    for before, hunk in zip([None, *listed], listed, strict=False):
        at_one_spot = before is not None and (hunk.first, hunk.last) == (before.first, before.last)
        if hunk.first < at or at_one_spot:
            return None
        done += [*base[at : hunk.first], *hunk.lines]
        at = hunk.last
    return [*done, *base[at:]]


def _hunks(before: Sequence[str], after: Sequence[str]) -> list[Hunk] | None:
    """What changed, in order."""
    start, end = 0, 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    one, other = before[start : len(before) - end], after[start : len(after) - end]
    if len(one) * len(other) > MOST:
        return None
    found = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return [Hunk(start + a, start + b, tuple(other[c:d])) for tag, a, b, c, d in found if tag != "equal"]
