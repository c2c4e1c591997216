"""The pass that only checks: whether a tree is as it was left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..formats.text import printable
from ..host.port import Directory, Facts, Groups, Observer, Visitor, inner
from .classify import attributes_of, span
from .images import (
    Layer,
    Look,
    Record,
    differs,
)
from .rules import looker


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
