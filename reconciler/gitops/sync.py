"""What a repository may do to this host: each commit once, signed, after the last one, within its windows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..app.approval import approver
from ..app.guards import nothing_awaited
from ..app.place import Place
from ..app.request import Request
from ..app.run import Ended, View, carry_out, record
from ..core.options import Options
from ..engine.survey import Surveyor
from ..errors import ReconcilerError, Refused
from ..model import Json
from .repository import Commit, Repository, SourceError, Trust
from .verdict import last_of, paused, refuse_rewind, skipped
from .windows import Window, opens


@dataclass(frozen=True)
class Turn:
    """What came of one look at the repository."""

    state: str
    """ok, waiting or failed."""
    message: str
    code: int
    commit: str | None = None
    run: str | None = None
    ended: Ended | None = None
    """What came of the run, where there was one."""


@dataclass(frozen=True)
class Sync:
    """One repository and what it may do to this host."""

    place: Place
    view: View
    repository: Repository
    ref: str
    path: str
    trust: Trust
    windows: tuple[Window, ...]
    options: Options
    allow_empty: bool
    allow_rewind: bool
    prune: bool
    patience: float = 60.0
    """Seconds to wait for another run."""

    def turn(self) -> Turn:
        """Look once; apply what is new."""
        commit: Commit | None = None
        try:
            if (why := self._paused()) is not None:
                return Turn("waiting", why, 0)
            with self.repository.held():
                commit = Commit(self.repository.url, self.ref, self.repository.fetch(self.ref), None)
                return self._decided(commit)
        except SourceError as error:
            with suppress(ReconcilerError):  # where another run holds the log, the next look tells it
                self._failed(str(error))
            return Turn("failed", f"{error}; what was applied last stays in force", error.exit_code)
        except ReconcilerError as error:
            return Turn("failed", str(error), error.exit_code, commit.id if commit else None)

    def _paused(self) -> str | None:
        return paused(self.place.ledger())

    def _decided(self, commit: Commit) -> Turn:
        ledger = self.place.ledger()
        if self.repository.url in ledger.failing:
            record(self.place, "sync", {"reached": [self.repository.url]})
        if (why := skipped(ledger, commit, self.path)) is not None:
            last = last_of(ledger, commit.repository, self.path)
            well = last is not None and last.outcome in ("converged", "unchanged")
            state = "waiting" if commit.id in ledger.held_back else "ok" if well else "failed"
            return Turn(state, why, 0, commit.id)
        refuse_rewind(ledger, commit, self.path, self.repository.follows, allowed=self.allow_rewind)
        commit = replace(commit, signer=self.repository.signer(self.ref, commit.id, self.trust))
        opening = opens(self.windows, datetime.now(UTC))
        if opening is not None:
            when = opening.astimezone().strftime("%a %Y-%m-%d %H:%M %Z")
            return Turn("waiting", f"commit {commit.id[:12]} waits for the maintenance window: {when}", 0, commit.id)
        return self._applied(commit)

    def _applied(self, commit: Commit) -> Turn:
        approver(self.place, None)
        contents = self.repository.read(commit.id, self.path)
        if not contents and not self.allow_empty:
            where = self.path or "the repository"
            raise Refused(
                f"{self.repository.url}: {where} holds no .yaml file at {commit.id[:12]}; --allow-empty takes that"
            )
        aim = Following(self, commit, contents)
        signed = f"signed by {commit.signer}" if commit.signer else "not signed"
        self.view.said(f"sync: commit {commit.id[:12]} of {commit.ref}, {signed}")
        ended = carry_out(self.place, aim, self.view, patience=self.patience)
        if ended.reason is not None:
            raise Refused(f"nothing was changed: {ended.reason}")
        run, code = last_of(self.place.ledger(), self.repository.url, self.path), ended.report.exit_code
        outcome = run.outcome if run else None
        name = run.id if run else None
        return Turn("ok" if code == 0 else "failed", f"{name}: {outcome}", code, commit.id, name, ended)

    def _failed(self, why: str) -> None:
        """Say in the log, once, that the repository cannot be read."""
        if self.repository.url not in self.place.ledger().failing:
            told = {"v": 1, "repository": self.repository.url, "ref": self.ref, "error": why}
            record(self.place, "sync", {}, "source.failed", told)


class Following(Request):
    """The request of one commit, which is looked at once more under the lock: another run may have been quicker."""

    def __init__(self, sync: Sync, commit: Commit, contents: Mapping[str, bytes]) -> None:
        """``contents``: of its files, by path."""
        super().__init__(
            sync.place.observer(), (), prune=sync.prune, contents=contents, origin=commit.origin(sync.path),
            verb="sync", options=sync.options,
        )  # fmt: skip
        self.sync, self.revision = sync, commit

    def prepare(self, surveyor: Surveyor) -> tuple[Any, Json, Mapping[str, Json]]:
        """As the commit says, if it still is to be applied."""
        if (why := paused(surveyor.ledger) or skipped(surveyor.ledger, self.revision, self.sync.path)) is not None:
            raise Refused(why)
        nothing_awaited(surveyor)
        found = super().prepare(surveyor)
        if not self.documents and not self.unknown and surveyor.ledger.deployments() and not self.sync.allow_empty:
            held, name = ", ".join(surveyor.ledger.deployments()), self.revision.id[:12]
            raise Refused(f"nothing in commit {name} is for this host, which holds {held}; --allow-empty")
        return found
