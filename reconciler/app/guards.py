"""What must hold before a run changes anything, and what may forbid it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.options import Options
from ..core.plan import POLICY, Plan
from ..engine.survey import Surveyor, hostname
from ..errors import HostError, Refused, Tampered, Unseen
from ..log.store import LogReader

APPROVERS = "/etc/reconciler/approvers"
"""Where this file is, only plans that somebody in it signed are applied; its form is ssh's allowed_signers."""


def tampering(log: LogReader) -> list[dict[str, Any]]:
    """All that is wrong with a log that is not as we left it."""
    if log.untouched():
        return []
    from ..log.chain import verify  # noqa: PLC0415 - start-up counts

    return verify(log).problems


def trouble(log: LogReader) -> str | None:
    """What is wrong with a log that was tampered with; None where nothing is."""
    problems = tampering(log)
    return str(problems[0]["what"]) if problems else None


def intact(log: LogReader) -> None:
    """Refuse to build on a log that was tampered with."""
    if (what := trouble(log)) is not None:
        raise Tampered(
            f"{log.path}: {what}; look with 'reconciler log verify', and restore the log from a backup, "
            "or decide with --accept-tampered-log to go on with what is left"
        )


def nothing_awaited(surveyor: Surveyor) -> None:
    """Refuse any run while another waits to be confirmed."""
    for name, until in surveyor.ledger.awaiting.items():
        raise Refused(f"{name} waits for 'reconciler confirm' until {until[:19]}Z; confirm it or roll it back first")


def refused(plan: Plan, options: Options) -> str | None:
    """Why this plan must not be carried out; None where it may."""
    forbidden = [item for item in plan.blocked if item.address.kind == POLICY]
    if forbidden and options.skip_blocked:
        return f"{len(forbidden)} forbidden by an access policy, which --skip-blocked does not leave out"
    if plan.blocked and not options.skip_blocked:
        return f"{len(plan.blocked)} blocked; mend that, or leave it out with --skip-blocked"
    if plan.conflicts and not (options.force or options.skip_conflicts):
        return f"{len(plan.conflicts)} changed by someone else; --force takes them, --skip-conflicts leaves them"
    if options.max_changes is not None and len(plan.transitions) > options.max_changes:
        return f"{len(plan.transitions)} transitions are more than --max-changes {options.max_changes} allows"
    removed = sum(t.verb == "remove" for t in plan.transitions)
    if options.max_removals is not None and removed > options.max_removals:
        return f"{removed} removals are more than --max-removals {options.max_removals} allows"
    if options.max_paths is not None:
        paths = sum(t.prospect.facts.get("counts", {}).get("differ", 0) for t in plan.transitions)
        if paths > options.max_paths:
            return f"{paths} paths are more than --max-paths {options.max_paths} allows"
    return None


def foresee(surveyor: Surveyor, plan: Plan, documents: Sequence[Any] = ()) -> None:
    """Say what a plan changes in who may do what, and block what a policy forbids."""
    if not (plan.transitions or any(document.access for document in documents)):
        return
    from ..access.changes import consider  # noqa: PLC0415 - start-up counts

    try:
        plan.access = consider(surveyor.host, plan, documents, hostname(surveyor.host)).json()
    except Unseen:
        return
    except HostError as error:
        plan.notes.append(f"who may do what after this could not be found out: {error}")
