"""How a directory goes: with its copies, or passed on to what of ours is in it, or left to its parent's owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import replace as with_
from typing import Any

from ...core.kind import Context, Kind, Proposal, Step, gone
from ...core.planned import Foretold
from ...formats.modes import SPECIAL
from ...formats.text import printable
from ...host.names import Names
from ...host.port import Observer, Scope, Type
from ...model import EXISTS, PATHS, Absent, Address, Field, Json, Owner, above, inside
from ...trees.images import Layer, Look, Page, Record, open_layer
from ...trees.rules import Return, Rule
from ...trees.scan import Question, Survey, Wants, look_at
from ...trees.whole import root_of
from .._inside import (
    changed_paths,
    comes_back,
    counted,
    given_by_others,
    ours_below,
    ours_in,
    owed,
    relative,
    relative_to,
    spanning,
    top_owners,
)
from .._located import GROUP, MODE, OWNER, asked_owners
from .copies import SKEL, alike
from .state import DirectoryState

NOT_EMPTY = "not empty, so it stays; it and all in it go to its parent's owner. Empty it and do this again to remove it"
TOP = Scope(alone=frozenset([b""]))


@dataclass(frozen=True)
class Walked:
    """What a walk in a directory found, and the rule that it went by."""

    survey: Survey
    rule: Callable[[], Rule]


def parted(kind: Kind[Any], host: Observer, found: Proposal, context: Context) -> Proposal:
    """A directory that is to go: it goes, or is passed on to what of ours is in it, or stays."""
    target, name = found.target, found.target.address.name
    assert isinstance(found.before, DirectoryState)
    copies = {path: copy for path, copy in found.before.skel.items() if copy is not None}
    standing = relative_to(name, ours_below(context, name, held=True)) & copies.keys()
    back = {path for path in standing if comes_back(f"{name}/{path}", context)}
    taken = standing - back
    ours = {p for p in copies.keys() - taken if p in back or alike(copies[p], target.recorded.get((SKEL, p)))}
    made = {path for path in ours if copies[path]["type"] == Type.DIRECTORY}
    own = [{f"{name}/{path}" for path in some} for some in (ours - made, made)]
    stays = ours_in(host, name, context, *own)
    fresh = ours & relative_to(name, ours_below(context, name, held=False, wished=True))
    # What is declared in place of a copy is made anew, where all of that copy can go.
    anew = {p for p in fresh if p not in made or ours_in(host, f"{name}/{p}", context, *own) is False}
    if stays is None:
        leaving = {path for path in ours - back if any(inside(path, each) for each in anew | taken)}
        found = _left(kind, host, found, context, taken | fresh | leaving)
    else:
        passing = {path for path in made - back if ours_in(host, f"{name}/{path}", context, *own)}
        leaving = ours - back - passing
        found = _passed_on(kind, host, found) if stays else found
        found = with_(found, work=[f"{name}/{path}" for path in passing])
    return with_(found, foretold={f"{name}/{path}": Foretold(None, copies[path]["type"]) for path in leaving})


def _heir(kind: Kind[Any], host: Observer, name: str, context: Context) -> tuple[Owner, Owner]:
    """The owner and group that the parent of a path has once this plan is done."""
    parent = name.rpartition("/")[0] or "/"
    there, names, target = host.stat(parent), Names(host), context.targets.get(Address(kind.name, parent))
    assert there is not None
    found: dict[Field, Json] = {OWNER: names.user(there.uid), GROUP: names.group(there.gid)}
    # What this one stays in stays too, and all in it is handed on as a whole.
    around = (context.targets.get(Address(kind.name, path)) for path in above(name))
    outer = next((each for each in around if each is not None), None)
    if outer is not None and outer.wish is None and gone(outer.give_back.get(EXISTS, True)):
        return _heir(kind, host, outer.address.name, context)
    if target is not None:
        found |= {f: v for f, v in target.give_back.items() if f in found and f not in target.keep}
        found |= asked_owners(target.wish) if target.wish is not None else {}
    elif (given := given_by_others(host, parent, context)) is not None:
        return given
    return found[OWNER], found[GROUP]


def _left(kind: Kind[Any], host: Observer, found: Proposal, context: Context, taken: Iterable[str]) -> Proposal:
    """A directory that stays: its parent's owner's, closed to others, with all that is in it newborn.

    ``taken``: copies in whose place something else of ours stands or will, so that they never come back.
    """
    target, name = found.target, found.target.address.name
    top = host.stat(name)
    assert top is not None and isinstance(found.before, DirectoryState)
    names = Names(host)
    now = Look(names.user(top.uid), names.group(top.gid), top.mode)
    then = Look(*_heir(kind, host, name, context), top.mode & ~(0o022 | SPECIAL))
    spoken = {*target.options.get("spoken", ()), *owed(context), *ours_below(context, name, wished=True)}
    spoken = {path for path in spoken if inside(path, name)}
    stays = [path for path in spoken if (there := host.stat(path)) is not None and there.type == Type.DIRECTORY]
    nested = tuple(relative(name, [*target.options.get("nested", ()), *stays]))
    brought = target.options.get("brought", ())
    # What a tree that stays covers has its owners from that.
    around = spanning(name, context)
    covered = around is not None and context.targets[around].wish is not None

    def rule() -> Rule:
        layer = Layer(total=True, pages=iter([Page(b"", Record(then, now), [])]))
        return Return([layer], (now.owner, now.group), relative(name, {*spoken, *brought}), nested)

    copies = {path: copy for path, copy in found.before.skel.items() if path not in taken}
    update = {"owner": then.owner, "group": then.group, "mode": then.mode, "skel": copies}
    after = found.before.model_copy(update=update)
    found = with_(found, after=after, steps=(Step("own", kind.diff(found.before, after)),))
    found = _walked(host, found, rule, context, TOP if covered else None)
    return with_(found, skipped=(*found.skipped, (printable(name), NOT_EMPTY)), owed=True)


def returned(host: Observer, found: Proposal, context: Context) -> Proposal:
    """A directory whose contents come back to whom they belonged before it was left."""
    target, name, vault = found.target, found.target.address.name, context.vault
    assert vault is not None
    layers = target.give_back[PATHS]["layers"]
    left = target.recorded.get(PATHS) or {}

    def rule() -> Rule:
        opened = [open_layer(layer, vault, name) for layer in layers]
        return Return(opened, (left.get("owner"), left.get("group")))

    return _walked(host, found, rule, context)


def _walked(
    host: Observer, found: Proposal, rule: Callable[[], Rule], context: Context, scope: Scope | None = None
) -> Proposal:
    """What a rule changes in it, together with what changes of the directory itself."""
    target = found.target
    wants = Wants(target.address.name, total=False, every=context.all_paths)
    survey = look_at(host, Question(wants, rule, scope=scope))[0]
    changes = tuple(change for step in found.steps for change in step.changes)
    if survey.differ:
        changes += (changed_paths(survey, {**top_owners(survey), "returned": True}),)
    planned = context.planned.get(target.address) if context.fix else None
    verb = planned.steps[0].verb if planned is not None and planned.steps else "own"
    return with_(
        found, steps=(Step(verb, changes),) if changes else (), work=Walked(survey, rule),
        facts=counted(survey, every=context.all_paths), skipped=(*found.skipped, *dict.fromkeys(survey.skipped)),
    )  # fmt: skip


def _passed_on(kind: Kind[Any], host: Observer, found: Proposal) -> Proposal:
    """The directory becomes one that was made for what is in it."""
    assert isinstance(found.after, Absent)
    after, then = Absent(around={**found.after.around, "passed": True}), usual(host)
    kept = {EXISTS: {"absent": dict(after.around)}, OWNER: then.owner, GROUP: then.group, MODE: then.mode}
    step = found.steps[0]
    changes = tuple(kind.change(c.field, c.before, kept.get(c.field)) for c in step.changes)
    changes = tuple(c for c in changes if c.shown[0] != c.shown[1])
    note = "it stays, root's own, for what of ours is in it, and goes with the last of that"
    return with_(found, after=after, steps=(with_(step, changes=changes),), notes=(*found.notes, note))


def usual(host: Observer) -> DirectoryState:
    """How a directory is that is made for something in it."""
    names, (uid, gid) = Names(host), root_of(host)
    return DirectoryState(owner=names.user(uid), group=names.group(gid))
