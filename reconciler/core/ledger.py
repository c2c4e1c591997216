"""The log folded: what is held, for whom, from what origin; which runs there were; what is still open.  Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from dataclasses import fields as parts
from typing import Any, Protocol

from ..model import EXISTS, MARK, PATHS, Address, Field, Json, inside
from .events import OPEN, START, Event, run_key
from .holds import HOLD, Hold, Holds, arranged, facts_of, holds_of, in_order, layered, merged, placed
from .kind import gone, passed
from .kinds import Kinds
from .noted import Noted
from .rewind import FRESH, Recorded, changes

NUMBERS: frozenset[Field] = frozenset({("uid",), ("gid",)})
PASSIVE = {"start", "stop", "restart", "enable", "disable"}
"""Verbs that change no setting, so that nothing has to be restarted for them."""
BACKWARD = {"rollback"}


class Posted(Protocol):
    """The books that a ledger is posted to: facts by key, each valid from one event to another."""

    def posted(self) -> int: ...

    def now(self, *prefixes: str) -> dict[str, Json]: ...

    def at(self, seq: int, *prefixes: str) -> dict[str, Json]: ...

    def runs(self) -> Iterator[Json]: ...

    def run(self, number: int) -> Json: ...

    def post(self, seq: int, facts: Mapping[str, Json]) -> None: ...

    def close(self) -> None: ...


@dataclass
class Run:
    """One run of the product, as its events tell it."""

    id: str
    verb: str
    first: int
    last: int
    at: str
    actor: Json = None
    outcome: str | None = None
    transitions: int = 0
    deployments: tuple[str, ...] = ()
    commit: str | None = None
    to: int | None = None
    """For a rollback: the event right after which the host is to be."""
    only: str | None = None
    """For a rollback: the one deployment that it is about."""
    plan: str | None = None
    """The digest of the saved plan that it carried out."""
    origin: Json = None
    """Where its desired state came from, if from a repository: repository, ref, path, commit, signer."""
    input: str | None = None
    """What its desired state is known by: the commit, or a digest of the files."""

    def json(self) -> Json:
        """The form that the books carry."""
        return {
            part.name: value
            for part in parts(self)
            if (value := getattr(self, part.name)) is not None or part.name not in ("origin", "input")
        }

    @property
    def number(self) -> int:
        """The number in the id."""
        return number_of(self.id)

    @property
    def forward(self) -> bool:
        """Whether this run changed the host by a new decision, so that `rollback` may undo it."""
        return self.verb not in BACKWARD and self.transitions > 0 and self.outcome != "undone"

    @classmethod
    def parse(cls, raw: Json) -> Run:
        """Read a run's line of the books."""
        return cls(**{**raw, "deployments": tuple(raw["deployments"])})


def number_of(run: str) -> int:
    """The number in a run's id; 0 where it is none.

    >>> number_of("r17"), number_of("17")
    (17, 0)
    """
    return int(run[1:]) if run[:1] == "r" and run[1:].isascii() and run[1:].isdecimal() else 0


def input_of(commit: str | None, desired: Json) -> str | None:
    """What a desired state is known by: its commit, or a digest of its files' contents; None where there is none."""
    if commit is not None:
        return commit
    digests = sorted(file["sha256"] for file in (desired or {}).get("files", ()))
    return "sha256:" + hashlib.sha256(" ".join(digests).encode()).hexdigest() if digests else None


@dataclass(frozen=True)
class Table:
    """One sort of fact: where the ledger has it, and how its names and values are read and written."""

    of: str
    key: Callable[[str], Any] = str
    read: Callable[[Json], Any] = lambda value: value
    write: Callable[[Any], Json] = lambda value: value


