"""Two parsers read YAML: the quick one never reads anything that the thorough one reads otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.formats.yaml import quick, read, thorough
from tests.effort import many
from tests.worlds import REPO

pytest.importorskip("_ruamel_yaml", reason="the compiled parser is not here")
TEXTS = [path.read_text() for folder in ("desired", "contrib") for path in sorted((REPO / folder).rglob("*.yaml"))]
BITS = [*"{}[]:,-#|>'\"@`?\n ~\\<=+.0aé", "---\n", "...\n", "<<: ", "? ", "- ", ": ", "|-\n", "\r\n", "\r", "\t", "*a", "&a ", "!!str ",
        "%YAML 1.2\n", "\x85", "\u2028", "\ufeff"]  # fmt: skip


def told(events: Iterable[Any]) -> list[tuple[object, ...]]:
    """What is read of events, and where; of an empty text not where, since the key before it tells that."""
    found: list[tuple[object, ...]] = []
    for event in events:
        name, value = type(event).__name__, getattr(event, "value", None)
        there = name in ("ScalarEvent", "AliasEvent", "SequenceStartEvent", "MappingStartEvent") and value != ""
        tag = getattr(event, "tag", None)
        place = (event.start_mark.line, event.start_mark.column) if there else ()
        style = getattr(event, "style", None) or None
        found.append((name, value, style, getattr(event, "anchor", None), str(getattr(tag, "trval", tag)), place))
    return found


@settings(max_examples=many(300, 20_000))
@given(
    text=st.sampled_from(TEXTS),
    start=st.integers(0, 3000),
    length=st.sampled_from([60, 300, 1500]),
    edits=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 3), st.sampled_from(BITS)), max_size=5),
)
@example("# x\ny: 1\n", 0, 60, [(0, 0, "|-\n"), (3, 0, "#")])
def test_they_agree(text: str, start: int, length: int, edits: list[tuple[int, int, str]]) -> None:
    begin = text.rfind("\n", 0, start % len(text)) + 1
    part = re.sub(r"(?m)^ *#.*\n", "", text[begin : begin + length])
    for at, gone, bit in edits:
        part = part[:at] + bit + part[at + gone :]
    found = quick(part)
    if found is not None:
        assert told(found) == told(thorough(part))
    read("x.yaml", part.encode())  # whatever it is, it is read or explained


def test_what_ships_is_read_quickly() -> None:
    plain = [text for text in TEXTS if not re.search("[\t&*!%]", text)]
    assert plain and all(quick(text) is not None for text in plain)


def test_a_flood_of_values_is_refused() -> None:
    documents, mistakes = read("x.yaml", b"[" + b"a," * 600_000 + b"]")
    assert not documents and "more than" in mistakes[0].message
