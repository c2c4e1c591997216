"""One directory without what is in it: its owner, group and mode; its ACLs are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Any, ClassVar

from ...core.kind import Conflict, Context, Effects, Entry, Proposal, Step, Trial, absence
from ...core.vault import Vault
from ...errors import HostError
from ...formats.modes import SPECIAL
from ...formats.text import printable
from ...host.names import Names
from ...host.port import Attributes, Host, Observer, OpenDirectory, Scope, Stat, Visitor
from ...model import EXISTS, PATHS, Absent, Address, Change, Field, Json, Seen, State, Target, Unknown, inside
from ...trees.apply import Task, bring_about
from ...trees.images import Layer, Look, Page, Record, open_layer
from ...trees.rules import Return, Rule
from ...trees.scan import Question, Survey, Wants, look_at
from ...trees.whole import root_of
from .._inside import (
    changed_paths,
    counted,
    going,
    others_in,
    ours_in,
    owners_before,
    paths_put_back,
    paths_reached,
    relative,
    top_owners,
)
from .._located import GROUP, MODE, OWNER, LocatedKind, drop_parents, make_parents, missing_around, ownership
from .copies import SKEL, alike, copied, put_copy, skeleton, take_copies
from .resource import Directory
from .state import DirectoryState

NOT_EMPTY = "not empty, so it stays; it and all in it go to its parent's owner. Empty it and do this again to remove it"


class Setting(Visitor[OpenDirectory]):
    """Gives the top its owner, group and mode."""

    def __init__(self, wanted: Attributes) -> None:
        self.wanted = wanted
        self.left: list[tuple[bytes, str]] = []

    def enter(self, at: OpenDirectory) -> None:
        """The directory itself."""
        if not at.path:
            self.left += at.change([b""], at.facts, self.wanted)

    def told(self) -> list[tuple[bytes, str]]:
        """What could not be changed, and why."""
        return self.left


@dataclass(frozen=True)
class Walked:
    """What a walk in a directory found, and the rule that it went by."""

    survey: Survey
    rule: Callable[[], Rule]


class DirectoryKind(LocatedKind[DirectoryState]):
    """Single directories."""

    name = "directory"
    rank = 25
    encloses = True
    state = DirectoryState
    resource = Directory
    attributes: ClassVar[frozenset[str]] = LocatedKind.attributes | {"mode", SKEL}
    defaults: ClassVar[Mapping[Field, Json]] = {**LocatedKind.defaults, MODE: 0o755}
    examples: ClassVar[tuple[str, ...]] = (
        "{directory: PATH}",
        "{directory: PATH, owner: svc, group: svc, mode: '2750'}",
        "{directory: PATH, mode: 'g+w', skel: /usr/lib/systemd}",
    )

    def read(self, host: Observer, name: str) -> Seen:
        """The directory itself."""
        there = host.stat(name)
        if there is None:
            return missing_around(host, name)
        if there.type != "directory":
            return Unknown(f"{printable(name)} is a {there.type}, not a directory; move it away", unknown=False)
        names = Names(host)
        return DirectoryState(owner=names.user(there.uid), group=names.group(there.gid), mode=there.mode)

    def look(self, host: Observer, target: Target, context: Context) -> Seen:
        """With the copies that were made in it."""
        return self._with(host, target.address.name, self.read(host, target.address.name), target.recorded)

    def see(self, host: Observer, name: str, told: Iterable[tuple[Field, Json]]) -> Seen:
        """With the copies that are told of."""
        return self._with(host, name, self.read(host, name), [field for field, _ in told])

    @staticmethod
    def _with(host: Observer, name: str, seen: Seen, fields: Iterable[Field]) -> Seen:
        if not isinstance(seen, DirectoryState):
            return seen
        copies = {field[1]: copied(host, f"{name}/{field[1]}") for field in fields if field[0] == SKEL}
        return seen.model_copy(update={"skel": copies})

    def write(self, host: Host, name: str, state: State) -> None:
        """Make the directory with its copies, or change it, or remove it where it is empty."""
        seen = self.read(host, name)
        if not isinstance(state, DirectoryState):
            if isinstance(seen, DirectoryState) and not host.rmdir(name):
                return
            if isinstance(state, Absent):
                drop_parents(host, state.around)
            return
        names = Names(host)
        uid, gid = names.need_uid(state.owner), names.need_gid(state.group)
        if not isinstance(seen, DirectoryState):
            make_parents(host, name)
            # Closed to all but its owner until it is complete.
            host.mkdir(name, 0o700 if state.skel else state.mode, uid, gid)
            seen = seen if not state.skel else self.read(host, name)
        for path, copy in sorted(state.skel.items()):
            if copy is not None and host.stat(f"{name}/{path}") is None:
                put_copy(host, f"{name}/{path}", copy, uid, gid)
        if isinstance(seen, DirectoryState) and seen != state.model_copy(update={"skel": {}}):
            for left in host.amend(name, lambda: lambda: Setting(Attributes(uid, gid, state.mode)), TOP):
                if left:
                    raise HostError(f"{printable(name)}: {left[0][1]}")

    def fields(self, state: State) -> dict[Field, Json]:
        """Owner, group, mode, and the copies that were asked for."""
        if not isinstance(state, DirectoryState):
            return {}
        copies: dict[Field, Json] = {(SKEL, path): copy for path, copy in state.skel.items() if copy is not None}
        return {EXISTS: True, OWNER: state.owner, GROUP: state.group, MODE: state.mode, **copies}

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """Copies come and go by themselves."""
        if (absent := absence(state, values)) is not None:
            return absent
        base = state if isinstance(state, DirectoryState) else DirectoryState()
        update: dict[str, Any] = {f[0]: v for f, v in values.items() if f in (OWNER, GROUP, MODE)}
        copies = {field[1]: value for field, value in values.items() if field[0] == SKEL}
        return base.model_copy(update=update | {"skel": {**base.skel, **copies}})

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """A new directory gets copies of what its skeleton has."""
        found = super().values(host, target, seen, context)
        found.pop(PATHS, None)
        if isinstance(seen, Absent) and isinstance(target.wish, Directory) and target.wish.skel is not None:
            found |= {(SKEL, path): copy for path, copy in skeleton(host, target.wish.skel).items()}
        return found

    def show(self, field: Field, value: Json) -> Json:
        """Of a copy what it is."""
        if field[0] == SKEL and value is not None:
            size = f", {len(value['data'])} bytes" if "data" in value else ""
            mode = f" {value['mode']:04o}" if "mode" in value else f" to {value['target']}"
            return f"{value['type']}{mode}{size}"
        return super().show(field, value)

    def same(self, field: Field, a: Json, b: Json) -> bool:
        """A copy is the same byte by byte."""
        return alike(a, b) if field[0] == SKEL else super().same(field, a, b)

    def altered(self, field: Field, now: Json, recorded: Json) -> bool:
        """What became of a copy since is the account's own business."""
        return field[0] != SKEL and field != PATHS and super().altered(field, now, recorded)

    def stored_aside(self, field: Field) -> bool:
        """Copies hold the bytes of files."""
        return field[0] == SKEL

    def predicted(self, host: Observer, seen: State, name: str, context: Context) -> State:
        """Gone, where it was made for something that goes now and nothing else is in it."""
        made = going(context)[1] if not context.fix else set()
        if name in made and isinstance(seen, DirectoryState) and not others_in(host, name, context):
            above = sorted((path for path in made if inside(name, path) and path != name), key=len)
            return Absent(around={"missing": above} if above else {})
        return super().predicted(host, seen, name, context)

    def brought(self, name: str, origins: Mapping[Field, Json]) -> set[str]:
        """With the copies of its skeleton."""
        return super().brought(name, origins) | {f"{name}/{field[1]}" for field in origins if field[0] == SKEL}

    def given_back(self, field: Field, origin: Json, *, made: bool) -> tuple[bool, Json]:
        """What was in it when it was left belongs to whoever has it now."""
        return (not made, origin) if field == PATHS else super().given_back(field, origin, made=made)

    def conflicts(self, found: Proposal, returned: Iterable[Field]) -> list[Conflict]:
        """As for every kind; one that was left once has its parent's owner by us."""
        left = {OWNER, GROUP, MODE} if PATHS in found.target.recorded else set()
        return super().conflicts(found, [field for field in returned if field not in left])

    def edges(self, found: Proposal) -> tuple[set[Address], set[Address]]:
        """The owners that its contents have now, too."""
        will, used = super().edges(found)
        return will, used | owners_before(found.facts)

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
        """As for every kind; one that is to go and is not empty stays, and all that is in it is newborn."""
        found = super().prospect(host, target, context)
        name = target.address.name
        if isinstance(found.before, DirectoryState):
            try:
                if found.steps and isinstance(found.after, Absent):
                    ours = [p for p, copy in found.before.skel.items() if alike(copy, target.recorded.get((SKEL, p)))]
                    copies = {f"{name}/{path}": (found.before.skel[path] or {}).get("type") for path in ours}
                    made = [path for path, kind in copies.items() if kind == "directory"]
                    stays = ours_in(host, name, context, copies.keys() - made, made)
                    if stays is None:
                        return self._left(host, found, context)
                    return _passed_on(found) if stays else found
                if PATHS in target.give_back and PATHS not in target.keep and context.vault is not None:
                    return self._returned(host, found, context)
            except HostError as error:
                return with_(found, steps=(), blocked=Unknown(str(error), unknown=False))
        return found

    def _left(self, host: Observer, found: Proposal, context: Context) -> Proposal:
        """A directory that stays: its parent's owner's, closed to others, with all that is in it newborn."""
        target, name = found.target, found.target.address.name
        top, parent = host.stat(name), host.stat(name.rpartition("/")[0] or "/")
        assert top is not None and parent is not None
        names = Names(host)
        now = Look(names.user(top.uid), names.group(top.gid), top.mode)
        then = Look(names.user(parent.uid), names.group(parent.gid), top.mode & ~(0o022 | SPECIAL))
        spoken = target.options.get("spoken", {})
        stays = [path for path in spoken if (there := host.stat(path)) is not None and there.type == "directory"]
        nested = tuple(relative(name, [*target.options.get("nested", ()), *stays]))

        def rule() -> Rule:
            layer = Layer(total=True, pages=iter([Page(b"", Record(then, now), [])]))
            return Return([layer], (now.owner, now.group), relative(name, spoken), nested)

        found = self._walked(host, found, rule, context)
        return with_(found, skipped=(*found.skipped, (printable(name), NOT_EMPTY)), owed=True)

    def _returned(self, host: Observer, found: Proposal, context: Context) -> Proposal:
        """A directory whose contents come back to whom they belonged before it was left."""
        target, name, vault = found.target, found.target.address.name, context.vault
        assert vault is not None
        layers = target.give_back[PATHS]["layers"]
        left = target.recorded.get(PATHS) or {}

        def rule() -> Rule:
            opened = [open_layer(layer, vault, name) for layer in layers]
            return Return(opened, (left.get("owner"), left.get("group")))

        walked = self._walked(host, found, rule, context)
        return with_(walked, steps=(*found.steps, *walked.steps))

    def _walked(self, host: Observer, found: Proposal, rule: Callable[[], Rule], context: Context) -> Proposal:
        """What a rule changes in it."""
        target = found.target
        survey = look_at(host, Question(Wants(target.address.name, total=False, every=context.all_paths), rule))[0]
        facts = counted(survey, every=context.all_paths)
        change = changed_paths(survey, {**top_owners(survey), "returned": True})
        planned = context.planned.get(target.address) if context.fix else None
        verb = planned.steps[0].verb if planned is not None and planned.steps else "own"
        steps = (Step(verb, (change,)),) if survey.differ else ()
        return with_(
            found, after=found.before, steps=steps, facts=facts, work=Walked(survey, rule),
            skipped=(*found.skipped, *dict.fromkeys(survey.skipped)),
        )  # fmt: skip

    def record(self, host: Observer, found: Proposal, step: Step, vault: Vault) -> tuple[tuple[Change, ...], Json]:
        """Keep what every path in it has now, where they are changed."""
        changes, image = super().record(host, found, step, vault)
        if not any(change.field == PATHS for change in changes):
            return changes, image
        layer = found.work.survey.album.kept(vault)
        return tuple(with_(c, before={"layers": [layer]}) if c.field == PATHS else c for c in changes), image

    def perform(
        self, host: Host, found: Proposal, step: Step, changes: Sequence[Change], vault: Vault
    ) -> list[tuple[str, str]]:
        """Change the directory, or what is in it; copies that are as they were made go before it goes."""
        name = found.target.address.name
        if any(change.field == PATHS for change in step.changes):
            work: Walked = found.work
            left = bring_about(host, Task(name, work.survey), work.rule, work.rule)
            return [(printable(name), NOT_EMPTY), *left] if found.owed else left
        if isinstance(found.after, Absent) and found.after.around.get("passed"):
            self.write(host, name, usual(host))
            return []
        if isinstance(found.after, Absent):
            take_copies(host, name, {c.field[1]: c.before for c in step.changes if c.field[0] == SKEL})
        super().perform(host, found, step, changes, vault)
        return []

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """As for every kind, and every recorded path in it."""
        plain = [change for change in changes if change.field != PATHS]
        if any(change.field == EXISTS and passed(change.after) for change in plain):
            there = host.stat(name)
            return "" if there is not None and there.type == "directory" else f"{printable(name)} is not there"
        return (super().reached(host, name, plain, vault) if plain else "") or paths_reached(host, name, changes, vault)

    def put_back(self, host: Host, name: str, changes: Sequence[Change], image: Json, vault: Vault) -> str:
        """As for every kind; copies that were made go, and what was changed in it comes back."""
        if problem := paths_put_back(host, name, changes, vault):
            return problem
        plain = [change for change in changes if change.field != PATHS]
        made = {c.field[1]: c.after for c in plain if c.field[0] == SKEL and c.before is None}
        take_copies(host, name, made)
        return super().put_back(host, name, plain, image, vault) if plain else ""

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """Never by its path alone: a tree says more of a directory."""
        return False

    def described(self, seen: DirectoryState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Owner, group and mode."""
        yield from ownership(seen)

    def effects(self, found: Proposal, state: State) -> Effects:
        """The directory."""
        if not isinstance(state, DirectoryState):
            return super().effects(found, state)
        return Effects(directories={found.target.address.name: Entry(state.owner, state.group, state.mode)})


TOP = Scope(alone=frozenset([b""]))


def passed(exists: Json) -> bool:
    """Whether a directory stays for what of ours is in it, to go with the last of that."""
    return isinstance(exists, dict) and bool((exists.get("absent") or {}).get("passed"))


def _passed_on(found: Proposal) -> Proposal:
    """The directory becomes one that was made for what is in it."""
    assert isinstance(found.after, Absent)
    after = Absent(around={**found.after.around, "passed": True})
    step = found.steps[0]
    changes = tuple(with_(c, after={"absent": dict(after.around)}) if c.field == EXISTS else c for c in step.changes)
    note = "it stays, root's own, for what of ours is in it, and goes with the last of that"
    return with_(found, after=after, steps=(with_(step, changes=changes),), notes=(*found.notes, note))


def usual(host: Observer) -> DirectoryState:
    """How a directory is that is made for something in it."""
    names, (uid, gid) = Names(host), root_of(host)
    return DirectoryState(owner=names.user(uid), group=names.group(gid))


KIND = DirectoryKind()
