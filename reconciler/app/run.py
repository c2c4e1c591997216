"""The one way of a run: recover, look, guard, ask, execute, tell.

Commands, watch, sync and the tests say what a run is for (an `Aim`) and follow it (a `View`); all of them run here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..core.events import Draft
from ..core.goals import Goals
from ..core.ledger import Ledger
from ..core.options import Options
from ..core.plan import Plan
from ..engine.outcome import Report
from ..engine.survey import Surveyor, facts
from ..errors import LogError, Partial, ReconcilerError
from ..host.port import Host, Observer
from ..log.store import LogReader
from ..model import Address, Json
from .guards import foresee, intact, refused, tampering

if TYPE_CHECKING:
    from ..engine.execute import Engine
    from ..log.writer import LogWriter


class Where(Protocol):
    """A host and its log; `Place` is one."""

    remembered: Ledger | None
    """What the log amounted to when it was last asked."""

    def observer(self) -> Observer: ...
    def host(self) -> Host: ...
    def reader(self) -> LogReader: ...
    def writer(self, doing: str, patience: float) -> AbstractContextManager[LogWriter]: ...
    def identity(self, facts: dict[str, str | None]) -> Json: ...
    def started(self, verb: str, facts: dict[str, str | None], **more: Json) -> dict[str, Json]: ...


class View:
    """Whoever follows a run; this one says nothing, and agrees."""

    def said(self, text: str) -> None:
        """Something that people have to know on the way."""

    def planned(self, plan: Plan) -> None:
        """What would be done, before anybody is asked."""

    def refused(self, plan: Plan, reason: str) -> None:
        """What must not be done, and why."""

    def ask(self, plan: Plan) -> None:
        """Agree, or raise what ends the run with nothing changed."""

    def emptying(self, stores: Sequence[str]) -> None:
        """The quarantines that would be emptied; agree, or raise what ends the run with nothing changed."""

    def progress(self, plan: Plan) -> AbstractContextManager[Any]:
        """Gives what is called with every transition as it starts, and with its outcome."""
        return _silent()


@contextmanager
def _silent() -> Iterator[Any]:
    yield lambda transition, outcome: None


@dataclass
class Prepared:
    """What a run would do: the plan, what the books make of it, and what its first event says besides."""

    plan: Plan
    goals: Goals
    options: Options
    more: Mapping[str, Json] = field(default_factory=dict)
    drift: Sequence[tuple[str, Address, Json]] = ()
    """What was found changed, and is said in the log first: deployment, address and what is told of it."""


class Aim(ABC):
    """What a run is for."""

    verb: str

    @abstractmethod
    def propose(self, surveyor: Surveyor, host: Json) -> Prepared:
        """Look at the host; nothing is written.  Asked again under the lock, and what is said then counts."""


class Reach(Aim):
    """The aim of a run that brings goals about."""

    options: Options = Options()

    @abstractmethod
    def prepare(self, surveyor: Surveyor) -> tuple[Goals, Json, Mapping[str, Json]]:
        """The goals, what the plan says of its input, and what the run's first event says besides."""

    def examine(self, surveyor: Surveyor, plan: Plan) -> None:
        """What else is said of a plan, or blocked in it, before anybody sees it."""
        foresee(surveyor, plan)

    def propose(self, surveyor: Surveyor, host: Json) -> Prepared:
        """What the goals take, as the options allow it."""
        goals, desired, more = self.prepare(surveyor)
        plan = surveyor.survey(goals, self.options, desired, host)
        self.examine(surveyor, plan)
        return Prepared(plan, goals, self.options, more)


@dataclass
class Ended:
    """What came of a run."""

    report: Report
    plan: Plan
    reason: str | None = None
    """Why it was refused."""
    settled: str = ""
    """What came of a transition that an earlier run left half-done."""
    seq: int = -1
    """The log's last event."""


def surveyor_at(where: Where, host: Observer, log: LogReader) -> Surveyor:
    """A surveyor that goes on with what is known of the log."""
    surveyor = Surveyor(host, log, where.remembered)
    where.remembered = surveyor.ledger
    return surveyor


def _engine_at(where: Where, host: Host, log: LogWriter) -> Engine:
    """The same for what changes things."""
    engine = _engine(host, log, where.remembered)
    where.remembered = engine.ledger
    return engine


def _engine(host: Host, log: LogWriter, known: Ledger | None = None) -> Engine:
    from ..engine.execute import Engine  # noqa: PLC0415 - who only looks does not load it

    return Engine(host, log, known)


def look(where: Where, aim: Aim) -> tuple[Plan, str | None]:
    """Plan without writing anything; with the reason for which the run would be refused."""
    log = where.reader()
    intact(log)
    surveyor = surveyor_at(where, where.observer(), log)
    found = aim.propose(surveyor, where.identity(facts(surveyor.host)))
    return found.plan, refused(found.plan, found.options)


