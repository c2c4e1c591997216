"""The changes that events tell of, and what every thing was at a moment.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..model import Address, Field, Json, Source
from .events import Event
from .holds import layered, placed

FRESH: Field = ("fresh",)
"""What a restart changes; it is never held."""


@dataclass(frozen=True)
class Recorded:
    """A change as the log keeps it; sealed values are references into the vault."""

    field: Field
    before: Json
    after: Json
    shown: tuple[Json, Json]


def changes(started: Event) -> list[Recorded]:
    """The changes of a transition."""
    found = []
    box = {"$sealed": started.data.get("sealed")}
    if "part" in started.data:
        box["part"] = started.data["part"]
    for index, raw in enumerate(started.data["changes"]):
        before, after = raw.get("before"), raw.get("after")
        if raw.get("sealed"):
            before, after = ({**box, "index": index, "side": side} for side in (0, 1))
        found.append(Recorded(tuple(raw["field"]), before, after, tuple(raw["shown"])))
    return found


@dataclass
class Past:
    """What one thing was at a moment: the values that its fields had then."""

    deployment: str
    values: dict[Field, Json] = field(default_factory=dict)
    source: Json = None
    seqs: dict[Field, int] = field(default_factory=dict)
    """Which event first changed each field since."""
    left: dict[Field, Json] = field(default_factory=dict)
    """How each field was left by the last event that changed it."""


def rewind(events: Iterable[Event], to: int, deployment: str | None = None) -> dict[Address, Past]:
    """What every thing changed since event ``to`` was right after it: of each field its first value since."""
    found: dict[Address, Past] = {}
    open_: dict[int, Event] = {}
    for event in events:
        if event.type == "transition.started":
            open_[event.seq] = event
            continue
        started = open_.pop(event.data.get("started", 0), None)
        if event.type in ("transition.succeeded", "transition.stuck") and started is not None:
            if event.seq <= to or started.data.get("pause") or (deployment and started.deployment != deployment):
                continue
            address = Address.parse(str(started.address))
            past = found.setdefault(address, Past(str(started.deployment), source=started.data.get("source")))
            for change in changes(started):
                if change.field == FRESH:
                    continue
                before = placed(change.before, address, event.seq)
                past.seqs.setdefault(change.field, event.seq)
                past.left[change.field] = change.after
                known = past.values.get(change.field)
                past.values[change.field] = layered(known, before) if change.field in past.values else before
    return found


def source_of(raw: Json) -> Source | None:
    """A source as events carry it."""
    return Source(raw["file"], raw["line"], raw["column"], raw.get("commit")) if raw else None
