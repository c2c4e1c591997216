"""The passes over a tree: look at it by a rule, carry out what was recorded, look whether it is so.

A pass is a visitor; large trees are walked by several processes, each with visitors of its own, so a pass holds
nothing but counts, and what it tells at the end is small.  Paths that are alike are judged once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..host.names import Names
from ..host.port import FROZEN, MEANWHILE, Attributes, Directory, Facts, Groups, Host, Observer, OpenDirectory, Visitor
from ..host.resolve import printable, trusted
from ..model import Json
from .images import (
    ACL,
    CAPABILITY,
    DEFAULT_ACL,
    Album,
    Class,
    Drawing,
    Layer,
    Look,
    Page,
    Record,
    differs,
    privileged,
    within,
)
from .ownership import REPLACED, Rule, Said, attributes, by_directory, looker

SAMPLE = 20
KEPT = (CAPABILITY, ACL, DEFAULT_ACL)
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
    links: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    """How often inodes with further hard links were met: device, number and links → times."""
    exposed: bool = False
    """Whether somebody else can rename things in the tree, so that counting hard links proves nothing."""
    stays: bool = False
    """Whether that is so even when every directory is taken back that is to be taken back."""
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
        self.exposed |= other.exposed
        self.stays |= other.stays
        self.exceptions |= other.exceptions
        self.top = self.top or other.top
        self.coming |= other.coming
        self.owners |= other.owners
        self.waiting += other.waiting

    def proven(self, inode: tuple[int, int], nlink: int) -> bool:
        """Whether all hard links of an inode lay inside the tree when they were counted."""
        return not self.exposed and self.links[*inode, nlink] == nlink


class Linked(NamedTuple):
    """A path with further hard links, and what it would be changed to."""

    path: bytes
    inode: tuple[int, int]
    facts: Facts
    look: Look
    after: Look
    drifted: bool


@dataclass(slots=True, eq=False)
class Verdict:
    """What is to come of all paths that are alike, and how many there are."""

    facts: Facts
    look: Look
    said: Said
    changes: bool
    own: bool = False
    """Whether it holds for this one path alone."""
    attributed: bool = False
    """Whether the attributes were looked at."""
    count: int = 0
    asks: bool = field(init=False)
    """Whether the attributes matter: the path would change, or has to have some."""
    single: bool = field(init=False)
    """Whether there is something to be said of each path by itself."""
    named: tuple[str, str, str] = field(init=False)
    """The class of such paths, as plans name it."""

    def __post_init__(self) -> None:
        said, after = self.said, self.said.after
        self.asks = not self.attributed and after is not None and (self.changes or bool(after.xattrs))
        self.named = (self.facts.type, str(self.look), str(after))
        odd = self.own or said.foreign or said.replaced or linked(self.facts) or bool(after and after.xattrs)
        self.single = odd or (self.changes and bool(obstacle(self.facts) or privileged(self.look)))


def obstacle(facts: Facts) -> str:
    """Why a path must not be touched, whatever the rest of the tree; empty where it may."""
    if facts.type in ("character", "block"):
        return f"a {facts.type} device"
    return FROZEN if facts.frozen else ""


def shut(uid: int, mode: int) -> bool:
    """Whether nobody but root can rename what is in a directory with this owner and mode."""
    return trusted(uid) and not (mode & 0o022 and not mode & 0o1000)


def linked(facts: Facts) -> bool:
    """Whether a path has further names, which may lie anywhere."""
    return facts.nlink > 1 and facts.type != "directory"


class Judge:
    """Gives verdicts by a rule, and remembers them."""

    def __init__(
        self,
        rule: Rule,
        look: Callable[[Facts], Look],
        forecast: Mapping[bytes, Look | None],
        watched: Iterable[bytes],
    ) -> None:
        self.rule, self.look, self.forecast = rule, look, forecast
        self.verdicts: list[Verdict] = []
        self._known: dict[Hashable, dict[Hashable, Verdict]] = {}
        self._at: Directory | None = None
        self._region: dict[Hashable, Verdict] = {}
        self._pages: list[Page | None] = []
        self._records: list[Mapping[bytes, Record]] = []
        self._own: tuple[Record | None, ...] = ()
        self.named: frozenset[bytes] = frozenset()
        self._singled = by_directory([*forecast, *watched])

    def turn(self, at: Directory) -> None:
        """Go on to a directory."""
        if at is self._at:
            return
        self._at = at
        self._pages = [layer.page(at.path) for layer in self.rule.layers]
        self._own = tuple(page.own if page else None for page in self._pages)
        region = self.rule.region(at.path, [record for record in self._own if record])
        self._region = self._known.setdefault(region, {})
        self.named = self.rule.named.get(at.path, frozenset()) | self._singled.get(at.path, frozenset())

    def itself(self, at: Directory) -> Verdict:
        """The verdict on the directory."""
        self.turn(at)
        return self._verdict(at, b"", at.facts, self._own, own=b"" in self.named)

    def one(self, at: Directory, name: bytes, facts: Facts) -> Verdict:
        """The verdict on one path in a directory; on the directory itself for an empty name."""
        return next(self.each(at, {facts: [name]}))[0] if name else self.itself(at)

    def each(self, at: Directory, groups: Groups) -> Iterator[tuple[Verdict, list[bytes]]]:
        """The names in a directory by the verdict on them."""
        self.turn(at)
        self._records = [page.between(*span(groups)) if page else {} for page in self._pages]
        for facts, names in groups.items():
            rest = names
            if self.named:
                rest = [name for name in names if name not in self.named]
                for name in names if len(rest) < len(names) else ():
                    if name in self.named:
                        records = tuple(known.get(name) for known in self._records)
                        yield self._verdict(at, name, facts, records, own=True), [name]
            for records, alike in self._by_records(rest):
                verdict = self._verdict(at, alike[0], facts, records, own=False)
                if not verdict.own:
                    yield verdict, alike
                    continue
                yield verdict, alike[:1]
                for name in alike[1:]:
                    yield self._verdict(at, name, facts, records, own=False), [name]

    def _by_records(self, names: list[bytes]) -> Iterable[tuple[tuple[Record | None, ...], list[bytes]]]:
        if not self._records or not names:
            return [((), names)] if names else []
        found: dict[tuple[Record | None, ...], list[bytes]] = {}
        if len(self._records) == 1:
            get = self._records[0].get
            for name in names:
                found.setdefault((get(name),), []).append(name)
        else:
            for name in names:
                found.setdefault(tuple(known.get(name) for known in self._records), []).append(name)
        return found.items()

    def _verdict(
        self, at: Directory, name: bytes, facts: Facts, records: tuple[Record | None, ...], *, own: bool
    ) -> Verdict:
        key: Hashable = (facts, *records) if records else facts
        if not own:
            found = self._region.get(key)
            if found is not None:
                return found
        path = inner(at, name)
        look, gone = self.look(facts), False
        if path in self.forecast:
            told = self.forecast[path]
            gone, look = told is None, told or look
        asked: list[bool] = []

        def digest() -> str:
            asked.append(True)
            return at.digest(name)

        said = Said(None) if gone else self.rule.judge(path, facts, look, [r for r in records if r], digest)
        changes = said.after is not None and differs(look, said.after)
        own = own or bool(asked)
        verdict = Verdict(facts, look, said, changes, own, attributed=path in self.forecast)
        if not gone:
            self.verdicts.append(verdict)
        if not own:
            self._region[key] = verdict
        return verdict

    def full(self, at: Directory, name: bytes, verdict: Verdict) -> Verdict:
        """The same verdict where the path has attributes that matter."""
        assert verdict.said.after is not None
        xattrs = attributes_of(at, name, verdict.facts)
        if not xattrs and not verdict.said.after.xattrs:
            return verdict
        key = (verdict, xattrs)
        known = self._region.get(key)
        if known is None:
            look, said = replace(verdict.look, xattrs=xattrs), verdict.said
            if not verdict.said.after.xattrs:
                # Capabilities outlive a change of owner here; both looks say so.
                kept = tuple(x for x in xattrs if x[0] == CAPABILITY)
                said = replace(said, after=replace(verdict.said.after, xattrs=kept))
            assert said.after is not None
            known = Verdict(verdict.facts, look, said, differs(look, said.after), attributed=True)
            self.verdicts.append(known)
            if name == b"" or name not in self.named:
                self._region[key] = known
        return known


def span(groups: Groups) -> tuple[bytes, bytes]:
    """The first and the last name of a part."""
    return min(names[0] for names in groups.values()), max(names[-1] for names in groups.values())


def inner(at: Directory, name: bytes) -> bytes:
    """The path of a name in a directory; of the directory itself for an empty name."""
    return at.path + b"/" + name if at.path and name else at.path or name


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

    def shown(self, path: bytes) -> str:
        """A path as messages name it."""
        return printable(absolute(self.top, path))


class Looking(Visitor[Directory]):
    """Looks at every path by a rule, counts, and draws the image that is wanted."""

    def __init__(self, judge: Judge, wants: Wants) -> None:
        self.judge, self.wants = judge, wants
        self.found = Survey()
        self.drawing = Drawing()

    def enter(self, at: Directory) -> None:
        """The directory itself."""
        facts = at.facts
        verdict = self.judge.itself(at)
        if not shut(facts.uid, facts.mode):
            after = verdict.said.after if verdict.changes else None
            self.found.exposed = True
            self.found.stays |= after is None or after.owner != "root"
        apart = verdict.single or (verdict.asks and at.xattrs(b""))
        number = self._one(at, b"", verdict) if apart else self._many(at, [b""], verdict)
        if number is not None:
            self.drawing.page(at.path, number)
        if not at.path:
            self.found.top = (verdict.look, verdict.said.after)

    def files(self, at: Directory, groups: Groups) -> None:
        """What is in it: paths with one verdict are taken together."""
        runs: dict[int, list[bytes]] = {}
        for verdict, names in self.judge.each(at, groups):
            apart = names if verdict.single else at.attributed(names, KEPT) if verdict.asks else []
            for name in apart:
                number = self._one(at, name, verdict)
                if number is not None:
                    runs.setdefault(number, []).append(name)
            if len(apart) < len(names):
                alike = sorted(set(names) - set(apart)) if apart else names
                number = self._many(at, alike, verdict)
                if number is not None:
                    runs[number] = sorted(runs[number] + alike) if number in runs else alike
        if runs:
            self.drawing.names(at.path, runs)

    def _many(self, at: Directory, names: list[bytes], verdict: Verdict) -> int | None:
        """Take paths into account that are alike and have no attributes; their class in the image."""
        found, after, count = self.found, verdict.said.after, len(names)
        verdict.count += count
        if not verdict.changes or after is None:
            return self.drawing.number(verdict.look, None) if self.wants.total else None
        found.differ += count
        found.drifted += count if verdict.said.drifted else 0
        found.exceptions |= verdict.said.excepted
        found.classes[verdict.named] += count
        for name in names if self.wants.every else names[: max(0, SAMPLE - len(found.sample))]:
            found.sample.append(sampled(self.wants.top, inner(at, name), verdict.look, after))
        return None if self.wants.total is None else self.drawing.number(verdict.look, after)

    def _one(self, at: Directory, name: bytes, verdict: Verdict) -> int | None:
        """Take one path into account; its class in the image, if it has any."""
        found, path = self.found, inner(at, name)
        if verdict.asks:
            verdict = self.judge.full(at, name, verdict)
        verdict.count += 1
        facts, look, said = verdict.facts, verdict.look, verdict.said
        if said.replaced:
            found.skipped.append((self.wants.shown(path), REPLACED))
        if said.after is not None and path in self.wants.watched:
            found.coming[path] = said.after
        if said.foreign and said.known is not None and len(found.foreign) < SAMPLE:
            found.foreign.append((path, said.known, look))
        inode = at.inode(name) if linked(facts) else None
        if inode is not None:
            found.links[*inode, facts.nlink] += 1
        after = said.after if verdict.changes else None
        if after is None:
            return self.drawing.number(look, None) if self.wants.total else None
        found.exceptions |= said.excepted
        if hindrance := obstacle(facts):
            found.skipped.append((self.wants.shown(path), hindrance))
        elif inode is not None:
            found.waiting.append(Linked(path, inode, facts, look, after, said.drifted))
        else:
            found.differ += 1
            found.drifted += said.drifted
            found.classes[verdict.named] += 1
            if self.wants.every or len(found.sample) < SAMPLE:
                found.sample.append(sampled(self.wants.top, path, look, after))
        if self.wants.total is None:
            return None
        if after.xattrs:
            # An attribute that is not there is recorded as empty, so that a return takes it away again.
            have = {key for key, _ in look.xattrs}
            look = replace(look, xattrs=look.xattrs + tuple((key, "") for key, _ in after.xattrs if key not in have))
        if facts.type == "file" and privileged(look):
            look = replace(look, digest=at.digest(name))
        return self.drawing.number(look, after)

    def mount(self, path: bytes) -> None:
        """Not part of the tree."""
        self.found.mounts.append(path)

    def gap(self, path: bytes, reason: str) -> None:
        """Cannot be looked at, and so not be changed."""
        self.found.skipped.append((self.wants.shown(path), reason))

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


def absolute(top: str, path: bytes) -> str:
    """A walked path as an absolute one."""
    return f"{top.rstrip('/')}/{os.fsdecode(path)}" if path else top


@dataclass(frozen=True)
class Question:
    """What is asked of a tree in one pass."""

    wants: Wants
    rule: Callable[[], Rule]
    """Called in every process that takes part, since rules read their images along."""
    forecast: Mapping[bytes, Look | None] = field(default_factory=dict)
    """How paths will look when their turn comes, since another transition changes them first (None: gone by then)."""


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
        """The SHA-256 of a regular file's bytes."""
        return self.real.digest(name)


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

    found = [Survey(album=None if each.wants.total is None else Album(total=each.wants.total)) for each in asked]
    for told in host.visit(top, begin):
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
    counted = replace(found, exposed=found.stays)
    for path, inode, facts, look, after, drifted in found.waiting:
        if not counted.proven(inode, facts.nlink):
            found.skipped.append((wants.shown(path), LINKED))
            continue
        found.differ += 1
        found.drifted += drifted
        found.classes[(facts.type, str(look), str(after))] += 1
        if wants.every or len(found.sample) < SAMPLE:
            found.sample.append(sampled(wants.top, path, look, after))
    found.waiting = []


