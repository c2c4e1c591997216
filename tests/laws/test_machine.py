"""Any story of applies, crashes, foreign edits, rollbacks and uninstalls ends with the host as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from reconciler.app.doctor import unlike
from reconciler.core.events import OPEN
from reconciler.core.ledger import PARTS as FACTS
from reconciler.core.ledger import fold
from reconciler.host.port import File
from reconciler.kinds import kinds
from reconciler.log.chain import verify
from reconciler.log.projection import Projection
from reconciler.log.store import LogReader
from tests.drive import Bench, Killed, Mortal
from tests.effort import LONG, many
from tests.laws.hosts import file_host, memory_host, snapshot

PARTS = {
    "group": ["  - group: agents\n", "  - group: agents\n    gid: 777\n"],
    "account": [
        "  - account: runner\n    groups: [docker?, nosuch?]\n",
        "  - account: runner\n    comment: The runner\n    home: /srv\n",
        "  - account: runner\n    groups: [docker]\n    password: locked\n",
    ],
    "ann": [
        "  - account: ann\n    password: locked\n    groups: [docker]\n",
        "  - account: ann\n    shell: /bin/false\n",
    ],
    "tree": [
        "  - tree: /opt/agent\n    owner: svc\n    group: svc\n    directory_mode: '0750'\n    file_mode: u=rwX,g=rX,o=\n",
        "  - tree: /opt/agent\n    owner: ann\n    file_mode: '0640'\n    except: {bin: {owner: root, mode: '0755'}}\n",
        "  - tree: /opt/agent/data\n    group: docker\n    directory_mode: g+s\n",
        "  - tree: /opt/agent\n    owner: svc\n  - tree: /opt/agent/data\n    owner: ann\n",
    ],
    "ini": [
        "  - ini: /etc/agent.ini\n    set: {Main: {Mode: least}}\n",
        "  - ini: /etc/agent.ini\n    set: {Main: {Mode: full, New: a}, Fresh: {K: v}}\n",
        "  - ini: /etc/agent.ini\n    unset: {Main: [Port]}\n    set: {'': {Top: '1'}}\n    owner: svc\n",
        "  - ini: /etc/made/up.ini\n    set: {S: {K: v}}\n",
    ],
    "file": [
        "  - file: /etc/agent.conf\n    content: bye\n    mode: '0600'\n",
        "  - file: /etc/agent.conf\n    owner: svc\n",
        "  - file: /etc/deep/er/x\n    content: |\n      one\n      two\n    mode: '0440'\n",
    ],
    "inside": [
        "  - file: /opt/agent/data/a\n    content: new\n    mode: '0600'\n",
        "  - file: /opt/agent/data/made\n    content: new\n    owner: svc\n",
        "  - ini: /opt/agent/data/b\n    set: {S: {K: v}}\n    owner: ann\n",
    ],
    "link": [
        "  - link: /etc/agent.lnk\n    target: agent.conf\n",
        "  - link: /etc/agent.lnk\n    target: /nowhere\n    owner: svc\n",
        "  - link: /etc/deep/er/l\n    target: x\n    group: ann\n",
        "  - link: /opt/agent/data/lnk\n    target: a\n    owner: ann\n",
    ],
    "directory": [
        "  - directory: /etc/deep\n    owner: svc\n    mode: '0750'\n",
        "  - directory: /etc/deep/er\n    mode: g+s\n  - directory: /srv/made/here\n    skel: /usr/lib/systemd\n",
        "  - directory: /opt/agent/bin\n    owner: ann\n    mode: '1770'\n",
        "  - directory: /opt/agent/data/sub\n    group: docker\n",
    ],
    "mapping": [
        "  - mapping: /etc/rsc\n    exports: [{hosts: '*', options: [ro]}]\n    fallback: deny\n",
        "  - mapping: /etc/rsc\n    users_local: [{who: 'A:ann', options: [ro]}, {who: 'A:*', options: [rw]}]\n",
        "  - mapping: /etc/rsc\n    fallback: nobody\n    users_local: [{who: 'A:bob', options: [rw]}, {who: nouser}]\n",
        "  - mapping: /etc/rsc\n    users: [{who: ann}]\n    edit_generated: true\n    layout: windows\n    mode: system-only\n",
    ],
    "daemon": [
        "  - daemon: agent\n    run_as: {user: svc, group: svc}\n    enabled: true\n",
        "  - daemon: agent\n    supplementary_groups: [docker]\n",
        "  - daemon: agent\n    enabled: false\n",
    ],
}
DOCUMENTS = st.fixed_dictionaries({name: st.one_of(st.none(), st.sampled_from(texts)) for name, texts in PARTS.items()})


def document(parts: dict[str, str | None]) -> str:
    return "deployment: d\nresources:\n" + ("".join(text for text in parts.values() if text) or " []\n")


def differences(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The paths that are not as they were, with both looks."""
    return {
        k: (expected.get(k), found.get(k))
        for k in expected | found
        if by_lines(k, expected.get(k)) != by_lines(k, found.get(k))
    }


def by_lines(path: str, facts: Any) -> Any:
    """The account files as sets of lines: where a line comes back among those that others added is open."""
    if facts is None or path not in ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"):
        return facts
    return (*facts[:5], sorted(facts[5].splitlines()))


