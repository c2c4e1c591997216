"""A directory tree: who owns what in it, and with which modes.

The state of a tree is too big to hold, so it is compared, recorded and given back path by path, in walks.
Hand-overs go from the leaves to the top (exceptions first), returns from the top to the leaves, so that no
directory is writable by the account while root still works below it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, field_validator
from pydantic import Field as Described

from ..core.kind import Conflict, Context, Effects, Entry, Kind, Proposal, Step, Trial, gone
from ..core.vault import Vault
from ..errors import HostError, Unseen
from ..formats.modes import apply_mode, check_mode, odd_mode, pack_capability
from ..formats.text import printable
from ..host.names import Names
from ..host.port import Host, Observer, Scope, Stat
from ..host.services import running_from
from ..model import (
    EXISTS,
    PATHS,
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
    inside,
)
from ..trees.apply import Task, bring_about
from ..trees.classify import absolute, shown
from ..trees.images import Look, first_page, open_layer
from ..trees.rules import Exemption, Return, Rule, Wish
from ..trees.scan import SAMPLE, Question, Survey, Wants, look_at
from ..trees.whole import QUARANTINE, bring, emptied, mounted, root_of, take_away
from . import kinds
from ._inside import (
    PROTECTED,
    counted,
    going,
    others_in,
    owners_before,
    owners_in,
    paths_put_back,
    paths_reached,
    relative,
)
from ._located import nobody

ALMIGHTY = re.compile(r"cap_(sys_admin|setuid|setgid|dac_override|sys_ptrace|sys_module)")
"""Capabilities from which there is a way to root."""
Mode = Annotated[str, BeforeValidator(lambda v: check_mode(v) if isinstance(v, str) else v)]


def inner_path(value: str) -> str:
    """A path below the top, written plainly."""
    parts = value.rstrip("/").split("/")
    if not value or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{value!r} is no path below the tree; write it like 'bin/tool'")
    return "/".join(parts)


Relative = Annotated[str, AfterValidator(inner_path)]


FRESH = 5.0
"""How many seconds a run goes by what it found when it planned; after that it looks again first."""


class TreeState(State):
    """The tree's top; what lies below is looked at in walks."""

    type: str = "directory"