UNDONE, TERMS = "undone|", "terms|"
TABLES = {
    "changed": Table("changed", Address.parse, tuple, list),
    "confirm": Table("awaiting"),
    "daemon": Table("daemons", Address.parse),
    "deployment": Table("names"),
    "doomed": Table("doomed", read=tuple, write=list),
    "failing": Table("failing"),
    "heldback": Table("held_back"),
    OPEN[:-1]: Table("open", int, lambda value: Event(**value), lambda event: event.json()),
    "paused": Table("paused", Address.parse),
    "process": Table("processes", Address.parse, tuple, list),
    "terms": Table("terms", Address.parse),
    "stored": Table(
        "stored", read=lambda v: (v[0], v[1], holds_of(v[2])), write=lambda v: [v[0], v[1], facts_of(v[2])]
    ),
}
"""By the word with which a key begins; holds, of which a thing has several, are told apart by their fields too."""
PARTS = (HOLD, *sorted(f"{part}|" for part in (*TABLES, "count", "suspended")))
"""The keys that a ledger is made of; runs and what of them is undone are looked up where somebody asks."""


def differing(then: Mapping[str, Json], now: Mapping[str, Json]) -> dict[str, Json]:
    """The facts that are other than they were; None for those that are gone."""
    gone_now: dict[str, Json] = dict.fromkeys(then.keys() - now.keys())
    return gone_now | {key: value for key, value in now.items() if then.get(key) != value}


