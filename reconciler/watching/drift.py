"""What of a plan is drift: something that was as it should be, and is not any more.  Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..core.plan import Plan, Transition
from ..core.rewind import FRESH
from ..engine.survey import Surveyor
from ..formats.text import printable
from ..history.causes import UNKNOWN, Cause
from ..kinds import kinds
from ..model import EXISTS, MARK, PATHS, Address, Json

SHOWN = 20


@dataclass(frozen=True)
class Drift:
    """One thing that somebody changed."""

    address: Address
    deployment: str
    enforced: bool
    fields: tuple[Json, ...]
    """Each with its value before, as it was left or is asked for, and after, as it was found."""
    sample: tuple[Json, ...] = ()
    """Of a tree: the first paths, each with owner, group and mode before and after."""
    count: int = 0
    """Of a tree: how many paths."""
    cause: Cause = UNKNOWN
    fight: Json = None
    conflict: bool = False
    """Whether nobody asks for what was there before, so that it would be given back, but not over somebody's change."""

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """What is counted, to tell a fight: every field, of a tree every path."""
        if self.sample:
            return [(str(self.address), item["path"]) for item in self.sample]
        return [(str(self.address), *each["field"]) for each in self.fields]

    @property
    def signature(self) -> str:
        """What it is known by, so that the same drift is told once."""
        return json.dumps([self.fields, self.sample, self.count, self.enforced, self.conflict], sort_keys=True)

    @property
    def corrected(self) -> bool:
        """Whether it is ours to correct."""
        return self.enforced and not self.conflict

    def json(self, action: str) -> Json:
        """What the event says."""
        told: dict[str, Json] = {
            "v": 1,
            "fields": list(self.fields),
            "cause": self.cause.json(),
            "policy": "enforce" if self.enforced else "audit",
            "action": "conflict" if self.conflict else action,
        }
        told |= {"sample": list(self.sample), "count": self.count} if self.sample else {}
        return told | ({"fight": self.fight} if self.fight else {})

    @property
    def paths(self) -> tuple[str, ...]:
        """Where it shows on disk."""
        kind = kinds().get(self.address.kind)
        listed = [item["path"] for item in self.sample] or (kind.edits(self.address.name) if kind else ())
        return tuple(listed) or (self.address.name,)


def drifts(surveyor: Surveyor, plan: Plan, *, applied: bool) -> list[Drift]:
    """The drift that a plan corrects or an audit finds.

    ``applied``: whether this desired state was in force before, so that whatever differs from it is drift.
    """
    found: dict[Address, Drift] = {}
    for transition, enforced in [*((t, True) for t in plan.transitions), *((t, False) for t in plan.audit)]:
        one = _drift(surveyor, transition, applied=applied or not enforced, enforced=enforced)
        if one is None:
            continue
        known = found.get(one.address)
        found[one.address] = replace(one, fields=(*known.fields, *one.fields)) if known else one
    return [*found.values(), *_conflicts(plan)]


def _conflicts(plan: Plan) -> list[Drift]:
    """What would be given back, but that somebody changed since; it is told, and left."""
    found: dict[Address, list[Json]] = {}
    for each in plan.conflicts:
        told = {"field": list(each.field), "before": each.recorded, "after": each.found}
        found.setdefault(each.address, []).append(told)
    owners = {t.address: t.target.deployment for t in plan.transitions}
    return [
        Drift(address, owners.get(address, ""), True, tuple(fields), conflict=True) for address, fields in found.items()
    ]


def _drift(surveyor: Surveyor, transition: Transition, *, applied: bool, enforced: bool) -> Drift | None:
    # What nobody asks for any more is given back, which is an edit.
    if transition.step.pause or transition.target.wish is None:
        return None
    address, kind = transition.address, kinds()[transition.address.kind]
    held = surveyor.ledger.holds.get(address, {})
    fields: list[Json] = []
    for change in transition.step.changes:
        if change.field == MARK:
            continue
        if change.field == FRESH:
            # A restart follows from other changes, or from a process that is not what its unit says.
            if found := kind.estranged(transition.prospect.before):
                fields.append({"field": ["process"], "before": "as its unit says", "after": found})
            continue
        hold = held.get(change.field)
        if change.field == PATHS:
            changed = hold is not None or applied
            before: Json = change.shown[1]
        elif hold is not None:
            current = surveyor.unseal(hold.current)
            changed = kind.altered(change.field, change.before, current) or change.field == EXISTS
            before = kind.display(change.field, current)
        else:
            changed, before = applied, change.shown[1]
        if changed:
            fields.append({"field": list(change.field), "before": before, "after": change.shown[0]})
    facts = transition.prospect.facts
    if not fields:
        return None
    sample = tuple(
        {**item, "before": item["after"], "after": item["before"]} for item in facts.get("sample", ())[:SHOWN]
    )
    count = facts.get("counts", {}).get("differ", 0) if sample else 0
    return Drift(address, transition.target.deployment, enforced, tuple(fields), sample, count)


def summary(drift: Drift, *, repaired: bool) -> str:
    """One line: what was found in place of what, and put right; or what is found, and should be otherwise."""

    def pair(found: str, wanted: str) -> str:
        return f"{found} → {wanted}" if repaired else f"is {found}, was {wanted}"

    join = ": " if repaired else " "
    if drift.sample:
        first = drift.sample[0]
        more = f", and {drift.count - 1} more" if drift.count > 1 else ""
        return printable(f"{first['path']}{join}{pair(_look(first['after']), _look(first['before']))}{more}")
    exists = next((each for each in drift.fields if each["field"] == list(EXISTS)), None)
    if exists is not None:
        return "was gone" if repaired and not exists["after"] else "is gone" if not exists["after"] else "came back"
    parts = [
        f"{'.'.join(each['field'])}{join}{pair(_value(each['after']), _value(each['before']))}" for each in drift.fields
    ]
    more = f"; and {len(parts) - 3} more" if len(parts) > 3 else ""
    return printable("; ".join(parts[:3]) + more)


def _look(look: Mapping[str, Json]) -> str:
    return ":".join(str(look[part]) for part in ("owner", "group", "mode") if look.get(part) is not None)


def _value(value: Json) -> str:
    if value is None:
        return "not there"
    if isinstance(value, Mapping) and value.get("secret"):
        return "a secret"
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "…") if isinstance(value, str) else text[:60]
