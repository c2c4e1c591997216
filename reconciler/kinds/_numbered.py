"""What accounts and groups have in common: a name, and a number that nobody else may have."""

from __future__ import annotations

from ..core.kind import Conflict, Context, Proposal, gone
from ..model import EXISTS, Address, Field

NAME = r"^[a-zA-Z_][a-zA-Z0-9_.-]{0,30}[a-zA-Z0-9_$-]?$"
"""The names that both shadow and systemd accept for users and groups."""


def plain(text: str) -> bool:
    """Whether a number is written as it would be written again: what is not comes back otherwise.

    >>> plain("100"), plain("0100"), plain(" 100"), plain("")
    (True, False, False, False)
    """
    return text.isascii() and text.isdecimal() and text == str(int(text))


def taken(prospect: Proposal, field: Field, number: int, holder: object) -> Conflict:
    """A remembered number that somebody else has by now."""
    return Conflict(prospect.target.address, field, number, f"taken by {holder}")


def comes_free(context: Context, holder: Address, field: Field, number: int) -> bool:
    """Whether the plan takes a number from whoever has it."""
    target = context.targets.get(holder)
    if target is None or field in target.keep or EXISTS in target.keep:
        return False
    if target.wish is None and EXISTS in target.give_back and gone(target.give_back[EXISTS]):
        return True
    asked = getattr(target.wish, field[0], None) if target.wish is not None else None
    return bool(number != (asked if asked is not None else target.give_back.get(field, number)))
