"""Execute a plan: log the intent, write, read back, settle.  The only place that mutates.

A failed transition and one that a crash cut off are settled by the same function: look; if the thing is as it
was to be, it succeeded; else its changes are put back.  Failure has no path of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from dataclasses import replace as with_
from typing import Any

from ..core.events import Event
from ..core.goals import OWNERSHIP, Goals, Leave
from ..core.kind import Context, Proposal, Step, gone
from ..core.ledger import Run, post
from ..core.options import Options
from ..core.plan import Blocked, Plan, Transition, kept_promise
from ..core.rewind import changes, rewind
from ..errors import ReconcilerError
from ..host.port import REPLACED, Host
from ..kinds import kinds
from ..log.writer import LogWriter
from ..model import EXISTS, MARK, PATHS, Address, Change, Field, Json, Target, Unknown
from ..trees.images import recorded_in
from ..trees.whole import erase
from .survey import NOTHING, Surveyor

Progress = Callable[[Transition, str], None]


@dataclass
class Report:
    """What came of a run."""

    run: str | None = None
    outcome: str = "unchanged"
    transitions: list[tuple[Transition, str, str | None]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    left: bool = False
    """Whether conflicts or blocked items were left alone on purpose."""

    @property
    def exit_code(self) -> int:
        """The exit code that this outcome has."""
        if self.outcome in ("converged", "unchanged"):
            return 5 if self.skipped or self.left else 0
        return {"refused": 3, "partial": 5}.get(self.outcome, 1)


class Engine(Surveyor):
    """One host and its log, to be changed."""

    cut_off: str | None = None
    """The thing whose transition an earlier run left half-done, and this one settled."""
    _origin: Json = None
    """The repository, commit and signer whose run is under way."""

    def writer(self) -> tuple[Host, LogWriter]:
        """The writing halves; only a run that holds the lock has them."""
        assert isinstance(self.log, LogWriter)
        return self.host, self.log  # type: ignore[return-value] # a LogWriter comes with a whole host

    def next_run(self) -> str:
        """The id that the next run gets."""
        return f"r{self.ledger.count + 1}"

    def append(
        self,
        run: str,
        type_: str,
        data: Mapping[str, Json],
        deployment: str | None = None,
        address: str | None = None,
    ) -> Event:
        """Write one event and take it into account; those of a run say where its desired state is from."""
        _, log = self.writer()
        data = {**data, "origin": self._origin} if self._origin else data
        return log.append(run, type_, data, deployment, address, lambda event: post(self.ledger, event))

    def record_decision(self, start: Mapping[str, Json], type_: str | None = None, data: Json = None) -> str:
        """A run that changes nothing on the host: somebody's decision, for the log alone."""
        _, log = self.writer()
        run = self.next_run()
        self.append(run, "run.started", start)
        if type_ is not None:
            self.append(run, type_, data)
        self.append(run, "run.finished", {"outcome": "converged", "complete": True})
        log.keep_head()
        return run

    def purge(self, start: Mapping[str, Json], stores: Sequence[str]) -> tuple[str, int]:
        """Empty quarantines for good, as a run of its own: its id, and how many paths went."""
        host, log = self.writer()
        run = self.next_run()
        self.append(run, "run.started", start)
        gone = sum(erase(host, store) for store in stores)
        told = {"outcome": "converged", "complete": True, "purged": list(stores), "paths": gone}
        self.append(run, "run.finished", told)
        log.keep_head()
        return run, gone

    def recover(self) -> str | None:
        """Settle what a crash cut off; answers in words what came of it."""
        started = self.ledger.open
        if started is None:
            return None
        self.cut_off = started.address
        problem, outcome = self._settle(started, started.run, "the run was cut off")
        return f"{started.data['verb']} {started.address} of run {started.run}: {outcome}" + (
            f" ({problem})" if outcome == "stuck" else ""
        )

    def execute(
        self,
        plan: Plan,
        goals: Goals,
        options: Options,
        start: Mapping[str, Json],
        tell: Progress = lambda t, o: None,
        drift: Sequence[tuple[str, Address, Json]] = (),
    ) -> Report:
        """Carry the plan out, one logged transition at a time.

        ``drift``: what was found changed, and is said in the log first: deployment, address and what is told of it.
        """
        _, log = self.writer()
        left = bool(plan.blocked or (plan.conflicts and options.skip_conflicts))
        report = Report(blocked=plan.blocked, skipped=list(plan.skipped), left=left)
        books, to = self._holdings(plan, goals), start.get("to")
        idle = not plan.transitions and not any(books.values()) and (to is None or not self._left_to_undo(start))
        if idle and not start.get("origin") and not drift:
            return report
        undone = [] if to is None else self._undone_by(start)
        report.run, first = self.next_run(), log.seq
        self._origin = start.get("origin")
        # Said first: whatever happens to this run, no path loses what it once was.
        self.append(report.run, "run.started", {**start, "inherits": books["inherits"], "terms": books["terms"]})
        for deployment, address, told in drift:
            self.append(report.run, "drift.found", told, deployment, str(address))
        context = self.context(goals, options)
        context.fix, context.owed = True, plan.owed
        failed = self._in_turn(report, plan, context, options, tell)
        self._conclude(report, options, report.run, first, failed)
        if idle and report.outcome == "converged" and to is None:
            report.outcome = "unchanged"
        for each in {each.input: each for each in undone if each.input}.values():
            said = {"v": 1, "input": each.input, "commit": each.commit, "origin": each.origin, "run": each.id}
            self.append(report.run, "commit.quarantined", said)
        self.append(report.run, "run.finished", self._finished(report, plan, options, books, failed, to, first))
        self._origin = None
        log.keep_head()
        return report

    def _in_turn(self, report: Report, plan: Plan, context: Context, options: Options, tell: Progress) -> set[Address]:
        """Every transition in its turn; answers which things were not brought where they were to be."""
        for planned in plan.transitions:
            context.planned[planned.address] = planned.prospect
        failed: set[Address] = set()
        stop = False
        for transition in plan.transitions:
            ends_pause = transition.step.pause and transition.verb == "start"
            if stop and not (ends_pause and transition.address in context.paused):
                report.transitions.append((transition, "skipped", "an earlier transition failed"))
                continue
            blocker = next((a for a in transition.requires if a in failed), None)
            if blocker is not None and not ends_pause:
                failed.add(transition.address)
                report.transitions.append((transition, "skipped", f"{blocker} failed"))
                continue
            tell(transition, "started")
            outcome, error = self._execute_one(str(report.run), transition, context, report, options)
            plan.owed |= {transition.address} if context.planned[transition.address].owed else set()
            tell(transition, outcome)
            report.transitions.append((transition, outcome, error))
            if outcome in ("failed", "undone", "stuck", "stale"):
                failed.add(transition.address)
                stop = stop or not options.keep_going
            context.paused = frozenset(self.ledger.paused)
        return failed

    @staticmethod
    def _finished(
        report: Report, plan: Plan, options: Options, books: dict[str, Json], failed: set[Address], to: Json, first: int
    ) -> dict[str, Json]:
        """What the end of a run says: its outcome, and who holds what from then on."""
        told: dict[str, Json] = {
            "outcome": report.outcome,
            "complete": not failed,
            "skipped": [list(s) for s in report.skipped[:100]],
        }
        if options.confirm_by and report.transitions:
            told["confirm_by"] = options.confirm_by
        if to is not None and not failed and not report.skipped and not report.left:
            told["restored"] = to
        elif report.outcome == "undone":
            told["restored"] = first
        if not failed:
            owed = set(map(str, plan.owed))
            told |= {"joins": books["joins"], "leaves": [leave for leave in books["leaves"] if leave[1] not in owed]}
        return told

    def _undone_by(self, start: Mapping[str, Json]) -> list[Run]:
        """The runs that a rollback is about to undo, the last one first."""
        numbers = self.ledger.later(start["to"], start.get("only")) - self.ledger.undone()
        return [run for run in self.ledger.runs() if run.number in numbers]

    def _left_to_undo(self, start: Mapping[str, Json]) -> bool:
        """Whether a rollback that has nothing to change still moves the books."""
        return any(run.forward for run in self._undone_by(start))

    def _conclude(self, report: Report, options: Options, run: str, first: int, failed: set[Address]) -> None:
        """What the outcomes of the transitions amount to."""
        done = [t for t, outcome, _ in report.transitions if outcome in ("succeeded", "stuck")]
        if not failed:
            report.outcome = "partial" if report.skipped or report.left else "converged"
        elif not done:
            report.outcome = "failed"
        elif options.atomic:
            report.outcome = "undone" if self._unwind(run, first) else "partial"
        else:
            report.outcome = "partial"

    def _unwind(self, run: str, first: int) -> bool:
        """Undo what this run did, in the same run; True where nothing of it remains."""
        from ..core.goals import from_past  # noqa: PLC0415

        back = from_past(rewind(self.log.events(), first), self.ledger, self.unseal)
        options = Options(force=True, keep_going=True)
        plan = self.survey(back, options)
        context = self.context(back, options)
        context.fix = True
        report = Report()
        clean = not plan.blocked
        for transition in plan.transitions:
            outcome, _ = self._execute_one(run, transition, context, report, options)
            clean = clean and outcome in ("succeeded", "skipped")
            context.paused = frozenset(self.ledger.paused)
        return clean and not report.skipped

    def moves(self, plan: Plan, goals: Goals) -> bool:
        """Whether who holds what would change, although the host does not."""
        return any(self._holdings(plan, goals).values())

    def _holdings(self, plan: Plan, goals: Goals) -> dict[str, Json]:
        """Who holds what besides what transitions say: shared holds, and holds that end without a change."""
        back = (t for t in plan.transitions if t.target.wish is None)
        moved = {(t.address, c.field) for t in back for c in t.step.changes if c.field != MARK}
        conflicted = {(c.address, c.field) for c in plan.conflicts} | {(b.address, None) for b in plan.blocked}
        stays = {a for a, _ in conflicted} | plan.owed
        leaves: list[Leave] = [x for x in goals.leaves if (x[1], x[2]) not in moved and x[1] not in stays]
        return {
            "joins": [[d, str(a), list(f)] for d, a, f in goals.joins],
            "leaves": [[d, str(a), list(f)] for d, a, f in leaves],
            "inherits": [[str(outer), str(inner)] for outer, inner in goals.inherits],
            "terms": {str(a): t for a, t in goals.terms.items()},
        }

    def _execute_one(
        self, run: str, planned: Transition, context: Context, report: Report, options: Options
    ) -> tuple[str, str | None]:
        """One transition: look again, log the intent, act, read back, settle."""
        host, _ = self.writer()
        address = planned.address
        kind = kinds()[address.kind]
        target = self._with_parents(planned.target)
        try:
            found = kind.prospect(host, target, context)
        except ReconcilerError as error:
            found = Proposal(target, NOTHING, NOTHING, blocked=Unknown(str(error)))
        if found.blocked is not None:
            return "failed", found.blocked.reason
        known = {(c.address, c.field) for c in planned.prospect.conflicts}
        fresh = [c for c in found.conflicts if (c.address, c.field) not in known]
        if fresh and not context.force:
            return "failed", f"{'.'.join(fresh[0].field)} was changed by someone else since the plan was made"
        doing = _same_step(found, planned.step)
        if doing is None:
            return "skipped", "is so already"
        if options.strict and not kept_promise(planned, Transition(doing, found)):
            return "stale", "would not end as the plan says any more; make a new plan"
        context.planned[address] = found
        recorded, image = kind.record(host, found, doing, self.vault)
        started = self._log_intent(run, found, doing, recorded, image)
        trouble, left = None, list[tuple[str, str]]()
        try:
            left = kind.perform(host, found, doing, recorded, self.vault)
            report.skipped += [item for item in left if item not in report.skipped]
        except (ReconcilerError, OSError) as error:
            trouble = str(error)
        # What cannot be given back yet stays held; of other bytes nothing more will ever come back.
        owed = 0 if found.owed else sum(reason != REPLACED for _, reason in left)
        why, outcome = self._settle(started, run, trouble, owed)
        return outcome, why

    def _with_parents(self, target: Target) -> Target:
        """The target of what is to go, with the directories that are its own since this run took others out of them."""
        hold = self.ledger.holds.get(target.address, {}).get(EXISTS)
        given = target.give_back.get(EXISTS)
        if hold is None or not gone(given) or not isinstance(hold.origin, dict) or not isinstance(given, dict):
            return target
        absent, known = given["absent"], hold.origin.get("absent", {}).get("missing", [])
        missing = sorted({*absent.get("missing", []), *known}, key=len)
        back = {**target.give_back, EXISTS: {"absent": {**absent, "missing": missing}}}
        return with_(target, give_back=back) if missing else target

    def _log_intent(self, run: str, found: Proposal, doing: Step, recorded: Iterable[Change], image: Json) -> Event:
        target = found.target
        held = self.ledger.holds.get(target.address, {})
        listed = list(recorded)
        kept: dict[str, Json] = {"image": image}
        if kinds()[target.address.kind].sealed or any(c.sealed for c in listed):
            values = [[c.before, c.after] if c.sealed else None for c in listed]
            kept = {"sealed": self.vault.seal({"values": values, "image": image})}
        data: dict[str, Json] = {
            "v": 1,
            "verb": doing.verb,
            "changes": [
                {"field": list(c.field), "shown": list(c.shown)}
                | ({"sealed": True} if c.sealed else {"before": c.before, "after": c.after})
                for c in listed
            ],
            **kept,
            "source": target.source.json() if target.source else None,
            "returns": [list(f) for f in self._returned(found, doing, held)],
        }
        if origins := self._older_origins(target.address, listed, held):
            data["origins"] = [[list(name), value] for name, value in origins.items()]
        if doing.pause:
            data["pause"] = True
        return self.append(run, "transition.started", data, target.deployment, str(target.address))

    def _older_origins(self, address: Address, listed: list[Change], held: Mapping[Field, Any]) -> dict[Field, Json]:
        """What a file's owner, group and mode were before a tree round it took them.

        A file that is declared inside a tree steps out of it, and takes what the tree knows of it along.
        """
        wanted = {c.field for c in listed} & OWNERSHIP - set(held)
        found: dict[Field, Json] = {}
        if not kinds().single(address) or not wanted or any(c.field == EXISTS for c in listed):
            return found
        for _, fields in self.ledger.spanning(address.name):
            if PATHS in fields:
                record = recorded_in(fields[PATHS].origin, self.vault, address.name)
                for name in wanted:
                    if record is None or record.after is None:
                        break
                    before, after = getattr(record.before, name[0]), getattr(record.after, name[0])
                    if before != after:
                        found.setdefault(name, before)
        return found

    def _returned(self, found: Proposal, doing: Step, held: Mapping[Field, Any]) -> list[Field]:
        """The fields that get their origin back with this step, so that they are held no longer."""
        target, kind = found.target, kinds()[found.target.address.kind]
        left = bool(found.conflicts) and bool(target.options.get("skip_conflicts"))
        done = []
        for change in doing.changes:
            hold = held.get(change.field)
            if hold is None:
                continue
            origin = self.unseal(hold.origin)
            if found.owed:
                back = change.after is None
            elif isinstance(origin, dict) and "layers" in origin:
                given = target.give_back.get(change.field) or {}
                # By event, since two images of the same paths have one name.
                known = {layer.get("seq") for layer in given.get("layers", [])}
                back = not left and target.wish is None and origin["layers"][0]["seq"] in known
            else:
                back = kind.same(change.field, change.after, origin)
            if back:
                done.append(change.field)
        return done

    def _settle(self, started: Event, run: str, error: str | None, left: int = 0) -> tuple[str | None, str]:
        """The one way to end a transition, after success, failure and crash alike."""
        host, _ = self.writer()
        address, data = Address.parse(str(started.address)), started.data
        kind = kinds()[address.kind]
        todo = [Change(c.field, self.unseal(c.before), self.unseal(c.after), c.shown) for c in changes(started)]
        proven = data["verb"] in kind.reads_back and error is None
        problem = "" if proven else self._try(lambda: kind.reached(host, address.name, todo, self.vault))
        if not problem:
            with suppress(ReconcilerError):
                kind.tidy(host, address.name)
            ended: dict[str, Json] = {"v": 1, "started": started.seq, "clock": self._clock()}
            ended |= {"left": left} if left else {}
            if data["verb"] in ("start", "restart"):
                ended["process"] = kind.process(host, address.name)
            self.append(run, "transition.succeeded", ended, started.deployment, started.address)
            return None, "succeeded"
        why = error or problem
        image = data["image"] if "image" in data else self.vault.unseal(data["sealed"])["image"]
        still = self._try(lambda: kind.put_back(host, address.name, todo, image, self.vault))
        if still:
            told = {"v": 1, "started": started.seq, "error": why, "left": still, "clock": self._clock()}
            self.append(run, "transition.stuck", told, started.deployment, started.address)
            return f"{why}; and it could not be put back: {still}", "stuck"
        self.append(
            run,
            "transition.undone",
            {"v": 1, "started": started.seq, "error": why},
            started.deployment,
            started.address,
        )
        return why, "undone"

    @staticmethod
    def _try(act: Callable[[], str]) -> str:
        try:
            return act()
        except (ReconcilerError, OSError) as error:
            return str(error) or "failed"

    def _clock(self) -> Json:
        """This boot and the ticks since it began, by which processes count too."""
        ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
        return {"boot": self.host.boot(), "ticks": ticks} if self.host.live else None


def _same_step(found: Proposal, planned: Step) -> Step | None:
    return next((s for s in found.steps if (s.verb, s.pause) == (planned.verb, planned.pause)), None)