@dataclass
class Ledger:
    """What the log amounts to."""

    books: Posted
    kinds: Kinds
    holds: Noted[Address, dict[Field, Hold]] = field(default_factory=Noted)
    count: int = 0
    """How many runs there were."""
    open: Noted[int, Event] = field(default_factory=Noted)
    """Transitions whose intent is in the log and whose outcome is not, by the event."""
    paused: Noted[Address, str] = field(default_factory=Noted)
    changed: Noted[Address, tuple[int, Json]] = field(default_factory=Noted)
    processes: Noted[Address, tuple[int, Json]] = field(default_factory=Noted)
    daemons: Noted[Address, str] = field(default_factory=Noted)
    """Every daemon that a deployment ever touched, if only to stop it for a hand-over."""
    terms: Noted[Address, Json] = field(default_factory=Noted)
    stored: Noted[str, tuple[str, str, Holds]] = field(default_factory=Noted)
    """Quarantines: path → run, deployment, and the holds of the tree and of what is in it, to come back with it."""
    doomed: Noted[str, tuple[str, str]] = field(default_factory=Noted)
    """Quarantines whose purge has begun: path → run, deployment.  Nothing comes back from them."""
    awaiting: Noted[str, str] = field(default_factory=Noted)
    """Runs that are undone unless somebody confirms them: run → until when."""
    names: Noted[str, int] = field(default_factory=Noted)
    """Every deployment that a run ever named, with the event that first did."""
    suspended: Json = None
    """Who suspended unattended runs, when and why."""
    held_back: Noted[str, str] = field(default_factory=Noted)
    """Desired states that were rolled back, which unattended runs skip: what they are known by → the run undone."""
    failing: Noted[str, Json] = field(default_factory=Noted)
    """Repositories that could not be read when last tried, and why."""
    seq: int = 0
    head: str = START
    """The hash of the last event."""
    running: Run | None = None
    """The run of the last event."""
    _posted: dict[Address, dict[str, Json]] = field(default_factory=dict)
    """The facts of every thing's holds as the books have them."""
    _single: dict[str, Json] = field(default_factory=dict)
    """The facts of which there is one, as the books have them."""
    _said: dict[str, Json] = field(default_factory=dict)
    """Facts that the last event ended or began besides those of the ledger itself."""
    _ordered: int = -1
    """The event at which the holds were last put in their order."""

    @classmethod
    def load(cls, books: Posted, kinds: Kinds, seq: int, head: str = "") -> Ledger:
        """The ledger as it was posted up to event ``seq``, whose hash is ``head``."""
        ledger, told = cls(books, kinds, seq=seq, head=head), books.now(*PARTS)
        ledger.holds.replaced(holds_of(told))
        for key, value in told.items():
            part, _, name = key.partition("|")
            if part in TABLES:
                table = TABLES[part]
                getattr(ledger, table.of)[table.key(name)] = table.read(value)
        ledger.count = told.get("count|", 0)
        ledger.suspended = told.get("suspended|")
        ledger.news()
        return ledger

    def again(self, books: Posted) -> Ledger:
        """The same ledger, as it would be loaded from books that say the same; those before are closed."""
        self.books.close()
        self.books, self.running = books, None
        if self._ordered != self.seq:
            self.holds.ordered(arranged(self.holds))
            self._ordered = self.seq
        return self

    def news(self) -> dict[str, Json]:
        """The facts that changed since this was last asked; None for those that hold no more."""
        changed: dict[str, Json] = {}
        for address in self.holds.taken():
            now = facts_of({address: self.holds[address]}) if address in self.holds else {}
            then = self._posted.pop(address, {})
            changed |= differing(then, now)
            if now:
                self._posted[address] = now
        single = {"count|": self.count, "suspended|": self.suspended}
        single = {key: value for key, value in single.items() if value}
        changed |= differing(self._single, single)
        for part, table in TABLES.items():
            own = getattr(self, table.of)
            for name in own.taken():
                changed[f"{part}|{name}"] = table.write(own[name]) if name in own else None
        changed |= self._said
        if self.running is not None:
            changed[run_key(self.running.number)] = self.running.json()
        self._single, self._said = single, {}
        return changed

    def run(self, name: str) -> Run | None:
        """A run by its id."""
        if self.running is not None and self.running.id == name:
            return self.running
        raw = self.books.run(number_of(name)) if number_of(name) else None
        return Run.parse(raw) if raw else None

    def runs(self) -> Iterator[Run]:
        """All runs, the last one first."""
        yield from map(Run.parse, self.books.runs())

    def undone(self, at: int | None = None) -> set[int]:
        """The numbers of the runs that are undone (``at``: that were, right after that event)."""
        told = self.books.now(UNDONE) if at is None else self.books.at(at, UNDONE)
        return {int(key.removeprefix(UNDONE)) for key in told}

    def later(self, seq: int, only: str | None = None) -> set[int]:
        """The forward runs that began after event ``seq``."""
        found = set()
        for run in self.runs():
            if run.first <= seq:
                break
            if run.verb not in BACKWARD and (only is None or only in run.deployments):
                found.add(run.number)
        return found

    def deployments(self) -> dict[str, list[Address]]:
        """Every deployment that holds something, with what it holds, oldest first."""
        found: dict[str, dict[Address, None]] = {}
        for address, fields in self.holds.items():
            for hold in fields.values():
                for name in hold.holders:
                    found.setdefault(name, {})[address] = None
        return {name: list(addresses) for name, addresses in found.items()}

    def held_by(self, deployment: str, address: Address) -> dict[Field, Hold]:
        """The fields of a thing that a deployment holds."""
        fields = self.holds.get(address, {})
        return {name: hold for name, hold in fields.items() if deployment in hold.holders}

    def spanning(self, path: str) -> list[tuple[Address, dict[Field, Hold]]]:
        """What holds a path inside it, the innermost first."""
        return [(address, self.holds[address]) for address in self.kinds.around(path, self.holds)]

    def images(self) -> set[tuple[int, str]]:
        """The before-images without which something held could not be given back, each with its event."""
        found: set[tuple[int, str]] = set()
        for hold in (hold for fields in self.holds.values() for hold in fields.values()):
            if isinstance(hold.origin, dict):
                found |= {(hold.seq, hold.origin["$sealed"])} if "$sealed" in hold.origin else set()
                found |= {(hold.seq, layer["image"]) for layer in hold.origin.get("layers", ())}
        return found

    def last_forward(self) -> Run | None:
        """The last run that `rollback` would undo."""
        undone = self.undone()
        return next((run for run in self.runs() if run.forward and run.number not in undone), None)

    def outdated(self, daemon: Address, depends: frozenset[Address], process: Json) -> bool:
        """Whether a daemon's process is older than a change of what it depends on.

        By sequence numbers for a process that we started; by the boot clock for one of this boot that we did not;
        a process of another boot is fresh.
        """
        told = [self.changed[a] for a in (*depends, daemon) if a in self.changed]
        if not told or process is None:
            return False
        mine = self.processes.get(daemon)
        if mine is not None and mine[1] == process:
            return any(seq > mine[0] for seq, _ in told)
        return any(
            clock is not None and clock["boot"] == process["boot"] and clock["ticks"] > process["start"]
            for _, clock in told
        )