class Story(RuleBasedStateMachine):
    """One host and everything that can happen to it."""

    where = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.scratch = Path(tempfile.mkdtemp())
        os.chmod(self.scratch, 0o755)
        (self.scratch / "log").mkdir()

    @initialize()
    def begin(self) -> None:
        self.host: Any = memory_host() if self.where == "memory" else file_host(self.scratch / "root")
        self.bench = Bench(self.host, self.scratch / "log")
        self.start = snapshot(self.host)
        self.marks: list[tuple[int, dict[str, Any]]] = []
        self.foreign = 0
        self.applied: str | None = None
        """What was applied, where nothing else came of it since."""

    @rule(parts=DOCUMENTS)
    def apply(self, parts: dict[str, str | None]) -> None:
        text = document(parts)
        report = self.bench.apply(text)
        assert report.exit_code in (0, 5), (report.outcome, report.blocked, report.transitions)
        assert not report.skipped
        stamps = snapshot(self.host)
        again = self.bench.apply(text)
        assert again.outcome == "unchanged" and again.run is None, ("twice is once", again.transitions)
        assert snapshot(self.host) == stamps
        self.marks.append((self.bench.seq(), stamps))
        self.applied = text

    @precondition(lambda self: self.applied is not None)
    @rule()
    def stranger(self) -> None:
        """Somebody changes by hand what is held, and the next apply corrects it: no moment of ours was ever so."""
        assert self.applied is not None
        edits = [
            ("content: bye", "/etc/agent.conf", b"bye", b"by hand"), ("Mode: least", "/etc/agent.ini", b"least", b"by hand"),
            ("Mode: full", "/etc/agent.ini", b"full", b"by hand"), ("content: new", "/opt/agent/data/a", b"new", b"by hand"),
        ]  # fmt: skip
        for words, path, ours, theirs in edits:
            file = self.host.read(path) if words in self.applied else None
            if file is not None and ours in file.data:
                self.host.replace(path, replace(file, data=file.data.replace(ours, theirs), mtime_ns=None))
        report = self.bench.apply(self.applied)
        assert report.exit_code in (0, 5), (report.outcome, report.blocked, report.transitions)

    @rule(
        parts=DOCUMENTS,
        at=st.integers(1, 12),
        after=st.booleans(),
        verb=st.sampled_from(["apply", "rollback", "uninstall"]),
    )
    def crash(self, parts: dict[str, str | None], at: int, after: bool, verb: str) -> None:
        host = Mortal(self.host, at, after=after)
        self.applied = None
        try:
            if verb == "apply":
                self.bench.apply(document(parts), host=host)
            elif verb == "rollback":
                self.bench.rollback(host=host)
            else:
                self.bench.uninstall("d", host=host)
        except Killed:
            pass

    @rule()
    def rollback(self) -> None:
        self.applied = None
        report = self.bench.rollback()
        assert report.exit_code == 0, report.transitions

    @precondition(lambda self: self.marks)
    @rule(data=st.data())
    def rollback_to_mark(self, data: st.DataObject) -> None:
        seq, expected = data.draw(st.sampled_from(self.marks))
        self.applied = None
        report = self.bench.rollback(seq)
        if report.outcome == "refused":
            return  # a number that is needed again belongs to something that stays for now
        assert report.exit_code == 0, (report.transitions, report.blocked)
        now = snapshot(self.host)
        # Bytes of that moment that are there already, from a later writing of ours, are not written once more.
        alike = {k for k, facts in now.items() if facts[0] == "file" and facts[:-1] == expected.get(k, ())[:-1]}
        expected = {**expected, **{k: now[k] for k in alike}}
        assert not (off := differences(expected, now)), off

    @rule()
    def uninstall(self) -> None:
        self.applied = None
        report = self.bench.uninstall("d")
        assert report.exit_code == 0, (report.transitions, report.blocked)
        assert not (off := differences(self.start, snapshot(self.host))), off

    @rule()
    def neighbour(self) -> None:
        """Somebody edits what nobody asked about; it stays, whatever we do and undo."""
        for host_view in (self.start, *(state for _, state in self.marks)):
            facts = host_view["etc/group"]
            host_view["etc/group"] = (
                *facts[:5],
                facts[5] + b"other%d:x:%d:\n" % (self.foreign, 5000 + self.foreign),
                facts[6],
            )
        file = self.host.read("/etc/group")
        self.host.replace(
            "/etc/group",
            File(
                file.data + b"other%d:x:%d:\n" % (self.foreign, 5000 + self.foreign),
                file.mode,
                file.uid,
                file.gid,
            ),
        )
        self.foreign += 1

    @invariant()
    def log_is_whole(self) -> None:
        if hasattr(self, "bench"):
            log = LogReader(self.bench.log)
            assert verify(log).ok
            assert log.books() is not None or not log.exists, "the last writer's books can be relied on"
            assert not unlike(log)

    @precondition(lambda self: self.marks)
    @rule(data=st.data())
    def remember(self, data: st.DataObject) -> None:
        """What the books say of a moment is what its events said then."""
        log = LogReader(self.bench.log)
        seq, books = data.draw(st.integers(0, self.bench.seq())), log.books()
        assert books is not None
        then = Projection()
        fold(log.events(), then, kinds(), seq)
        # Of what was under way then, nothing is kept; what is under way now is there.
        told, known = (
            {k: v for k, v in facts.items() if not k.startswith(OPEN)}
            for facts in (books.at(seq, *FACTS), then.now(*FACTS))
        )
        assert told == known

    def teardown(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)


class RootStory(Story):
    """The same on a real file system."""

    where = "root"


def test_every_story_ends_well_in_memory() -> None:
    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=many(60),
            derandomize=not LONG,
            phases=[Phase.generate],
            stateful_step_count=7,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="changing owners on a real file system needs root")
def test_every_story_ends_well_on_a_file_system() -> None:
    run_state_machine_as_test(
        RootStory,
        settings=settings(
            max_examples=many(20),
            derandomize=not LONG,
            phases=[Phase.generate],
            stateful_step_count=7,
            suppress_health_check=list(HealthCheck),
        ),
    )
