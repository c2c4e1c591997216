"""Owners whose accounts get other numbers meanwhile, by another team or in the same run: what comes back is the number that was."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import memory_host, snapshot

TOP = "/srv/data"
THINGS = [
    [
        "{tree: /srv/data, owner: root}",
        "{tree: /srv/data, group: root, file_mode: '0600'}",
        "{tree: /srv/data, owner: ann}",
    ],
    [
        "{file: /srv/data/f, owner: root}",
        "{file: /srv/data/f, group: root, mode: '0640'}",
        "{file: /srv/data/f, owner: svc}",
    ],
    ["{ini: /srv/data/g.ini, owner: ann, set: {S: {k: v}}}", "{ini: /srv/data/g.ini, group: root}"],
    ["{directory: /srv/data/d, owner: ann, group: root}", "{directory: /srv/data/d, owner: root}"],
    ["{link: /srv/data/l, target: /x, owner: ann}", "{link: /srv/data/l, target: /y, group: svc}"],
]
"""Things of one team, each with what may be wished for it in turn."""
NUMBERS = ["{account: svc, uid: 1556}", "{account: svc, uid: 1557}", "{group: svc, gid: 1333}"]


def story(thing: list[str]) -> st.SearchStrategy[tuple[str, list[tuple[str, ...]]]]:
    one, other = st.sampled_from(thing), st.sampled_from(NUMBERS)
    steps = st.one_of(
        st.tuples(st.just("apply"), st.just("a"), one),
        st.tuples(st.just("apply"), st.just("b"), other),
        st.tuples(st.just("together"), one, other),
        st.tuples(st.just("uninstall"), st.sampled_from("ab")),
    )
    return st.tuples(one, st.lists(steps, min_size=1, max_size=6))


def host_with_data() -> Any:
    host = memory_host()
    svc = next(line.split(":") for line in host.nodes["/etc/passwd"].data.decode().splitlines() if line[:4] == "svc:")
    uid, gid = int(svc[2]), int(svc[3])
    for name in ("f", "g.ini", "d/x"):
        host.add(f"{TOP}/{name}", b"[S]\n", uid=uid, gid=gid)
    host.nodes[f"{TOP}/d"].uid = host.nodes[f"{TOP}/d"].gid = uid
    return host


def documents(wishes: dict[str, str]) -> list[str]:
    return [f"deployment: {team}\nresources:\n  - {wish}\n" for team, wish in wishes.items()]


@settings(
    max_examples=many(50, 2000), derandomize=not LONG, report_multiple_bugs=False,
    phases=[Phase.explicit, Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(told=st.sampled_from(THINGS).flatmap(story), leaving=st.permutations("ab"))
def test_what_comes_back_is_the_number_that_was(told: tuple[str, list[tuple[str, ...]]], leaving: list[str]) -> None:
    first, steps = told
    host = host_with_data()
    start = snapshot(host)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(host, Path(scratch))
        for verb, *words in [("apply", "a", first), *steps, *(("uninstall", team) for team in leaving)]:
            if verb == "uninstall":
                report = bench.uninstall(words[0])
            else:
                wishes = dict([words]) if verb == "apply" else dict(zip("ab", words, strict=True))
                report = bench.apply(*documents(wishes))
            note(f"{verb} {words} {host.nodes[TOP + '/f']}")
            assert report.exit_code == 0, (report.outcome, report.blocked, report.transitions)
            if verb == "together":  # what had the name's old number is brought to the new one by the next run
                assert bench.apply(*documents(wishes)).exit_code == 0
            if verb != "uninstall":
                assert bench.apply(*documents(wishes)).run is None, "twice is once"
    end = snapshot(host)
    assert {p: (start.get(p), end.get(p)) for p in start | end if start.get(p) != end.get(p)} == {}