class Currents(Mapping[Address, Mapping[Field, Json]]):
    """How we left every field that a ledger holds, as it is whenever it is asked."""

    def __init__(self, ledger: Ledger) -> None:
        self._holds = ledger.holds

    def __getitem__(self, address: Address) -> Mapping[Field, Json]:
        return {name: hold.current for name, hold in self._holds[address].items()}

    def __iter__(self) -> Iterator[Address]:
        return iter(self._holds)

    def __len__(self) -> int:
        return len(self._holds)

    def __contains__(self, address: object) -> bool:
        return address in self._holds


def fold(events: Iterable[Event], books: Posted, kinds: Kinds, upto: int | None = None) -> Ledger:
    """Read on from where the books stand (up to and with event ``upto``), and post what follows."""
    ledger = Ledger.load(books, kinds, books.posted())
    for event in events:
        if upto is not None and event.seq > upto:
            break
        post(ledger, event)
    return ledger


def post(ledger: Ledger, event: Event) -> None:
    """Take one more event into account, in the books too."""
    step(ledger, event)
    ledger.books.post(event.seq, ledger.news())


def step(ledger: Ledger, event: Event) -> None:
    """Take one more event into account."""
    ledger.seq, ledger.head = event.seq, event.hash
    if "damaged" in event.data:
        return
    if event.type != "run.started":
        ledger.running = ledger.run(event.run)
        if ledger.running is not None:
            ledger.running.last = event.seq
    taken = FOLD.get(event.type)
    if taken is not None:
        taken(ledger, event)


def _run_started(ledger: Ledger, event: Event) -> None:
    data = event.data
    ledger.running = run = Run(
        event.run,
        data["verb"],
        event.seq,
        event.seq,
        event.at,
        data.get("actor"),
        None,
        0,
        tuple(data.get("deployments", ())),
        data.get("commit"),
        data.get("to"),
        data.get("only"),
        data.get("saved_plan"),
        data.get("origin"),
        input_of(data.get("commit"), data.get("desired")),
    )
    for name in data.get("confirms", ()):
        ledger.awaiting.pop(name, None)
    ledger.count = max(ledger.count, run.number)
    for name in run.deployments:
        ledger.names.setdefault(name, event.seq)
    for heir, former in data.get("inherits", ()):
        _inherit(ledger, Address.parse(heir), Address.parse(former))
    for store in data.get("purging", ()):
        if store in ledger.stored:
            ledger.doomed[store] = ledger.stored.pop(store)[:2]
    for address, terms in data.get("terms", {}).items():
        ledger.terms[Address.parse(address)] = terms
    for name in data.get("reached", ()):
        ledger.failing.pop(name, None)


def _run_finished(ledger: Ledger, event: Event) -> None:
    run, data = ledger.running, event.data
    if run is not None:
        run.outcome = data.get("outcome")
        if data.get("confirm_by"):
            ledger.awaiting[run.id] = data["confirm_by"]
    _finish(ledger, data)
    if run is not None and data.get("restored") is not None:
        _restore(ledger, int(data["restored"]), run.only)
    if run is not None and run.to is not None and data.get("complete"):
        _undo(ledger, run.to, run.only)


