"""What would be left without an owner if an account or group number went: files and processes."""

from __future__ import annotations

import time
from itertools import islice

from ..core.kind import Context
from ..formats.text import printable
from ..host.port import Observer
from ..model import Address
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
    for prospect in context.planned.values():
        if prospect.target.options.get("skip_conflicts") and kinds().spans(prospect.target.address):
            kept = [c for c in prospect.conflicts if str(c.found).split(":")[part] == name]
            reasons += [f"{c.field[0]} still belongs to it and is left alone as a conflict" for c in kept]
    own = [address.name for address in context.targets if kinds().located(address) and _settled(context, address)]
    skip = [*own, *context.spared]
    hits = list(islice(host.owned(uid, gid, skip), SHOWN + 1))
    if hits:
        more = " and more" if len(hits) > SHOWN else ""
        listed = ", ".join(printable(path) for path in hits[:SHOWN])
        reasons.append(f"files outside the deployment belong to it: {listed}{more}")
    return reasons


def running(host: Observer, context: Context, uid: int | None, gid: int | None) -> list[str]:
    """The live processes that have this number; before its turn those of the deployment's daemons do not count."""
    daemons = {a.name for a in context.targets if kinds().runs(a)}
    found = []
    for process in host.processes():
        if uid not in process.uids and gid not in process.gids | process.groups:
            continue
        if not context.fix and process.cgroup.rsplit("/", 1)[-1] in daemons:
            continue
        found.append(f"process {process.pid} ({printable(process.name)}) runs with it")
    return found


def _settled(context: Context, address: Address) -> bool:
    target = context.targets[address]
    return bool(target.give_back) or target.wish is not None
