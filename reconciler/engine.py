"""Survey (look and plan) and execute (log, write, read back, settle): the only place that mutates.

A failed transition and one that a crash cut off are settled by the same function: look; if the thing is as it
was to be, it succeeded; else its changes are put back.  Failure has no path of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from dataclasses import replace as with_
from typing import Any

from .errors import HostError, LogError, ReconcilerError, Refused
from .host.port import Host, Observer
from .inifile import IniFile, shown
from .kinds import kinds
from .kinds.base import Context, Prospect, Step
from .kinds.daemon import DaemonState
from .kinds.ownership import recorded_in
from .kinds.units import load as load_unit
from .ledger import PATHS, Ledger, changes, fold, rewind, step
from .log.events import Event
from .log.store import LogReader, LogWriter
from .log.vault import Vault
from .model import EXISTS, Absent, Address, Change, Field, Json, Target, Unknown, inside
from .plan import Blocked, Plan, Transition, transitions
from .targets import LOOKS, Goals, Leave

Progress = Callable[[Transition, str], None]


@dataclass
class Options:
    """How a run deals with what stands in its way."""

    force: bool = False
    skip_conflicts: bool = False
    skip_blocked: bool = False
    only: tuple[Address, ...] = ()
    all_paths: bool = False
    atomic: bool = False
    keep_going: bool = False
    max_changes: int | None = None
    max_paths: int | None = None


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


def facts(host: Observer) -> dict[str, str | None]:
    """What ``match:`` may ask; None where it cannot be read."""
    found: dict[str, str | None] = {"os": "linux", "hostname": None, "distribution": None, "machine_id": None}
    if host.live:
        found["hostname"] = os.uname().nodename
    for key, path in (("hostname", "/etc/hostname"), ("machine_id", "/etc/machine-id")):
        if found[key] is None:
            with suppress(HostError):
                file = host.read(path)
                text = file.data.decode("utf-8", "replace").strip() if file else ""
                found[key] = text.splitlines()[0].strip() if text else None
    with suppress(HostError):
        file = host.read("/etc/os-release") or host.read("/usr/lib/os-release")
        for line in (file.data if file else b"").decode("utf-8", "replace").splitlines():
            if line.startswith("ID="):
                found["distribution"] = line[3:].strip().strip('"')
    return found


class Engine:
    """One host and its log."""

    def __init__(self, host: Observer, log: LogReader) -> None:
        self.host = host
        self.log = log
        self.vault = Vault(log.directory)
        self.ledger = fold(log.events())
        self._blobs: dict[str, Json] = {}

    # Looking.

    def unseal(self, value: Json) -> Json:
        """The value that a reference into the vault stands for."""
        if isinstance(value, dict) and "$sealed" in value:
            name = value["$sealed"]
            if name not in self._blobs:
                self._blobs[name] = self.vault.unseal(name)
            return self._blobs[name]["values"][value["index"]][value["side"]]
        return value

    def context(self, goals: Goals, options: Options) -> Context:
        """What planning knows besides the host."""
        ledger = self.ledger
        return Context(
            held={a: {f: h.origin for f, h in fields.items()} for a, fields in ledger.holds.items()},
            current={a: {f: h.current for f, h in fields.items()} for a, fields in ledger.holds.items()},
            paused=frozenset(ledger.paused),
            targets=goals.targets,
            force=options.force,
            spared=self._spared(goals),
            all_paths=options.all_paths,
            vault=self.vault,
            outdated=self._outdated,
        )

    def _outdated(self, daemon: Address, depends: frozenset[Address], process: Json) -> bool:
        """By the log as it is at the moment of asking."""
        return self.ledger.outdated(daemon, depends, process)

    def _spared(self, goals: Goals) -> tuple[str, ...]:
        """Paths that never count as left behind by an account: quarantine, and daemons' runtime directories."""
        spared = [*self.ledger.stored, *(path.rsplit("/", 1)[0] for path in self.ledger.stored)]
        for address in goals.targets:
            if address.kind == "daemon":
                with suppress(HostError):
                    unit = load_unit(self.host, address.name)
                    spared += [f"/run/{name}" for name in unit.merged("Service", "RuntimeDirectory")]
        return tuple(spared)

    def survey(self, goals: Goals, options: Options, desired: Json = None, host: Json = None) -> Plan:
        """Look at every target and plan what it takes; nothing is written."""
        targets = dict(goals.targets)
        trees = {t.deployment for a, t in targets.items() if a.kind == "tree"}
        for address, deployment in self.ledger.daemons.items():
            if address in self.ledger.paused or deployment in trees:
                targets.setdefault(address, Target(address, deployment))
        goals = with_(goals, targets=targets)
        if options.only:
            targets = self._closure(targets, options.only)
            goals = with_(goals, targets=targets)
        context = self.context(goals, options)
        plan = Plan(host, desired or {"commit": None, "files": []}, orphaned=goals.orphaned)
        for address in looking_order(targets):
            target = targets[address]
            if options.skip_conflicts:
                target = with_(target, options={**target.options, "skip_conflicts": True})
            context.planned[address] = self._prospect(target, context, options, plan)
        self._foreign_processes(context, plan)
        self._one_path_twice(context, plan)
        blocked = {b.address for b in plan.blocked}
        workable = {a: p for a, p in context.planned.items() if a not in blocked}
        if blocked and options.skip_blocked:
            workable = _without_dependents(workable, blocked)
        plan.transitions = transitions(workable)
        busy = {t.address for t in plan.transitions}
        plan.unchanged = len([a for a in context.planned if a not in busy and a not in blocked])
        for address, target in goals.audit.items():
            seen = kinds()[address.kind].prospect(self.host, target, context)
            plan.audit += [Transition(each, seen) for each in seen.steps]
        self._claims(goals, context)
        for address, other in goals.foreign.items():
            prospect = context.planned.get(address)
            if prospect and prospect.steps and prospect.target.deployment != other:
                reason = (
                    f"deployment {other!r} is not in the input and holds it otherwise; uninstall it, or add its file"
                )
                plan.blocked.append(_blocked(prospect.target, reason, unknown=False))
        if self.ledger.open is not None:
            what = f"{self.ledger.open.data['verb']} {self.ledger.open.address}"
            plan.notes.append(f"run {self.ledger.open.run} was cut off during '{what}'; apply settles that first")
        return plan

    def _prospect(self, target: Target, context: Context, options: Options, plan: Plan) -> Prospect:
        kind = kinds().get(target.address.kind)
        if kind is None:
            plan.blocked.append(
                _blocked(target, f"kind {target.address.kind!r} is not known to this version", unknown=True)
            )
            return Prospect(target, _NOTHING, _NOTHING)
        try:
            found = kind.prospect(self.host, target, context)
            if found.conflicts and options.skip_conflicts:
                keep = frozenset(c.field for c in found.conflicts)
                whole = EXISTS in target.give_back and any(c.field not in target.give_back for c in found.conflicts)
                if whole or (EXISTS in target.give_back and target.wish is None):
                    keep |= {EXISTS, *_attributes(target)}
                found = with_(kind.prospect(self.host, with_(target, keep=keep), context), conflicts=found.conflicts)
        except LogError as error:
            found = Prospect(target, _NOTHING, _NOTHING, blocked=Unknown(str(error), unknown=False))
        if found.blocked is not None:
            plan.blocked.append(_blocked(target, found.blocked.reason, unknown=found.blocked.unknown))
        plan.conflicts += found.conflicts
        plan.skipped += found.skipped
        plan.notes += [f"{target.address}: {note}" for note in found.notes]
        return found

    def _claims(self, goals: Goals, context: Context) -> None:
        """Who shares which holds: a wish that is fulfilled already counts as much as one that was not."""
        for deployment, resource in goals.claims:
            address = resource.address
            prospect = context.planned.get(address)
            if prospect is None or prospect.blocked:
                continue
            kind = kinds()[address.kind]
            with suppress(HostError):
                alone = Target(address, deployment, resource)
                spoken = set(kind.values(self.host, alone, prospect.before, context)) | (
                    {PATHS} if address.kind == "tree" else set()
                )
                changing = (
                    {c.field for s in prospect.steps for c in s.changes}
                    if prospect.target.deployment != deployment
                    else set()
                )
                held = self.ledger.holds.get(address, {})
                taken = {f for f, hold in held.items() if deployment not in hold.holders} | (changing - set(held))
                # What comes into being as a whole is shared as a whole.
                shared = taken if EXISTS in taken else taken & spoken
                goals.joins += [(deployment, address, name) for name in sorted(shared)]
                goals.leaves += [
                    (deployment, address, f)
                    for f, hold in held.items()
                    if deployment in hold.holders and len(hold.holders) > 1 and f not in spoken and EXISTS not in held
                ]

    def _closure(self, targets: Mapping[Address, Target], only: Iterable[Address]) -> dict[Address, Target]:
        """The named targets, with all that they require."""
        wanted: set[Address] = set()
        pending = list(only)
        for address in pending:
            if address not in targets:
                listed = ", ".join(map(str, list(targets)[:12]))
                raise Refused(f"--only {address}: nothing to do with that here; the input has {listed}")
        while pending:
            address = pending.pop()
            if address in wanted or address not in targets:
                continue
            wanted.add(address)
            wish = targets[address].wish
            pending += [*targets[address].requires, *(wish.requires() if wish else ())]
        return {a: t for a, t in targets.items() if a in wanted}

    def _foreign_processes(self, context: Context, plan: Plan) -> None:
        """A process that runs from a tree to be handed over, and that no listed daemon owns, blocks that."""
        from .kinds.daemon import running_from  # noqa: PLC0415 - beside its use

        if not self.host.live:
            return
        units = {a.name for a in context.targets if a.kind == "daemon"}
        for address, prospect in context.planned.items():
            if not context.hands_over(address):
                continue
            strangers = [p for p in running_from(self.host, address.name) if p.cgroup.rsplit("/", 1)[-1] not in units]
            if strangers:
                told = ", ".join(f"{p.pid} ({p.name})" for p in strangers[:5])
                reason = (
                    f"runs programs that belong to no listed daemon: process {told}; stop them, or declare their daemon"
                )
                plan.blocked.append(_blocked(prospect.target, reason, unknown=False))

    def _one_path_twice(self, context: Context, plan: Plan) -> None:
        """Two addresses that lead to one file through a link would undo each other for ever."""
        seen: dict[str, Address] = {}
        for address, prospect in context.planned.items():
            if address.kind in ("file", "ini") and prospect.target.wish is not None:
                with suppress(HostError):
                    other = seen.setdefault(self.host.canonical(address.name), address)
                    if other != address:
                        reason = f"leads to the same file as {other}; declare it under one path"
                        plan.blocked.append(_blocked(prospect.target, reason, unknown=False))

    # Acting.

    def writer(self) -> tuple[Host, LogWriter]:
        """The writing halves; only a run that holds the lock has them."""
        assert isinstance(self.log, LogWriter)
        return self.host, self.log  # type: ignore[return-value] # a LogWriter comes with a whole host

    def next_run(self) -> str:
        """The id that the next run gets."""
        return f"r{len(self.ledger.runs) + 1}"

    def say(
        self,
        run: str,
        type_: str,
        data: Mapping[str, Json],
        deployment: str | None = None,
        address: str | None = None,
    ) -> Event:
        """Write one event and take it into account."""
        _, log = self.writer()
        event = log.append(run, type_, data, deployment, address)
        step(self.ledger, event)
        return event

    def recover(self) -> str | None:
        """Settle what a crash cut off; answers in words what came of it."""
        started = self.ledger.open
        if started is None:
            return None
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
    ) -> Report:
        """Carry the plan out, one logged transition at a time."""
        _, log = self.writer()
        report = Report(
            blocked=plan.blocked,
            skipped=list(plan.skipped),
            left=bool(plan.blocked or (plan.conflicts and options.skip_conflicts)),
        )
        books = self._books(plan, goals)
        if not plan.transitions and not any(books.values()):
            return report
        run = self.next_run()
        first = log.seq
        # Said first: whatever happens to this run, no path loses what it once was.
        self.say(run, "run.started", {**start, "inherits": books.pop("inherits"), "terms": books.pop("terms")})
        report.run = run
        context = self.context(goals, options)
        context.fix = True
        context.planned = {t.address: t.prospect for t in plan.transitions}
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
            outcome, error = self._turn(run, transition, context, report)
            tell(transition, outcome)
            report.transitions.append((transition, outcome, error))
            if outcome in ("failed", "undone", "stuck"):
                failed.add(transition.address)
                stop = stop or not options.keep_going
            context.paused = frozenset(self.ledger.paused)
            context.current = {a: {f: h.current for f, h in fields.items()} for a, fields in self.ledger.holds.items()}
        self._conclude(report, options, run, first, failed)
        finished = {
            "outcome": report.outcome,
            "complete": not failed,
            "skipped": [list(s) for s in report.skipped[:100]],
        }
        if not failed:
            finished |= books
        self.say(run, "run.finished", finished)
        log.keep_head()
        return report

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
        from .targets import from_past  # noqa: PLC0415

        back = from_past(rewind(self.log.events(), first), self.ledger, self.unseal)
        options = Options(force=True, keep_going=True)
        plan = self.survey(back, options)
        context = self.context(back, options)
        context.fix = True
        report = Report()
        clean = not plan.blocked
        for transition in plan.transitions:
            outcome, _ = self._turn(run, transition, context, report)
            clean = clean and outcome in ("succeeded", "skipped")
            context.paused = frozenset(self.ledger.paused)
        return clean and not report.skipped

    def _books(self, plan: Plan, goals: Goals) -> dict[str, Json]:
        """Who holds what besides what transitions say: shared holds, and holds that end without a change."""
        moved = {(t.address, c.field) for t in plan.transitions if t.target.wish is None for c in t.step.changes}
        conflicted = {(c.address, c.field) for c in plan.conflicts} | {(b.address, None) for b in plan.blocked}
        stays = {a for a, _ in conflicted}
        leaves: list[Leave] = [x for x in goals.leaves if (x[1], x[2]) not in moved and x[1] not in stays]
        return {
            "joins": [[d, str(a), list(f)] for d, a, f in goals.joins],
            "leaves": [[d, str(a), list(f)] for d, a, f in leaves],
            "inherits": [[str(outer), str(inner)] for outer, inner in goals.inherits],
            "terms": {str(a): t for a, t in goals.terms.items()},
        }

    def _turn(self, run: str, planned: Transition, context: Context, report: Report) -> tuple[str, str | None]:
        """One transition: look again, log the intent, act, read back, settle."""
        host, _ = self.writer()
        address = planned.address
        kind = kinds()[address.kind]
        try:
            found = kind.prospect(host, planned.target, context)
        except ReconcilerError as error:
            found = Prospect(planned.target, _NOTHING, _NOTHING, blocked=Unknown(str(error)))
        if found.blocked is not None:
            return "failed", found.blocked.reason
        known = {(c.address, c.field) for c in planned.prospect.conflicts}
        fresh = [c for c in found.conflicts if (c.address, c.field) not in known]
        if fresh and not context.force:
            return "failed", f"{'.'.join(fresh[0].field)} was changed by someone else since the plan was made"
        doing = _same_step(found, planned.step)
        if doing is None:
            return "skipped", "is so already"
        context.planned[address] = found
        recorded, image = kind.record(host, found, doing, self.vault)
        started = self._log_intent(run, found, doing, recorded, image)
        trouble = None
        try:
            left = kind.perform(host, found, doing, recorded, self.vault)
            report.skipped += [item for item in left if item not in report.skipped]
        except (ReconcilerError, OSError) as error:
            trouble = str(error)
        why, outcome = self._settle(started, run, trouble)
        return outcome, why

    def _log_intent(self, run: str, found: Prospect, doing: Step, recorded: Iterable[Change], image: Json) -> Event:
        target = found.target
        held = self.ledger.holds.get(target.address, {})
        listed = list(recorded)
        sealed = self.vault.seal(
            {"values": [[c.before, c.after] if c.sealed else None for c in listed], "image": image}
        )
        data: dict[str, Json] = {
            "v": 1,
            "verb": doing.verb,
            "changes": [
                {"field": list(c.field), "shown": list(c.shown)}
                | ({"sealed": True} if c.sealed else {"before": c.before, "after": c.after})
                for c in listed
            ],
            "sealed": sealed,
            "source": target.source.json() if target.source else None,
            "returns": [list(f) for f in self._returned(found, doing, held)],
        }
        if origins := self._older_origins(target.address, listed, held):
            data["origins"] = [[list(name), value] for name, value in origins.items()]
        if doing.pause:
            data["pause"] = True
        return self.say(run, "transition.started", data, target.deployment, str(target.address))

    def _older_origins(self, address: Address, listed: list[Change], held: Mapping[Field, Any]) -> dict[Field, Json]:
        """What a file's owner, group and mode were before a tree round it took them.

        A file that is declared inside a tree steps out of it, and takes what the tree knows of it along.
        """
        wanted = {c.field for c in listed} & LOOKS - set(held)
        found: dict[Field, Json] = {}
        if address.kind not in ("file", "ini") or not wanted or any(c.field == EXISTS for c in listed):
            return found
        for tree, fields in self.ledger.holds.items():
            if tree.kind == "tree" and PATHS in fields and inside(address.name, tree.name):
                record = recorded_in(fields[PATHS].origin, self.vault, address.name)
                for name in wanted:
                    if record is None or record.after is None:
                        break
                    before, after = getattr(record.before, name[0]), getattr(record.after, name[0])
                    if before != after:
                        found.setdefault(name, before)
        return found

    def _returned(self, found: Prospect, doing: Step, held: Mapping[Field, Any]) -> list[Field]:
        """The fields that get their origin back with this step, so that they are held no longer."""
        target, kind = found.target, kinds()[found.target.address.kind]
        left = bool(found.conflicts) and bool(target.options.get("skip_conflicts"))
        done = []
        for change in doing.changes:
            hold = held.get(change.field)
            if hold is None:
                continue
            origin = self.unseal(hold.origin)
            if isinstance(origin, dict) and "layers" in origin:
                given = target.give_back.get(change.field) or {}
                known = {layer["image"] for layer in given.get("layers", [])}
                back = not left and target.wish is None and origin["layers"][0]["image"] in known
            else:
                back = kind.same(change.field, change.after, origin)
            if back:
                done.append(change.field)
        return done

    def _settle(self, started: Event, run: str, error: str | None) -> tuple[str | None, str]:
        """The one way to end a transition, after success, failure and crash alike."""
        host, _ = self.writer()
        address, data = Address.parse(str(started.address)), started.data
        kind = kinds()[address.kind]
        todo = [Change(c.field, self.unseal(c.before), self.unseal(c.after), c.shown) for c in changes(started)]
        problem = self._try(lambda: kind.reached(host, address.name, todo, self.vault))
        if not problem:
            for path in kind.edits(address.name):
                with suppress(ReconcilerError):
                    host.discard(path)
            ended: dict[str, Json] = {"v": 1, "started": started.seq, "clock": self._clock()}
            if data["verb"] in ("start", "restart"):
                seen = kind.read(host, address.name)
                ended["process"] = dict(seen.process) if isinstance(seen, DaemonState) and seen.process else None
            self.say(run, "transition.succeeded", ended, started.deployment, started.address)
            return None, "succeeded"
        why = error or problem
        image = self.vault.unseal(data["sealed"])["image"]
        still = self._try(lambda: kind.put_back(host, address.name, todo, image, self.vault))
        if still:
            told = {"v": 1, "started": started.seq, "error": why, "left": still, "clock": self._clock()}
            self.say(run, "transition.stuck", told, started.deployment, started.address)
            return f"{why}; and it could not be put back: {still}", "stuck"
        self.say(
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


def looking_order(targets: Mapping[Address, Target]) -> list[Address]:
    """The order in which prospects are made: each after what it looks at.

    A tree looks at the files that are given back inside it.  Accounts and groups that go are looked at last,
    when it is known what of theirs is given back.
    """

    def key(address: Address) -> tuple[int, int]:
        kind = kinds().get(address.kind)
        rank = kind.rank if kind else 99
        if targets[address].wish is None and address.kind in ("account", "group"):
            return (2, -rank)
        return (0, rank) if targets[address].wish is None and address.kind in ("file", "ini") else (1, rank)

    return sorted(targets, key=key)


def refusal(host: Observer, document: Any, ledger: Ledger) -> Blocked | None:
    """A mode that has no way back: where the log holds nothing and the host shows the other mode."""
    symptom = document.refuse_where
    if symptom is None or document.name in ledger.deployments():
        return None
    with suppress(HostError):
        file = host.read(symptom["file"])
        if file is not None:
            value = shown(IniFile(file.data, fold=True).get(symptom["section"], symptom["key"]))
            if value == symptom["value"]:
                reason = f"{symptom['file']} says {symptom['key']}={value}, but {document.procedure}"
                return Blocked(Address("ini", symptom["file"]), reason, False, document.source.json())
    return None


def _same_step(found: Prospect, planned: Step) -> Step | None:
    return next((s for s in found.steps if (s.verb, s.pause) == (planned.verb, planned.pause)), None)


def _attributes(target: Target) -> frozenset[Field]:
    return frozenset(target.give_back)


def _blocked(target: Target, reason: str, *, unknown: bool) -> Blocked:
    return Blocked(target.address, reason, unknown, target.source.json() if target.source else None)


def _without_dependents(workable: dict[Address, Prospect], blocked: set[Address]) -> dict[Address, Prospect]:
    """What is left when everything that needs a blocked thing is left out too."""
    out = set(blocked)
    while True:
        more = {
            a
            for a, p in workable.items()
            if a not in out and p.target.wish is not None and out & (p.target.requires | p.target.wish.requires())
        }
        if not more:
            return {a: p for a, p in workable.items() if a not in out}
        out |= more


_NOTHING = Absent()
