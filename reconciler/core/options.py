"""How a run deals with what stands in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..host.port import Scope
from ..model import Address


@dataclass
class Options:
    """What a run may do, and where it stops."""

    force: bool = False
    skip_conflicts: bool = False
    skip_blocked: bool = False
    only: tuple[Address, ...] = ()
    all_paths: bool = False
    atomic: bool = False
    keep_going: bool = False
    max_changes: int | None = None
    max_removals: int | None = None
    max_paths: int | None = None
    confirm_by: str | None = None
    """The time until which somebody has to confirm the run, or it is undone."""
    scopes: Mapping[Address, Scope] = field(default_factory=dict)
    """The parts of trees that are looked at, where the rest is known to be as it was."""
    strict: bool = False
    """Whether a transition that would end otherwise than planned stops the run."""
