"""Events as data: their shape, and the canonical text of what they carry.  Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ..model import Json

FORMAT = "1.0"
START = "0" * 64
"""What the first event has as the hash before it."""
TYPES = (
    "run.started", "run.finished", "transition.started", "transition.succeeded", "transition.failed",
    "transition.undone", "transition.stuck", "drift.found", "commit.quarantined", "source.failed", "suspended",
    "resumed", "host.changed", "checkpoint",
)  # fmt: skip


RUN, OPEN = "run|", "open|"
"""How the keys of runs, and of transitions whose outcome is not known yet, begin in the books."""


def run_key(number: int) -> str:
    """The key of a run's line in the books; keys sort as runs do."""
    return f"{RUN}{number:010d}"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log; never changed once written."""

    seq: int
    id: str
    at: str
    run: str
    type: str
    deployment: str | None
    address: str | None
    data: Mapping[str, Json]
    prev: str
    hash: str = ""

    def json(self) -> dict[str, Json]:
        """The form that history and show print."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS = tuple(field.name for field in fields(Event))


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that is to be written."""

    run: str
    type: str
    data: Mapping[str, Json]
    deployment: str | None = None
    address: str | None = None


def canonical(value: Json) -> str:
    """The one text of a JSON value: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
