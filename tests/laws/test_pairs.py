"""Any edit of the desired state after any other: idempotent, taken back exactly, and ended exactly by uninstall."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import pytest

from tests.drive import Bench
from tests.laws.hosts import file_host, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changing owners on a real file system needs root")

INI = "; c\n[S]\nk = 0  ; r\nz=1\n\n[T]\nq=1\n\n"
FILES = [
    "",
    "- {file: /etc/agent.conf, content: new}",
    "- {file: /etc/agent.conf, content: new, owner: svc}",
    '- {file: /etc/agent.conf, content: "hello\\n", mode: "0600"}',
    '- {file: /etc/agent.conf, content: new, owner: svc, mode: "4750"}',
]
INIS = [
    "",
    "- {ini: /etc/x.ini, set: {S: {k: '5'}}}",
    "- {ini: /etc/x.ini, set: {S: {k: '5', n: '1'}, U: {a: b}}, owner: svc}",
    "- {ini: /etc/x.ini, unset: {S: [k, z], T: [q]}}",
    "- {ini: /etc/x.ini, set: {'': {top: '1'}, T: {q: '2'}}, mode: '0600'}",
]
MADE = [
    "",
    "- {file: /n/a/b, content: x, owner: svc}",
    "- {ini: /n/a/c.ini, set: {S: {k: v}}}",
    "- {file: /n/a/b, content: y, mode: '6755'}\n- {tree: /n2, create: true, owner: svc}",
    "- {tree: /n, create: true, owner: svc, directory_mode: '0700'}",
    "- {tree: /n, create: true, owner: svc}\n- {tree: /n/er, create: true, owner: ann}",
    "- {tree: /n, create: true, owner: svc}\n- {file: /n/q, content: z}\n- {ini: /n/r/s, set: {S: {k: v}}}",
]
TREES = [
    "",
    "- {tree: /opt/agent, owner: svc}",
    "- {tree: /opt/agent, owner: svc, group: svc, file_mode: 'u=rwX,go='}",
    "- {tree: /opt/agent, directory_mode: '0711'}",
    "- {tree: /opt/agent, owner: svc, except: {data: {owner: ann, mode: '0700'}, bin/run: {owner: root, mode: '4711'}}}",
    "- {tree: /opt/agent, owner: svc, capabilities: {bin/run: cap_chown+ep}}",
    "- {tree: /opt/agent, group: svc}\n- {tree: /opt/agent/data, owner: ann, file_mode: '0600'}",
    "- {tree: /opt/agent/data, owner: svc}",
]
INSIDE = [
    "",
    "- {file: /opt/agent/data/a, content: zz}",
    "- {file: /opt/agent/data/new/f, content: zz, owner: ann}",
    "- {tree: /opt/agent, owner: svc}",
    "- {tree: /opt/agent, owner: svc, file_mode: '0600'}\n- {file: /opt/agent/data/a, content: zz, mode: '4755'}",
    "- {tree: /opt/agent, owner: svc}\n- {file: /opt/agent/data/new/f, content: zz}",
]
NUMBERED = [
    "",
    "- {group: agents}",
    "- {group: agents, gid: 777}",
    "- {group: agents, gid: 777}\n- {account: runner, groups: [docker]}",
    "- {account: runner}",
    "- {account: runner, home: /srv, password: locked}\n- {group: agents, gid: 801}",
    "- {account: other}\n- {account: ann, shell: /bin/false, groups: [docker]}",
]
MAPPED = [
    "",
    "- {mapping: /etc/rsc, exports: [{hosts: '*', options: [ro]}]}",
    "- {mapping: /etc/rsc, exports: [{hosts: h1, options: [ro]}, {hosts: '*', options: [rw]}], fallback: deny}",
    "- {mapping: /etc/rsc, fallback: nobody}",
    "- {mapping: /etc/rsc, users_local: [{who: 'A:ann', options: [ro]}, {who: 'B:*', options: [rw]}]}",
    "- {mapping: /etc/rsc, users_local: [{who: 'A:bob', options: [rw]}, {who: 'A:*', options: [rw]}, {who: nouser}]}",
    "- {mapping: /etc/rsc, users_local: [{who: 'A:*', options: ['hosts=h1', rw]}, {who: 'A:*', options: [rw, 'map=ann']}]}",
    "- {mapping: /etc/rsc, users: [{who: ann, options: [rw]}], edit_generated: true}",
    "- {mapping: /etc/rsc, layout: windows, mode: system-only, users: [{who: nouser}], edit_generated: true}",
    "- {mapping: /etc/rsc, layout: windows, mode: windows-user, mode_in: {file: m.ini, section: '', key: M}}",
]
CATALOGS = {
    "mapped": MAPPED,
    "numbered": NUMBERED,
    "file": FILES,
    "ini": INIS,
    "made": MADE,
    "tree": TREES,
    "inside": INSIDE,
}


def document(resources: str) -> str:
    lines = [f"  {line}" for line in resources.splitlines()]
    return "deployment: d\nresources:" + ("\n" + "\n".join(lines) if lines else " []") + "\n"


@pytest.mark.parametrize("back", ["rollback", "uninstall"])
@pytest.mark.parametrize("catalog", CATALOGS)
def test_every_edit_after_every_other(catalog: str, back: str) -> None:
    for first, second in itertools.permutations(CATALOGS[catalog], 2):
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / "root"
            host = file_host(root)
            (root / "etc/x.ini").write_text(INI)
            os.utime(root / "etc/x.ini", (1e9, 1e9))
            bench = Bench(host, Path(scratch))
            seen = [snapshot(host)]
            for resources in (first, second):
                report = bench.apply(document(resources))
                assert report.exit_code == 0, (first, second, report.transitions, report.blocked)
                again = bench.plan(document(resources))
                assert not again.transitions, (first, second, [str(t.address) for t in again.transitions])
                seen.append(snapshot(host))
            if back == "rollback" and seen[2] != seen[1]:
                assert bench.rollback().exit_code == 0
                assert snapshot(host) == seen[1], (first, second)
            assert bench.uninstall("d").exit_code == 0
            assert snapshot(host) == seen[0], (first, second)
