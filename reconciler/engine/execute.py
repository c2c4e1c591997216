"""Execute a plan: a run of the log, whose transitions take their turns, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..core.events import Draft
from ..core.goals import Goals, Leave, from_past
from ..core.ledger import Run
from ..core.options import Options
from ..core.plan import Plan
from ..core.rewind import rewind
from ..model import MARK, Address, Json
from ..trees.whole import erase
from .outcome import Report
from .turns import Progress, Turns


class Engine(Turns):
    """One host and its log, to be changed."""

    def record_decision(self, start: Mapping[str, Json], type_: str | None = None, data: Json = None) -> str:
        """A run that changes nothing on the host: somebody's decision, for the log alone."""
        _, log = self.writer()
        run = self.next_run()
        self.append(
            [
                Draft(run, "run.started", start),
                *([] if type_ is None else [Draft(run, type_, data)]),
                Draft(run, "run.finished", {"outcome": "converged", "complete": True}),
            ]
        )
        log.keep_head()
        return run

    def purge(self, start: Mapping[str, Json], stores: Sequence[str]) -> tuple[str, int]:
        """Empty quarantines for good, as a run of its own: its id, and how many paths went."""
        host, log = self.writer()
        run = self.next_run()
        self.append([Draft(run, "run.started", start)])
        gone = sum(erase(host, store) for store in stores)
        told = {"outcome": "converged", "complete": True, "purged": list(stores), "paths": gone}
        self.append([Draft(run, "run.finished", told)])
        log.keep_head()
        return run, gone

    def recover(self) -> str | None:
        """Settle all that a crash cut off; answers in words what came of it."""
        listed = list(self.ledger.open.values())
        if not listed:
            return None
        self.cut_off = frozenset(str(started.address) for started in listed)
        outcomes = self.settle(map(self.begun, listed), listed[0].run)
        return "; ".join(
            f"{started.data['verb']} {started.address} of run {started.run}: {outcome}"
            + (f" ({why})" if outcome == "stuck" else "")
            for started, (outcome, why) in zip(listed, outcomes, strict=True)
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
        books, to = _holdings(plan, goals), start.get("to")
        idle = not plan.transitions and not any(books.values()) and (to is None or not self._left_to_undo(start))
        if idle and not start.get("origin") and not drift:
            return report
        undone = [] if to is None else self._undone_by(start)
        report.run, first = self.next_run(), log.seq
        self._origin = start.get("origin")
        # Said first: whatever happens to this run, no path loses what it once was.
        begins = {**start, "inherits": books["inherits"], "terms": books["terms"]}
        found = [Draft(report.run, "drift.found", told, name, str(address)) for name, address, told in drift]
        self.append([Draft(report.run, "run.started", begins), *found])
        context = self.context(goals, options)
        context.fix, context.owed = True, plan.owed
        failed = self.in_turn(report, plan, context, options, tell)
        self._conclude(report, options, report.run, first, failed)
        if idle and report.outcome == "converged" and to is None:
            report.outcome = "unchanged"
        ends = [
            Draft(report.run, "commit.quarantined",
                  {"v": 1, "input": each.input, "commit": each.commit, "origin": each.origin, "run": each.id})
            for each in {each.input: each for each in undone if each.input}.values()
        ]  # fmt: skip
        ended = self._finished(report, plan, options, books, failed, to, first)
        self.append([*ends, Draft(report.run, "run.finished", ended)])
        self._origin = None
        log.keep_head()
        return report

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
        back = from_past(rewind(self.log.events(), first), self.ledger, self.unseal)
        options = Options(force=True, keep_going=True)
        plan = self.survey(back, options)
        context = self.context(back, options)
        context.fix = True
        report = Report(run)
        self.in_turn(report, plan, context, options, lambda transition, outcome: None)
        clean = all(outcome in ("succeeded", "skipped") for _, outcome, _ in report.transitions)
        return clean and not plan.blocked and not report.skipped


def moves(plan: Plan, goals: Goals) -> bool:
    """Whether who holds what would change, although the host does not."""
    return any(_holdings(plan, goals).values())


def _holdings(plan: Plan, goals: Goals) -> dict[str, Json]:
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
