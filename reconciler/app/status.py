"""What is, against what we left and against what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ..access.becoming import Becoming
from ..access.policy import policy, policy_text
from ..access.processes import processes
from ..access.scene import Scene
from ..core.goals import Goals
from ..core.kind import Context, Proposal
from ..core.options import Options
from ..core.plan import Plan
from ..desired.documents import Document
from ..engine.survey import Surveyor, hostname
from ..history.causes import UNKNOWN, Asked, cause, changed
from ..host.held import Glimpse
from ..kinds import kinds
from ..model import EXISTS, MARK, Absent, Json, Target, Unknown
from .guards import intact
from .place import Place
from .request import Request


def status(surveyor: Surveyor, documents: Iterable[Document], goals: Goals, plan: Plan, context: Context) -> list[Json]:
    """One entry a deployment, in the order of the documents; what only the log knows comes last."""
    by_name: dict[str, list[Json]] = {}
    blocked, seen_at = {b.address: b.reason for b in plan.blocked}, Glimpse(surveyor.host)
    for address, target in (goals.targets | goals.audit).items():
        prospect = kinds()[address.kind].prospect(seen_at, target, context)
        context.planned[address] = prospect
        by_name.setdefault(target.deployment, []).append(
            resource(surveyor, seen_at, target, prospect, blocked.get(address))
        )
    found = []
    becoming = Becoming(Scene(surveyor.host), hostname(surveyor.host))
    for document in documents:
        name, mode = document.name, document.mode
        listed = by_name.pop(name, [])
        seen = beside(surveyor, document, becoming)
        how = state(listed, broken=bool(surveyor.ledger.deployments().get(name)) and breaks(seen))
        found.append({"name": name, "mode": mode, "policy": document.policy, "state": how, "resources": listed, **seen})
    for name in goals.orphaned:
        held = surveyor.ledger.deployments().get(name, [])
        listed = [resource(surveyor, seen_at, Target(address, name), None, None) for address in held]
        found.append({"name": name, "mode": None, "policy": "enforce", "state": "orphaned", "resources": listed})
    return found


def beside(surveyor: Surveyor, document: Document, becoming: Becoming) -> dict[str, Json]:
    """What holds of a deployment besides its resources: its processes, its access policy, its accounts' ways up."""
    host = surveyor.host
    who = {name for wished in document.resources for name in wished.resource.subjects()}
    running = processes(host, document) if host.live else []
    if not who and not document.access:
        return {"processes": running, "access": [], "escalation": []}
    found = policy(document.access, becoming.scene, becoming, deep=True)
    return {
        "processes": running,
        "access": [item | {"text": policy_text(item)} for item in found],
        "escalation": list(dict.fromkeys(str(edge) for edge in becoming.edges if edge.who in who - {"root"})),
    }


def breaks(seen: dict[str, Json]) -> bool:
    """Whether a process is not who it should be, or somebody can what the policy forbids."""
    return any(p["drift"] for p in seen["processes"]) or any(item["more"] for item in seen["access"])


def state(resources: list[Json], *, broken: bool = False) -> str:
    """What the worst of the resources amounts to."""
    if any(item.get("reason") for item in resources):
        return "blocked"
    if broken or any(item["applied_actual"] != " " for item in resources):
        return "drifted"
    return "pending" if any(item["actual_desired"] != " " for item in resources) else "converged"


def resource(surveyor: Surveyor, host: Any, target: Target, prospect: Proposal | None, reason: str | None) -> Json:
    """The two columns of one thing, and the fields that differ."""
    address = target.address
    kind = kinds().get(address.kind)
    item: dict[str, Json] = {
        "address": str(address),
        "applied_actual": " ",
        "actual_desired": " ",
        "cause": None,
        "fields": [],
    }
    if reason:
        item["reason"] = reason
    if kind is None:
        return item | {"cause": "unknown kind"}
    held = surveyor.ledger.holds.get(address, {})
    seen = (
        prospect.before
        if prospect and not prospect.blocked
        else kind.see(host, address.name, [(name, surveyor.unseal(hold.current)) for name, hold in held.items()])
    )
    wanted = {c.field: c for s in (prospect.steps if prospect else ()) for c in s.changes}
    parts = []
    if not isinstance(seen, Unknown):
        for name in dict.fromkeys([*held, *wanted]):
            hold = held.get(name)
            actual = kind.value(seen, name)
            drifted = False
            if kind.spans and name != EXISTS:
                drifted = hold is not None and bool(prospect and prospect.steps and target.wish is not None)
            elif hold is not None:
                drifted = kind.altered(name, actual, surveyor.unseal(hold.current))
            if drifted:
                item["applied_actual"] = "D" if isinstance(seen, Absent) else "M"
            if name != MARK and (drifted or name in wanted):
                change = wanted.get(name)
                shown = change.shown if change else (kind.display(name, actual), kind.display(name, actual))
                applied = kind.display(name, surveyor.unseal(hold.current)) if hold and not kind.spans else None
                parts.append({"field": list(name), "applied": applied, "actual": shown[0], "desired": shown[1]})
    if prospect and prospect.steps:
        verb = prospect.steps[0].verb
        item["actual_desired"] = {"create": "A", "remove": "D"}.get(verb, "M")
    if item["applied_actual"] != " ":
        cut_off = any(started.address == str(address) for started in surveyor.ledger.open.values())
        told = [part["path"] for part in (prospect.facts.get("sample", ()) if prospect else ())]
        item["cause"] = drift_cause(surveyor, tuple(told or kind.edits(address.name)), cut_off=cut_off)
    return item | {"fields": parts}


def drift_cause(surveyor: Surveyor, paths: tuple[str, ...], *, cut_off: bool) -> str:
    """What probably changed some paths, by the time at which they did."""
    span = changed(surveyor.host, paths)
    if span is None and not cut_off:
        return UNKNOWN.text
    now = datetime.now(UTC)
    since, until = span or (now, now)
    return cause(surveyor.host, Asked(paths, since, until, interrupted=cut_off)).text


def looked(place: Place, paths: tuple[str, ...]) -> tuple[list[Json], Json]:
    """What is, against what was left and what files ask for; and who suspended unattended runs, if anybody did."""
    request, log = Request(place.observer(), paths), place.reader()
    intact(log)
    surveyor, options = Surveyor(place.observer(), log), Options()
    goals, desired, _ = request.prepare(surveyor)
    plan = surveyor.survey(goals, options, desired)
    request.hindered(surveyor, plan)
    found = status(surveyor, request.documents, goals, plan, surveyor.context(goals, options))
    return found, surveyor.ledger.suspended
