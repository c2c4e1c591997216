"""What a kind is: a lens onto one sort of thing, and what planning learns through it.

A kind reads the whole state of a thing and writes the whole state; fields, diff, undo and crash recovery
are derived here.  Three laws hold for every kind: what was written is read back (put-get), writing what was
read changes nothing (get-put), and of two writes the last one counts (put-put).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from ..errors import HostError, Unseen
from ..formats.text import printable
from ..host.port import Host, Observer, Scope, Stat
from ..model import (
    EXISTS,
    MARK,
    Absent,
    Address,
    Change,
    Field,
    Json,
    Owner,
    Resource,
    Seen,
    State,
    Target,
    Unknown,
)
from .planned import Foretold, Paths, Planned
from .vault import Vault

S = TypeVar("S", bound=State)
T = TypeVar("T")

SECRET = {"secret": True}
"""How a secret value is shown where no digest of it may be given."""


@dataclass(frozen=True)
class Step:
    """One verb of a transition and the changes that belong to it."""

    verb: str
    changes: tuple[Change, ...]
    pause: bool = False
    """Whether this stops a daemon only for the length of the run (or ends such a stop)."""


@dataclass(frozen=True)
class Conflict:
    """A field to give back that someone else changed since we left it."""

    address: Address
    field: Field
    recorded: Json
    found: Json


class Trial(Protocol):
    """Tries words of a desired state on the host that they are to describe."""

    def remark(self, text: str) -> None:
        """Say what could not be described."""

    def asked(self) -> Sequence[tuple[str, str]] | None:
        """The keys that are asked for; None for all."""

    def secret(self, field: Field) -> bool:
        """Whether the log says that a field of the thing is a secret."""

    def kept(self, base: dict[str, Any], parts: Iterable[tuple[str, Any]]) -> dict[str, Any] | None:
        """The resource with every part that is so already; parts of one key come together."""

    def so(self, wish: dict[str, Any]) -> bool:
        """Whether nothing has to be done for a resource."""

    def differing(self, wish: dict[str, Any]) -> list[str] | None:
        """The paths that a resource would change, relative to its own; None where it cannot be planned."""


@dataclass(frozen=True)
class Entry:
    """A file or directory with what decides who may do what with it."""

    owner: Owner
    group: Owner
    mode: int
    data: str | None = None
    """Its bytes as latin-1 text; None for a directory."""
    acl: str = ""


@dataclass(frozen=True)
class Person:
    """An account with what decides what it may do; ``uid`` is None where the number is chosen later."""

    uid: int | None
    group: Owner
    groups: frozenset[str]
    locked: bool


@dataclass(frozen=True)
class Effects:
    """What a state makes true for those who ask who may do what; None: it is gone."""

    files: Mapping[str, Entry | None] = field(default_factory=dict)
    directories: Mapping[str, Entry] = field(default_factory=dict)
    accounts: Mapping[str, Person | None] = field(default_factory=dict)
    groups: Mapping[str, Sequence[int] | None] = field(default_factory=dict)
    """By name the number, where that is chosen already."""
    users: Mapping[str, str] = field(default_factory=dict)
    """By unit the user that it runs as."""


@dataclass(frozen=True)
class Proposal:
    """What bringing one thing to its target would take, as seen now."""

    target: Target
    before: State
    after: State
    steps: tuple[Step, ...] = ()
    blocked: Unknown | None = None
    conflicts: tuple[Conflict, ...] = ()
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What a plan line carries besides its changes (a tree's counts and sample)."""
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    """Paths that must not be touched, each with its reason."""
    reversible: str = "exact"
    reason: str | None = None
    owed: bool = False
    """Whether what was to be given back cannot be now, so that it stays held but for the parts that are gone."""
    foretold: Mapping[str, Foretold] = field(default_factory=dict)
    """What becomes of paths inside it when it has its turn."""
    work: Any = None
    """What looking found out that doing can go on with, within one run."""


