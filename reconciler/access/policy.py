"""A policy on who may do what with a path, against what is so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..host.port import ACL, Directory, Facts, Groups, Type, Visitor, inner
from ..model import Json
from ..trees.classify import absolute
from .becoming import Becoming
from .scene import Scene

ALIKE = 3
"""So many paths of one look are tried."""
OWN = 64
"""So many paths with an ACL are tried in each part of a tree."""


def policy(
    access: Mapping[str, Mapping[str, Sequence[str]]], scene: Scene, becoming: Becoming, *, deep: bool = False
) -> list[Json]:
    """Where a path's rights are not those that a policy names: who can more, and who cannot though he is named.

    ``deep``: what is below a directory is tried too, a few paths of every look.
    """
    found: list[Json] = []
    for path, asked in access.items():
        way = scene.way(path)
        if way is None:
            found.append({"path": path, "right": None, "more": {}, "less": [], "missing": True})
            continue
        told = scene.rights_on(way)
        for right, names in asked.items():
            can = becoming.into(scene.owner(path) or "") if right == "become" else told[right]
            more = {name: why for name, why in can.items() if name not in names}
            # Root can anyway, and does not become itself.
            less = [name for name in names if name not in can and not (right == "become" and name == "root")]
            if more or less:
                found.append({"path": path, "right": right, "more": more, "less": less, "missing": False})
        if deep and way.last.type == Type.DIRECTORY:
            found += list(_below(way.path, asked, scene))
    return found


def policy_text(item: Json) -> str:
    """A finding in words."""
    if item["missing"]:
        return f"{item['path']}: is not there, so its access policy cannot be checked"
    parts = [f"{name} can {item['right']} it ({why})" for name, why in list(item["more"].items())[:4]]
    parts += [f"{len(item['more']) - 4} more can"] if len(item["more"]) > 4 else []
    parts += [f"{', '.join(item['less'])} cannot {item['right']} it"] if item["less"] else []
    return f"{item['path']}: {'; '.join(parts)}"


def _below(top: str, asked: Mapping[str, Sequence[str]], scene: Scene) -> Iterator[Json]:
    """The first path below a directory that breaks each part of a policy."""
    told: set[tuple[str, str]] = set()
    for examples in scene.host.visit(top, lambda: Examples):
        for path in examples:
            can = scene.rights(absolute(top, path)) or {}
            for right, names in asked.items():
                more = {n: why for n, why in can.get(right, {}).items() if n not in names and (right, n) not in told}
                if more:
                    told |= {(right, name) for name in more}
                    yield {"path": absolute(top, path), "right": right, "more": more, "less": [], "missing": False}


class Examples(Visitor[Directory]):
    """A few paths of every look behind every sort of way, and those with an ACL."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []
        self._seen: dict[tuple[Any, ...], int] = {}
        self._own = 0
        self._way: list[frozenset[Any]] = []

    def enter(self, at: Directory) -> None:
        """A directory itself, and what its look means for all below it."""
        look = (at.facts.mode, at.facts.uid, at.facts.gid)
        if at.path:
            self._take(at, at.facts, [b""])
        self._way.append((self._way[-1] if self._way else frozenset()) | {look})

    def leave(self, at: Directory) -> None:
        """Its look means nothing for what comes next."""
        self._way.pop()

    def files(self, at: Directory, groups: Groups) -> None:
        """What is in it."""
        for facts, names in groups.items():
            if facts.type != Type.LINK:
                self._take(at, facts, names)

    def _take(self, at: Directory, facts: Facts, names: list[bytes]) -> None:
        look = (facts.type, facts.mode, facts.uid, facts.gid, self._way[-1] if self._way else None)
        chosen = names[: max(ALIKE - self._seen.get(look, 0), 0)]
        self._seen[look] = self._seen.get(look, 0) + len(chosen)
        own = self._own_acl(at, names) if self._own < OWN else []
        self._own += len(own)
        self.paths += [inner(at, name) for name in dict.fromkeys([*chosen, *own])]

    def _own_acl(self, at: Directory, names: list[bytes]) -> list[bytes]:
        found = [b""] if names == [b""] and ACL in at.xattrs(b"") else at.attributed([n for n in names if n], [ACL])
        return found[: OWN - self._own]

    def told(self) -> list[bytes]:
        """The paths, and then none of them again."""
        found, self.paths = self.paths, []
        return found
