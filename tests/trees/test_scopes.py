"""A look at a part of a tree: it sees that part and what leads to it, and repairs there as a whole look would."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.host.files import FileHost
from reconciler.host.port import Scope, Visitor
from tests.effort import many

NAME = st.sampled_from([b"a", b"b", b"ab", b"\xff"])
PATH = st.lists(NAME, max_size=4).map(b"/".join)


def above(path: bytes) -> list[bytes]:
    """A path and all above it, by its parts."""
    parts = path.split(b"/") if path else []
    return [b"/".join(parts[:n]) for n in range(len(parts) + 1)]


@given(st.frozensets(PATH, max_size=4), st.frozensets(PATH, max_size=3), PATH)
def test_what_leads_somewhere(alone: frozenset[bytes], whole: frozenset[bytes], path: bytes) -> None:
    on_the_way = any(path in above(named) for named in alone | whole)
    below = any(top in above(path) for top in whole)
    assert Scope(alone, whole).leads(path) == (path == b"" or on_the_way or below)


class Paths(Visitor[Any]):
    """Every path that is shown."""

    def __init__(self) -> None:
        self.found: list[bytes] = []

    def enter(self, at: Any) -> None:
        self.found.append(at.path)

    def files(self, at: Any, groups: Any) -> None:
        self.found += [b"/".join(filter(None, (at.path, name))) for names in groups.values() for name in names]

    def told(self) -> list[bytes]:
        return self.found


@settings(max_examples=many(40))
@given(st.frozensets(PATH.filter(bool), max_size=12), st.frozensets(PATH, max_size=3), st.frozensets(PATH, max_size=2))
def test_a_walk_shows_just_the_scope(
    tmp_path_factory: Any, paths: frozenset[bytes], alone: frozenset[bytes], whole: frozenset[bytes]
) -> None:
    top = os.fsencode(tmp_path_factory.mktemp("scope")) + b"/t"
    os.mkdir(top)
    for path in sorted(paths):
        os.makedirs(os.path.join(top, path), exist_ok=True)
    host, every = FileHost(os.fsdecode(os.path.dirname(top))), Scope(whole=frozenset([b""]))

    def shown(scope: Scope) -> list[bytes]:
        return [path for told in host.visit("/t", lambda: Paths, scope) for path in told]

    scope = Scope(alone, whole)
    assert shown(scope) == [path for path in shown(every) if scope.leads(path)]
