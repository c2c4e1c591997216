"""Transitions in their turn: look again, log the intent, write, read back, settle.  The only place that mutates.

Transitions that have nothing to do with each other take their turn together: their intents share one durable commit,
and so do their outcomes.  A failed transition and one that a crash cut off are settled by the same function: look; if
the thing is as it was to be, it succeeded; else its changes are put back.  Failure has no path of its own.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from dataclasses import replace as with_
from itertools import product
from typing import Any

from ..core.events import Draft, Event
from ..core.goals import OWNERSHIP
from ..core.kind import Context, Proposal, Step, gone
from ..core.ledger import post
from ..core.options import Options
from ..core.plan import Plan, Transition, kept_promise
from ..core.rewind import changes
from ..errors import ReconcilerError
from ..host.accounts import AccountFiles
from ..host.held import Glimpse, Held
from ..host.port import REPLACED, Host
from ..kinds import kinds
from ..log.writer import LogWriter
from ..model import EXISTS, PATHS, Absent, Address, Change, Field, Json, Target, Unknown, above
from ..trees.images import recorded_in
from .outcome import Report
from .survey import NOTHING, Surveyor

Progress = Callable[[Transition, str], None]
MOST, SECONDS, BYTES = 256, 0.2, 1 << 20
"""How many transitions take their turn together at most, how long looking at them may take, and what is sealed."""
LATER = "an earlier transition failed"


@dataclass
class Turn:
    """A transition whose turn has come: what is done now, and what the log keeps of it."""

    planned: Transition
    found: Proposal
    doing: Step
    changes: Sequence[Change]
    image: Json
    acted: bool = False
    trouble: str | None = None
    owed: int = 0
    """How many paths stay to be given back."""


@dataclass(frozen=True)
class Begun:
    """A transition whose intent is in the log."""

    event: Event
    changes: Sequence[Change]
    turn: Turn | None = None
    """None where an earlier run was cut off in it."""


class Batch:
    """Transitions that take their turn together: none can tell whether another one was carried out already."""

    def __init__(self, first: Transition) -> None:
        """``first``: the transition that decides which others may join."""
        self.turns: list[Turn] = []
        self._first, self._kind = first, kinds()[first.address.kind]
        self._began = time.monotonic()
        self._addresses: set[Address] = set()
        self._paths: set[str] = set()
        """What is written, and the directories that come or go with it."""
        self._around: set[str] = set()
        """The directories round all of that."""
        self._size = 0

    def takes(self, transition: Transition) -> bool:
        """Whether a transition may join."""
        if not self.turns:
            return True
        address, kind = transition.address, kinds()[transition.address.kind]
        if not (kind.together and self._kind.together and kind.shares == self.shares):
            return False
        if kind.shares and (transition.verb == "remove") != (self._first.verb == "remove"):
            return False
        if address in self._addresses or not self._addresses.isdisjoint(transition.requires):
            return False
        if kind.located and not self._paths.isdisjoint((address.name, *above(address.name))):
            return False
        if kind.encloses and address.name in self._around:
            return False
        return len(self.turns) < MOST and self._size < BYTES and time.monotonic() - self._began < SECONDS

    @property
    def shares(self) -> bool:
        """Whether what these write shares files."""
        return self._kind.shares

    def add(self, turn: Turn) -> None:
        """One more that joins."""
        address = turn.planned.address
        self.turns.append(turn)
        self._addresses.add(address)
        if kinds().located(address):
            states = (turn.found.before, turn.found.after)
            missing = (path for s in states if isinstance(s, Absent) for path in s.around.get("missing", ()))
            self._paths |= {address.name, *missing}
            self._around |= set(above(address.name))
        texts = {id(text): len(text) for c in turn.changes for text in _texts(c.before)}
        self._size += sum(texts.values())


def _texts(value: Json) -> Iterable[str]:
    """The texts of a value that may be long."""
    return (part for part in (value.values() if isinstance(value, dict) else (value,)) if isinstance(part, str))


@dataclass
class Course:
    """A run under way: what came of it so far, and whether it goes on."""

    report: Report
    plan: Plan
    context: Context
    options: Options
    tell: Progress
    failed: set[Address] = field(default_factory=set)
    stop: bool = False

    def hindered(self, transition: Transition) -> str:
        """Why a transition must not have its turn; empty where it may."""
        ends_pause = transition.step.pause and transition.verb == "start"
        if self.stop and not (ends_pause and transition.address in self.context.paused):
            return LATER
        blocker = next((a for a in transition.requires if a in self.failed), None)
        if blocker is None or ends_pause:
            return ""
        self.failed.add(transition.address)
        return f"{blocker} failed"

    def note(self, transition: Transition, outcome: str, error: str | None) -> None:
        """What came of a transition."""
        self.report.transitions.append((transition, outcome, error))
        if outcome in ("failed", "undone", "stuck", "stale"):
            self.failed.add(transition.address)
            self.stop = self.stop or not self.options.keep_going


class Turns(Surveyor):
    """One host and its log, on which transitions take their turns."""

    _accounts: AccountFiles | None = None
    """The account files as they were last held."""
    _origin: Json = None
    """The repository, commit and signer whose run is under way."""

    def writer(self) -> tuple[Host, LogWriter]:
        """The writing halves; only a run that holds the lock has them."""
        assert isinstance(self.log, LogWriter)
        return self.host, self.log  # type: ignore[return-value] # a LogWriter comes with a whole host

    def append(self, drafts: Sequence[Draft]) -> list[Event]:
        """Write events and take them into account; those of a run say where its desired state is from."""
        _, log = self.writer()
        if self._origin:
            drafts = [with_(draft, data={**draft.data, "origin": self._origin}) for draft in drafts]
        return log.append(drafts, lambda event: post(self.ledger, event))

    def in_turn(self, report: Report, plan: Plan, context: Context, options: Options, tell: Progress) -> set[Address]:
        """Every transition in its turn; answers which things were not brought where they were to be."""
        for planned in plan.transitions:
            context.planned[planned.address] = planned.prospect
        course = Course(report, plan, context, options, tell)
        waiting = deque(plan.transitions)
        while waiting:
            if why := course.hindered(waiting[0]):
                course.note(waiting.popleft(), "skipped", why)
                continue
            self._together(waiting, course)
            context.paused = frozenset(self.ledger.paused)
        return course.failed

    def _together(self, waiting: deque[Transition], course: Course) -> None:
        """Those at the head of the queue that may take their turn together."""
        host, _ = self.writer()
        batch, idle, outcomes = Batch(waiting[0]), None, []
        with ExitStack() as until_settled:
            if batch.shares:
                try:
                    until_settled.enter_context(host.accounts_locked())
                except ReconcilerError as error:
                    course.note(waiting.popleft(), "failed", str(error))
                    return
            held = Held(host, self._accounts)
            seen = Glimpse(held)
            while waiting and batch.takes(waiting[0]):
                transition = waiting.popleft()
                turn = self._look_again(seen, transition, course)
                if not isinstance(turn, Turn):
                    idle = (transition, *turn)
                    break
                batch.add(turn)
                if batch.shares and not self._act(held, turn, course):
                    break
            if batch.turns:
                outcomes = self._carry_out(held, batch, course)
            # What was half done to them when something failed is in no file.
            self._accounts = None if any(turn.trouble for turn in batch.turns) else held.accounts
        for turn, (outcome, why) in zip(batch.turns, outcomes, strict=True):
            owed = course.context.planned[turn.planned.address].owed
            course.plan.owed |= {turn.planned.address} if owed else set()
            course.tell(turn.planned, outcome)
            course.note(turn.planned, outcome, why)
        if idle is not None:
            hindered = course.hindered(idle[0])
            course.note(*((idle[0], "skipped", hindered) if hindered else idle))

    def _look_again(self, host: Any, planned: Transition, course: Course) -> Turn | tuple[str, str | None]:
        """What a transition takes as the host is now; else the outcome of one that is not carried out."""
        address, context, options = planned.address, course.context, course.options
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
        doing = next((s for s in found.steps if (s.verb, s.pause) == (planned.step.verb, planned.step.pause)), None)
        if doing is None:
            return "skipped", "is so already"
        if options.strict and not kept_promise(planned, Transition(doing, found)):
            return "stale", "would not end as the plan says any more; make a new plan"
        context.planned[address] = found
        recorded, image = kind.record(host, found, doing, self.vault)
        return Turn(planned, found, doing, list(recorded), image)

    def _carry_out(self, held: Any, batch: Batch, course: Course) -> list[tuple[str, str | None]]:
        """Log all intents, act, and settle; answers with the outcomes."""
        host, _ = self.writer()
        run = str(course.report.run)
        begun, self._accounts = self._intend(run, batch.turns), None if batch.shares else held.accounts
        try:
            with host.together():
                if batch.shares:
                    held.release()
                    self._accounts = held.accounts
                else:
                    for turn in batch.turns:
                        if not self._act(held, turn, course):
                            break
        except (ReconcilerError, OSError) as error:
            for turn in batch.turns:
                turn.trouble = turn.trouble or (str(error) if turn.acted else None)
        return self.settle(begun, run)

    def _act(self, host: Any, turn: Turn, course: Course) -> bool:
        """Carry one out, unless one before it failed; False where the run does not go on."""
        report = course.report
        course.tell(turn.planned, "started")
        turn.acted = True
        try:
            kind = kinds()[turn.planned.address.kind]
            left = kind.perform(host, turn.found, turn.doing, turn.changes, self.vault)
            report.skipped += [item for item in left if item not in report.skipped]
            # What cannot be given back yet stays held; of other bytes nothing more will ever come back.
            turn.owed = 0 if turn.found.owed else sum(reason != REPLACED for _, reason in left)
        except (ReconcilerError, OSError) as error:
            turn.trouble = str(error) or "failed"
            return course.options.keep_going
        return True

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

    def _intend(self, run: str, turns: Sequence[Turn]) -> list[Begun]:
        """Log what is about to be done, and all that it takes to undo it; durable when this returns."""
        boxes: list[Json] = []
        told: list[dict[str, Json]] = []
        for turn in turns:
            target, doing, listed = turn.found.target, turn.doing, turn.changes
            held = self.ledger.holds.get(target.address, {})
            kept: dict[str, Json] = {"image": turn.image}
            if kinds()[target.address.kind].sealed or any(c.sealed for c in listed):
                values = [[c.before, c.after] if c.sealed else None for c in listed]
                kept = {"sealed": None, "part": len(boxes)}
                boxes.append({"values": values, "image": turn.image})
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
                "returns": [list(f) for f in self._returned(turn.found, listed, held)],
            }
            if origins := self._older_origins(target.address, listed, held):
                data["origins"] = [[list(name), value] for name, value in origins.items()]
            if doing.pause:
                data["pause"] = True
            told.append(data)
        sealed = {"sealed": self.vault.seal(boxes)} if boxes else {}
        drafts = []
        for turn, data in zip(turns, told, strict=True):
            target, whole = turn.found.target, data | sealed if "sealed" in data else data
            drafts.append(Draft(run, "transition.started", whole, target.deployment, str(target.address)))
        started = self.append(drafts)
        return [Begun(event, turn.changes, turn) for event, turn in zip(started, turns, strict=True)]

    def _older_origins(
        self, address: Address, listed: Sequence[Change], held: Mapping[Field, Any]
    ) -> dict[Field, Json]:
        """What a file's owner, group and mode were before a tree round it took them.

        A file that is declared inside a tree steps out of it, and takes what the tree knows of it along.
        """
        wanted = {c.field for c in listed} & OWNERSHIP - set(held)
        found: dict[Field, Json] = {}
        if not kinds().single(address) or not wanted or any(c.field == EXISTS for c in listed):
            return found
        origins = (fields[PATHS].origin for _, fields in self.ledger.spanning(address.name) if PATHS in fields)
        told = (record for origin in origins for record in recorded_in(origin, self.vault, address.name))
        for record, name in product([each for each in told if each.after is not None], wanted):
            before, after = getattr(record.before, name[0]), getattr(record.after, name[0])
            if before != after:
                found.setdefault(name, before)
        return found

    def _returned(self, found: Proposal, listed: Iterable[Change], held: Mapping[Field, Any]) -> list[Field]:
        """The fields that get their origin back with this step, so that they are held no longer."""
        target, kind = found.target, kinds()[found.target.address.kind]
        left = bool(found.conflicts) and bool(target.options.get("skip_conflicts"))
        done = []
        for change in listed:
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

    def begun(self, started: Event) -> Begun:
        """A transition that an earlier run began, as the log tells it."""
        told = changes(started)
        return Begun(started, [Change(c.field, self.unseal(c.before), self.unseal(c.after), c.shown) for c in told])

    def _image(self, one: Begun) -> Json:
        """The total before-image."""
        data = one.event.data
        if one.turn is not None:
            return one.turn.image
        return data["image"] if "image" in data else self.vault.unseal(data["sealed"], data.get("part"))["image"]

    def settle(self, begun: Iterable[Begun], run: str) -> list[tuple[str, str | None]]:
        """The one way to end transitions, after success, failure and crash alike; answers with the outcomes."""
        host, _ = self.writer()
        drafts, outcomes, clock, seen = [], [], self._clock(), Glimpse(host, self._accounts)
        for one in begun:
            type_, told, outcome, why = self._settled(one, clock, seen)
            if type_ != "transition.succeeded":
                seen = Glimpse(host)  # what was put back is seen
            told = {"v": 1, "started": one.event.seq, **told}
            drafts.append(Draft(run, type_, told, one.event.deployment, one.event.address))
            outcomes.append((outcome, why))
        self.append(drafts)
        return outcomes

    def _settled(self, one: Begun, clock: Json, seen: Any) -> tuple[str, dict[str, Json], str, str | None]:
        """How one transition ended: the event's type and what it tells, the outcome, and why."""
        host, _ = self.writer()
        address, verb = Address.parse(str(one.event.address)), one.event.data["verb"]
        kind = kinds()[address.kind]
        turn = one.turn
        if turn is not None and not turn.acted:
            return "transition.undone", {"error": LATER}, "skipped", LATER
        trouble = "the run was cut off" if turn is None else turn.trouble
        proven = verb in kind.reads_back and trouble is None
        problem = "" if proven else _tried(lambda: kind.reached(seen, address.name, one.changes, self.vault))
        if not problem:
            if trouble is not None:
                with suppress(ReconcilerError):
                    kind.tidy(host, address.name)
            ended: dict[str, Json] = {"clock": clock} | ({"left": turn.owed} if turn is not None and turn.owed else {})
            if verb in ("start", "restart"):
                ended["process"] = kind.process(host, address.name)
            return "transition.succeeded", ended, "succeeded", None
        why, image = trouble or problem, self._image(one)
        still = _tried(lambda: kind.put_back(host, address.name, one.changes, image, self.vault))
        if still:
            told = {"error": why, "left": still, "clock": clock}
            return "transition.stuck", told, "stuck", f"{why}; and it could not be put back: {still}"
        return "transition.undone", {"error": why}, "undone", why

    def _clock(self) -> Json:
        """This boot and the ticks since it began, by which processes count too."""
        ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))
        return {"boot": self.host.boot(), "ticks": ticks} if self.host.live else None


def _tried(act: Callable[[], str]) -> str:
    try:
        return act()
    except (ReconcilerError, OSError) as error:
        return str(error) or "failed"
