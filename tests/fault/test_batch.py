"""Transitions that take their turn together: cut off anywhere, failed anywhere, each ends by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.options import Options
from reconciler.errors import HostError
from reconciler.host.files import FileHost
from reconciler.log.chain import verify
from reconciler.log.store import LogReader
from tests.drive import Bench, Killed, Mortal
from tests.laws.hosts import file_host, memory_host, snapshot

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making accounts needs root")
COUNT = 6
FILES = "deployment: d\nresources:\n" + "".join(
    f"  - {{file: /srv/{n}, content: 'x{n}', mode: '0600'}}\n" for n in range(COUNT)
)
ACCOUNTS = "deployment: d\nresources:\n" + "".join(
    f"  - {{group: g{n}}}\n  - {{account: a{n}, group: g{n}, groups: ['docker?']}}\n" for n in range(COUNT)
)
MIXED = ACCOUNTS + "".join(
    f"  - {{file: /srv/deep/{n}/f, content: 'x', owner: a{n}}}\n  - {{link: /srv/l{n}, target: t}}\n"
    for n in range(COUNT)
)


def hosts(scratch: Path) -> dict[str, Callable[[], Any]]:
    def on_disk() -> FileHost:
        root = scratch / "root"
        root.mkdir(mode=0o755)
        file_host(root)
        (root / "srv").mkdir()
        return FileHost(str(root))

    return {"root": on_disk, "memory": memory_host}


@pytest.mark.parametrize("text", [FILES, ACCOUNTS, MIXED], ids=["files", "accounts", "mixed"])
@pytest.mark.parametrize("verb", ["apply", "uninstall"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_all_that_a_crash_leaves_open_is_settled(text: str, verb: str, after: bool, tmp_path: Path) -> None:
    most, at = 0, 0
    while True:
        at += 1
        scratch = tmp_path / str(at)
        (scratch / "log").mkdir(parents=True)
        host = hosts(scratch)["root"]()
        bench = Bench(host, scratch / "log")
        start = snapshot(host)
        if verb == "uninstall":
            assert bench.apply(text).exit_code == 0
        mortal = Mortal(host, at, after=after)
        try:
            bench.apply(text, host=mortal) if verb == "apply" else bench.uninstall("d", host=mortal)
        except Killed:
            pass
        else:
            break
        most = max(most, len(bench.ledger().open))
        assert bench.apply(text).exit_code == 0, at
        ledger = bench.ledger()
        assert not ledger.open and not bench.plan(text).transitions, at
        began = [e.seq for e in LogReader(bench.log).events() if e.type == "transition.started"]
        ended = [e.data["started"] for e in LogReader(bench.log).events() if "started" in e.data]
        assert sorted(ended) == began, "every intent has one outcome"
        assert bench.uninstall("d").exit_code == 0 and snapshot(host) == start, at
        assert verify(LogReader(bench.log)).ok
    assert most > 1, "several were open at once"


class Refusing:
    """A host that refuses to write one path."""

    def __init__(self, host: Any, path: str) -> None:
        self._host, self._path = host, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def replace(self, path: str, file: Any) -> None:
        if path == self._path:
            raise HostError(f"{path}: no space left on the device")
        self._host.replace(path, file)


@pytest.mark.parametrize("keep_going", [False, True])
@pytest.mark.parametrize("where", ["root", "memory"])
def test_one_that_fails_stops_those_behind_it_and_no_other(where: str, keep_going: bool, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    host = hosts(tmp_path)[where]()
    bench = Bench(host, tmp_path / "log")
    start = snapshot(host)
    report = bench.apply(FILES, host=Refusing(host, "/srv/2"), options=Options(keep_going=keep_going))
    outcomes = {t.address.name: (outcome, error) for t, outcome, error in report.transitions}
    assert outcomes["/srv/2"] == ("undone", "/srv/2: no space left on the device")
    assert [outcomes[f"/srv/{n}"][0] for n in (0, 1)] == ["succeeded"] * 2
    behind = ("succeeded", None) if keep_going else ("skipped", "an earlier transition failed")
    assert {outcomes[f"/srv/{n}"] for n in (3, 4, 5)} == {behind}
    for n in (3, 4, 5):
        assert (host.stat(f"/srv/{n}") is not None) == keep_going
    assert not bench.ledger().open and set(bench.ledger().holds) == {
        t.address for t, outcome, _ in report.transitions if outcome == "succeeded"
    }
    assert bench.apply(FILES).exit_code == 0
    assert bench.uninstall("d").exit_code == 0 and snapshot(host) == start


def test_accounts_that_cannot_be_written_are_all_undone(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    host = memory_host()
    bench = Bench(host, tmp_path / "log")
    start = snapshot(host)
    report = bench.apply(ACCOUNTS, host=Refusing(host, "/etc/shadow"))
    failed = {t.address.kind for t, outcome, _ in report.transitions if outcome == "undone"}
    assert failed == {"account"}, "all of one rewrite share its fate"
    assert {t.address.kind for t, outcome, _ in report.transitions if outcome == "succeeded"} == {"group"}
    assert all(b"a0" not in host.read(f"/etc/{name}").data for name in ("passwd", "shadow"))
    assert bench.apply(ACCOUNTS).exit_code == 0
    assert bench.uninstall("d").exit_code == 0 and snapshot(host) == start
