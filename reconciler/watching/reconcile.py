"""One turn of watch: look at what is concerned, decide whether anything may be done now, and do it.

A turn looks without the lock first: most events are our own writes, or change nothing that matters, and cost no more
than this look.  What is decided is decided again under the lock, since another run may have been quicker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..app.guards import APPROVERS, foresee, intact, refused
from ..app.request import Request
from ..app.run import Aim, Prepared, View, Where, carry_out, surveyor_at
from ..core.goals import Goals
from ..core.ledger import Ledger, Run, input_of
from ..core.options import Options
from ..core.plan import Plan, Transition
from ..engine.execute import moves
from ..engine.outcome import Report
from ..engine.survey import Surveyor, facts
from ..errors import Busy, Mistakes, ReconcilerError, Refused
from ..gitops.verdict import paused
from ..gitops.windows import Window, opens
from ..history.causes import BEFORE, SLACK, Asked, cause, changed
from ..host.actor import Who
from ..host.port import Observer, Scope
from ..kinds import kinds
from ..log.store import LogReader, timestamp
from ..model import Address, Json, Target
from .affected import Concern
from .away import Away
from .drift import Drift, drifts
from .flapping import Flapping

PATIENCE = 10.0
"""Seconds to wait for another run."""
LATER = 3600.0
"""Seconds until what failed is tried again, at most; it begins with two."""
FAILED = {"failed", "undone", "stuck", "stale"}
REPORTS = 5
"""Reports of one thing in a minute, at most."""
FAR = 200
"""Runs that are looked through for the one that brought a desired state about."""


@dataclass(frozen=True)
class Settings:
    """What a watch may do."""

    guards: Options = field(default_factory=Options)
    windows: tuple[Window, ...] = ()
    dry_run: bool = False
    because: str = ""
    """What a package manager's hook says has just happened."""


@dataclass
class Outcome:
    """What came of a turn."""

    state: str
    """converged, drifted (reported only), done, waiting, refused or failed."""
    message: str = ""
    drift: list[Drift] = field(default_factory=list)
    report: Report | None = None
    plan: Plan | None = None
    settled: str = ""
    """What came of a transition that was cut off before."""
    again: float | None = None
    """When to look once more, in seconds from now."""
    failed: frozenset[Address] = frozenset()
    """What a run tried and did not bring about."""
    code: int = 0
    seq: int = -1
    """The log's last event that was taken into account."""

    @property
    def run(self) -> str | None:
        """The run that this turn made."""
        return self.report.run if self.report else None


class Pinging(View):
    """Follows a run for whoever looks after this process; says nothing, and agrees."""

    def __init__(self, ping: Callable[[], None]) -> None:
        self.ping = ping

    @contextmanager
    def progress(self, plan: Plan) -> Iterator[Callable[[Transition, str], None]]:
        """Every transition is a sign of life."""
        yield lambda transition, outcome: self.ping()


class Waits(ReconcilerError):
    """Nothing at all is done now."""

    def __init__(self, why: str, settled: str, seq: int) -> None:
        super().__init__(why)
        self.settled, self.seq = settled, seq


