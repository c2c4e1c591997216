"""The pass that looks: what in a tree differs from what a rule says, in counts, classes and a sample.

Large trees are walked by several processes, each with visitors of its own; a pass holds nothing but counts, and what
it tells at the end is small.  The image of what is there is drawn in the same pass.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import NamedTuple

from ..formats.text import printable
from ..host.port import REPLACED, Directory, Facts, Groups, Observer, Scope, Type, Visitor, inner
from ..host.resolve import shut
from ..model import Json, Owner
from .classify import KEPT, Judge, Verdict, absolute, linked, obstacle, shown
from .images import (
    Album,
    Class,
    Drawing,
    Look,
    privileged,
    within,
)
from .rules import Rule, looker

SAMPLE = 20
LINKED = "has hard links that are not proven to lie inside the tree"


@dataclass
class Survey:
    """What one pass found: counts, classes and a sample, never the whole list unless it was asked for."""

    paths: int = 0
    differ: int = 0
    newborn: int = 0
    drifted: int = 0
    foreign: list[tuple[bytes, Look, Look]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    mounts: list[bytes] = field(default_factory=list)
    classes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    sample: list[Json] = field(default_factory=list)
    links: Counter[Name] = field(default_factory=Counter)
    """How often names of one inode were met that are to have the same, where nobody else can move them."""
    foretold: Counter[Name] = field(default_factory=Counter)
    """How often that will be so when every directory is taken back that is to be taken back."""
    exceptions: bool = False
    """Whether anything that an exception covers differs."""
    top: tuple[Look, Look | None] | None = None
    coming: dict[bytes, Look] = field(default_factory=dict)
    """How paths that other resources speak of will look once the tree is done."""
    owners: set[tuple[int, int]] = field(default_factory=set)
    """The numbers of owner and group that were met."""
    waiting: list[Linked] = field(default_factory=list)
    """Paths with further hard links that would be changed if all their links lay in the tree."""
    album: Album | None = None
    scope: Scope | None = None
    """The part that was looked at; None: all of it."""

    def take(self, other: Survey, *, every: bool) -> None:
        """Take in what the next part of the tree told; ``every``: with all paths, and not a sample alone."""
        self.paths += other.paths
        self.differ += other.differ
        self.newborn += other.newborn
        self.drifted += other.drifted
        self.foreign = (self.foreign + other.foreign)[:SAMPLE]
        self.skipped += other.skipped
        self.mounts += other.mounts
        self.classes += other.classes
        if every or len(self.sample) < SAMPLE:
            self.sample += other.sample
        self.links += other.links
        self.foretold += other.foretold
        self.exceptions |= other.exceptions
        self.top = self.top or other.top
        self.coming |= other.coming
        self.owners |= other.owners
        self.waiting += other.waiting

    def count(self, verdict: Verdict, count: int, paths: Iterable[bytes], wants: Wants) -> None:
        """Count paths with one verdict as such that would change; of few of them (or of all) the path is told."""
        assert verdict.said.after is not None
        self.differ += count
        self.drifted += count if verdict.said.drifted else 0
        self.classes[verdict.title] += count
        room = count if wants.every else max(0, SAMPLE - len(self.sample))
        for path in islice(paths, room):
            self.sample.append(sampled(wants.top, path, verdict.look, verdict.said.after))

    def proven(self, inode: tuple[int, int], facts: Facts, after: Look) -> bool:
        """Whether all names of an inode lay in the tree when they were counted, and are to have the same."""
        return self.links[name_of(inode, facts, after)] == facts.nlink


class Name(NamedTuple):
    """What a further name of an inode has to share with all others for the inode to be changed."""

    device: int
    inode: int
    links: int
    owner: Owner
    group: Owner
    mode: int | None


def name_of(inode: tuple[int, int], facts: Facts, after: Look) -> Name:
    """A name of an inode that is to have this look."""
    return Name(*inode, facts.nlink, after.owner, after.group, after.mode)


class Linked(NamedTuple):
    """A path with further hard links, and the verdict on it."""

    path: bytes
    inode: tuple[int, int]
    verdict: Verdict


@dataclass(frozen=True)
class Wants:
    """What a pass that looks is to find out."""

    top: str
    total: bool | None = None
    """Whether an image is drawn: of what would change (False) or of every path (True)."""
    every: bool = False
    """Whether every path that would change is told, and not a sample alone."""
    watched: frozenset[bytes] = frozenset()
    """Paths whose coming look is asked for."""


class Looking(Visitor[Directory]):
    """Looks at every path by a rule, counts, and draws the image that is wanted."""

    def __init__(self, judge: Judge, wants: Wants) -> None:
        self.judge, self.wants = judge, wants
        self.found = Survey()
        self.drawing = Drawing()

    def enter(self, at: Directory) -> None:
        """The directory itself."""
        verdict = self.judge.itself(at)
        apart = verdict.single or (verdict.asks and at.xattrs(b""))
        number = self._one(at, b"", verdict) if apart else self._many(at, [b""], verdict)
        if number is not None:
            self.drawing.page(at.path, number)
        if not at.path:
            self.found.top = (verdict.look, verdict.said.after)

    def files(self, at: Directory, groups: Groups) -> None:
        """What is in it: paths with one verdict are taken together."""
        runs: dict[int, list[list[bytes]]] = {}
        verdicts = list(self.judge.each(at, groups))
        asked = [name for verdict, names in verdicts if verdict.asks and not verdict.single for name in names]
        attributed = set(at.attributed(asked, KEPT)) if asked else set()
        for verdict, names in verdicts:
            apart = names if verdict.single else [name for name in names if name in attributed] if attributed else []
            for name in apart:
                number = self._one(at, name, verdict)
                if number is not None:
                    runs.setdefault(number, []).append([name])
            if len(apart) < len(names):
                alike = sorted(set(names) - set(apart)) if apart else names
                number = self._many(at, alike, verdict)
                if number is not None:
                    runs.setdefault(number, []).append(alike)
        if runs:
            # A page's lines are in order, since what is asked of them later is asked by first and last name.
            self.drawing.names(at.path, {n: sorted(chain.from_iterable(some)) for n, some in runs.items()})

    def _many(self, at: Directory, names: list[bytes], verdict: Verdict) -> int | None:
        """Take paths into account that are alike and have no attributes; their class in the image."""
        found, after, count = self.found, verdict.said.after, len(names)
        verdict.count += count
        if not verdict.changes or after is None:
            return self.drawing.number(verdict.look, None) if self.wants.total else None
        found.exceptions |= verdict.said.excepted
        found.count(verdict, count, (inner(at, name) for name in names), self.wants)
        return None if self.wants.total is None else self.drawing.number(verdict.look, after)

    def _one(self, at: Directory, name: bytes, verdict: Verdict) -> int | None:
        """Take one path into account; its class in the image, if it has any."""
        found, path = self.found, inner(at, name)
        if verdict.asks:
            verdict = self.judge.full(at, name, verdict)
        verdict.count += 1
        facts, look, said = verdict.facts, verdict.look, verdict.said
        if said.replaced:
            found.skipped.append((shown(self.wants.top, path), REPLACED))
        if said.after is not None and path in self.wants.watched:
            found.coming[path] = said.after
        inode = at.inode(name) if linked(facts) else None
        if inode is not None:
            self._counted(at, name_of(inode, facts, said.after or look))
        elif said.foreign and said.known is not None and len(found.foreign) < SAMPLE:
            found.foreign.append((path, said.known, look))
        after = said.after if verdict.changes else None
        if after is None:
            return self.drawing.number(look, None) if self.wants.total else None
        found.exceptions |= said.excepted
        if hindrance := obstacle(facts):
            found.skipped.append((shown(self.wants.top, path), hindrance))
        elif inode is not None:
            found.waiting.append(Linked(path, inode, verdict))
        else:
            found.count(verdict, 1, [path], self.wants)
        if self.wants.total is None:
            return None
        if after.xattrs:
            # An attribute that is not there is recorded as empty, so that a return takes it away again.
            have = {key for key, _ in look.xattrs}
            look = replace(look, xattrs=look.xattrs + tuple((key, "") for key, _ in after.xattrs if key not in have))
        if facts.type == Type.FILE and privileged(look):
            look = replace(look, digest=at.digest(name))
        return self.drawing.number(look, after)

    def _counted(self, at: Directory, name: Name) -> None:
        """Count a further name of an inode, if nobody else can move it, or will be able to."""
        if shut(at.facts.uid, at.facts.mode):
            self.found.links[name] += 1
            self.found.foretold[name] += 1
        else:
            verdict = self.judge.itself(at)
            if verdict.changes and verdict.said.after is not None and verdict.said.after.owner == "root":
                self.found.foretold[name] += 1

    def mount(self, path: bytes) -> None:
        """Not part of the tree."""
        self.found.mounts.append(path)

    def gap(self, path: bytes, reason: str) -> None:
        """Cannot be looked at, and so not be changed."""
        self.found.skipped.append((shown(self.wants.top, path), reason))

    def told(self) -> tuple[Survey, list[Class], bytes]:
        """The counts, and a part of the image."""
        found = self.found
        for verdict in self.judge.verdicts:
            if verdict.count:
                found.paths += verdict.count
                found.newborn += verdict.count if verdict.said.newborn else 0
                found.owners.add((verdict.facts.uid, verdict.facts.gid))
                verdict.count = 0
        self.found = Survey()
        return found, *self.drawing.take()


def sampled(top: str, path: bytes, look: Look, after: Look) -> Json:
    """One path of a plan's sample."""
    text = absolute(top, path)
    item = {"path": printable(text), "before": look.shown(), "after": after.shown()}
    try:
        path.decode()
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415 - only for names that no text can hold

        item["path_bytes"] = base64.b64encode(os.fsencode(text)).decode()
    return item


