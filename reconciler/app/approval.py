"""Who has to agree: an approver's signature before a run, and somebody's word that it may stay after it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from ..core.options import Options
from ..errors import Refused, Usage
from ..log.store import now, timestamp
from .guards import APPROVERS
from .place import Place
from .plan_file import NAMESPACE
from .run import record
from .signatures import signer_of
from .undo import Rollback


def approver(place: Place, plan_file: str | None) -> str | None:
    """Who approved a saved plan; None where this host asks for no approval.  Refuses what no approver signed."""
    host = place.observer()
    if host.read(APPROVERS) is None:
        return None
    how = f"ssh-keygen -Y sign -n {NAMESPACE} -f KEY FILE"
    if plan_file is None:
        raise Refused(f"{APPROVERS}: this host applies saved plans that an approver signed; 'plan --out FILE', '{how}'")
    approvers = os.path.join(host.where, APPROVERS.lstrip("/"))
    signature = f"{plan_file}.sig"
    if not os.path.exists(signature):
        raise Refused(f"{signature}: there is no signature of an approver; {how}")
    who = signer_of(plan_file, approvers, NAMESPACE)
    if who is None:
        raise Refused(f"{signature}: is no signature of this plan by anybody in {APPROVERS}; {how}")
    return who


def deadline(within: float | None) -> str | None:
    """The time until which somebody has to confirm, ``within`` seconds from now."""
    return None if within is None else timestamp(datetime.now(UTC) + timedelta(seconds=within))


def waiting(place: Place) -> dict[str, str]:
    """The runs that are undone unless somebody confirms them: until when."""
    return dict(place.ledger().awaiting)


def confirm(place: Place, run: str | None) -> list[str]:
    """Keep a run that waits, or all of them; answers with those that were kept."""
    due = waiting(place)
    if run is not None and run not in due:
        raise Usage(f"{run} waits for no confirmation" + (f"; {', '.join(due)} does" if due else ""))
    kept = [run] if run is not None else list(due)
    if kept:
        record(place, "confirm", {"confirms": kept})
    return kept


def expired(place: Place) -> tuple[str, str, Rollback] | None:
    """A run that nobody confirmed in time: its name, until when it waited, and the aim that undoes it."""
    ledger = place.ledger()
    for name, until in ledger.awaiting.items():
        found = ledger.run(name)
        if found is not None and until <= now():
            options = Options(skip_conflicts=True, keep_going=True)
            return name, until, Rollback(str(found.first - 1), options=options)
    return None


def leave_waiter(place: Place) -> None:
    """Leave a process behind that undoes what nobody confirms; after a reboot a unit does it."""
    words = [sys.executable, "-m", "reconciler", "confirm", "--expire", "--wait", *place.words()]
    subprocess.Popen(
        words, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/",
    )  # fmt: skip