class Except(BaseModel):
    """A part of the tree that has its own owner and modes; what is not named is left as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    owner: str | None = None
    group: str | None = None
    mode: Mode | None = None
    directory_mode: Mode | None = None
    file_mode: Mode | None = None


class Tree(Resource):
    """A directory and all below it, with owner and modes."""

    kind = "tree"
    name: Annotated[str, Described(pattern=r"^/[^\x00]*$", description="The absolute path of the top.")]
    owner: Annotated[str | None, Described(description="The owner of every path; not given: left.")] = None
    group: Annotated[str | None, Described(description="The group of every path; not given: left.")] = None
    directory_mode: Annotated[Mode | None, Described(description="The mode of directories.")] = None
    file_mode: Annotated[Mode | None, Described(description="The mode of files; X as in chmod.")] = None
    except_: Annotated[
        dict[Relative, Except], Described(alias="except", description="relative path: {owner, group, mode}.")
    ] = {}
    capabilities: Annotated[dict[Relative, str], Described(description="relative path: file capabilities.")] = {}
    on_uninstall: Annotated[
        Literal["restore", "delete", "keep"], Described(description="What uninstall does with the tree.")
    ] = "restore"
    create: Annotated[bool, Described(description="Make the directory where it is missing.")] = False
    allow_protected: Annotated[bool, Described(description="Allow a path like /etc or /var as the top.")] = False

    @field_validator("capabilities")
    @classmethod
    def _capabilities(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            pack_capability(text)
        return value

    def wishes(self, before: State) -> dict[Field, Json]:
        """That it is there, and its paths as a whole."""
        return {EXISTS: True, PATHS: None}

    def terms(self) -> Json:
        """What becomes of it."""
        return {"on_uninstall": self.on_uninstall}

    def mistakes(self) -> list[tuple[str, str]]:
        """Directories of the system are meant only where somebody says so."""
        if self.name not in PROTECTED or self.allow_protected:
            return []
        return [(f"{self.name} belongs to the system", "name a directory below it, or say 'allow_protected: true'")]

    def lints(self) -> list[tuple[str, str]]:
        """Modes and capabilities that give too much away, and protected paths."""
        found = [*odd_mode("file_mode", self.file_mode), *odd_mode("directory_mode", self.directory_mode)]
        found += [
            (f"{text} on {path} is as much as root", "take a smaller capability")
            for path, text in self.capabilities.items()
            if ALMIGHTY.search(text)
        ]
        protected = ("is a protected path", "name the agent's own directory")
        return [*found, protected] if self.allow_protected else found

    def subjects(self) -> set[str]:
        """Its owner."""
        return {self.owner} if self.owner else set()

    def may_run(self) -> set[str]:
        """Its owner."""
        return self.subjects()

    def asked(self, path: str, kind: str, mode: int) -> tuple[str | None, str | None, int]:
        """Owner, group and mode that it asks for at a path below it; the most specific exception counts."""
        parts = sorted(self.except_, key=len, reverse=True)
        part = next((p for p in parts if inside("/" + path, "/" + p)), None)
        rule: Any = self if part is None else self.except_[part]
        spec = rule.directory_mode if kind == "directory" else rule.file_mode
        if part is not None and path == part and rule.mode is not None:
            spec = rule.mode
        wanted = apply_mode(spec, mode, directory=kind == "directory") if spec and kind != "link" else mode
        return rule.owner, rule.group, wanted

    def capable(self) -> dict[str, str]:
        """The capabilities of files in it, by their paths."""
        return {f"{self.name}/{path}": text for path, text in self.capabilities.items()}

    def rooted(self) -> set[str]:
        """The exceptions that root owns."""
        return {f"{self.name}/{path}" for path, part in self.except_.items() if part.owner == "root"}

    def requires(self) -> set[Address]:
        """Every owner and group that it names."""
        owners = {self.owner, *(e.owner for e in self.except_.values())} - {None}
        groups = {self.group, *(e.group for e in self.except_.values())} - {None}
        return {Address("account", str(o)) for o in owners} | {Address("group", str(g)) for g in groups}

    def rule(self, around: Iterable[str], nested: Iterable[str]) -> Wish:
        """The rule for a walk, with the more specific addresses it has to step round."""
        return Wish(
            self.owner,
            self.group,
            self.directory_mode,
            self.file_mode,
            {
                path.strip("/").encode("utf-8", "surrogateescape"): Exemption(**e.model_dump())
                for path, e in self.except_.items()
            },
            {path.encode("utf-8", "surrogateescape"): text for path, text in self.capabilities.items()},
            relative(self.name, around),
            tuple(relative(self.name, nested)),
        )


class TreeKind(Kind[TreeState]):
    """Directory trees."""

    name = "tree"
    verb = "own"
    located = spans = encloses = True
    sealed = False
    reads_back = frozenset({"own"})
    rank = 30
    state = TreeState
    resource = Tree
    examples: ClassVar[tuple[str, ...]] = (
        "{tree: PATH, create: true, owner: svc}",
        "{tree: PATH, create: true, group: svc, directory_mode: '0700', on_uninstall: restore}",
    )

    def read(self, host: Observer, name: str) -> Seen:
        """The top alone."""
        found = host.stat(name)
        if found is None or emptied(host, name):
            return Absent()
        if found.type != "directory":
            return Unknown(f"{printable(name)} is a {found.type}, not a directory", unknown=False)
        return TreeState()

    def write(self, host: Host, name: str, state: State) -> None:
        """Make an empty top, or remove an empty one."""
        there = host.stat(name) is not None
        if isinstance(state, Absent) and there and not emptied(host, name):
            host.rmdir(name)
        elif not isinstance(state, Absent) and not there:
            host.mkdir(name, 0o755, *root_of(host))

    def show(self, field: Field, value: Json) -> Json:
        """Classes of paths; for the whole field its counts."""
        return None if field == PATHS and value is None else super().show(field, value)

    def edges(self, found: Proposal) -> tuple[set[Address], set[Address]]:
        """The owners that its paths will have, and those that they have."""
        classes = found.facts.get("classes", [])
        if owners := found.facts.get("owners"):
            return set(), {Address("account", str(owners[0])), Address("group", str(owners[1]))}
        return {address for item in classes for address in owners_in(item["after"])}, owners_before(found.facts)

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
        """Walk the tree and compare every path with what the rule says of it."""
        name = target.address.name
        try:
            seen = self.read(host, name)
            if isinstance(seen, Unknown):
                return Proposal(target, Absent(), Absent(), blocked=seen)
            if self._will_go(host, name, context):
                seen = Absent()
            exists = target.give_back.get(EXISTS)
            if exists is not None and EXISTS not in target.keep and target.wish is None:
                moved = self._move(host, target, seen, exists, context)
                if moved is not None:
                    return moved
            if isinstance(seen, Absent):
                return self._missing(host, target, context)
            return self._compare(host, target, context)
        except HostError as error:
            return Proposal(target, Absent(), Absent(), blocked=Unknown(str(error), unknown=isinstance(error, Unseen)))

    def _missing(self, host: Observer, target: Target, context: Context) -> Proposal:
        wish = target.wish
        if wish is not None and (reason := nobody(host, wish.requires(), context)):
            return Proposal(target, Absent(), Absent(), blocked=Unknown(reason, unknown=False))
        if not isinstance(wish, Tree):
            return Proposal(target, Absent(), Absent(), notes=("the tree is gone; nothing to give back",))
        parent = wish.name.rpartition("/")[0] or "/"
        if wish.create and host.stat(parent) is None:
            reason = f"{printable(parent)} does not exist; make it first, or declare it as a tree with 'create: true'"
            if not any(a.name == parent and kinds().encloses(a) and context.comes(a) for a in context.planned):
                return Proposal(target, Absent(), Absent(), blocked=Unknown(reason, unknown=False))
        if not wish.create:
            reason = f"{printable(wish.name)} does not exist; install the agent first, or say 'create: true'"
            return Proposal(target, Absent(), Absent(), blocked=Unknown(reason, unknown=False))
        after = {"owner": wish.owner, "group": wish.group, "on_uninstall": wish.on_uninstall}
        changes = (
            Change(EXISTS, {"absent": {}}, True, (None, True)),
            Change(PATHS, None, after, (None, _words(wish))),
        )
        facts = {"counts": {"paths": 1, "differ": 1, "newborn": 0}, "sample": []}
        return Proposal(target, Absent(), TreeState(), (Step("create", changes),), facts=facts)

    def _move(self, host: Observer, target: Target, seen: State, exists: Json, context: Context) -> Proposal | None:
        """A tree that goes (into quarantine, or because we made it) or comes back from quarantine."""
        name = target.address.name
        facts: dict[str, Json] = {"counts": {"paths": 0, "differ": 0, "newborn": 0}, "sample": []}
        if not gone(exists):
            if not isinstance(seen, Absent):
                return None
            store = exists.get("quarantine") if isinstance(exists, dict) else None
            if isinstance(exists, dict) and "look" in exists:
                change = Change(EXISTS, {"absent": {}}, exists, (None, True))
                return Proposal(target, seen, TreeState(), (Step("create", (change,)),), facts=facts)
            if store is None or store in target.options.get("purged", ()) or host.stat(store) is None:
                reason = "its content was purged, or was never kept"
                return Proposal(target, seen, seen, blocked=Unknown(reason, unknown=False))
            change = Change(EXISTS, {"absent": {"quarantine": store}}, True, (None, True))
            return Proposal(target, seen, TreeState(), (Step("create", (change,)),), facts=facts)
        if isinstance(seen, Absent):
            return Proposal(target, seen, seen)
        store = exists["absent"].get("quarantine") if isinstance(exists, dict) else None
        if store is not None and not store.startswith("/"):
            # A name of a run: the place is next to the tree, or inside it where it is a mount point.
            parent, _, last = name.rpartition("/")
            store = f"{name if mounted(host, name) else parent}/{QUARANTINE}/{store}/{last}"
            exists = {"absent": {"quarantine": store}}
        if store is None and others_in(host, name, context):
            reason = "we made it, but it is not empty now; it stays, with its former owners"
            back = self._compare(host, target, context)
            return with_(back, skipped=(*back.skipped, (printable(name), reason)))
        top = host.stat(name)
        names = Names(host)
        look = Look(names.user(top.uid), names.group(top.gid), top.mode).json() if top else {}
        before: Json = {"quarantine": store} if store else {"look": look}
        change = Change(EXISTS, before, exists, (True, None))
        if store:
            facts["quarantine"], facts["handover"] = store, True
            if top is not None:
                facts["owners"] = [names.user(top.uid), names.group(top.gid)]
        return Proposal(
            target, seen, Absent(around=exists.get("absent", {})), (Step("remove", (change,)),), facts=facts
        )

    def _will_go(self, host: Observer, name: str, context: Context) -> bool:
        """Whether the top is a directory that goes with a file that it was made for."""
        return name in going(context)[1] and not others_in(host, name, context)

    def _rule(self, host: Observer, target: Target, context: Context) -> Rule | None:
        nested = list(target.options.get("nested", ()))
        if isinstance(target.wish, Tree):
            rule = known_owners(host, target.wish.rule(target.peers, nested))
            held = (target.give_back.get(PATHS) or {}).get("layers", ())
            if context.vault is not None and any(_unasked(rule, layer) for layer in held):
                rule.layers = [open_layer(layer, context.vault, target.address.name) for layer in held]
            return rule
        back = target.give_back.get(PATHS)
        if back is None or PATHS in target.keep or context.vault is None:
            return None
        left = target.recorded.get(PATHS) or {}
        return Return(
            [open_layer(layer, context.vault, target.address.name) for layer in back["layers"]],
            (left.get("owner"), left.get("group")),
            relative(target.address.name, target.peers),
            tuple(relative(target.address.name, nested)),
            keep_foreign=bool(target.options.get("skip_conflicts")),
            spoken={
                inner: seqs
                for path, seqs in target.options.get("spoken", {}).items()
                for inner in relative(target.address.name, [path])
            },
        )

    def survey(self, host: Observer, target: Target, context: Context) -> Survey | None:
        """What differs, in counts and classes, with a sample (all of it with ``--all-paths``).

        Trees that lie inside each other are looked at in one pass, and what was found in the others is kept for them.
        """
        asked = self._question(host, target, context)
        if asked is None:
            return None
        if asked.scope is not None:
            found = look_at(host, asked)[0]
            # Whether links, mounts and what is frozen matter shows in the whole tree alone.
            return found if not found.skipped else look_at(host, with_(asked, scope=None))[0]
        family = [] if context.fix or target.address in context.looked else self._family(host, target, context)
        if len(family) > 1:
            # What is wrong with one of them is said when it has its own turn.
            with suppress(HostError):
                those = look_at(host, *(question for _, question in family))
                context.looked |= {each.address: (each, one) for (each, _), one in zip(family, those, strict=True)}
        same, survey = context.looked.pop(target.address, (None, None))
        # A tree on a mount of its own was not met from outside.
        if isinstance(survey, Survey) and survey.paths and same is target:
            return survey
        return look_at(host, asked)[0]

    def _question(self, host: Observer, target: Target, context: Context) -> Question | None:
        if self._rule(host, target, context) is None:
            return None

        def rule() -> Rule:
            made = self._rule(host, target, context)
            assert made is not None
            return made

        name = target.address.name
        wants = Wants(
            name,
            total=not target.options.get("held") if context.recording else None,
            every=context.all_paths,
            watched=relative(name, (a.name for a in context.targets if kinds().single(a))),
        )
        return Question(wants, rule, forecast(name, context), self._scope(target, context))

    @staticmethod
    def _scope(target: Target, context: Context) -> Scope | None:
        """The part that is looked at: all of it where that was not asked otherwise, or its first image is due."""
        scope = context.scopes.get(target.address)
        return scope if scope is not None and (target.options.get("held") or not scope) else None

    def _family(self, host: Observer, target: Target, context: Context) -> list[tuple[Target, Question]]:
        """The outermost tree round this one with all trees inside it that have not had their turn, itself first."""
        trees = {
            a.name: t
            for a, t in context.targets.items()
            if kinds().spans(a) and a not in context.planned and self._scope(t, context) is None
        }
        trees[target.address.name] = target
        outer = min((name for name in trees if inside(target.address.name, name)), key=len, default=None)
        if outer is None:
            return []
        found = [
            (each, question)
            for name, each in sorted(trees.items(), key=lambda item: len(item[0]))
            if inside(name, outer) and (question := self._question(host, each, context)) is not None
        ]
        return found if found and found[0][0].address.name == outer else []

    def _compare(self, host: Observer, target: Target, context: Context) -> Proposal:
        if target.wish is not None and (reason := nobody(host, target.wish.requires(), context)):
            return Proposal(target, TreeState(), TreeState(), blocked=Unknown(reason, unknown=False))
        name = target.address.name
        if context.scopes.get(target.address) == Scope():
            return Proposal(target, TreeState(), TreeState())
        known = context.planned.get(target.address)
        if context.fix and known is not None and known.work is not None and known.work.holds(host, known, context):
            return known
        found = self.survey(host, target, context)
        if found is None:
            return Proposal(target, TreeState(), TreeState())
        facts = counted(found, every=context.all_paths)
        facts["handover"] = self._hands_over(target, found)
        facts["coming"] = {absolute(name, path): look for path, look in found.coming.items()}
        notes = tuple(f"{shown(name, path)} is a mount point and not part of the tree" for path in found.mounts)
        if found.drifted:
            notes += (f"{found.drifted} modes drifted and are given back too",)
        conflicts = tuple(
            Conflict(target.address, (shown(name, path),), str(then), str(now))
            for path, then, now in found.foreign[:SAMPLE]
        )
        steps: tuple[Step, ...] = ()
        if found.differ:
            steps = (Step("own", (self._change(target, found),)),)
        work = Work(found, names_of(host, found), time.monotonic())
        return Proposal(
            target,
            TreeState(),
            TreeState(),
            steps,
            None,
            conflicts,
            facts,
            notes,
            tuple(dict.fromkeys(found.skipped)),
            work=work,
        )

    def _hands_over(self, target: Target, found: Survey) -> bool:
        """Whether the owner changes by declaration, and not because drift is repaired."""
        if not any(before.split(":")[0] != after.split(":")[0] for _, before, after in found.classes):
            return False
        if isinstance(target.wish, Tree):
            left = target.options.get("left_owner")
            return target.wish.owner is not None and left != target.wish.owner
        layers = (target.give_back.get(PATHS) or {}).get("layers", ())
        return any(layer["total"] for layer in layers)

    def _change(self, target: Target, found: Survey) -> Change:
        wish = target.wish
        if isinstance(wish, Tree):
            after: Json = {"owner": wish.owner, "group": wish.group, "on_uninstall": wish.on_uninstall}
        else:
            top = found.top[1] if found.top else None
            after = {
                "owner": top.owner if top else None,
                "group": top.group if top else None,
                "on_uninstall": "restore",
            }
            after["returned"] = True
        was = sorted({before for _, before, _ in found.classes})
        now = sorted({new for _, _, new in found.classes})
        return Change(PATHS, None, after, (", ".join(was), ", ".join(now)))

    def record(self, host: Observer, found: Proposal, step: Step, vault: Vault) -> tuple[tuple[Change, ...], Json]:
        """Keep what every path has now, before any is touched."""
        if step.verb == "create" and len(step.changes) == 2:
            names = Names(host)
            uid, gid = root_of(host)
            made = Look(names.user(uid), names.group(gid), 0o755)
            after = step.changes[1].after
            look = Look(after["owner"] or made.owner, after["group"] or made.group, None)
            layer = first_page((made, look), vault)
            changes = (step.changes[0], with_(step.changes[1], before={"layers": [layer]}))
            return changes, {"absent": True, "state": {}}
        if step.verb != "own":
            return step.changes, {"absent": isinstance(found.before, Absent), "state": {}}
        assert found.work.survey.album is not None
        layer = found.work.survey.album.kept(vault)
        return (with_(step.changes[0], before={"layers": [layer]}),), {"absent": False, "state": {}}

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """Any directory."""
        return there is not None and there.type == "directory"

    def adopted(self, host: Observer, name: str, trial: Trial) -> dict[str, Any] | None:
        """Its usual owner and modes, with an exception for every path that is otherwise."""
        from ..trees.describe import describe  # noqa: PLC0415 - start-up counts, and only adopt needs it

        return describe(host, {self.name: name}, name, trial.differing, trial.remark)

    def effects(self, found: Proposal, state: State) -> Effects:
        """Its top, where that comes into being."""
        wish = found.target.wish
        if not isinstance(wish, Tree) or isinstance(state, Absent) or not isinstance(found.before, Absent):
            return Effects()
        mode = apply_mode(wish.directory_mode, 0o755, directory=True) if wish.directory_mode else 0o755
        return Effects(directories={wish.name: Entry(wish.owner or "root", wish.group or "root", mode)})

    def hindrances(self, host: Observer, found: Proposal, context: Context) -> list[str]:
        """A process that runs from a tree to be handed over, and that no listed daemon owns."""
        address = found.target.address
        if not host.live or not context.hands_over(address):
            return []
        units = {a.name for a in context.targets if kinds().runs(a)}
        strangers = [p for p in running_from(host, address.name) if p.cgroup.rsplit("/", 1)[-1] not in units]
        told = ", ".join(f"{p.pid} ({p.name})" for p in strangers[:5])
        what = "runs programs that belong to no listed daemon"
        return [f"{what}: process {told}; stop them, or declare their daemon"] if strangers else []

    def renewed(self, host: Observer, found: Proposal, vault: Vault) -> Proposal:
        """With the tree looked at as it is now."""
        if found.work is None:
            return found
        survey = self.survey(host, found.target, Context(vault=vault, recording=True))
        return found if survey is None else with_(found, work=Work(survey, {}, 0.0))

    def perform(
        self, host: Host, found: Proposal, step: Step, changes: Sequence[Change], vault: Vault
    ) -> list[tuple[str, str]]:
        """Give every path what was recorded for it, or move the tree as a whole."""
        target, name = found.target, found.target.address.name
        if step.verb == "remove":
            return take_away(host, name, step.changes[0].after)
        context = Context(vault=vault, recording=True)
        if step.verb == "create":
            bring(host, name, step.changes[0].before, step.changes[0].after)
            if len(step.changes) == 1:
                return []
        asked = self._question(host, target, context)
        assert asked is not None
        survey = look_at(host, asked)[0] if step.verb == "create" else found.work.survey
        tops = tuple(map(os.fsencode, target.wish.except_)) if isinstance(target.wish, Tree) else None
        return bring_about(host, Task(name, survey, only=tops), asked.rule, asked.rule)

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """Empty where every recorded path has what it was to get (or is gone)."""
        for change in changes:
            if change.field == EXISTS:
                if problem := self._misplaced(host, name, change.after):
                    return problem
        return paths_reached(host, name, changes, vault)

    def _misplaced(self, host: Observer, name: str, exists: Json) -> str:
        """What is wrong where the top is there and is to be gone, or the other way round."""
        there = not isinstance(self.read(host, name), Absent)
        return f"{printable(name)} {'is still' if there else 'is not'} there" if there == gone(exists) else ""

    def put_back(self, host: Host, name: str, changes: Sequence[Change], image: Json, vault: Vault) -> str:
        """Give back path by path what is still as we left it; what somebody else changed meanwhile stays."""
        if problem := paths_put_back(host, name, changes, vault):
            return problem
        for change in changes:
            if change.field == EXISTS:
                there = not isinstance(self.read(host, name), Absent)
                if gone(change.before) and there:
                    take_away(host, name, change.before)
                elif not gone(change.before):
                    bring(host, name, change.after, change.before)
                if problem := self._misplaced(host, name, change.before):
                    return problem
        return ""


@dataclass(frozen=True)
class Work:
    """What planning found in a tree, to be carried out by the same run if nothing came between."""

    survey: Survey
    names: Mapping[tuple[int, int], tuple[Owner, Owner]]
    """The names of the owners that were met, as the image has them."""
    when: float

    def holds(self, host: Observer, found: Proposal, context: Context) -> bool:
        """Whether what was found moments ago can be relied on: each path is compared once more before it is touched."""
        top = found.target.address.name
        return (
            self.survey.album is not None
            and time.monotonic() - self.when < FRESH
            and names_of(host, self.survey) == self.names
            and not any(
                prospect.steps and address != found.target.address and inside(address.name, top)
                for address, prospect in context.planned.items()
                if kinds().located(address)
            )
        )


def names_of(host: Observer, survey: Survey) -> dict[tuple[int, int], tuple[Owner, Owner]]:
    """The names of all owners and groups that a pass met."""
    names = Names(host)
    return {(uid, gid): (names.user(uid), names.group(gid)) for uid, gid in survey.owners}


def _unasked(rule: Wish, layer: Json) -> bool:
    """Whether an image changed an owner, group or mode that the wish leaves open now."""
    parts = [(rule.owner, rule.group, rule.directory_mode, rule.file_mode)]
    parts += [(e.owner, e.group, e.mode or e.directory_mode, e.mode or e.file_mode) for e in rule.exceptions.values()]
    opened = {
        name
        for owner, group, *modes in parts
        for name, asked in (("owner", owner), ("group", group), ("mode", all(modes) or None))
        if asked is None
    }
    gave = any(after and after.get("xattrs") for _, after in layer["classes"])
    return gave or any(after and before[name] != after[name] for before, after in layer["classes"] for name in opened)


def forecast(top: str, context: Context) -> dict[bytes, Look | None]:
    """How the files that this plan gives back inside a tree will look once that is done."""
    if context.fix:
        return {}
    coming: dict[bytes, Look | None] = {}
    for address, prospect in context.planned.items():
        if kinds().single(address) and inside(address.name, top) and prospect.target.wish is None and prospect.steps:
            told = prospect.after.model_dump()
            gone_then = isinstance(prospect.after, Absent)
            look = None if gone_then else Look(told["owner"], told["group"], told.get("mode"))
            coming |= dict.fromkeys(relative(top, [address.name]), look)
    return coming


def known_owners(host: Observer, rule: Wish) -> Wish:
    """The rule with numbers as the names that the host has for them, as states hold them."""
    names = Names(host)
    rule.owner, rule.group = names.known_user(rule.owner), names.known_group(rule.group)
    rule.exceptions = {
        path: with_(part, owner=names.known_user(part.owner), group=names.known_group(part.group))
        for path, part in rule.exceptions.items()
    }
    return rule


def _words(wish: Tree) -> str:
    return ":".join(part or "" for part in (wish.owner, wish.group, wish.directory_mode))


KIND = TreeKind()
