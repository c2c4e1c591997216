"""What accounts and groups have in common: a name, and a number that nobody else may have."""

from __future__ import annotations

from ..model import Field
from .base import Conflict, Prospect

NAME = r"^[a-zA-Z_][a-zA-Z0-9_.-]{0,30}[a-zA-Z0-9_$-]?$"


def taken(prospect: Prospect, field: Field, number: int, holder: object) -> Conflict:
    """A remembered number that somebody else has by now."""
    return Conflict(prospect.target.address, field, number, f"taken by {holder}")