@dataclass
class Context:
    """What planning knows besides the host: the log's holds, and what else this plan will do."""

    current: Mapping[Address, Mapping[Field, Json]] = field(default_factory=dict)
    """How we left every field that the log holds."""
    stale: frozenset[Address] = frozenset()
    """Daemons that started before a thing they depend on was changed, by the log."""
    paused: frozenset[Address] = frozenset()
    """Daemons that an earlier run stopped for its own length and did not start again."""
    planned: Planned = field(default_factory=Planned)
    targets: Mapping[Address, Target] = field(default_factory=dict)
    owed: set[Address] = field(default_factory=set)
    """What was to be given back and cannot be now, as far as this plan goes: it stays held."""
    force: bool = False
    spared: tuple[str, ...] = ()
    """Paths that never count as left behind: quarantine, runtime directories, foreign links."""
    fix: bool = False
    """True at a transition's turn: what a plan may leave open (a new number) is decided now."""
    all_paths: bool = False
    recording: bool = False
    """Whether this plan may be carried out by the same run: what is looked at is kept for that."""
    vault: Vault | None = None
    scopes: Mapping[Address, Scope] = field(default_factory=dict)
    """The parts of trees that are looked at, where the rest is known to be as it was."""
    looked: dict[Address, tuple[Target, Any]] = field(default_factory=dict)
    """What looking at one thing found out of others that have not had their turn."""
    found: dict[str, Any] = field(default_factory=dict)
    """What was found out once for all things of a plan."""

    outdated: Callable[[Address, frozenset[Address], Json], bool] = lambda address, depends, process: False
    """Whether the log says that a daemon's process is older than a change of what it depends on."""

    contested: Callable[[Address], int] = lambda address: 0
    """How often somebody else lately undid what we had written to a thing."""

    @cached_property
    def _paths(self) -> Paths:
        return Paths({a for a in (*self.current, *self.targets) if a.name.startswith("/")})

    def once(self, what: str, find: Callable[[], T]) -> T:
        """What is found out once for all things of a plan."""
        if what not in self.found:
            self.found[what] = find()
        known: T = self.found[what]
        return known

    def inside(self, top: str) -> list[Address]:
        """The things that the log held when this was made, or that are asked about, whose names lie below a path."""
        return self._paths.inside(top)

    def hands_over(self, tree: Address) -> bool:
        """Whether this plan changes who owns a tree by declaration (never where it only repairs drift)."""
        prospect = self.planned.get(tree)
        return prospect is not None and bool(prospect.facts.get("handover"))

    def changes(self, address: Address, asking: Target) -> bool:
        """Whether this plan changes a thing that somebody depends on."""
        prospect = self.planned.get(address)
        if prospect is None or address == asking.address:
            return False
        return any(step.verb not in ("start", "stop", "restart", "enable", "disable") for step in prospect.steps)

    def comes(self, address: Address) -> bool | None:
        """Whether this plan leaves the thing there (True), gone (False), or says nothing of it (None)."""
        prospect = self.planned.get(address)
        if prospect is None or not prospect.steps:
            return None
        return not isinstance(prospect.after, Absent)