@contextmanager
def opened(where: Where, verb: str, patience: float) -> Iterator[Engine]:
    """A host and its log under the lock; refuses a log that was tampered with."""
    with where.writer(verb, patience) as log:
        intact(log)
        yield _engine_at(where, where.host(), log)


def carry_out(where: Where, aim: Aim, view: View, *, patience: float = 0.0, accept: bool = False) -> Ended:
    """Plan under the lock, ask, and do it.

    ``patience``: seconds to wait for another run.
    ``accept``: go on although the log was tampered with; that decision is an event.
    Raises what the aim or the view raises, `Busy` where another run holds the log, and `Partial` where the log
    cannot be written half-way.
    """
    with where.writer(aim.verb, patience) as log:
        host = where.host()
        known = facts(host)
        if accept and (problems := tampering(log)):
            told = {"v": 1, "accepted": problems}
            run = _engine(host, log).record_decision(where.started("accept", known, deployments=[]), "checkpoint", told)
            view.said(f"{run}: going on although the log was tampered with: {len(problems)} problems accepted")
        intact(log)
        engine = _engine_at(where, host, log)
        settled = engine.recover() or ""
        if settled:
            view.said(f"an earlier run was cut off; settled: {settled}")
        found = aim.propose(engine, where.identity(known))
        plan = found.plan
        if reason := refused(plan, found.options):
            view.refused(plan, reason)
            return Ended(Report(outcome="refused", blocked=plan.blocked), plan, reason, settled, log.seq)
        view.planned(plan)
        if plan.transitions:
            view.ask(plan)
        first = log.seq
        try:
            with view.progress(plan) as tell:
                begun = where.started(aim.verb, known, **found.more)
                report = engine.execute(plan, found.goals, found.options, begun, tell, found.drift)
        except LogError as error:
            if log.seq == first:
                raise
            raise Partial(f"{error}; the run stopped half-way, and the next run settles what was under way") from None
        return Ended(report, plan, None, settled, log.seq)


def record(
    where: Where,
    verb: str,
    more: Mapping[str, Json],
    type_: str | None = None,
    data: Json = None,
    *,
    patience: float = 10.0,
) -> str:
    """A run that changes nothing on the host: somebody's decision, for the log alone; answers with its id.

    ``more``: what its first event says besides; ``type_``, ``data``: one more event.
    """
    with opened(where, verb, patience) as engine:
        start = where.started(verb, facts(engine.host), **{"deployments": [], **more})
        return engine.record_decision(start, type_, data)


def begin(where: Where, verb: str, more: Mapping[str, Json], *, patience: float = 10.0) -> str:
    """Say in the log that something begins which changes nothing on the host; answers with the run's id."""
    with opened(where, verb, patience) as engine:
        run = engine.next_run()
        start = where.started(verb, facts(engine.host), **{"deployments": [], **more})
        engine.append([Draft(run, "run.started", start)])
        engine.writer()[1].keep_head()
        return run


def end(where: Where, verb: str, run: str, how: Mapping[str, Json], *, patience: float = 10.0) -> None:
    """Say in the log how something ended that had begun."""
    with where.writer(verb, patience) as log:
        finish = Draft(run, "run.finished", {"outcome": "unchanged", "complete": True, **how})
        _engine(where.host(), log).append([finish])
        log.keep_head()


def stores_of(ledger: Ledger, what: str) -> list[str]:
    """The quarantines of a run or a deployment, with those whose purge was cut off."""
    stores = [store for store, (run, deployment, _) in ledger.stored.items() if what in (run, deployment)]
    return stores + [store for store, names in ledger.doomed.items() if what in names]


def stores(where: Where, what: str) -> list[str]:
    """What a purge would empty; a `ReconcilerError` where the log knows no such run or deployment."""
    ledger = Surveyor(where.observer(), where.reader()).ledger
    if ledger.run(what) is None and what not in ledger.names:
        raise ReconcilerError(f"the log knows no run or deployment {what!r}; see 'reconciler history'")
    return stores_of(ledger, what)


def purge(where: Where, what: str, view: View, *, patience: float = 0.0) -> tuple[str | None, list[str], int]:
    """Empty the quarantines of a run or a deployment for good: the run, what was emptied, and how many paths went."""
    with opened(where, "purge", patience) as engine:
        engine.recover()
        listed = stores_of(engine.ledger, what)
        if not listed:
            return None, [], 0
        view.emptying(listed)
        run, gone = engine.purge(where.started("purge", facts(engine.host), deployments=[], purging=listed), listed)
        return run, listed, gone