class Carrying(Visitor[OpenDirectory]):
    """Gives every path what its record says it was to get, if it still is as the record says it was."""

    def __init__(self, task: Task, layer: Layer, judge: Judge | None, names: Names) -> None:
        self.task, self.layer, self.judge, self.names = task, layer, judge, names
        self.look = judge.look if judge else looker(names.host)
        self.left: list[tuple[str, str]] = []
        self._known: dict[tuple[Facts, Record], Attributes | str | None] = {}
        self._way: list[Attributes | str | None] = []

    def enter(self, at: OpenDirectory) -> None:
        """A directory that is taken from others, before anything in it is touched."""
        page = self.layer.page(at.path)
        what = self._decided(at, b"", at.facts, page.own if page else None)
        if isinstance(what, Attributes) and trusted(what.uid):
            mode = at.facts.mode if what.mode is None else what.mode
            if not mode & 0o022:
                self._do(at, [b""], at.facts, what)
                what = None
            elif not shut(at.facts.uid, at.facts.mode):
                # Open to others again at the end, but not while root works in it.
                self._do(at, [b""], at.facts, replace(what, mode=mode & ~0o022))
        self._way.append(what)

    def leave(self, at: OpenDirectory) -> None:
        """A directory that is given to others, when everything in it is as it is to be."""
        what = self._way.pop()
        if not self.task.directories:
            self._do(at, [b""], at.facts, what)

    def files(self, at: OpenDirectory, groups: Groups) -> None:
        """What is in it: paths of one class that are alike are changed together."""
        if self.task.directories:
            return
        page, known, unnamed = self.layer.page(at.path), self._known, dict[Facts, list[bytes]]()
        names: Mapping[bytes, Record] = page.between(*span(groups)) if page else {}
        for facts, listed in groups.items():
            alike: dict[Record | None, list[bytes]] = {}
            for name in listed:
                alike.setdefault(names.get(name), []).append(name)
            for record, some in alike.items():
                if record is None:
                    unnamed[facts] = some
                elif record.before.xattrs or (record.after and record.after.xattrs) or linked(facts) or self.task.only:
                    for name in some:
                        self._do(at, [name], facts, self._decided(at, name, facts, record))
                elif record.after is not None:
                    if (facts, record) not in known:
                        known[facts, record] = self._what(facts, record)
                    self._do(at, some, facts, known[facts, record])
        if self.judge is not None and unnamed:
            for verdict, some in self.judge.each(at, unnamed):
                if verdict.changes or verdict.asks or verdict.said.replaced:
                    for name in some:
                        self._do(at, [name], verdict.facts, self._decided(at, name, verdict.facts, None))

    def _what(self, facts: Facts, record: Record, xattrs: tuple[tuple[str, str], ...] = ()) -> Attributes | str | None:
        """What a recorded path is to get: nothing, a reason why not, or this."""
        look = replace(self.look(facts), xattrs=xattrs)
        assert record.after is not None
        if not differs(look, record.after):
            return None
        was = (record.before.owner, record.before.group, record.before.mode)
        now = (look.owner, look.group, look.mode)
        then = (record.after.owner, record.after.group, record.after.mode)
        # An earlier pass took the directory back, and left it shut until the end.
        taken = (*then[:2], None if then[2] is None else then[2] & ~0o022)
        if now not in (was, then, taken):
            return MEANWHILE
        return obstacle(facts) or attributes(self.names, record.after)

    def _decided(self, at: OpenDirectory, name: bytes, facts: Facts, record: Record | None) -> Attributes | str | None:
        """What a path is to get that needs to be looked at by itself."""
        if self.task.left_alone(inner(at, name)) or (record is not None and record.after is None):
            return None
        what: Attributes | str | None
        if record is None:
            what = self._unrecorded(at, name, facts)
        elif record.before.xattrs or (record.after and record.after.xattrs):
            what = self._what(facts, record, attributes_of(at, name, facts))
        else:
            if (facts, record) not in self._known:
                self._known[facts, record] = self._what(facts, record)
            what = self._known[facts, record]
        if isinstance(what, Attributes) and linked(facts):
            # By now others may have this directory, and what lies behind its names changes at their will.
            own = shut(at.facts.uid, at.facts.mode)
            what = what if own and self.task.survey.proven(at.inode(name), facts.nlink) else LINKED
        return what

    def _unrecorded(self, at: OpenDirectory, name: bytes, facts: Facts) -> Attributes | str | None:
        """A path that was born since the image was made, or that the image leaves out: the rule says."""
        if self.judge is None:
            return None
        verdict = self.judge.one(at, name, facts)
        if verdict.asks:
            verdict = self.judge.full(at, name, verdict)
        if verdict.said.replaced:
            self.left.append((self.task.shown(inner(at, name)), REPLACED))
        if not verdict.changes or verdict.said.after is None:
            return None
        return obstacle(facts) or attributes(self.names, verdict.said.after)

    def _do(self, at: OpenDirectory, names: list[bytes], facts: Facts, what: Attributes | str | None) -> None:
        """Change paths that are alike, or say why not."""
        left: list[tuple[bytes, str]] = []
        if isinstance(what, str):
            left = [(name, what) for name in names]
        elif what is not None:
            left = at.change(names, facts, what)
        self.left += [(self.task.shown(inner(at, name)), reason) for name, reason in left]

    def told(self) -> list[tuple[str, str]]:
        """Paths that were left as they are, each with its reason."""
        left, self.left = self.left, []
        return left