@dataclass(frozen=True)
class Question:
    """What is asked of a tree in one pass."""

    wants: Wants
    rule: Callable[[], Rule]
    """Called in every process that takes part, since rules read their images along."""
    forecast: Mapping[bytes, Look | None] = field(default_factory=dict)
    """How paths will look when their turn comes, since another transition changes them first (None: gone by then)."""
    scope: Scope | None = None
    """The part that is looked at; None: all of it."""


@dataclass
class Inside:
    """A directory as it is seen from a tree inside the one that is walked."""

    real: Directory
    path: bytes

    @property
    def facts(self) -> Facts:
        """What the directory is."""
        return self.real.facts

    def xattrs(self, name: bytes) -> Mapping[str, bytes]:
        """The extended attributes of a name."""
        return self.real.xattrs(name)

    def attributed(self, names: list[bytes], wanted: Sequence[str]) -> list[bytes]:
        """The names that have one of some attributes."""
        return self.real.attributed(names, wanted)

    def inode(self, name: bytes) -> tuple[int, int]:
        """The device and inode of a name."""
        return self.real.inode(name)

    def digest(self, name: bytes) -> str:
        """The digest of a regular file's bytes."""
        return self.real.digest(name)

    def holds(self, name: bytes, digest: str) -> bool:
        """Whether a regular file has these bytes."""
        return self.real.holds(name, digest)


