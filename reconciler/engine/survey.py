"""Survey: look at every target and plan what it takes.  Nothing is written here.

A survey is handed an observer, which holds nothing that could write.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace as with_
from datetime import UTC, datetime, timedelta
from typing import Any

from ..core.goals import Goals
from ..core.kind import Context, Proposal, gone
from ..core.ledger import Currents, Ledger, fold
from ..core.options import Options
from ..core.plan import Blocked, Plan, Transition, transitions
from ..core.planned import Planned
from ..core.rewind import changes
from ..errors import HostError, LogError, Refused
from ..host.held import Glimpse
from ..host.port import Observer
from ..kinds import kinds
from ..log.projection import Projection
from ..log.store import LogReader, timestamp
from ..log.writer import LogWriter
from ..model import EXISTS, MARK, PATHS, Absent, Address, Field, Json, Target, Unknown, above, inside
from ..trees.images import knows_inside


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


def hostname(host: Observer) -> str:
    """The name of a host, as sudoers ask for it."""
    return facts(host)["hostname"] or "localhost"


def ledger_of(log: LogReader, known: Ledger | None = None) -> Ledger:
    """What the log amounts to: from its books, or from its events where the books cannot be relied on.

    ``known``: what it amounted to when it was last asked, which is gone on with where nothing was written since.
    """
    books = log.books()
    if books is None and isinstance(log, LogWriter):
        log.renew_books(lambda empty: fold(log.events(), empty, kinds()))
        books = log.books()
    if books is None:
        return folded(log)[0]
    tail = log.tail()
    if known is not None and (known.seq, known.head) == tail:
        return known.again(books)
    return Ledger.load(books, kinds(), books.posted(), tail[1])


def folded(log: LogReader) -> tuple[Ledger, Projection]:
    """The ledger and its books made from the events alone, in books of their own."""
    fresh, start = Projection(), log.archived()
    fresh.begin(start.seq, start.facts)
    return fold(log.events(), fresh, kinds()), fresh


class Surveyor:
    """One host and its log, to be looked at."""

    cut_off: frozenset[str] = frozenset()
    """The things whose transitions an earlier run left half-done, and this one settled."""

    def __init__(self, host: Observer, log: LogReader, known: Ledger | None = None) -> None:
        self.host = host
        self._seen: Any = host
        """The host as one survey sees it."""
        self.log = log
        self.vault = log.vault()
        self.ledger = ledger_of(log, known)

    def next_run(self) -> str:
        """The id that the next run gets."""
        return f"r{self.ledger.count + 1}"

    def unseal(self, value: Json) -> Json:
        """The value that a reference into the vault stands for."""
        return self.vault.value(value)

    def context(self, goals: Goals, options: Options) -> Context:
        """What planning knows besides the host."""
        ledger = self.ledger
        return Context(
            current=Currents(ledger),
            paused=frozenset(ledger.paused),
            planned=Planned(kinds().located),
            targets=goals.targets,
            force=options.force,
            spared=self._spared(goals),
            all_paths=options.all_paths,
            scopes=options.scopes,
            recording=isinstance(self.log, LogWriter),
            vault=self.vault,
            outdated=self._outdated,
            contested=self._contested,
        )

    def _contested(self, address: Address) -> int:
        """How many runs of the last hour found a field of a thing changed since the run before left it."""
        left: dict[tuple[str, ...], Json] = {}
        times = 0
        since = self.log.last_before(timestamp(datetime.now(UTC) - timedelta(hours=1)))
        for event in self.log.events(since, address=str(address)):
            if event.type == "transition.started":
                told = changes(event)
                times += any(c.field in left and left[c.field] != c.shown[0] for c in told)
                left |= {c.field: c.shown[1] for c in told}
        return times

    def _outdated(self, daemon: Address, depends: frozenset[Address], process: Json) -> bool:
        """By the log as it is at the moment of asking."""
        return self.ledger.outdated(daemon, depends, process)

    def _spared(self, goals: Goals) -> tuple[str, ...]:
        """Paths that never count as left behind by an account: quarantine, and daemons' runtime directories."""
        spared = [*self.ledger.stored, *(path.rsplit("/", 1)[0] for path in self.ledger.stored)]
        for address in goals.targets:
            with suppress(HostError, KeyError):
                spared += kinds()[address.kind].spared(self.host, address.name)
        return tuple(spared)

    def _knows_of(self, heir: Address, former: Address) -> bool:
        """Whether one tree knows anything of the paths of another one."""
        fields = self.ledger.holds.get(former, {})
        return PATHS not in fields or knows_inside(fields[PATHS].origin, self.vault, heir.name)

    def survey(self, goals: Goals, options: Options, desired: Json = None, host: Json = None) -> Plan:
        """Look at every target and plan what it takes; nothing is written."""
        goals.inherits[:] = [(heir, former) for heir, former in goals.inherits if self._knows_of(heir, former)]
        goals = self._with_daemons(goals)
        known = set(goals.targets)
        if options.only:
            audit = {a: t for a, t in goals.audit.items() if a in options.only}
            listed = [a for a in options.only if a not in audit or a in goals.targets]
            goals = with_(goals, targets=self._closure(goals.targets, listed), audit=audit)
        context, self._seen = self.context(goals, options), Glimpse(self.host)
        plan = Plan(host, desired or {"commit": None, "files": []}, orphaned=goals.orphaned, owed=context.owed)
        for address in looking_order(goals.targets):
            target = goals.targets[address]
            if options.skip_conflicts:
                target = with_(target, options={**target.options, "skip_conflicts": True})
            context.planned[address] = self._prospect(target, context, options, plan)
        self._hindered(context, plan)
        self._one_path_twice(context, plan)
        blocked = {b.address for b in plan.blocked}
        workable = {a: p for a, p in context.planned.items() if a not in blocked}
        left_out = _dependents(workable, blocked) if options.skip_blocked else {}
        for address, needed in left_out.items():
            if workable.pop(address).steps:
                plan.notes.append(f"{address} is left out: it needs {needed}, which is blocked or left out itself")
        plan.transitions = transitions(workable, kinds())
        busy = {*blocked, *left_out, *(t.address for t in plan.transitions)}
        plan.converged = sorted(str(a) for a in context.planned if a not in busy)
        for address, target in goals.audit.items():
            seen = kinds()[address.kind].prospect(self._seen, target, context)
            plan.audit += [Transition(each, seen) for each in seen.steps]
        # What is not looked at now, or left out, is held as before.
        goals.leaves[:] = [x for x in goals.leaves if x[1] in workable or x[1] not in known]
        self._claims(goals, context)
        self._held_otherwise(goals, context, plan)
        for started in self.ledger.open.values():
            what = f"{started.data['verb']} {started.address}"
            plan.notes.append(f"run {started.run} was cut off during '{what}'; apply settles that first")
        return plan

    def _with_daemons(self, goals: Goals) -> Goals:
        """Those, too, that nobody asks about now and that a hand-over may have to stop, or a run once stopped."""
        targets = dict(goals.targets)
        trees = {t.deployment for a, t in targets.items() if kinds().spans(a)}
        for address, deployment in self.ledger.daemons.items():
            if address in self.ledger.paused or deployment in trees:
                targets.setdefault(address, Target(address, deployment))
        return with_(goals, targets=targets)

    @staticmethod
    def _held_otherwise(goals: Goals, context: Context, plan: Plan) -> None:
        """Block what a deployment that is not in the input holds otherwise."""
        for address, other in goals.foreign.items():
            prospect = context.planned.get(address)
            if prospect and prospect.steps and prospect.target.deployment != other:
                what = f"deployment {other!r} is not in the input and holds it otherwise"
                reason = f"{what}; uninstall it, or add its file"
                plan.blocked.append(blocked_by(prospect.target, reason, unknown=False))

    def _prospect(self, target: Target, context: Context, options: Options, plan: Plan) -> Proposal:
        kind = kinds().get(target.address.kind)
        if kind is None:
            plan.blocked.append(
                blocked_by(target, f"kind {target.address.kind!r} is not known to this version", unknown=True)
            )
            return Proposal(target, NOTHING, NOTHING)
        try:
            found = kind.prospect(self._seen, target, context)
            if found.conflicts and options.skip_conflicts:
                keep = frozenset(c.field for c in found.conflicts)
                whole = EXISTS in target.give_back and any(c.field not in target.give_back for c in found.conflicts)
                if whole or (EXISTS in target.give_back and target.wish is None):
                    keep |= {EXISTS, *_attributes(target)}
                found = with_(kind.prospect(self._seen, with_(target, keep=keep), context), conflicts=found.conflicts)
        except LogError as error:
            found = Proposal(target, NOTHING, NOTHING, blocked=Unknown(str(error), unknown=False))
        if found.blocked is not None:
            plan.blocked.append(blocked_by(target, found.blocked.reason, unknown=found.blocked.unknown))
        plan.conflicts += found.conflicts
        context.owed |= {target.address} if found.owed else set()
        plan.skipped += found.skipped
        plan.notes += [f"{target.address}: {note}" for note in found.notes]
        return found

    def _claims(self, goals: Goals, context: Context) -> None:
        """Who shares which holds: a wish that is fulfilled already counts as much as one that was not."""
        claims: dict[Address, dict[str, set[Field]]] = {}
        for deployment, resource in goals.claims:
            address = resource.address
            prospect = context.planned.get(address)
            if prospect is not None and not prospect.blocked:
                kind = kinds()[address.kind]
                with suppress(HostError):
                    alone = Target(address, deployment, resource)
                    spoken = set(kind.values(self._seen, alone, prospect.before, context))
                    # What the bytes were, and the paths of a tree, concern everybody who asks for anything there.
                    spoken |= {MARK, PATHS}
                    claims.setdefault(address, {}).setdefault(deployment, set()).update(spoken)
        for address, claimed in claims.items():
            held = {f: set(hold.holders) for f, hold in self.ledger.holds.get(address, {}).items()}
            for heir, former in goals.inherits:
                known = self.ledger.holds.get(former, {}).get(PATHS)
                if heir == address and known is not None:
                    held.setdefault(PATHS, set(known.holders))
            prospect = context.planned[address]
            changing = {c.field for s in prospect.steps for c in s.changes}
            after = {f: {prospect.target.deployment} for f in changing if f not in held} | held
            for deployment, spoken in claimed.items():
                taken = {f for f, holders in after.items() if deployment not in holders}
                # What comes into being as a whole is shared as a whole.
                shared = taken if EXISTS in taken else taken & spoken
                goals.joins += [(deployment, address, name) for name in sorted(shared)]
                for name in shared:
                    after[name].add(deployment)
            for deployment, spoken in claimed.items():
                if EXISTS not in after:
                    goals.leaves += [
                        (deployment, address, f)
                        for f, holders in sorted(after.items())
                        if deployment in holders and len(holders) > 1 and f not in spoken
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

    def _hindered(self, context: Context, plan: Plan) -> None:
        """Block what the plan as a whole does not allow."""
        for address, prospect in context.planned.items():
            for reason in (
                kinds()[address.kind].hindrances(self._seen, prospect, context) if address.kind in kinds() else ()
            ):
                plan.blocked.append(blocked_by(prospect.target, reason, unknown=False))

    def _one_path_twice(self, context: Context, plan: Plan) -> None:
        """Two addresses that lead to one file through a link would undo each other for ever."""
        seen: dict[str, Address] = {}
        places: dict[str, list[Address]] = {}
        for address in filter(kinds().located, context.planned):
            places.setdefault(address.name, []).append(address)
        for address, other in ((a, b) for listed in places.values() for a in listed for b in listed if a != b):
            prospect, rival = context.planned[address], context.planned[other]
            if prospect.target.wish is not None and rival.target.wish is None and rival.steps:
                reason = f"{other} is given back by this very plan; apply once without this resource first"
                plan.blocked.append(blocked_by(prospect.target, reason, unknown=False))
        for address, prospect in context.planned.items():
            if kinds().single(address) and prospect.target.wish is not None:
                with suppress(HostError):
                    other = seen.setdefault(kinds()[address.kind].place(self._seen, address.name), address)
                    if other != address:
                        reason = f"leads to the same file as {other}; declare it under one path"
                        plan.blocked.append(blocked_by(prospect.target, reason, unknown=False))


def looking_order(targets: Mapping[Address, Target]) -> list[Address]:
    """The order in which prospects are made: each after what it looks at.

    A tree looks at the files that are given back inside it.  Accounts and groups that go are looked at last,
    when it is known what of theirs is given back.
    """

    def key(address: Address) -> tuple[int, float]:
        kind = kinds().get(address.kind)
        rank = kind.rank if kind else 99
        if targets[address].wish is None and kinds().owns(address):
            return (2, -rank)
        if targets[address].wish is None and kinds().single(address):
            # What lies deeper first, so that a directory round it is known to be empty then.
            return (0, -len(address.name))
        # Of trees that go the inner ones first, so that the outer one is known to be empty then.
        return (1, rank - len(address.name) / 10**4 if targets[address].wish is None else rank)

    return _after_what_brings_them(sorted(targets, key=key), targets)


def _after_what_brings_them(order: list[Address], targets: Mapping[Address, Target]) -> list[Address]:
    """What lies in a directory that comes back is there again with it, so it is looked at after that.

    But before the directory whatever goes inside it: the directory may have been made for that, and go with it.
    """
    back = {a.name: a for a in order if kinds().single(a) and kinds().encloses(a) and EXISTS in targets[a].give_back}
    coming = {path: a for path, a in back.items() if not gone(targets[a].give_back[EXISTS])}
    if not coming:
        return order
    going = dict.fromkeys(a for a in order if kinds().single(a) and gone(targets[a].give_back.get(EXISTS, True)))
    found: dict[Address, None] = {}
    for address in order:
        parents = above(address.name) if kinds().single(address) else ()
        for around in [coming[path] for path in parents if path in coming] if address not in going else ():
            found.update(dict.fromkeys([*(a for a in going if inside(a.name, around.name)), around]))
        if address.name in coming and coming[address.name] == address:
            found.update(dict.fromkeys(a for a in going if inside(a.name, address.name)))
        found[address] = None
    return list(found)


def refusal(host: Observer, document: Any, ledger: Ledger) -> Blocked | None:
    """A mode that has no way back: where the log holds nothing and the host shows the other mode."""
    symptom = document.refuse_where
    if symptom is None or document.name in ledger.deployments():
        return None
    for kind in kinds().values():
        with suppress(HostError):
            found = kind.symptom(host, symptom)
            if found is not None and found[1] == symptom["value"]:
                reason = f"{symptom['file']} says {symptom['key']}={found[1]}, but {document.procedure}"
                return Blocked(found[0], reason, False, document.source.json())
    return None


def _attributes(target: Target) -> frozenset[Field]:
    return frozenset(target.give_back)


def blocked_by(target: Target, reason: str, *, unknown: bool) -> Blocked:
    return Blocked(target.address, reason, unknown, target.source.json() if target.source else None)


def _dependents(prospects: Mapping[Address, Proposal], blocked: Iterable[Address]) -> dict[Address, Address]:
    """Everything that needs a blocked thing, by itself or through others, with the thing it needs."""
    out = dict.fromkeys(blocked)
    found: dict[Address, Address] = {}
    while True:
        more = {
            address: min(needed)
            for address, prospect in prospects.items()
            if address not in out
            and (wish := prospect.target.wish) is not None
            and (needed := (prospect.target.requires | wish.requires()) & out.keys())
        }
        if not more:
            return found
        found |= more
        out |= dict.fromkeys(more)


NOTHING = Absent()
