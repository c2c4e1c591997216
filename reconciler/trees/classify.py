"""Verdicts on the paths of a tree: paths that are alike are judged once.

What a rule says of a path hangs on the region that its directory lies in, on its facts and on its records; a verdict
is remembered by these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..formats.text import printable
from ..host.port import ACL, CAPABILITY, DEFAULT_ACL, FROZEN, Directory, Facts, Groups, Type, inner
from .images import (
    Look,
    Page,
    Record,
    differs,
    privileged,
)
from .rules import Rule, Said, by_directory

KEPT = (CAPABILITY, ACL, DEFAULT_ACL)


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
    title: tuple[str, str, str] = field(init=False)
    """The class of such paths, as plans name it."""

    def __post_init__(self) -> None:
        said, after = self.said, self.said.after
        self.asks = not self.attributed and after is not None and (self.changes or bool(after.xattrs))
        self.title = (self.facts.type, str(self.look), str(after))
        odd = self.own or said.foreign or said.replaced or linked(self.facts) or bool(after and after.xattrs)
        self.single = odd or (self.changes and bool(obstacle(self.facts) or privileged(self.look)))


def obstacle(facts: Facts) -> str:
    """Why a path must not be touched, whatever the rest of the tree; empty where it may."""
    if facts.type in (Type.CHARACTER, Type.BLOCK):
        return f"a {facts.type} device"
    return FROZEN if facts.frozen else ""


def linked(facts: Facts) -> bool:
    """Whether a path has further names, which may lie anywhere."""
    return facts.nlink > 1 and facts.type != Type.DIRECTORY


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
        self._part: Groups = {}
        self._records: list[Mapping[bytes, Record]] | None = None
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
        self._part = groups
        self._records = None
        for facts, names in groups.items():
            rest = names
            if self.named:
                rest = [name for name in names if name not in self.named]
                for name in names if len(rest) < len(names) else ():
                    if name in self.named:
                        records = tuple(known.get(name) for known in self._found())
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
        if not self._pages or not names:
            return [((), names)] if names else []
        if len(self._pages) == 1 and self._pages[0] is not None:
            shared = self._pages[0].shared(names)
            if shared is not None:
                return [((shared,), names)]
        found: dict[tuple[Record | None, ...], list[bytes]] = {}
        known = self._found()
        if len(known) == 1:
            alike: dict[Record | None, list[bytes]] = {}
            for name in names:
                alike.setdefault(known[0].get(name), []).append(name)
            return [((record,), some) for record, some in alike.items()]
        for name in names:
            found.setdefault(tuple(records.get(name) for records in known), []).append(name)
        return found.items()

    def _found(self) -> list[Mapping[bytes, Record]]:
        """The records of the part that is looked at, of each image."""
        if self._records is None:
            self._records = [page.between(*span(self._part)) if page else {} for page in self._pages]
        return self._records

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

        def holds(digest: str) -> bool:
            asked.append(True)
            return at.holds(name, digest)

        said = Said(None) if gone else self.rule.judge(path, facts, look, [r for r in records if r], holds)
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
            look, said, after = replace(verdict.look, xattrs=xattrs), verdict.said, verdict.said.after
            if not after.xattrs:
                # Capabilities outlive a change of owner here; both looks say so.
                after = replace(after, xattrs=tuple(x for x in xattrs if x[0] == CAPABILITY))
            if said.bare:
                gone = {key for key, _ in xattrs if key != CAPABILITY} - {key for key, _ in after.xattrs}
                after = replace(after, xattrs=tuple(sorted([*after.xattrs, *((key, "") for key in gone)])))
            said = replace(said, after=after)
            assert said.after is not None
            known = Verdict(verdict.facts, look, said, differs(look, said.after), verdict.own, attributed=True)
            self.verdicts.append(known)
            if not verdict.own:
                self._region[key] = known
        return known


def span(groups: Groups) -> tuple[bytes, bytes]:
    """The first and the last name of a part."""
    return min(names[0] for names in groups.values()), max(names[-1] for names in groups.values())


def absolute(top: str, path: bytes) -> str:
    """A walked path as an absolute one."""
    return f"{top.rstrip('/')}/{os.fsdecode(path)}" if path else top


def shown(top: str, path: bytes) -> str:
    """A walked path as messages name it."""
    return printable(absolute(top, path))


def attributes_of(at: Directory, name: bytes, facts: Facts) -> tuple[tuple[str, str], ...]:
    """The extended attributes that images keep."""
    found = at.xattrs(name) if facts.type in (Type.FILE, Type.DIRECTORY) else {}
    return tuple((key, found[key].decode("latin-1")) for key in KEPT if key in found)