class Kind(ABC, Generic[S]):
    """A lens onto one sort of thing.  An instance holds no state."""

    name: ClassVar[str]
    elsewhere: ClassVar[tuple[str, ...]] = ()
    """What other tools call such things, for who writes that here."""
    verb: ClassVar[str] = "change"
    """What changing an existing thing of this kind is called in a plan."""
    rank: ClassVar[int]
    """Where two things need nothing of each other, the lower rank goes first."""
    state: type[S]
    resource: type[Resource]
    attributes: ClassVar[frozenset[str]] = frozenset()
    """Fields that every thing of this kind has while it exists; they go with it and not before."""
    defaults: ClassVar[Mapping[Field, Json]] = {}
    """What such a field becomes in a thing that we made, when the wish for it goes."""

    # What a kind can.  The rooms above ask this, and never which kind it is.

    located: ClassVar[bool] = False
    """Its name is a path at which one thing stands."""
    spans: ClassVar[bool] = False
    """It holds what others hold inside it, path by path."""
    encloses: ClassVar[bool] = False
    """Other things can stand in it: it is made before them, and goes after them."""
    runs: ClassVar[bool] = False
    """It has a process: it is stopped for a hand-over, and restarted when what it depends on changed."""
    owns: ClassVar[bool] = False
    """Paths and processes belong to it, by its number."""
    together: ClassVar[bool] = False
    """Several such things that need nothing of each other can be looked at first and written then."""
    shares: ClassVar[bool] = False
    """Several such things stand in the same files, which are written once for all of them: the account files."""

    replays: ClassVar[bool] = False
    """What is to stand there is worked out from what stood there first, and from all that is held of it."""

    examples: ClassVar[tuple[str, ...]] = ()
    """Resources in YAML, each a valid wish; `PATH` stands for any path.  The laws try every one."""

    def paths(self, name: str) -> tuple[str, ...]:
        """Every path that it writes as a file of its own: nothing else may stand there, and trees step round it."""
        return (name,) if self.located and not self.spans else ()

    def claims(self, wish: Any) -> tuple[str, ...]:
        """The paths that a wish needs for itself."""
        return (wish.name,) if self.located else ()

    def short(self, name: str) -> str:
        """The name as people write it."""
        return name

    def place(self, host: Observer, name: str) -> str:
        """Where a located thing really stands, through every link on the way."""
        return host.canonical(name)

    def spared(self, host: Observer, name: str) -> list[str]:
        """Paths that come and go with it, and so are never left behind."""
        return []

    def process(self, host: Observer, name: str) -> Json:
        """What its process is known by; None where none runs."""
        return None

    def hindrances(self, host: Observer, found: Proposal, context: Context) -> list[str]:
        """What in the plan as a whole stands in its way, asked once every prospect is there."""
        return []

    def gives(self, host: Observer, target: Target, context: Context, path: str) -> tuple[Owner, Owner] | None:
        """The owner and group that a path inside it has once the target is reached; None where it leaves them."""
        return None

    def effects(self, found: Proposal, state: State) -> Effects:
        """What a state of a prospect makes true; a kind says what nobody could tell without it."""
        name = found.target.address.name
        return (
            Effects(files={name: None}) if self.located and not self.spans and isinstance(state, Absent) else Effects()
        )

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """Whether a path on a command line means a thing of this kind; the highest rank is asked first."""
        return False

    def adopted(self, host: Observer, name: str, trial: Trial) -> dict[str, Any] | None:
        """The resource that describes what is there; None where none does, which is remarked."""
        seen = self.read(host, name)
        if isinstance(seen, Unknown):
            trial.remark(seen.reason)
            return None
        if not self.fields(seen):
            trial.remark("is not there")
            return None
        return trial.kept({self.name: self.short(name)}, self.described(seen, trial))

    def described(self, seen: Any, trial: Trial) -> Iterable[tuple[str, Any]]:
        """What is there, key by key in the words of the desired state; what is not so is left out by the trial."""
        return ()

    def brought(self, name: str, origins: Mapping[Field, Json]) -> set[str]:
        """The paths that came into being with it, by its origins, and so are no tree's round it."""
        origin = origins.get(EXISTS)
        return set(origin["absent"].get("missing", ())) if isinstance(origin, dict) and "absent" in origin else set()

    def symptom(self, host: Observer, where: Mapping[str, str]) -> tuple[Address, Json] | None:
        """The thing and the value that a profile's ``refuse_where`` means, where that is of this kind."""
        return None

    def watches(self, name: str) -> tuple[str, ...]:
        """The files whose change concerns it."""
        return self.edits(name)

    def estranged(self, state: State) -> str:
        """How what runs differs from what is set; empty where it does not."""
        return ""

    whole: ClassVar[bool] = False
    """Its field `CONTENT` is the whole content of the file of its name."""

    def keys(self, fields: Iterable[Field]) -> set[Field]:
        """Those of some fields that are keys in the file of its name."""
        return set()

    def every(self, host: Observer) -> list[str]:
        """The names of all such things that a host has, where a snapshot is to hold all of them."""
        return []

    def renewed(self, host: Observer, found: Proposal, vault: Vault) -> Proposal:
        """The prospect with what carrying it out has to know, looked up anew."""
        return found

    @abstractmethod
    def read(self, host: Observer, name: str) -> Seen:
        """See the whole thing."""

    @abstractmethod
    def write(self, host: Host, name: str, state: State) -> None:
        """Make the thing be exactly so, from whatever it is now; nothing is touched that is so already."""

    def fields(self, state: State) -> dict[Field, Json]:
        """Every field of a state with its lossless value."""
        if isinstance(state, Absent):
            return {}
        return {EXISTS: True} | {(key,): value for key, value in state.model_dump(mode="json").items()}

    def value(self, state: State, field: Field) -> Json:
        """The lossless value of one field, also of one that is not there."""
        if isinstance(state, Absent) and field == EXISTS:
            return {"absent": dict(state.around)}
        return self.fields(state).get(field)

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """The state with these fields at these values and every other as it is."""
        if (absent := absence(state, values)) is not None:
            return absent
        base = {} if isinstance(state, Absent) else state.model_dump()
        given = {field[0]: value for field, value in values.items() if field != EXISTS}
        return self.state.model_validate(base | given)

    def show(self, field: Field, value: Json) -> Json:
        """How a lossless value is shown to people and programs."""
        if field == EXISTS:
            return None if gone(value) else True
        return value

    def same(self, field: Field, a: Json, b: Json) -> bool:
        """Whether two lossless values mean the same."""
        return bool(self.show(field, a) == self.show(field, b))

    def altered(self, field: Field, now: Json, recorded: Json) -> bool:
        """Whether somebody changed a field since we left it; a file as a whole is nobody's."""
        return field != MARK and not self.same(field, now, recorded)

    def look(self, host: Observer, target: Target, context: Context) -> Seen:
        """See what a target speaks of."""
        return self.read(host, target.address.name)

    def see(self, host: Observer, name: str, told: Iterable[tuple[Field, Json]]) -> Seen:
        """See what these fields and values tell of, in the way in which they tell it."""
        seen = self.read(host, name)
        return seen if isinstance(seen, Unknown) else self.aligned(seen, [value for _, value in told])

    def aligned(self, state: State, values: Iterable[Json]) -> State:
        """The state, looked at in the way in which these values were told."""
        return state

    def secret(self, field: Field) -> bool:
        """Whether a field's value must never be seen."""
        return False

    def stored_aside(self, field: Field) -> bool:
        """Whether a field's value is kept beside the log and not in it."""
        return self.secret(field)

    def needs(self, name: str, state: State) -> set[Address]:
        """What a state of this kind cannot be without."""
        return set()

    def edges(self, found: Proposal) -> tuple[set[Address], set[Address]]:
        """What the thing will need, and what it needs now."""
        name = found.target.address.name
        return self.needs(name, found.after), self.needs(name, found.before)

    def numbers(self, state: State) -> set[tuple[str, int]]:
        """The numbers that only one thing of the host may have, in a state."""
        return set()

    def edits(self, name: str) -> tuple[str, ...]:
        """The paths that writing this thing may replace."""
        return ()

    def given_back(self, field: Field, origin: Json, *, made: bool) -> tuple[bool, Json]:
        """Whether a field that nobody wishes for any more is given back, and to what.

        ``made``: the thing itself came into being by us, and stays.
        """
        if made and field[0] in self.attributes:
            return field in self.defaults, self.defaults.get(field)
        return True, origin

    def complete(self, host: Observer, name: str, state: State, context: Context) -> State:
        """Decide what a plan left open; called when the thing's turn has come."""
        return state

    def blocks_removal(self, host: Observer, prospect: Proposal, context: Context) -> list[str]:
        """Why the thing must not be removed now."""
        return []

    def extra_conflicts(self, host: Observer, prospect: Proposal, context: Context) -> list[Conflict]:
        """Conflicts that no recorded field shows."""
        return []

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
        """Compare the host with the target."""
        address = target.address
        try:
            seen = self.look(host, target, context)
        except HostError as error:
            seen = Unknown(str(error), unknown=isinstance(error, Unseen))
        if isinstance(seen, Unknown):
            return Proposal(target, Absent(), Absent(), blocked=seen)
        seen = self.predicted(host, seen, address.name, context)
        try:
            values = self.values(host, target, seen, context)
            after = self.patch(seen, values)
        except HostError as error:
            return Proposal(target, seen, seen, blocked=Unknown(str(error), unknown=isinstance(error, Unseen)))
        if context.fix:
            after = self.complete(host, address.name, after, context)
        changes = self.diff(seen, after, values)
        wished = self.values(host, with_(target, give_back={}), seen, context)
        found = Proposal(target, seen, after, self.steps(seen, after, changes))
        return self.judged(host, found, context, [f for f in target.recorded if f not in wished])

    def judged(self, host: Observer, found: Proposal, context: Context, returned: Iterable[Field]) -> Proposal:
        """The prospect with its conflicts, and blocked where a removal would harm."""
        if not found.steps:
            return found
        conflicts = [*self.conflicts(found, returned), *self.extra_conflicts(host, found, context)]
        if isinstance(found.after, Absent):
            if reasons := self.blocks_removal(host, found, context):
                text = "; ".join(reasons)
                return with_(found, steps=(), blocked=Unknown(text, unknown=False))
        return with_(found, conflicts=tuple(conflicts))

    def predicted(self, host: Observer, seen: State, name: str, context: Context) -> State:
        """The state as it will be when this thing's turn comes."""
        return seen

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """The values that the target asks for: what is given back, then what is wished."""
        values = {f: v for f, v in target.give_back.items() if f not in target.keep}
        if target.wish is not None:
            values.update(target.wish.wishes(seen))
        return values

    def diff(self, before: State, after: State, asked: Iterable[Field] = ()) -> tuple[Change, ...]:
        """The fields in which two states differ in meaning; ``asked``: also those no state lists by itself."""
        names = list(dict.fromkeys([*self.fields(before), *self.fields(after), *asked]))
        return tuple(
            self.change(field, old, new)
            for field in names
            if not self.same(field, old := self.value(before, field), new := self.value(after, field))
        )

    def change(self, field: Field, old: Json, new: Json) -> Change:
        """One change with what is shown of it."""
        return Change(
            field, old, new, (self.display(field, old), self.display(field, new)), sealed=self.stored_aside(field)
        )

    def display(self, field: Field, value: Json) -> Json:
        """What may be shown of a value; a digest of a whole file would tell of its secrets."""
        if field == MARK:
            return None
        shown = self.show(field, value)
        return SECRET if shown is not None and self.secret(field) else shown

    def steps(self, before: State, after: State, changes: tuple[Change, ...]) -> tuple[Step, ...]:
        """The verbs that the changes amount to."""
        if not changes:
            return ()
        if isinstance(before, Absent) and not isinstance(after, Absent):
            return (Step("create", changes),)
        return (Step("remove" if isinstance(after, Absent) else self.verb, changes),)

    def conflicts(self, found: Proposal, returned: Iterable[Field]) -> list[Conflict]:
        """The fields to give back that are neither as we left them nor as they are to be."""
        listed = []
        found = with_(found, before=self.aligned(found.before, found.target.recorded.values()))
        for name in returned:
            recorded = found.target.recorded[name]
            if name in found.target.keep or name not in found.target.give_back:
                continue
            now, then = self.value(found.before, name), self.value(found.after, name)
            if self.altered(name, now, recorded) and not self.same(name, now, then):
                listed.append(
                    Conflict(found.target.address, name, self.display(name, recorded), self.display(name, now))
                )
        return listed

    # What the engine does with a step, at its turn and after a crash alike.

    sealed: ClassVar[bool] = True
    """Whether a before-image may hold a secret, so that it is sealed."""
    reads_back: ClassVar[frozenset[str]] = frozenset()
    """The verbs in which `perform` reads back all that it writes: a turn without trouble needs no second look."""

    def record(
        self,
        host: Observer,
        found: Proposal,
        step: Step,
        vault: Vault,
    ) -> tuple[tuple[Change, ...], Json]:
        """The changes as the log keeps them, and the total before-image.

        From the image the thing can be restored where a crash left it unreadable.
        """
        return step.changes, {
            "absent": isinstance(found.before, Absent),
            "state": found.before.model_dump(mode="json"),
        }

    def from_image(self, image: Json) -> State:
        """The state that an image was made of."""
        model: type[State] = Absent if image["absent"] else self.state
        return TypeAdapter(model).validate_python(image["state"])

    def perform(
        self,
        host: Host,
        found: Proposal,
        step: Step,
        changes: Sequence[Change],
        vault: Vault,
    ) -> list[tuple[str, str]]:
        """Carry out one step; answers with paths that had to be skipped, each with its reason."""
        # What was planned is what is written; only a part of it has to be worked out again.
        after = found.after
        if len(found.steps) > 1:
            after = self.patch(found.before, {change.field: change.after for change in step.changes})
        self.write(host, found.target.address.name, after)
        return []

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """Empty where every change is as it should be after; else what is not."""
        seen = self.see(host, name, told(changes))
        if isinstance(seen, Unknown):
            return seen.reason
        for change in changes:
            now = self.value(seen, change.field)
            if not self.same(change.field, now, change.after):
                if change.field == MARK:
                    return f"{printable(name)} was changed by someone else while it was written"
                return (
                    f"{'.'.join(change.field)} is {self.display(change.field, now)!r} "
                    f"and should be {self.display(change.field, change.after)!r}"
                )
        return ""

    def tidy(self, host: Host, name: str) -> None:
        """Remove what a crash may have left half-written."""
        for path in self.edits(name):
            host.discard(path)

    def put_back(self, host: Host, name: str, changes: Sequence[Change], image: Json, vault: Vault) -> str:
        """Give the changed fields their values before; empty where that worked, else what is still off."""
        seen = self.see(host, name, told(changes))
        if isinstance(seen, Unknown):
            self.write(host, name, self.from_image(image))
        else:
            self.write(host, name, self.patch(seen, {change.field: change.before for change in changes}))
        self.tidy(host, name)
        return self.reached(host, name, [change.inverse for change in changes], vault)


def told(changes: Iterable[Change]) -> list[tuple[Field, Json]]:
    """Every field with both of its values."""
    return [(change.field, value) for change in changes for value in (change.before, change.after)]


def absence(state: State, values: Mapping[Field, Json]) -> Absent | None:
    """The absence that values ask for, with what it leaves around; None where the thing is to be there."""
    exists = values.get(EXISTS, not isinstance(state, Absent))
    if not gone(exists):
        return None
    return Absent(around=exists["absent"]) if isinstance(exists, dict) else Absent()


def gone(value: Json) -> bool:
    """Whether a value of the field ``exists`` says that the thing is not there."""
    return value is None or value is False or (isinstance(value, dict) and "absent" in value)


def passed(value: Json) -> bool:
    """Whether a value of the field ``exists`` says that a thing goes, but stays for what of ours is in it."""
    return isinstance(value, dict) and bool((value.get("absent") or {}).get("passed"))
