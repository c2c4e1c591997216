"""Several teams and a stranger in one ini file: whoever comes and goes in whatever order, the first bytes come back.

Files are odd ones: blank ends, no last newline, repeated sections and keys, continuations, mixed endings.  Whatever a
stranger wrote into a line of its own meanwhile is still there at the end.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from reconciler.core.options import Options
from reconciler.formats.dialects import DIALECTS
from reconciler.formats.ini import IniFile
from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import memory_host

PATH, TIME = "/etc/shared.conf", 12345
NAMES, SECTIONS = ["A", "B", "C d", "x.y"], ["", "S", "T u", "s"]
LINES = st.one_of(
    st.builds(
        "".join, st.tuples(
            st.sampled_from(["", "", "", "\t", "  "]), st.sampled_from(NAMES), st.sampled_from(["=", " = ", ": ", "  ="]),
            st.sampled_from(["1", "a b", "", "C:\\x", "x,", "#v", "v # r", "\"q ; r\"", "v\\"]),
        ),
    ),
    st.sampled_from(["[S]", "[T u]", "[s]", "[S] ; c", "[a]b]"]),
    st.sampled_from(["", " ", "# c", "; A=1", "\tindented", "    more", "junk", "=x", "# ÿ"]),
)  # fmt: skip
VALUES = ["1", "2", "a b", "#ops", "a #b", "x=y", "C:\\t", ""]
Keys = dict[str, dict[str, str | None]]
KEYS = st.dictionaries(
    st.sampled_from(SECTIONS), st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*VALUES, None]), min_size=1),
    min_size=1, max_size=3,
)  # fmt: skip
TEAMS = "abc"
STEPS = st.one_of(
    st.tuples(st.just("apply"), st.sampled_from(TEAMS), KEYS),
    st.tuples(st.just("apply"), st.sampled_from(TEAMS), KEYS),
    st.tuples(st.just("uninstall"), st.sampled_from(TEAMS)),
    st.tuples(st.just("rollback")),
    st.tuples(st.just("stranger"), st.integers(0, 30)),
)


def document(team: str, keys: Keys, dialect: str) -> str:
    wanted = {s: {k: v for k, v in ks.items() if v is not None} for s, ks in keys.items()}
    gone = {s: [k for k, v in ks.items() if v is None] for s, ks in keys.items()}
    wish = {
        "ini": PATH, "dialect": dialect,
        "set": {s: ks for s, ks in wanted.items() if ks}, "unset": {s: ks for s, ks in gone.items() if ks},
    }  # fmt: skip
    return f"deployment: {team}\nresources:\n  - {json.dumps(wish)}\n"


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def apart(keys: Keys, others: dict[str, Keys], dialect: str) -> Keys:
    """The keys that no other team asks for, as its dialect tells names apart, and that have a section."""
    one = DIALECTS[dialect]
    taken = {(one.fold_section(s), one.fold(k)) for told in others.values() for s, ks in told.items() for k in ks}
    found: Keys = {}
    for section, named in keys.items():
        for key, value in named.items():
            name = (one.fold_section(section), one.fold(key))
            if name not in taken and (one.sections or not section):
                taken.add(name)
                found.setdefault(section, {})[key] = value
    return found


class Story:
    """One shared file, the teams whose keys stand in it, and what a stranger wrote."""

    def __init__(self, first: bytes, dialect: str, scratch: Path) -> None:
        self.host = memory_host()
        self.host.add(PATH, first)
        self.host.nodes[PATH].mtime_ns = TIME
        self.bench, self.dialect = Bench(self.host, scratch), dialect
        self.standing: dict[str, Keys] = {}
        self.strange: list[bytes] = []

    @property
    def data(self) -> bytes:
        return bytes(self.host.nodes[PATH].data)

    def apply(self, team: str, asked: Keys) -> None:
        """A team asks for keys that no other one has; once is enough, and every team's keys stand."""
        before = self.data
        keys = apart(asked, {name: told for name, told in self.standing.items() if name != team}, self.dialect)
        report = self.bench.apply(document(team, keys, self.dialect))
        if report.blocked:
            assert self.data == before
            return
        assert report.exit_code == 0, (report.outcome, report.transitions)
        self.standing[team] = keys
        after = self.data
        assert self.bench.apply(document(team, keys, self.dialect)).run is None, "twice is once"
        assert self.data == after
        seen = IniFile(after, dialect=DIALECTS[self.dialect])
        for section, named in (item for told in self.standing.values() for item in told.items()):
            for key, value in named.items():
                assert seen.agrees(section, key, value), (section, key, value, after)

    def uninstall(self, team: str) -> None:
        report = self.bench.uninstall(team, options=Options(force=bool(self.strange)))
        assert report.exit_code == 0, (report.outcome, report.transitions)
        self.standing.pop(team, None)

    def rollback(self) -> None:
        """Back to before the last run, whatever that was."""
        if not self.strange and self.bench.ledger().last_forward() is not None:
            report = self.bench.rollback()
            assert report.exit_code == 0, (report.outcome, report.transitions)

    def stranger(self, number: int) -> None:
        """Somebody writes a remark below a line."""
        found, mine = lines(self.data), f"# stranger {len(self.strange)}\n".encode()
        spot = number % len(found) if found else 0
        if found and found[spot].endswith(b"\n") and not found[spot].endswith(b"\r\n"):
            self.host.nodes[PATH].data = b"".join([*found[: spot + 1], mine, *found[spot + 1 :]])
            self.strange.append(mine)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@settings(
    max_examples=many(50, 1000), derandomize=not LONG, report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_the_first_bytes_come_back(dialect: str, data: st.DataObject) -> None:
    text = data.draw(st.lists(LINES, max_size=8), "lines")
    ending, last = data.draw(st.sampled_from(["\n", "\r\n"])), data.draw(st.booleans())
    first = (ending.join(text) + (ending if last and text else "")).encode()
    with tempfile.TemporaryDirectory() as scratch:
        story = Story(first, dialect, Path(scratch))
        for verb, *words in data.draw(st.lists(STEPS, min_size=2, max_size=7), "story"):
            getattr(story, verb)(*words)
            note(f"{verb} {words}: {story.data!r}")
            if verb == "rollback":
                break  # whose keys stand now is the log's to know
        for team in data.draw(st.permutations(TEAMS), "leaving"):
            story.uninstall(team)
            note(f"uninstall {team}: {story.data!r}")
        if not story.strange:
            assert (story.data, story.host.nodes[PATH].mtime_ns) == (first, TIME)
        # A file that had no newline at its end may end in a stranger's line now, without one.
        mine = [line.rstrip() + b"\n" for line in lines(story.data) if line.startswith(b"# stranger")]
        assert sorted(mine) == sorted(story.strange)
