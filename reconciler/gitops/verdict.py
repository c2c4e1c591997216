"""Whether a commit is to be applied now.  Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..core.ledger import Ledger, Run
from ..errors import Refused
from .repository import Commit


def last_of(ledger: Ledger, repository: str, path: str) -> Run | None:
    """The last run that brought a commit of this repository and path about, or tried to."""
    wanted = {"repository": repository, "path": path}
    return next((run for run in ledger.runs() if run.origin and wanted.items() <= run.origin.items()), None)


def paused(ledger: Ledger) -> str | None:
    """Why nothing unattended happens on this host now; None where nobody suspended it."""
    told = ledger.suspended
    return None if told is None else f"suspended since {told['at'][:19]}Z: {told['why']}; 'reconciler resume' ends that"


def skipped(ledger: Ledger, commit: Commit, path: str) -> str | None:
    """Why a commit is not looked at again; None for one that is new.

    Every commit gets one run: what came of it stays until another one comes.
    """
    short = commit.id[:12]
    undone = ledger.held_back.get(commit.id)
    if undone is not None:
        why = "a newer commit or 'reconciler resume' ends that"
        return f"commit {short} is held back, since run {undone} was rolled back; {why}"
    last = last_of(ledger, commit.repository, path)
    # A run that was cut off is no run; one that was undone counts no more once somebody said resume.
    if last is None or last.commit != commit.id or last.outcome is None or last.number in ledger.undone():
        return None
    return f"commit {short} had its run: {last.id}, {last.outcome}"


def refuse_rewind(
    ledger: Ledger, commit: Commit, path: str, follows: Callable[[str, str], bool], *, allowed: bool
) -> None:
    """Refuse a commit that does not have the last one in its history."""
    last = last_of(ledger, commit.repository, path)
    if last is None or last.commit is None or allowed or follows(last.commit, commit.id):
        return
    raise Refused(
        f"{commit.repository}: {commit.ref} is at {commit.id[:12]}, which does not follow {last.commit[:12]} of run "
        f"{last.id}: it was rewound or is another history; if that was meant, say --allow-rewind once"
    )