def _suspended(ledger: Ledger, event: Event) -> None:
    ledger.suspended = {**event.data, "at": event.at, "run": event.run}


def _resumed(ledger: Ledger, event: Event) -> None:  # noqa: ARG001 - all of these take both
    ledger.suspended = None
    ledger.held_back.clear()


def _commit_quarantined(ledger: Ledger, event: Event) -> None:
    ledger.held_back[event.data["input"]] = event.data["run"]


def _source_failed(ledger: Ledger, event: Event) -> None:
    ledger.failing[event.data["repository"]] = event.data["error"]


def _transition_started(ledger: Ledger, event: Event) -> None:
    ledger.open[event.seq] = event


def _transition_stands(ledger: Ledger, event: Event) -> None:
    started = ledger.open.pop(event.data["started"], None)
    if started is not None:
        if ledger.running is not None:
            ledger.running.transitions += 1
        _take(ledger, started, event)


def _transition_undone(ledger: Ledger, event: Event) -> None:
    ledger.open.pop(event.data.get("started", 0), None)


FOLD: dict[str, Callable[[Ledger, Event], None]] = {
    "run.started": _run_started,
    "run.finished": _run_finished,
    "suspended": _suspended,
    "resumed": _resumed,
    "commit.quarantined": _commit_quarantined,
    "source.failed": _source_failed,
    "transition.started": _transition_started,
    "transition.succeeded": _transition_stands,
    "transition.stuck": _transition_stands,
    "transition.undone": _transition_undone,
    "transition.failed": _transition_undone,
}
"""What an event does to the ledger, by its type; what is not here is said for people alone."""


def _restore(ledger: Ledger, seq: int, only: str | None) -> None:
    """The host is as it was right after event ``seq``: so are the books.

    Without that, a rollback would be one more change on top, and what was before us would have to be told from the
    layers of what came and went.  Numbers of accounts are those that the host has now, since one may have been taken.
    """
    told = ledger.books.at(seq, HOLD, TERMS)
    then, now = holds_of(told), ledger.holds
    ours = {a for holds in (then, now) for a, fields in holds.items() if only in (None, *_holders(fields))}
    kept = {a: fields for a, fields in now.items() if a not in ours}
    for address in then:
        if address in ours:
            kept[address] = {
                name: replace(hold, current=now[address][name].current)
                if name in NUMBERS and name in now.get(address, {})
                else hold
                for name, hold in then[address].items()
            }
    ledger.holds.replaced(dict(in_order(kept)))
    terms = {Address.parse(key.removeprefix(TERMS)): value for key, value in told.items() if key.startswith(TERMS)}
    for address in ours:
        ledger.terms.pop(address, None)
        if address in terms:
            ledger.terms[address] = terms[address]


def _undo(ledger: Ledger, seq: int, only: str | None) -> None:
    """The runs since event ``seq`` are undone, and what was undone then is so again."""
    now = ledger.undone()
    undone = (ledger.undone(seq) if only is None else now) | ledger.later(seq, only)
    for run in [name for name in ledger.awaiting if number_of(name) in undone]:
        del ledger.awaiting[run]
    ledger._said |= {f"{UNDONE}{number:010d}": True for number in undone - now}
    ledger._said |= {f"{UNDONE}{number:010d}": None for number in now - undone}


def _holders(fields: Mapping[Field, Hold]) -> set[str]:
    """Who holds a thing, where it is one alone; else nobody in particular."""
    found = {name for hold in fields.values() for name in hold.holders}
    return found if len(found) == 1 else set()


