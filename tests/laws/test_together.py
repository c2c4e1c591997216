"""Deployments that share things: what is there follows from the wishes of today, whoever came and went before."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from reconciler.core.options import Options
from reconciler.model import Address
from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import memory_host, snapshot

WISHES: dict[str, list[list[str]]] = {
    "  - ini: /etc/new.ini\n    set: {S: {a: '1'}}\n": [["    mode: '0640'\n"], ["    owner: svc\n"]],
    "  - ini: /etc/new.ini\n    set: {S: {b: '2'}}\n": [["    mode: '0640'\n"], ["    group: docker\n"]],
    "  - ini: /etc/agent.ini\n    set: {Main: {Mode: least}}\n": [["    mode: '0640'\n"], ["    owner: svc\n"]],
    "  - ini: /etc/agent.ini\n    set: {New: {x: y}, Fresh: {m: v}}\n": [["    mode: '0640'\n"], ["    owner: svc\n"]],
    "  - ini: /etc/agent.ini\n    set: {Fresh: {k: v}}\n": [["    unset: {Main: [Port]}\n"], ["    mode: '0640'\n"]],
    "  - ini: /etc/agent.ini\n    set: {Fresh: {l: v}}\n": [["    group: docker\n"], ["    mode: '0640'\n"]],
    "  - file: /etc/agent.conf\n    owner: svc\n": [["    mode: '0600'\n"], ["    content: bye\n"]],
    "  - file: /etc/agent.conf\n    group: svc\n": [["    mode: '0600'\n"], ["    content: bye\n"]],
    "  - file: /etc/deep/er/x\n    content: hi\n": [["    mode: '0440'\n"], ["    owner: ann\n"]],
    "  - account: ann\n    password: locked\n": [["    shell: /bin/false\n"], ["    groups: [docker]\n"]],
    "  - account: ann\n    comment: Anna\n": [["    shell: /bin/false\n"], ["    home: /srv\n"]],
    "  - account: runner\n    uid: 990\n    password: locked\n": [["    shell: /bin/false\n"], ["    groups: [docker]\n"]],
    "  - group: agents\n    gid: 777\n": [["    system: true\n"]],
    "  - tree: /opt/agent\n    owner: svc\n": [["    group: docker\n"], ["    directory_mode: '0750'\n"]],
    "  - tree: /opt/agent/data\n    owner: ann\n": [["    group: docker\n"]],
    "  - mapping: /etc/rsc\n    fallback: nobody\n": [["    users_local: [{who: 'A:bob', options: [rw]}]\n"]],
    "  - mapping: /etc/rsc\n    users_local: [{who: 'A:ann', options: [ro]}]\n": [["    fallback: nobody\n"]],
    "  - daemon: agent\n    run_as: {user: svc, group: svc}\n": [["    enabled: true\n"]],
    "  - daemon: agent\n    enabled: true\n": [["    supplementary_groups: [docker]\n"]],
}  # fmt: skip
"""A wish each, with what may be wished for besides.  No two of them disagree about a field."""


def wish(top: str) -> st.SearchStrategy[str]:
    extras = [st.sampled_from(["", *choices]) for choices in WISHES[top]]
    return st.tuples(*extras).map(lambda chosen: top + "".join(chosen))


def of(line: str) -> str:
    return line.splitlines()[0]


PART = st.lists(st.sampled_from(list(WISHES)).flatmap(wish), max_size=4, unique_by=of)
INPUT = st.dictionaries(st.sampled_from("abc"), PART, min_size=1)


def texts(wishes: dict[str, list[str]]) -> list[str]:
    return [f"deployment: {name}\nresources:\n" + ("".join(parts) or " []\n") for name, parts in wishes.items()]


def look(host: Any) -> dict[str, Any]:
    """All that wishes decide; where among others a line stands, and when it was written, follows from the way there."""
    found: dict[str, Any] = {}
    for path, facts in snapshot(host).items():
        if facts[0] == "file":
            facts = (*facts[:5], sorted(facts[5].split(b"\n")))
        found[path] = facts
    return found


def differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {k: (one.get(k), other.get(k)) for k in one | other if one.get(k) != other.get(k)}


@settings(
    max_examples=many(80, 900), derandomize=not LONG, report_multiple_bugs=False, phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(INPUT, min_size=2, max_size=4), st.permutations("abc"))
def test_what_is_there_follows_from_the_wishes_of_today(story: list[dict[str, list[str]]], order: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        logs = (Path(scratch) / str(n) for n in itertools.count())

        def bench() -> Bench:
            directory = next(logs)
            directory.mkdir()
            return Bench(memory_host(), directory)

        ours = bench()
        start = snapshot(ours.observer())
        for wishes in story:
            told = texts(wishes)
            note("---\n".join(told))
            report = ours.apply(*told, prune=True)
            assert report.exit_code == 0, (report.outcome, report.blocked, report.transitions)
            stamps = snapshot(ours.observer())
            again = ours.apply(*told, prune=True)
            assert again.outcome == "unchanged" and again.run is None, ("twice is once", again.transitions)
            assert snapshot(ours.observer()) == stamps
            fresh = bench()
            assert fresh.apply(*told).exit_code == 0
            assert not (off := differing(look(fresh.observer()), look(ours.observer()))), off
        for name in order:
            report = ours.uninstall(name)
            assert report.exit_code == 0, (report.transitions, report.blocked)
        assert not (off := differing(start, snapshot(ours.observer()))), off


@pytest.mark.parametrize("how", ["only", "audit"])
def test_what_a_run_does_not_give_back_stays_held(how: str, tmp_path: Path) -> None:
    """A resource is dropped from the input in a run that does not look at it, or must not touch it."""
    bench = Bench(memory_host(), tmp_path)
    start = snapshot(bench.observer())
    file = "  - file: /etc/agent.conf\n    content: bye\n"
    bench.apply(f"deployment: a\nresources:\n  - ini: /etc/agent.ini\n    set: {{Main: {{Mode: least}}}}\n{file}")
    if how == "only":
        only = Options(only=(Address.parse("file:/etc/agent.conf"),))
        assert bench.apply(f"deployment: a\nresources:\n{file.replace('bye', 'no')}", options=only).exit_code == 0
    else:
        other = "  - file: /etc/deep/x\n    content: hi\n"
        assert bench.apply(f"deployment: a\npolicy: audit\nresources:\n{file}").exit_code == 0
        assert bench.apply(
            f"deployment: a\npolicy: audit\nresources:\n{file}", f"deployment: b\nresources:\n{other}"
        ).exit_code == 0  # fmt: skip
        bench.uninstall("b")
    assert b"Mode = least" in bench.observer().read("/etc/agent.ini").data
    assert bench.uninstall("a").exit_code == 0
    assert not (off := differing(start, snapshot(bench.observer()))), off


def test_a_file_is_as_old_as_it_was_though_another_team_holds_one_beside_it(tmp_path: Path) -> None:
    bench = Bench(memory_host(), tmp_path)
    start = snapshot(bench.observer())
    line = "  - mapping: /etc/rsc\n    users_local: [{who: 'A:ann', options: [ro]}]\n"
    text = (
        f"deployment: a\nresources:\n{line}",
        "deployment: b\nresources:\n  - mapping: /etc/rsc\n    fallback: nobody\n",
    )
    assert bench.apply(*text).exit_code == 0
    for name in "ab":
        assert bench.uninstall(name).exit_code == 0
    assert not (off := differing(start, snapshot(bench.observer()))), off
