"""What eyes tell: where something happened, and who may have done it."""

from __future__ import annotations

from dataclasses import dataclass

from ..host.actor import Who


@dataclass(frozen=True)
class Notice:
    """Something happened to a path."""

    path: str
    whole: bool = False
    """Whether all below it is concerned too: a directory that came here as a whole."""
    who: Who | None = None


@dataclass(frozen=True)
class Lost:
    """Events were lost, so that everything has to be looked at."""

    why: str
