"""The log folded: what is held, for whom, from what origin; which runs there were; what is still open.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .log.events import Event
from .model import EXISTS, Address, Field, Json, Source, inside

RUNNING: Field = ("running",)
FRESH: Field = ("fresh",)
PATHS: Field = ("paths",)
MARK: Field = ("file",)
"""What is known of an ini file as a whole; it lives as long as one of its keys is held."""
PASSIVE = {"start", "stop", "restart", "enable", "disable"}
"""Verbs that change no setting, so that nothing has to be restarted for them."""
BACKWARD = {"rollback"}


@dataclass(frozen=True)
class Hold:
    """One field that we changed: how it was, how we left it, and for which deployments."""

    origin: Json
    current: Json
    holders: tuple[str, ...]
    seq: int
    source: Json = None


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
    undoes: list[str] | None = None
    """The runs that are undone once this one has converged."""


@dataclass
class Ledger:
    """What the log amounts to."""

    holds: dict[Address, dict[Field, Hold]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    undone: frozenset[str] = frozenset()
    open: Event | None = None
    paused: dict[Address, str] = field(default_factory=dict)
    changed: dict[Address, tuple[int, Json]] = field(default_factory=dict)
    processes: dict[Address, tuple[int, Json]] = field(default_factory=dict)
    daemons: dict[Address, str] = field(default_factory=dict)
    """Every daemon that a deployment ever touched, if only to stop it for a hand-over."""
    terms: dict[Address, Json] = field(default_factory=dict)
    stored: dict[str, tuple[str, str, dict[Address, dict[Field, Hold]]]] = field(default_factory=dict)
    """Quarantines: path → run, deployment, and the holds of the tree and of what is in it, to come back with it."""
    doomed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Quarantines whose purge has begun: path → run, deployment.  Nothing comes back from them."""
    seq: int = 0

    def deployments(self) -> dict[str, list[Address]]:
        """Every deployment that holds something, with what it holds, oldest first."""
        found: dict[str, list[Address]] = {}
        for address, fields in self.holds.items():
            for hold in fields.values():
                for name in hold.holders:
                    if address not in found.setdefault(name, []):
                        found[name].append(address)
        return found

    def held_by(self, deployment: str, address: Address) -> dict[Field, Hold]:
        """The fields of a thing that a deployment holds."""
        fields = self.holds.get(address, {})
        return {name: hold for name, hold in fields.items() if deployment in hold.holders}

    def last_forward(self) -> Run | None:
        """The last run that `rollback` would undo."""
        for run in reversed(list(self.runs.values())):
            if run.verb not in BACKWARD and run.transitions and run.id not in self.undone:
                return run
        return None

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


def fold(events: Iterable[Event], upto: int | None = None) -> Ledger:
    """Read the log from its start (up to and with event ``upto``)."""
    ledger = Ledger()
    for event in events:
        if upto is not None and event.seq > upto:
            break
        step(ledger, event)
    return ledger


def step(ledger: Ledger, event: Event) -> None:
    """Take one more event into account."""
    ledger.seq = event.seq
    data = event.data
    run = ledger.runs.get(event.run)
    if run is not None:
        run.last = event.seq
    if event.type == "run.started":
        names = tuple(data.get("deployments", ()))
        ledger.runs[event.run] = Run(
            event.run,
            data["verb"],
            event.seq,
            event.seq,
            event.at,
            data.get("actor"),
            None,
            0,
            names,
            data.get("commit"),
        )
        for heir, former in data.get("inherits", ()):
            _inherit(ledger, Address.parse(heir), Address.parse(former))
        for store in data.get("purging", ()):
            if store in ledger.stored:
                ledger.doomed[store] = ledger.stored.pop(store)[:2]
        for address, terms in data.get("terms", {}).items():
            ledger.terms[Address.parse(address)] = terms
        ledger.runs[event.run].undoes = data.get("undone")
    elif event.type == "run.finished":
        if run is not None:
            run.outcome = data.get("outcome")
            if run.undoes is not None and data.get("complete"):
                ledger.undone = frozenset(run.undoes)
        _finish(ledger, data)
    elif event.type == "transition.started":
        ledger.open = event
    elif event.type in ("transition.succeeded", "transition.stuck"):
        started, ledger.open = ledger.open, None
        if started is not None and started.seq == data["started"]:
            if run is not None:
                run.transitions += 1
            _take(ledger, started, event)
    elif event.type in ("transition.undone", "transition.failed") and ledger.open is not None:
        if ledger.open.seq == data.get("started"):
            ledger.open = None


