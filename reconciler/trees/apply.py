"""The pass that changes: every path gets what its record says, if it still is as the record says it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..host.names import Names
from ..host.port import (
    MEANWHILE,
    REPLACED,
    Alike,
    Attributes,
    Facts,
    Groups,
    Host,
    OpenDirectory,
    Scope,
    Visitor,
    inner,
)
from ..host.resolve import shut, trusted
from .classify import Judge, attributes_of, linked, obstacle, shown, span
from .images import (
    Layer,
    Look,
    Record,
    beneath,
    differs,
)
from .rules import Rule, attributes, looker
from .scan import LINKED, Question, Survey, Wants, look_at


@dataclass(frozen=True)
class Task:
    """What a pass that changes is to do."""

    top: str
    survey: Survey
    directories: bool = False
    """Whether nothing is changed but directories that are taken from others."""
    only: tuple[bytes, ...] | None = None
    """The parts that are changed; None: all."""

    def left_alone(self, path: bytes) -> bool:
        """Whether another pass takes care of this path."""
        return self.only is not None and not beneath(path, self.only)


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
                self._do(at, [b""], at.facts, replace(what, mode=mode & ~0o022, xattrs={}))
        self._way.append(what)

    def leave(self, at: OpenDirectory) -> None:
        """A directory that is given to others, when everything in it is as it is to be."""
        what = self._way.pop()
        if not self.task.directories:
            self._do(at, [b""], at.facts, what)

    def files(self, at: OpenDirectory, groups: Groups) -> None:  # noqa: C901, PLR0912 - the loop over millions
        """What is in it: paths of one class that are alike are changed together."""
        if self.task.directories:
            return
        page, unnamed, plain = self.layer.page(at.path), dict[Facts, list[bytes]](), list[Alike]()
        names: Mapping[bytes, Record] | None = None
        for facts, listed in groups.items():
            alike: dict[Record | None, list[bytes]] = {}
            shared = page.shared(listed) if page else None
            if shared is not None or page is None:
                alike[shared] = listed
            else:
                names = page.between(*span(groups)) if names is None else names
                for name in listed:
                    alike.setdefault(names.get(name), []).append(name)
            for record, some in alike.items():
                if record is None:
                    unnamed[facts] = some
                elif linked(facts):
                    self._linked(at, some, facts, record)
                elif record.before.xattrs or (record.after and record.after.xattrs) or self.task.only:
                    for name in some:
                        self._do(at, [name], facts, self._decided(at, name, facts, record))
                elif record.after is not None:
                    what = self._alike(facts, record)
                    if isinstance(what, Attributes):
                        plain.append((some, facts, what))
                    else:
                        self._do(at, some, facts, what)
        if plain:
            self._left(at, at.change(plain))
        if self.judge is not None and unnamed:
            for verdict, some in self.judge.each(at, unnamed):
                if linked(verdict.facts):
                    self._linked(at, some, verdict.facts, None)
                elif verdict.changes or verdict.asks or verdict.said.replaced:
                    for name in some:
                        self._do(at, [name], verdict.facts, self._decided(at, name, verdict.facts, None))

    def _linked(self, at: OpenDirectory, names: list[bytes], facts: Facts, record: Record | None) -> None:
        """Files with several names, one after the other: another process may meet them under another name."""
        for name in names:
            with at.alone(name, facts) as now:
                if now is not None:
                    self._do(at, [name], now, self._decided(at, name, now, record))

    def _alike(self, facts: Facts, record: Record) -> Attributes | str | None:
        """The same for all paths with these facts and this record that have no attributes."""
        if (facts, record) not in self._known:
            self._known[facts, record] = self._what(facts, record)
        return self._known[facts, record]

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
        if record is not None and record.after is None:
            return None
        if self.task.only is not None and self.task.left_alone(inner(at, name)):
            return None
        after = record.after if record is not None else self._unrecorded(at, name, facts)
        if after is None:
            return None
        what: Attributes | str | None
        if record is None:
            what = obstacle(facts) or attributes(self.names, after)
        elif record.before.xattrs or after.xattrs:
            what = self._what(facts, record, attributes_of(at, name, facts))
        else:
            what = self._alike(facts, record)
        if isinstance(what, Attributes) and linked(facts):
            # By now others may have this directory, and what lies behind its names changes at their will.
            own = shut(at.facts.uid, at.facts.mode)
            what = what if own and self.task.survey.proven(at.inode(name), facts, after) else LINKED
        return what

    def _unrecorded(self, at: OpenDirectory, name: bytes, facts: Facts) -> Look | None:
        """What a path is to have that the image does not name, as the rule says: it may be born since."""
        if self.judge is None:
            return None
        verdict = self.judge.one(at, name, facts)
        if verdict.asks:
            verdict = self.judge.full(at, name, verdict)
        if verdict.said.replaced:
            self.left.append((shown(self.task.top, inner(at, name)), REPLACED))
        return verdict.said.after if verdict.changes else None

    def _do(self, at: OpenDirectory, names: list[bytes], facts: Facts, what: Attributes | str | None) -> None:
        """Change paths that are alike, or say why not."""
        left: list[tuple[bytes, str]] = []
        if isinstance(what, str):
            left = [(name, what) for name in names]
        elif what is not None:
            left = at.change([(names, facts, what)])
        self._left(at, left)

    def _left(self, at: OpenDirectory, left: list[tuple[bytes, str]]) -> None:
        self.left += [(shown(self.task.top, inner(at, name)), reason) for name, reason in left]

    def told(self) -> list[tuple[str, str]]:
        """Paths that were left as they are, each with its reason."""
        left, self.left = self.left, []
        return left


def bring_about(
    host: Host, task: Task, rule: Callable[[], Rule], born: Callable[[], Rule] | None
) -> list[tuple[str, str]]:
    """Change a tree as the survey found that it has to be; ``born``: the rule for paths that the image does not name.

    What is taken from others comes first where names of files with further links lie there, so that nobody can move
    them while they are counted again.  Answers with the paths that were left as they are, each with its reason.
    """
    left: list[tuple[str, str]] = []
    survey = task.survey
    if survey.links != survey.foretold:
        left += carry_out(host, replace(task, directories=True), born)
        counted = look_at(host, Question(Wants(task.top), rule, scope=survey.scope))[0]
        task = replace(task, survey=replace(survey, links=counted.links))
    if survey.exceptions and task.only:
        left += carry_out(host, task, born)
    return list(dict.fromkeys(left + carry_out(host, replace(task, only=None), born)))


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

    scope = task.survey.scope
    if scope is None and task.only is not None:
        scope = Scope(whole=frozenset(task.only))
    return list(dict.fromkeys(item for left in host.amend(task.top, begin, scope) for item in left))
