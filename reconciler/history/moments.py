"""Moments in the log as people name them: a run, an event's number, a time, a commit."""

from __future__ import annotations

import re
from datetime import datetime

from ..core.ledger import Ledger, number_of
from ..errors import ReconcilerError, Refused, Usage
from ..log.store import LogReader, timestamp


def moment(log: LogReader, ledger: Ledger, text: str, option: str = "--to") -> int:
    """The number of the last event of a run, of a time, of a commit, or the number itself."""
    found: set[int] = set()
    if re.fullmatch(r"r[0-9]+", text):
        found |= {run.last for run in [ledger.run(text)] if run}
    elif re.fullmatch(r"[0-9]{1,18}", text) and int(text) <= ledger.seq:
        found.add(int(text))
    if re.fullmatch(r"[0-9a-f]{7,64}", text):
        found |= {run.last for run in ledger.runs() if (run.commit or "").startswith(text)}
    if re.match(r"\d{4}-\d\d-\d\d", text):
        found.add(log.last_before(time_of(text, option)))
    elif not re.fullmatch(r"r?[0-9]+|[0-9a-f]{7,64}", text):
        raise Usage(f"{option} {text!r}: no run (r17), event number, time or commit")
    start = log.archived().seq
    if found and max(found) < start:
        raise Refused(f"{option} {text}: the events up to {start} were archived; look into the archive that holds them")
    if len(found) > 1:
        raise Usage(f"{option} {text}: stands for more than one moment; name the run instead")
    if not found and start and 0 < number_of(text) <= ledger.count:
        raise Refused(f"{option} {text}: that run was archived; look into the archive that holds it")
    if not found:
        raise ReconcilerError(
            f"{option} {text}: the log has no such run, event, time or commit; see 'reconciler history'"
        )
    return found.pop()


def time_of(text: str, option: str) -> str:
    """A time as events carry it; one without a zone is local."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"{option} {text}: no time; write it like 2026-01-31T12:00:00Z") from None
    return timestamp(told)