def _take(ledger: Ledger, started: Event, ended: Event) -> None:
    """A transition that changed the host."""
    address, data = Address.parse(str(started.address)), started.data
    if data["verb"] not in PASSIVE:
        ledger.changed[address] = (ended.seq, ended.data.get("clock"))
    if ended.data.get("process") is not None:
        ledger.processes[address] = (ended.seq, ended.data["process"])
    if address.kind == "daemon":
        ledger.daemons[address] = str(started.deployment)
    if data["verb"] in ("start", "restart"):
        # A daemon that we failed to bring up again is owed a start by whatever run comes next.
        if ended.type == "transition.succeeded":
            ledger.paused.pop(address, None)
        elif data.get("pause") or data["verb"] == "restart":
            ledger.paused[address] = str(started.deployment)
    if data.get("pause"):
        if data["verb"] == "stop":
            ledger.paused[address] = str(started.deployment)
        return
    fields = ledger.holds.setdefault(address, {})
    returns = {tuple(path) for path in data.get("returns", ())}
    deployment = str(started.deployment)
    origins = {tuple(path): value for path, value in data.get("origins", ())}
    made = {
        path for hold in fields.values() if isinstance(hold.origin, dict) for path in hold.origin.get("missing", ())
    }
    for change in changes(started):
        name, before, after = change.field, _placed(change.before, address, ended.seq), change.after
        if isinstance(before, dict) and "missing" in before:
            # Directories that we made for one setting of a drop-in are there for the others too.
            before = {**before, "missing": sorted(made | set(before["missing"]), key=len)}
        if name == FRESH:
            continue
        if name == EXISTS and _gone(after):
            store = _store(after)
            if store:
                inside_it = [
                    a for a in ledger.holds if a.kind in ("tree", "file", "ini") and inside(a.name, address.name)
                ]
                ledger.stored[store] = (
                    started.run,
                    deployment,
                    {a: dict(ledger.holds[a]) for a in inside_it},
                )
                for inner in inside_it:
                    if inner != address:
                        del ledger.holds[inner]
            _hand_on_parents(ledger, address, fields.get(EXISTS))
            fields.clear()
            break
        if name == EXISTS and (store := _store(before)):
            _, _, former = ledger.stored.pop(store, ("", "", {}))
            fields.update(former.pop(address, {}))
            ledger.holds.update(former)
            continue
        hold = fields.get(name)
        if name in returns and ended.type == "transition.succeeded":
            fields.pop(name, None)
        elif hold is None:
            fields[name] = Hold(origins.get(name, before), after, (deployment,), ended.seq, data.get("source"))
        else:
            fields[name] = replace(
                hold,
                origin=_layered(hold.origin, before),
                current=after,
                seq=ended.seq,
                source=data.get("source"),
            )
    if not set(fields) - {MARK}:
        ledger.holds.pop(address)


def _hand_on_parents(ledger: Ledger, address: Address, hold: Hold | None) -> None:
    """Directories that were made for a file that goes now, and that other files still need, become theirs."""
    around = hold.origin.get("absent", {}) if hold is not None and isinstance(hold.origin, dict) else {}
    made = around.get("missing", []) if isinstance(around, dict) else []
    for other, fields in ledger.holds.items():
        theirs = fields.get(EXISTS)
        if other == address or theirs is None or other.kind not in ("file", "ini") or not _gone(theirs.origin):
            continue
        needed = [path for path in made if inside(other.name, path)]
        if needed:
            known = theirs.origin["absent"].get("missing", [])
            missing = sorted({*needed, *known}, key=len)
            fields[EXISTS] = replace(theirs, origin={"absent": {**theirs.origin["absent"], "missing": missing}})