@dataclass(frozen=True)
class Task:
    """What a pass that changes is to do."""

    top: str
    survey: Survey
    directories: bool = False
    """Whether nothing is changed but directories that are taken from others."""
    only: tuple[bytes, ...] | None = None
    """The parts that are changed; None: all."""

    def shown(self, path: bytes) -> str:
        """A path as messages name it."""
        return printable(absolute(self.top, path))

    def left_alone(self, path: bytes) -> bool:
        """Whether another pass takes care of this path."""
        return self.only is not None and not any(within(path, top) for top in self.only)


def carry_out(host: Host, task: Task, rule: Callable[[], Rule] | None) -> list[tuple[str, str]]:
    """One pass that changes what the survey's image says; ``rule``: for paths that the image does not name.

    Answers with the paths that were left as they are, each with its reason.
    """
    album = task.survey.album
    assert album is not None

    def begin() -> Callable[[], Carrying]:
        judge = Judge(rule(), looker(host), {}, frozenset()) if rule else None
        layer, names = album.layer(), Names(host)
        return lambda: Carrying(task, layer, judge, names)

    return list(dict.fromkeys(item for left in host.amend(task.top, begin, task.only) for item in left))


def attributes_of(at: Directory, name: bytes, facts: Facts) -> tuple[tuple[str, str], ...]:
    """The extended attributes that images keep."""
    found = at.xattrs(name) if facts.type in ("file", "directory") else {}
    return tuple((key, found[key].decode("latin-1")) for key in KEPT if key in found)


