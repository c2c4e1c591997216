"""Several teams in one tree, each applied by itself: whoever comes and goes in whatever order, all is as before.

A tree in a tree, three levels of them, files and settings inside: what one team changed in another one's part is given
back by itself or handed on, and never forgotten.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import memory_host, snapshot

OWNERS: list[dict[str, str]] = [{}, {"owner": "svc"}, {"group": "svc"}, {"owner": "ann", "group": "docker"}]
MODES: list[dict[str, str]] = [
    {}, {"file_mode": "'0640'"}, {"directory_mode": "'0770'"}, {"directory_mode": "'2750'", "file_mode": "'u=rw,go='"},
]  # fmt: skip
TREES = ["/opt/agent", "/opt/agent/etc", "/opt/agent/etc/sub"]
FILES = ["/opt/agent/etc/f.ini", "/opt/agent/etc/sub/g.ini", "/opt/agent/h.ini"]


def tree(path: str) -> st.SearchStrategy[str]:
    return st.builds(
        lambda owners, modes: line({"tree": path, **owners, **modes} if owners or modes else {"tree": path, "owner": "svc"}),
        st.sampled_from(OWNERS), st.sampled_from(MODES),
    )  # fmt: skip


def single(path: str) -> st.SearchStrategy[str]:
    kinds = [{"file": path, "mode": "'0600'"}, {"file": path, "owner": "ann"}, {"file": path, "content": "'[S]'"}]
    if "sub" in path:  # a path cannot change its kind in one step
        kinds = [{"ini": path, "set": "{S: {k: w}}"}, {"ini": path, "set": "{S: {k: v}}", "group": "docker"}]
    return st.sampled_from(kinds).map(line)


def line(words: dict[str, str]) -> str:
    return "  - {" + ", ".join(f"{key}: {value}" for key, value in words.items()) + "}\n"


WISHES = {path: tree(path) for path in TREES} | {path: single(path) for path in FILES}
TEAM = st.sampled_from("abc")
STEPS = st.one_of(
    *[st.tuples(st.just("apply"), TEAM, st.just(path), wish) for path, wish in WISHES.items()],
    st.tuples(st.just("uninstall"), TEAM),
)


def host_with_trees() -> Any:
    host = memory_host()
    for path in (*FILES, "/opt/agent/log/x"):
        host.add(path, b"[S]\nk = v\n", mode=0o644)
    host.nodes["/opt/agent/etc"].mode, host.nodes["/opt/agent/etc/sub"].mode = 0o2755, 0o711
    return host


class Story:
    """The teams, each with the paths that it speaks of; no two speak of one path."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.wishes: dict[str, dict[str, str]] = {}

    def apply(self, team: str, path: str, wish: str) -> None:
        """A team wishes for one thing more, or for another state of it."""
        if any(path in told for name, told in self.wishes.items() if name != team):
            return
        self.wishes.setdefault(team, {})[path] = wish
        text = f"deployment: {team}\nresources:\n" + "".join(self.wishes[team].values())
        report = self.bench.apply(text)
        assert report.exit_code == 0, (report.outcome, report.blocked, report.transitions)
        assert self.bench.apply(text).run is None, "twice is once"

    def uninstall(self, team: str) -> None:
        report = self.bench.uninstall(team)
        assert report.exit_code == 0, (report.outcome, report.blocked, report.transitions)
        self.wishes.pop(team, None)


@settings(
    max_examples=many(60, 3000), derandomize=not LONG, report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(steps=st.lists(STEPS, min_size=2, max_size=7), leaving=st.permutations("abc"))
def test_all_is_as_before_whoever_leaves_first(steps: list[tuple[str, ...]], leaving: list[str]) -> None:
    host = host_with_trees()
    start = snapshot(host)
    with tempfile.TemporaryDirectory() as scratch:
        story = Story(Bench(host, Path(scratch)))
        for verb, *words in steps:
            getattr(story, verb)(*words)
            note(f"{verb} {words}")
        for team in leaving:
            story.uninstall(team)
            note(f"uninstall {team}")
    end = snapshot(host)
    assert {p: (start.get(p), end.get(p)) for p in start | end if start.get(p) != end.get(p)} == {}