class Sharing(Visitor[Directory]):
    """Shows one walk to those who ask of the whole tree, and to those who ask of a tree inside it."""

    def __init__(self, those: Sequence[tuple[bytes, Looking]]) -> None:
        self.those = those
        self._at: Directory | None = None
        self._views: list[tuple[Looking, Directory]] = []

    def _of(self, at: Directory) -> list[tuple[Looking, Directory]]:
        if at is not self._at:
            self._at = at
            self._views = []
            for top, one in self.those:
                if within(at.path, top):
                    view: Directory = Inside(at, at.path[len(top) + 1 :]) if top else at
                    self._views.append((one, view))
        return self._views

    def enter(self, at: Directory) -> None:
        """The directory itself."""
        for one, view in self._of(at):
            one.enter(view)

    def files(self, at: Directory, groups: Groups) -> None:
        """What is in it."""
        for one, view in self._of(at):
            one.files(view, groups)

    def mount(self, path: bytes) -> None:
        """Not part of any of the trees."""
        for top, one in self.those:
            if within(path, top):
                one.mount(path[len(top) + 1 :] if top else path)

    def gap(self, path: bytes, reason: str) -> None:
        """Cannot be looked at."""
        for top, one in self.those:
            if within(path, top):
                one.gap(path[len(top) + 1 :] if top else path, reason)

    def told(self) -> list[tuple[Survey, list[Class], bytes]]:
        """What each of them found."""
        return [one.told() for _, one in self.those]


def look_at(host: Observer, *asked: Question) -> list[Survey]:
    """One pass over the first tree that is asked about, with the others inside it: what differs from the rules."""
    top = asked[0].wants.top

    def begin() -> Callable[[], Visitor[Directory]]:
        judges = [Judge(each.rule(), looker(host), each.forecast, each.wants.watched) for each in asked]
        if len(asked) == 1:
            return lambda: Looking(judges[0], asked[0].wants)
        places = [os.fsencode(each.wants.top[len(top.rstrip("/")) + 1 :]) for each in asked]
        return lambda: Sharing(
            [(place, Looking(judge, each.wants)) for place, judge, each in zip(places, judges, asked, strict=True)]
        )

    found = [
        Survey(album=None if each.wants.total is None else Album(total=each.wants.total), scope=each.scope)
        for each in asked
    ]
    for told in host.visit(top, begin, asked[0].scope):
        for each, survey, (part, classes, pages) in zip(asked, found, [told] if len(asked) == 1 else told, strict=True):
            survey.take(part, every=each.wants.every)
            if survey.album is not None:
                survey.album.add(classes, pages)
    for each, survey in zip(asked, found, strict=True):
        if not each.wants.every:
            del survey.sample[SAMPLE:]
        settle_links(survey, each.wants)
    return found


def settle_links(found: Survey, wants: Wants) -> None:
    """Decide on the paths with further hard links, now that all of them are counted.

    What is taken from others is taken before the count that decides, so that is what is foretold here.
    """
    counted = replace(found, links=found.foretold)
    for path, inode, verdict in found.waiting:
        after = verdict.said.after
        if after is not None and counted.proven(inode, verdict.facts, after):
            found.count(verdict, 1, [path], wants)
        else:
            found.skipped.append((shown(wants.top, path), LINKED))
    found.waiting = []