def _take(ledger: Ledger, started: Event, ended: Event) -> None:
    """A transition that changed the host."""
    address, data = Address.parse(str(started.address)), started.data
    if data["verb"] not in PASSIVE:
        ledger.changed[address] = (ended.seq, ended.data.get("clock"))
    _ran(ledger, address, started, ended)
    if data.get("pause"):
        return
    fields, told = ledger.holds.setdefault(address, {}), changes(started)
    ledger.holds.touch(address)
    brought = _brought(ledger, address, [change.field for change in told if change.shown[1] is None])
    _disinherit(ledger, brought)
    exists = next((change for change in told if change.field == EXISTS), None)
    if exists is not None and gone(exists.after) and _parted(ledger, address, started, exists.after, brought):
        fields.clear()
    else:
        _held(ledger, address, told, started, ended)
    if not set(fields) - {MARK}:
        ledger.holds.pop(address)


def _ran(ledger: Ledger, address: Address, started: Event, ended: Event) -> None:
    """What a transition says of a process: when it began, and whether somebody owes it a start."""
    data, deployment = started.data, str(started.deployment)
    if ended.data.get("process") is not None:
        ledger.processes[address] = (ended.seq, ended.data["process"])
    if ledger.kinds.runs(address):
        ledger.daemons[address] = deployment
    if data["verb"] in ("start", "restart"):
        # A daemon that we failed to bring up again is owed a start by whatever run comes next.
        if ended.type == "transition.succeeded":
            ledger.paused.pop(address, None)
        elif data.get("pause") or data["verb"] == "restart":
            ledger.paused[address] = deployment
    if data.get("pause") and data["verb"] == "stop":
        ledger.paused[address] = deployment


def _brought(ledger: Ledger, address: Address, ended: Iterable[Field]) -> set[str]:
    """The paths that came into being with parts of a thing which end now."""
    kind = ledger.kinds.get(address.kind)
    return kind.brought(address.name, dict.fromkeys(ended)) if kind is not None else set()


def _parted(ledger: Ledger, address: Address, started: Event, exists: Json, brought: set[str]) -> bool:
    """A thing that goes: what lay in it is stored with it, or what is in it takes over; False where it stays held."""
    if store := _store(exists):
        inside_it = [a for a in ledger.holds if ledger.kinds.located(a) and inside(a.name, address.name)]
        former = {a: dict(ledger.holds[a]) for a in inside_it}
        ledger.stored[store] = (started.run, str(started.deployment), former)
        for inner in inside_it:
            if inner != address:
                del ledger.holds[inner]
    stays = brought | ({address.name} if passed(exists) else set())
    heirs = _hand_on_parents(ledger, address, ledger.holds[address].get(EXISTS), stays)
    return heirs or not passed(exists)  # where nobody else would take it away, it stays held


def _held(ledger: Ledger, address: Address, told: Iterable[Recorded], started: Event, ended: Event) -> None:
    """What a thing that stays holds from now on: fields change, begin, and end where they are given back."""
    fields, data, deployment = ledger.holds[address], started.data, str(started.deployment)
    returns = {tuple(path) for path in data.get("returns", ())}
    whole = ended.type == "transition.succeeded" and not ended.data.get("left")
    origins = {tuple(path): value for path, value in data.get("origins", ())}
    made = {
        path for hold in fields.values() if isinstance(hold.origin, dict) for path in hold.origin.get("missing", ())
    }
    for place, change in enumerate(told):
        name, before, after = change.field, placed(change.before, address, ended.seq), change.after
        if name == FRESH or (name == EXISTS and gone(after)):
            continue
        if isinstance(before, dict) and "missing" in before:
            # Directories that we made for one setting of a drop-in are there for the others too.
            before = {**before, "missing": sorted(made | set(before["missing"]), key=len)}
        if name == EXISTS and (store := _store(before)):
            _, _, former = ledger.stored.pop(store, ("", "", {}))
            fields.update(former.pop(address, {}))
            ledger.holds.update(former)
            continue
        hold = fields.get(name)
        if name in returns and whole:
            fields.pop(name, None)
        elif hold is None:
            # What becomes of the contents of a thing that came into being concerns all who share it.
            holders = fields[EXISTS].holders if name == PATHS and EXISTS in fields else (deployment,)
            fields[name] = Hold(
                origins.get(name, before), after, holders, ended.seq, data.get("source"), (ended.seq, place)
            )
        else:
            origin = layered(hold.origin, before)
            fields[name] = replace(hold, origin=origin, current=after, seq=ended.seq, source=data.get("source"))