class Reconciler:
    """Takes turns on one host."""

    def __init__(self, home: Where, settings: Settings, ping: Callable[[], None] = lambda: None) -> None:
        """``ping``: called with every transition, so that whoever looks after this process knows that it lives."""
        self.home, self.settings, self.view = home, settings, Pinging(ping)
        self.fights, self.away = Flapping(), Away()
        self.applied: str | None = None
        """The desired state that was last in force here."""
        self.told: dict[Address, str] = {}
        """Drift that was reported and is there still."""
        self._reports: dict[Address, list[float]] = {}
        self._seen = 0
        self.looked = datetime.now(UTC) - BEFORE
        """When everything was as it should be for the last time."""

    def remember(self, log: LogReader) -> None:
        """Take up from the log where an earlier watch left off: its fights, and what it reported."""
        since = log.last_before(timestamp(datetime.now(UTC) - timedelta(hours=1)))
        for event in log.events(since):
            if event.type != "drift.found" or "fields" not in event.data or event.address is None:
                continue
            data = event.data
            one = Drift(
                Address.parse(event.address), str(event.deployment), data["policy"] == "enforce",
                tuple(data["fields"]), tuple(data.get("sample", ())), data.get("count", 0),
                conflict=data["action"] == "conflict",
            )  # fmt: skip
            if data["action"] == "repair":
                ago = datetime.now(UTC) - datetime.fromisoformat(event.at.replace("Z", "+00:00"))
                self.fights.corrected(one.keys, time.monotonic() - max(0.0, ago.total_seconds()))
            else:
                self.told[one.address] = one.signature

    def turn(self, wanted: Request, concern: Concern) -> Outcome:
        """Look, and do what is to be done."""
        try:
            return self._turn(wanted, concern)
        except Busy as error:
            return Outcome("waiting", str(error), again=1.0, code=error.exit_code)
        except Mistakes:
            raise
        except Refused as error:
            return Outcome("refused", str(error), code=error.exit_code)
        except ReconcilerError as error:
            return Outcome("failed", str(error), again=LATER, code=error.exit_code)

    def _turn(self, wanted: Request, concern: Concern) -> Outcome:
        log = self.home.reader()
        intact(log)
        surveyor = surveyor_at(self.home, self.home.observer(), log)
        seq = surveyor.ledger.seq
        if seq < self._seen:
            what = f"ends at event {seq}, and was at {self._seen} before: it was removed or replaced"
            raise Refused(f"{log.path}: {what}; put it back, or restart the watch to begin a new one")
        self._seen = seq
        if why := self._hindered(surveyor.ledger, wanted):
            return Outcome("waiting", why, again=self._due(surveyor.ledger), seq=seq)
        plan, goals, _ = self._planned(surveyor, wanted, concern)
        listed = drifts(surveyor, plan, applied=self._in_force(surveyor.ledger, wanted))
        there = {each.address for each in listed}
        for address in [a for a in self.told if a not in there and (concern.everything or a in concern.addresses)]:
            del self.told[address]
        found = self._new(listed)
        looked = Outcome("converged", plan=plan, seq=seq)
        if concern.everything and not (plan.transitions or plan.audit or plan.blocked):
            self.looked = datetime.now(UTC)
        due = self.fights.next(time.monotonic())
        if due is not None:
            looked.again = max(0.1, due - time.monotonic())
        elsewise = self._report_only(surveyor)
        reason = refused(plan, self._options(concern))
        pending = bool(plan.transitions or surveyor.ledger.open) or moves(plan, goals)
        if elsewise is not None and (pending or found):
            looked.again = elsewise[1]
            return self._reported(looked, wanted, concern, found, elsewise[0])
        if reason is not None:
            reported = self._reported(looked, wanted, concern, found, f"nothing was changed: {reason}")
            return replace(reported, state="refused", code=3)
        if not pending:
            if found:
                return self._reported(looked, wanted, concern, found, "")
            if concern.everything or concern.desired:
                self.applied = self._input(wanted)
            return looked
        if self.settings.dry_run:
            return self._reported(looked, wanted, concern, found, "a dry run: nothing is changed")
        return self._act(wanted, concern, looked)

    def _act(self, wanted: Request, concern: Concern, looked: Outcome) -> Outcome:
        """Under the lock: look once more, and carry it out."""
        aim = Repair(self, wanted, concern)
        try:
            ended = carry_out(self.home, aim, self.view, patience=PATIENCE)
        except Waits as why:
            return Outcome("waiting", str(why), settled=why.settled, seq=why.seq)
        plan, report = ended.plan, ended.report
        if ended.reason is not None:
            message = f"nothing was changed: {ended.reason}"
            return replace(looked, state="refused", message=message, code=3, plan=plan, settled=ended.settled)
        looked.seq = self._seen = ended.seq
        for each in aim.audited:
            self.told[each.address] = each.signature
        for each in aim.found:
            self.told.pop(each.address, None)
        if report.outcome in ("converged", "unchanged", "partial") and (concern.everything or concern.desired):
            self.applied = self._input(wanted)
        code = report.exit_code
        failed = frozenset(t.address for t, result, _ in report.transitions if result in FAILED)
        trouble = [f"{t.verb} {t.address}: {error}" for t, result, error in report.transitions if result in FAILED]
        again = LATER if failed or code == 1 else looked.again
        return replace(
            looked, state="failed" if failed or code == 1 else "done", drift=aim.found + aim.audited, report=report,
            plan=plan, settled=ended.settled, code=code, again=again, message="; ".join(trouble[:3]), failed=failed,
        )  # fmt: skip

    def _reported(self, looked: Outcome, wanted: Request, concern: Concern, found: list[Drift], why: str) -> Outcome:
        """Drift that is told and left."""
        host = self.home.observer()
        found = [self._caused(host, each, concern) for each in found if self._untold(each)]
        if found and not self.settings.dry_run:
            aim = Telling(self, wanted, concern, found)
            ended = carry_out(self.home, aim, self.view, patience=PATIENCE)
            found, looked.seq = aim.found, ended.seq
            self._seen = ended.seq
            looked = replace(looked, report=ended.report)
        for each in found:
            self.told[each.address] = each.signature
            self._reports.setdefault(each.address, []).append(time.monotonic())
        return replace(looked, state="drifted", drift=found, message=why)

    def _planned(self, surveyor: Surveyor, wanted: Request, concern: Concern) -> tuple[Plan, Any, Mapping[str, Json]]:
        """The plan for what is concerned, without what we step back from."""
        wanted.without = self.away.stays(surveyor.log, surveyor.ledger, wanted)
        goals, desired, more = wanted.prepare(surveyor)
        options = self._options(concern)
        known = {**goals.audit, **goals.targets}
        if not (concern.everything or concern.desired):
            only = tuple(sorted(a for a in _with_dependents(concern.addresses, goals.targets) if a in known))
            # Trees that are not concerned are there for who depends on them, and nothing in them is looked at.
            scopes = {a: concern.scope(a) if a in concern.addresses else Scope() for a in known if kinds().spans(a)}
            off = {a: self._off(a) for a in concern.addresses if kinds().spans(a)}
            scopes = {a: _less(scope, off.get(a, frozenset())) for a, scope in scopes.items()}
            options = replace(options, only=only, scopes={a: s for a, s in scopes.items() if s is not None})
            if not only:
                return Plan(None, desired), goals, more
        plan = surveyor.survey(goals, options, desired, self.home.identity(facts(surveyor.host)))
        wanted.hindered(surveyor, plan)
        self._step_back(plan)
        return plan, goals, more

    def _step_back(self, plan: Plan) -> None:
        """Leave out what somebody else fights for, and the restarts that would follow from it."""
        now = time.monotonic()

        def fought(address: Address, fields: Iterable[tuple[str, ...]]) -> bool:
            wanted = [(str(address), *each) for each in fields] if not kinds().spans(address) else [(str(address),)]
            return any(self.fights.until(key, now) is not None for key in wanted)

        off = {t.address for t in plan.transitions if fought(t.address, (c.field for c in t.step.changes))}
        if off:
            stays = {t.address for t in plan.transitions} - off

            def idle(t: Transition) -> bool:
                return t.verb == "restart" and bool(off.intersection(t.requires)) and not stays.intersection(t.requires)

            plan.transitions = [t for t in plan.transitions if t.address not in off and not idle(t)]

    def _off(self, tree: Address) -> frozenset[bytes]:
        """The paths of a tree that are left alone now, relative to its top."""
        now, top = time.monotonic(), tree.name.rstrip("/") + "/"
        fought = [key[1] for key in self.fights.going_on(now) if key[0] == str(tree)]
        return frozenset(path[len(top) :].encode("utf-8", "surrogateescape") for path in fought)

    def _counted(self, drift: Drift) -> Drift:
        """Count a correction; where it is one too many, say so."""
        now = time.monotonic()
        process = drift.cause.details.get("process") if isinstance(drift.cause.details, dict) else None
        who = (process["name"] or "a process that ended at once") if process else ""
        self.fights.corrected(drift.keys, now, who)
        going = {key: fight for key, fight in self.fights.going_on(now).items() if key in drift.keys}
        if not going:
            return drift
        until = max(fight.until for fight in going.values())
        others = sorted({name for fight in going.values() for name in fight.others})
        when = wall(until, now).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = [list(key[1:]) for key in going]
        return replace(drift, fight={"fields": fields, "with": others[:5], "until": when})

    def _caused(self, host: Observer, drift: Drift, concern: Concern, *, interrupted: bool = False) -> Drift:
        """The drift with its likely cause."""
        now = datetime.now(UTC)
        whos: list[Who] = []
        wanted = set(drift.paths)
        for notice in concern.notices.get(drift.address, ()):
            if notice.who is not None and (notice.path in wanted or notice.whole or not kinds().spans(drift.address)):
                whos.append(notice.who)
        since = now - timedelta(seconds=10) if drift.address in concern.notices else self.looked
        span = changed(host, drift.paths)
        if span is not None:
            since = span[0] - SLACK
            now = now if drift.address in concern.notices else span[1]
        asked = Asked(drift.paths, since, now, tuple(dict.fromkeys(whos)), interrupted, self.settings.because)
        return replace(drift, cause=cause(host, asked))

    def because(self) -> dict[str, Json]:
        """What a run's first event says of why it is made."""
        return {"because": self.settings.because} if self.settings.because else {}

    def _new(self, found: Iterable[Drift]) -> list[Drift]:
        """What was not told before; what is right again may be told again later."""
        return [each for each in found if each.corrected or self._untold(each)]

    def _untold(self, drift: Drift) -> bool:
        """Whether drift that is left as it is has to be told: once, and not as often as somebody makes it differ."""
        if self.told.get(drift.address) == drift.signature:
            return False
        now, before = time.monotonic(), self._reports.get(drift.address, [])
        self._reports[drift.address] = recent = [at for at in before if now - at < 60.0]
        return len(recent) < REPORTS

    def _options(self, concern: Concern) -> Options:
        return replace(self.settings.guards, skip_conflicts=True)

    def _hindered(self, ledger: Ledger, wanted: Request) -> str:
        """Why nothing at all is done now; empty where something may be."""
        if (why := paused(ledger)) is not None:
            return why
        known = self._input(wanted)
        if known is not None and known in ledger.held_back:
            run = ledger.held_back[known]
            return f"held back, since run {run} was rolled back; other files or 'reconciler resume' end that"
        for run, until in ledger.awaiting.items():
            return f"{run} waits for 'reconciler confirm' until {until[:19]}Z"
        return ""

    def _due(self, ledger: Ledger) -> float | None:
        """When somebody who has to confirm a run is late."""
        return 5.0 if ledger.awaiting else None

    def _report_only(self, surveyor: Surveyor) -> tuple[str, float | None] | None:
        """Why drift is reported and not corrected now, and when that ends."""
        if surveyor.host.read(APPROVERS) is not None:
            return f"{APPROVERS}: this host applies saved plans that an approver signed", None
        now = datetime.now(UTC)
        opening = opens(self.settings.windows, now)
        if opening is not None:
            when = opening.astimezone().strftime("%a %Y-%m-%d %H:%M %Z")
            return f"waits for the maintenance window: {when}", max(1.0, (opening - now).total_seconds())
        return None

    def _input(self, wanted: Request) -> str | None:
        files = [{"path": path, "sha256": digest} for path, digest in sorted(wanted.desired.files.items())]
        return input_of(wanted.commit, {"files": files})

    def _in_force(self, ledger: Ledger, wanted: Request) -> bool:
        """Whether this desired state was brought about before, so that what differs from it is drift."""
        known = self._input(wanted)
        if known == self.applied:
            return True
        last = next((run for run in _some(ledger) if run.input is not None), None)
        return last is not None and last.input == known and last.outcome in ("converged", "partial", "unchanged")


