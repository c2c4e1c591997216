"""One directory without what is in it: its owner, group and mode; its ACLs are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as with_
from typing import Any, ClassVar

from ...core.kind import Context, Effects, Entry, Proposal, Step, Trial, absence, passed
from ...core.vault import Vault
from ...errors import HostError
from ...formats.text import printable
from ...host.names import Names
from ...host.port import Attributes, Host, Observer, OpenDirectory, Stat, Type, Visitor
from ...model import EXISTS, PATHS, Absent, Address, Change, Field, Json, Seen, State, Target, Unknown, above
from ...trees.apply import Task, bring_about
from ...trees.whole import root_of
from .._inside import (
    others_in,
    ours_below,
    owners_before,
    paths_put_back,
    paths_reached,
    relative_to,
)
from .._located import (
    GROUP,
    MODE,
    OWNER,
    LocatedKind,
    drop_parents,
    make_parents,
    missing_around,
    ownership,
)
from .copies import SKEL, alike, bringing, copied, drop_copies, put_copy, skeleton, spoken_for, take_copies
from .parting import NOT_EMPTY, TOP, Walked, parted, returned, usual
from .resource import Directory
from .state import DirectoryState

UNFINISHED = 0o700
"""The mode, root's own, that a new directory has until all copies are in it."""


class Setting(Visitor[OpenDirectory]):
    """Gives the top its owner, group and mode."""

    def __init__(self, wanted: Attributes) -> None:
        self.wanted = wanted
        self.left: list[tuple[bytes, str]] = []

    def enter(self, at: OpenDirectory) -> None:
        """The directory itself."""
        if not at.path:
            self.left += at.change([([b""], at.facts, self.wanted)])

    def told(self) -> list[tuple[bytes, str]]:
        """What could not be changed, and why."""
        return self.left


class DirectoryKind(LocatedKind[DirectoryState]):
    """Single directories."""

    name = "directory"
    elsewhere = ("dir", "folder")
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
        if there.type != Type.DIRECTORY:
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
            if state.skel:
                # Closed to all but root until it is complete: what is in it by then can only be ours.
                host.mkdir(name, UNFINISHED, *root_of(host))
                seen = self.read(host, name)
            else:
                host.mkdir(name, state.mode, uid, gid)
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
            name = target.address.name
            spoken = relative_to(name, ours_below(context, name))
            found |= {
                (SKEL, path): copy
                for path, copy in skeleton(host, target.wish.skel).items()
                if not spoken_for(path, copy, spoken)
            }
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
        seen = super().predicted(host, seen, name, context)
        made = context.planned.made
        if made[name] and not context.fix and isinstance(seen, DirectoryState) and not others_in(host, name, context):
            missing = [path for path in reversed(above(name)) if made[path]]
            return Absent(around={"missing": missing} if missing else {})
        return seen

    def brought(self, name: str, origins: Mapping[Field, Json]) -> set[str]:
        """With the copies of its skeleton."""
        return super().brought(name, origins) | {f"{name}/{field[1]}" for field in origins if field[0] == SKEL}

    def given_back(self, field: Field, origin: Json, *, made: bool) -> tuple[bool, Json]:
        """What was in it when it was left belongs to whoever has it now."""
        return (not made, origin) if field == PATHS else super().given_back(field, origin, made=made)

    def edges(self, found: Proposal) -> tuple[set[Address], set[Address]]:
        """The owners that its contents have now, too."""
        will, used = super().edges(found)
        return will, used | owners_before(found.facts)

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
        """As for every kind; one that is to go and is not empty stays, and all that is in it is newborn."""
        found = super().prospect(host, target, context)
        if isinstance(found.before, Absent):
            return with_(found, foretold=bringing(found))
        if isinstance(found.before, DirectoryState):
            try:
                if found.steps and isinstance(found.after, Absent):
                    return parted(self, host, found, context)
                if PATHS in target.give_back and PATHS not in target.keep and context.vault is not None:
                    return returned(host, found, context)
            except HostError as error:
                return with_(found, steps=(), blocked=Unknown(str(error), unknown=False))
        return found

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
        made = {field[1]: copy for field, copy in found.target.recorded.items() if field[0] == SKEL}
        leaving = [path for path, told in found.foretold.items() if told.parts is None]
        take_copies(host, name, {path: made[path] for path in relative_to(name, leaving)})
        if any(change.field == PATHS for change in step.changes):
            work: Walked = found.work
            left = bring_about(host, Task(name, work.survey), work.rule, work.rule)
            self.write(host, name, found.after)
            return [(printable(name), NOT_EMPTY), *left] if found.owed else left
        if isinstance(found.after, Absent) and found.after.around.get("passed"):
            for path in (name, *found.work):
                self.write(host, path, usual(host))
            return []
        super().perform(host, found, step, changes, vault)
        return []

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """As for every kind, and every recorded path in it."""
        # A copy that goes with its directory may have something else in its place by now.
        plain = [c for c in changes if c.field != PATHS and not (c.field[0] == SKEL and c.after is None)]
        if any(change.field == EXISTS and passed(change.after) for change in plain):
            there = host.stat(name)
            return "" if there is not None and there.type == Type.DIRECTORY else f"{printable(name)} is not there"
        return (super().reached(host, name, plain, vault) if plain else "") or paths_reached(host, name, changes, vault)

    def put_back(self, host: Host, name: str, changes: Sequence[Change], image: Json, vault: Vault) -> str:
        """As for every kind; copies that were made go, and what was changed in it comes back."""
        if problem := paths_put_back(host, name, changes, vault):
            return problem
        plain = [change for change in changes if change.field != PATHS]
        made = {c.field[1]: c.after for c in plain if c.field[0] == SKEL and c.before is None}
        there = host.stat(name)
        if there is not None and there.uid == root_of(host)[0] and there.mode == UNFINISHED:
            drop_copies(host, name, made)
        else:
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


KIND = DirectoryKind()
