"""What would be left without an owner if an account or group number went: files and processes."""

from __future__ import annotations

import time

from ..core.kind import Context, Proposal
from ..formats.text import printable
from ..host.port import Observer
from ..model import Address, Unknown
from . import kinds

SHOWN = 10
PATIENCE = 50


def left_behind(host: Observer, context: Context, name: str, uid: int | None, gid: int | None) -> list[str]:
    """Files outside the deployment, and live processes, that still have this number.

    What this plan gives back anyway does not count: the deployment's own paths, its quarantine, its daemons with
    their processes and runtime directories.  At the removal's own turn only processes are looked at again.
    """
    reasons = running(host, context, uid, gid)
    if context.fix:
        # A daemon that was stopped a moment ago may leave children that are still on their way out.
        for _ in range(PATIENCE):
            if not reasons:
                break
            time.sleep(0.1)
            reasons = running(host, context, uid, gid)
        return reasons
    part = 0 if uid is not None else 1
    for prospect in _skipping(context):
        kept = [c for c in prospect.conflicts if str(c.found).split(":")[part] == name]
        reasons += [f"{c.field[0]} still belongs to it and is left alone as a conflict" for c in kept]
    if hits := _owned(host, context, ("uid", uid) if uid is not None else ("gid", gid or 0)):
        more = " and more" if len(hits) > SHOWN else ""
        listed = ", ".join(printable(path) for path in hits[:SHOWN])
        reasons.append(f"files outside the deployment belong to it: {listed}{more}")
    return reasons


def _skipping(context: Context) -> list[Proposal]:
    """What spans paths, and leaves some alone as conflicts."""
    spans = context.once("spans", lambda: [address for address in context.targets if kinds().spans(address)])
    found = (context.planned[address] for address in spans if address in context.planned)
    return [prospect for prospect in found if prospect.target.options.get("skip_conflicts")]


Number = tuple[str, int]
"""Of a user (``uid``) or of a group (``gid``)."""


def _owned(host: Observer, context: Context, asked: Number) -> list[str]:
    """Paths outside the deployment that have a number: one walk finds those of all that is to go."""
    found: dict[Number, list[str]] = context.once("owned", dict)
    if asked not in found:
        numbers = {asked, *(() if host.recorded else _going(host, context))} - found.keys()
        found |= {number: [] for number in numbers}
        own = [a.name for a in context.targets if kinds().located(a) and _settled(context, a)]
        uids, gids = ({n for part, n in numbers if part == which} for which in ("uid", "gid"))
        for path, owner, group in host.owned(uids, gids, [*own, *context.spared]):
            for number in (("uid", owner), ("gid", group)):
                if number in numbers and len(found[number]) <= SHOWN:
                    found[number].append(path)
    return found[asked]


def _going(host: Observer, context: Context) -> set[Number]:
    """The numbers of all that this plan may take away."""
    going = (a for a, target in context.targets.items() if target.wish is None and kinds().owns(a))
    states = ((kinds()[a.kind], kinds()[a.kind].read(host, a.name)) for a in going)
    return {number for kind, state in states if not isinstance(state, Unknown) for number in kind.numbers(state)}


def running(host: Observer, context: Context, uid: int | None, gid: int | None) -> list[str]:
    """The live processes that have this number; before its turn those of the deployment's daemons do not count."""
    found = []
    for process in host.processes():
        if uid not in process.uids and gid not in process.gids | process.groups:
            continue
        unit = process.cgroup.rsplit("/", 1)[-1]
        if context.fix or not any(map(kinds().runs, kinds().called(unit, context.targets))):
            found.append(f"process {process.pid} ({printable(process.name)}) runs with it")
    return found


def _settled(context: Context, address: Address) -> bool:
    target = context.targets[address]
    return bool(target.give_back) or target.wish is not None
