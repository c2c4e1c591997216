"""A directory tree: who owns what in it, and with which modes.

The state of a tree is too big to hold, so it is compared, recorded and given back path by path, in walks.
Hand-overs go from the leaves to the top (exceptions first), returns from the top to the leaves, so that no
directory is writable by the account while root still works below it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace as with_
from typing import Any, ClassVar

from ...core.kind import Conflict, Context, Effects, Entry, Kind, Proposal, Step, Trial, gone
from ...core.planned import Foretold
from ...core.vault import Vault
from ...errors import HostError, Unseen
from ...formats.modes import apply_mode
from ...formats.text import printable
from ...host.names import Names
from ...host.port import Host, Observer, Scope, Stat, Type
from ...host.services import running_from
from ...model import (
    EXISTS,
    PATHS,
    Absent,
    Address,
    Change,
    Field,
    Json,
    Owner,
    Seen,
    State,
    Target,
    Unknown,
    inside,
)
from ...trees.apply import Task, bring_about
from ...trees.classify import absolute, shown
from ...trees.images import Look, first_page, open_layer
from ...trees.numbers import numbered, of_today
from ...trees.rules import Return, Rule
from ...trees.scan import SAMPLE, Question, Survey, Wants, look_at
from ...trees.whole import QUARANTINE, bring, emptied, mounted, root_of, take_away
from .. import kinds
from .._inside import (
    changed_paths,
    counted,
    others_in,
    owed,
    owners_before,
    owners_in,
    paths_put_back,
    paths_reached,
    relative,
    top_owners,
)
from .._located import nobody
from .resource import Tree, _words
from .work import Work, _unasked, forecast, known_owners, names_of, numbers_of


class TreeState(State):
    """The tree's top; what lies below is looked at in walks."""

    type: str = "directory"


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
        if found.type != Type.DIRECTORY:
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
        return context.planned.made[name] > 0 and not others_in(host, name, context)

    def _rule(self, host: Observer, target: Target, context: Context) -> Rule | None:
        nested = list(target.options.get("nested", ()))
        if isinstance(target.wish, Tree):
            rule = known_owners(host, target.wish.rule(target.peers, nested))
            held = (target.give_back.get(PATHS) or {}).get("layers", ())
            if context.vault is not None and any(_unasked(rule, layer) for layer in held):
                names = Names(host)
                rule.layers = [open_layer(of_today(layer, names), context.vault, target.address.name) for layer in held]
            return rule
        back = target.give_back.get(PATHS)
        if back is None or PATHS in target.keep or context.vault is None:
            return None
        left, names = target.recorded.get(PATHS) or {}, Names(host)
        return Return(
            [open_layer(of_today(layer, names), context.vault, target.address.name) for layer in back["layers"]],
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

    def gives(self, host: Observer, target: Target, context: Context, path: str) -> tuple[Owner, Owner] | None:
        """As its rule says of the path."""
        asked = self._question(host, target, context)
        if asked is None:
            return None
        top = target.address.name
        alone = Scope(alone=relative(top, [path]) or frozenset([b""]))
        found = look_at(host, with_(asked, wants=Wants(top, every=True), scope=alone))[0]
        look = next((item["after"] for item in found.sample if item["path"] == printable(path)), None)
        return None if look is None else (look["owner"], look["group"])

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
        target = _beside_owed(target, context)
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
        coming = {
            absolute(name, path): Foretold({"owner": look.owner, "group": look.group, "mode": look.mode})
            for path, look in found.coming.items()
        }
        work = Work(found, names_of(host, found), numbers_of(host, found), time.monotonic())
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
            foretold=coming if target.wish is None else {},
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
            after = {**top_owners(found), "on_uninstall": "restore", "returned": True}
        return changed_paths(found, after)

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
        layer = numbered(found.work.survey.album.kept(vault), Names(host))
        return (with_(step.changes[0], before={"layers": [layer]}),), {"absent": False, "state": {}}

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """Any directory."""
        return there is not None and there.type == Type.DIRECTORY

    def adopted(self, host: Observer, name: str, trial: Trial) -> dict[str, Any] | None:
        """Its usual owner and modes, with an exception for every path that is otherwise."""
        from ...trees.describe import describe  # noqa: PLC0415 - start-up counts, and only adopt needs it

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
        return found if survey is None else with_(found, work=Work(survey, {}, {}, 0.0))

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


def _beside_owed(target: Target, context: Context) -> Target:
    """The target without what stays although it was to go: that has had its owner, and so has all in it."""
    stays = {path for path in owed(context) if inside(path, target.address.name)}
    if not stays:
        return target
    nested = [*target.options.get("nested", ()), *(stays if target.wish is None else ())]
    return with_(target, peers=target.peers | stays, options={**target.options, "nested": nested})


KIND = TreeKind()