def _disinherit(ledger: Ledger, brought: set[str]) -> None:
    """What stands where something came into being with a thing that goes now has nothing to come back to."""
    for other in [a for a in ledger.holds if a.name in brought and ledger.kinds.single(a)] if brought else ():
        fields = ledger.holds[other]
        any_one = next(iter(fields.values()))
        ledger.holds.touch(other)
        fields[EXISTS] = replace(fields.get(EXISTS, any_one), origin={"absent": {}}, current=True)


def _hand_on_parents(ledger: Ledger, address: Address, hold: Hold | None, stays: set[str]) -> bool:
    """Directories that were made for a thing that goes now, and that others still need, become one of those's.

    That one hands them on in its turn.  ``stays``: those that it was itself, or that came with it.  Answers whether
    there was anybody to take them.
    """
    around = hold.origin.get("absent", {}) if hold is not None and isinstance(hold.origin, dict) else {}
    made = [*(around.get("missing", []) if isinstance(around, dict) else []), *stays]
    left, heirs = set(made), False
    for other, fields in ledger.holds.items() if made else ():
        theirs = fields.get(EXISTS)
        if other == address or theirs is None or not ledger.kinds.single(other) or not gone(theirs.origin):
            continue
        needed = {path for path in left if inside(other.name, path) and path != other.name}
        if needed:
            heirs = True
            known = theirs.origin["absent"].get("missing", [])
            missing = sorted({*needed, *known}, key=len)
            ledger.holds.touch(other)
            fields[EXISTS] = replace(theirs, origin={"absent": {**theirs.origin["absent"], "missing": missing}})
            left -= needed
            if not left:
                break
    return heirs


def _store(value: Json) -> str | None:
    """The quarantine that a value of ``exists`` names."""
    if isinstance(value, dict) and isinstance(value.get("absent"), dict):
        store = value["absent"].get("quarantine")
        return None if store is None else str(store)
    return None


def _inherit(ledger: Ledger, heir: Address, former: Address) -> None:
    """A tree takes over what another one knows of paths that pass to it; an inner tree ends with that."""
    known = ledger.holds.get(former, {}).get(PATHS)
    if known is None:
        return
    hold = ledger.holds.get(heir, {}).get(PATHS)
    origin = merged([hold.origin if hold else None, known.origin])
    ledger.holds.setdefault(heir, {})[PATHS] = replace(hold or known, origin=origin)
    ledger.holds.touch(heir)
    if inside(former.name, heir.name):
        ledger.holds.pop(former)


def _finish(ledger: Ledger, data: Mapping[str, Json]) -> None:
    for deployment, address, path in data.get("joins", ()):
        where = Address.parse(address)
        fields = ledger.holds.get(where, {})
        hold = fields.get(tuple(path))
        if hold is not None and deployment not in hold.holders:
            ledger.holds.touch(where)
            fields[tuple(path)] = replace(hold, holders=(*hold.holders, deployment))
    for deployment, address, path in data.get("leaves", ()):
        where = Address.parse(address)
        fields = ledger.holds.get(where, {})
        hold = fields.get(tuple(path))
        if hold is None:
            continue
        ledger.holds.touch(where)
        left = tuple(name for name in hold.holders if name != deployment)
        if left:
            fields[tuple(path)] = replace(hold, holders=left)
        else:
            del fields[tuple(path)]
            if not set(fields) - {MARK}:
                ledger.holds.pop(where, None)
    for store in data.get("purged", ()):
        ledger.doomed.pop(store, None)