def _placed(value: Json, address: Address, seq: int) -> Json:
    """Images of a tree with the tree's top and their moment, since a path may pass from one tree to another."""
    if isinstance(value, dict) and "layers" in value:
        return {"layers": [{"seq": seq, "top": address.name, **layer} for layer in value["layers"]]}
    return value


def merged(values: Iterable[Json]) -> Json:
    """The images of several trees in the order of time."""
    layers = [layer for value in values if isinstance(value, dict) for layer in value.get("layers", ())]
    return {"layers": sorted(layers, key=lambda layer: int(layer["seq"]))}


def _layered(origin: Json, before: Json) -> Json:
    """The older origin counts; images of a tree pile up, the oldest on top."""
    if isinstance(origin, dict) and isinstance(before, dict) and "layers" in origin and "layers" in before:
        return merged([origin, before])
    return before if origin is None and isinstance(before, dict) and "layers" in before else origin


def _gone(value: Json) -> bool:
    return value is None or value is False or (isinstance(value, dict) and "absent" in value)


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
    if inside(former.name, heir.name):
        ledger.holds.pop(former)


def _finish(ledger: Ledger, data: Mapping[str, Json]) -> None:
    for deployment, address, path in data.get("joins", ()):
        fields = ledger.holds.get(Address.parse(address), {})
        hold = fields.get(tuple(path))
        if hold is not None and deployment not in hold.holders:
            fields[tuple(path)] = replace(hold, holders=(*hold.holders, deployment))
    for deployment, address, path in data.get("leaves", ()):
        where = Address.parse(address)
        fields = ledger.holds.get(where, {})
        hold = fields.get(tuple(path))
        if hold is None:
            continue
        left = tuple(name for name in hold.holders if name != deployment)
        if left:
            fields[tuple(path)] = replace(hold, holders=left)
        else:
            del fields[tuple(path)]
            if not set(fields) - {MARK}:
                ledger.holds.pop(where, None)
    for store in data.get("purged", ()):
        ledger.doomed.pop(store, None)


@dataclass(frozen=True)
class Recorded:
    """A change as the log keeps it; sealed values are references into the vault."""

    field: Field
    before: Json
    after: Json
    shown: tuple[Json, Json]


def changes(started: Event) -> list[Recorded]:
    """The changes of a transition."""
    found = []
    blob = started.data.get("sealed")
    for index, raw in enumerate(started.data["changes"]):
        before, after = raw.get("before"), raw.get("after")
        if raw.get("sealed"):
            before, after = ({"$sealed": blob, "index": index, "side": side} for side in (0, 1))
        found.append(Recorded(tuple(raw["field"]), before, after, tuple(raw["shown"])))
    return found


@dataclass
class Past:
    """What one thing was at a moment: the values that its fields had then."""

    deployment: str
    values: dict[Field, Json] = field(default_factory=dict)
    source: Json = None
    seqs: dict[Field, int] = field(default_factory=dict)
    """Which event first changed each field since."""


def rewind(events: Iterable[Event], to: int, deployment: str | None = None) -> dict[Address, Past]:
    """What every thing changed since event ``to`` was right after it: of each field its first value since."""
    found: dict[Address, Past] = {}
    started: Event | None = None
    for event in events:
        if event.type == "transition.started":
            started = event
        elif event.type in ("transition.succeeded", "transition.stuck") and started is not None:
            if event.seq <= to or started.data.get("pause") or (deployment and started.deployment != deployment):
                continue
            address = Address.parse(str(started.address))
            past = found.setdefault(address, Past(str(started.deployment), source=started.data.get("source")))
            for change in changes(started):
                if change.field == FRESH:
                    continue
                before = _placed(change.before, address, event.seq)
                past.seqs.setdefault(change.field, event.seq)
                known = past.values.get(change.field)
                past.values[change.field] = _layered(known, before) if change.field in past.values else before
    return found


def source_of(raw: Json) -> Source | None:
    """A source as events carry it."""
    return Source(raw["file"], raw["line"], raw["column"], raw.get("commit")) if raw else None
