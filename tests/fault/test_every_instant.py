"""Dead at any change, before it or after it: whatever comes next finds its way, and undo is exact."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.log.chain import verify
from reconciler.log.store import LogReader
from tests.drive import Bench, Killed, Mortal
from tests.effort import LONG
from tests.laws.hosts import memory_host, snapshot

FIRST = """deployment: d
resources:
  - group: agents
  - account: runner
    groups: [docker]
  - tree: /opt/agent
    owner: runner
    group: agents
    directory_mode: '0750'
    file_mode: u=rwX,g=rX,o=
    except: {bin: {owner: root}}
  - tree: /opt/spool
    create: true
    owner: runner
  - file: /opt/agent/data/a
    content: new
    mode: '0600'
  - file: /etc/deep/er/x
    content: one
  - ini: /etc/agent.ini
    set: {Main: {Mode: least}, Fresh: {K: v}}
  - mapping: /etc/rsc
    layout: windows
    mode: windows-user
    exports: [{hosts: "*", options: [ro]}]
    users_local: [{who: "A:*", options: [rw, map=runner]}, {who: nouser}]
    users: [{who: "C:b", options: [rw]}]
    edit_generated: true
  - daemon: agent
    run_as: {user: runner, group: agents}
    enabled: true
"""
SECOND = """deployment: d
resources:
  - group: agents
  - account: ann
    password: locked
  - tree: /opt/agent
    owner: svc
  - file: /etc/agent.conf
    content: bye
    owner: svc
  - ini: /etc/agent.ini
    unset: {Main: [Port]}
  - mapping: /etc/rsc
    users_local: [{who: "B:*", options: [rw]}, {who: "A:ann", options: [ro]}]
    fallback: deny
"""
VERBS: dict[str, Callable[[Bench, Mortal], object]] = {
    "apply": lambda bench, host: bench.apply(FIRST, host=host),
    "change": lambda bench, host: bench.apply(SECOND, host=host),
    "rollback": lambda bench, host: bench.rollback(host=host),
    "uninstall": lambda bench, host: bench.uninstall("d", host=host),
}


@pytest.mark.parametrize("then", ["again", "rollback to the mark", "uninstall"])
@pytest.mark.parametrize("verb", VERBS)
def test_dead_at_any_change(verb: str, then: str, tmp_path: Path) -> None:
    share = ["again", "rollback to the mark", "uninstall"].index(then)
    for at, after in ((n, late) for n in itertools.count(1) for late in (False, True)):
        if not LONG and (2 * at + after) % 3 != share:
            continue  # each instant has one of the three sequels, and all of them in the long form
        scratch = tmp_path / f"{at}{after}"
        scratch.mkdir()
        host = memory_host()
        bench = Bench(host, scratch)
        before = snapshot(host)
        if verb != "apply":
            assert bench.apply(FIRST).exit_code == 0
        mark, at_mark = bench.seq(), snapshot(host)
        mortal = Mortal(host, at, after=after)
        try:
            VERBS[verb](bench, mortal)
        except Killed:
            pass
        else:
            assert at > 5, "a story of some length"
            return
        if then == "again":
            text = SECOND if verb == "change" else FIRST
            assert bench.apply(text).exit_code == 0, (at, after)
            assert not bench.plan(text).transitions, (at, after)
        elif then != "uninstall":
            assert bench.rollback(mark).exit_code == 0, (at, after)
            assert snapshot(host) == at_mark, (at, after)
        assert bench.uninstall("d").exit_code == 0, (at, after)
        assert snapshot(host) == before, (at, after)
        assert verify(LogReader(bench.log)).ok