def _some(ledger: Ledger) -> Iterable[Run]:
    for count, run in enumerate(ledger.runs()):
        if count >= FAR:
            return
        yield run


def _less(scope: Scope | None, off: frozenset[bytes]) -> Scope | None:
    """A scope without the paths that are left alone."""
    return scope if scope is None or not off else Scope(scope.alone - off, scope.whole - off)


def _with_dependents(addresses: set[Address], targets: Mapping[Address, Target]) -> set[Address]:
    """Some things, and the daemons that have to be restarted when they change."""
    found = set(addresses)
    for address, target in targets.items():
        wish = target.wish
        if wish is not None and kinds().runs(address) and (target.requires | wish.requires()) & addresses:
            found.add(address)
    return found


def wall(at: float, now: float) -> datetime:
    """A moment of the monotonic clock in the time of day."""
    return datetime.now(UTC) + timedelta(seconds=at - now)


class Repair(Aim):
    """What is concerned is brought to what the files say; what was found drifted is said first."""

    verb = "watch"

    def __init__(self, turns: Reconciler, wanted: Request, concern: Concern) -> None:
        self.turns, self.wanted, self.concern = turns, wanted, concern
        self.found: list[Drift] = []
        """What is repaired."""
        self.audited: list[Drift] = []
        """What is only told."""

    def propose(self, surveyor: Surveyor, host: Json) -> Prepared:
        """As the turn planned, looked at once more."""
        turns, wanted, concern = self.turns, self.wanted, self.concern
        if why := turns._hindered(surveyor.ledger, wanted):
            raise Waits(why, "", surveyor.ledger.seq)
        plan, goals, more = turns._planned(surveyor, wanted, concern)
        in_force = turns._in_force(surveyor.ledger, wanted)
        if not in_force:
            foresee(surveyor, plan, wanted.documents)
        found = drifts(surveyor, plan, applied=in_force)
        cut_off = surveyor.cut_off
        found = [turns._caused(surveyor.host, d, concern, interrupted=str(d.address) in cut_off) for d in found]
        self.audited = turns._new([each for each in found if not each.corrected])
        options = turns._options(concern)
        repaired = [each for each in found if each.corrected]
        self.found = repaired if refused(plan, options) else [turns._counted(each) for each in repaired]
        said = [(each.deployment, each.address, each.json("repair")) for each in self.found]
        said += [(each.deployment, each.address, each.json("report")) for each in self.audited]
        return Prepared(plan, goals, options, {**more, **turns.because()}, said)


class Telling(Aim):
    """Drift is said in the log, and nothing is changed."""

    verb = "watch"

    def __init__(self, turns: Reconciler, wanted: Request, concern: Concern, found: list[Drift]) -> None:
        self.turns, self.wanted, self.concern, self.found = turns, wanted, concern, found

    def propose(self, surveyor: Surveyor, host: Json) -> Prepared:
        """What was found without the lock is told only where it is so still."""
        turns = self.turns
        plan, _, more = turns._planned(surveyor, self.wanted, self.concern)
        there = drifts(surveyor, plan, applied=turns._in_force(surveyor.ledger, self.wanted))
        still = {(each.address, each.signature) for each in there}
        self.found = [each for each in self.found if (each.address, each.signature) in still]
        said = [(each.deployment, each.address, each.json("report")) for each in self.found]
        return Prepared(Plan(host, plan.desired), Goals(), Options(), {**more, **turns.because()}, said)