class Checking(Visitor[Directory]):
    """Finds a path that is not as it was left."""

    def __init__(self, layers: Sequence[Layer], left: Left, look: Callable[[Facts], Look]) -> None:
        self.layers, self.left, self.look = layers, left, look
        self.problem = ""

    def enter(self, at: Directory) -> None:
        """The directory itself."""
        pages = [layer.page(at.path) for layer in self.layers]
        self._check(at, b"", at.facts, [page.own for page in pages if page and page.own])

    def files(self, at: Directory, groups: Groups) -> None:
        """What is in it."""
        pages = [page.between(*span(groups)) for layer in self.layers if (page := layer.page(at.path))]
        for facts, names in groups.items():
            for name in names:
                self._check(at, name, facts, [page[name] for page in pages if name in page])

    def _check(self, at: Directory, name: bytes, facts: Facts, records: Sequence[Record]) -> None:
        left = self.left(inner(at, name), facts, records) if records and not self.problem else None
        if left is not None:
            look = self.look(facts)
            if left.xattrs:
                look = replace(look, xattrs=attributes_of(at, name, facts))
            if differs(look, left):
                self.problem = f"{printable(inner(at, name)) or 'its top'} is {look} and should be {left}"

    def told(self) -> str:
        """The first path that is not as it was left; empty where all are."""
        return self.problem


Left = Callable[[bytes, Facts, Sequence[Record]], Look | None]
"""How a path was left, by its records; None where that does not matter."""


def unlike(host: Observer, top: str, layers: Callable[[], Sequence[Layer]], left: Left) -> str:
    """The first path of a tree that is not as it was left; empty where all are."""

    def begin() -> Callable[[], Checking]:
        opened, look = layers(), looker(host)
        return lambda: Checking(opened, left, look)

    return next((problem for problem in host.visit(top, begin) if problem), "")
