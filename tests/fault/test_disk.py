"""A disk that is full, broken or read-only at any call: refused or recovered, and no before-image is ever lost."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.log import store, writer
from reconciler.log.chain import verify
from reconciler.log.store import LogReader
from tests.drive import Bench
from tests.effort import many
from tests.fault.test_power import ENV, FIRST, SECOND, world
from tests.laws.hosts import memory_host, snapshot
from tests.worlds import digest, reconciler

CALLS = {
    "pwrite64": ["ENOSPC", "EIO"],
    "write": ["ENOSPC", "EIO", "EROFS"],
    "fsync,fdatasync": ["EIO", "ENOSPC"],
    "rename,renameat": ["EIO", "ENOSPC", "EROFS"],
    "openat": ["EIO", "EROFS", "EMFILE"],
    "unlinkat,unlink": ["EIO", "EROFS"],
    "fchmod,fchown,chown,chmod": ["EIO", "EPERM", "EROFS"],
    "mkdir,mkdirat": ["ENOSPC", "EROFS"],
    "ftruncate": ["EIO"],
}
ROUNDS = many(2, 20)
traced = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here, which makes calls fail")
rooted = pytest.mark.skipif(os.geteuid() != 0, reason="owners and mounts need root")


def strace(words: list[str], root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reconciler", *words, "--yes", "--root", str(root)]
    return subprocess.run(
        ["strace", "-f", "-qq", *options, *command], env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@traced
@rooted
@pytest.mark.parametrize("verb", ["apply", "change", "uninstall"])
@pytest.mark.parametrize("calls", CALLS)
def test_any_call_may_fail(calls: str, verb: str, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(FIRST)
    (tmp_path / "e.yaml").write_text(SECOND)
    words = {
        "apply": ["apply", str(tmp_path / "d.yaml")],
        "change": ["apply", str(tmp_path / "e.yaml")],
        "uninstall": ["uninstall", "d"],
    }[verb]

    def fresh(name: str) -> tuple[Path, dict[str, tuple[object, ...]]]:
        root = world(tmp_path / name)
        first = digest(root)
        if verb != "apply":
            reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
        return root, first

    root, _ = fresh("counted")
    count = tmp_path / "count"
    assert strace(words, root, "-e", f"trace={calls}", "-o", str(count)).returncode == 0
    # Not the interpreter's own start: what is opened or written before the log is looked for.
    lines = count.read_text().splitlines()
    start = next((n for n, line in enumerate(lines) if str(root) in line), 0)
    dice = random.Random(calls + verb)
    for number in range(ROUNDS):
        when, error = dice.randint(start + 1, max(start + 1, len(lines))), dice.choice(CALLS[calls])
        root, first = fresh(f"r{number}")
        inject = f"inject={calls}:error={error}:when={when}"
        failed = strace(words, root, "-e", f"trace={calls}", "-e", inject, "-o", str(tmp_path / "trace"))
        told = (calls, verb, when, error, failed.returncode, failed.stderr[-600:])
        assert "Traceback" not in failed.stderr, told
        assert json.loads(reconciler("log", "verify", "--format", "json", root=root).stdout)["ok"], told
        target = tmp_path / ("e.yaml" if verb == "change" else "d.yaml")
        again = reconciler("apply", target, "--yes", root=root)
        assert again.returncode == 0, f"{told}\n{again.stdout}\n{again.stderr}"
        assert "Nothing to do" in reconciler("plan", target, root=root, check=0).stdout, told
        reconciler("uninstall", "d", "--yes", root=root, check=0)
        after = digest(root)
        assert after == first, (told, {k for k in {*first, *after} if first.get(k) != after.get(k)})
        assert not list(root.rglob(".reconciler-*.tmp")), told
        shutil.rmtree(root)


@rooted
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """The log and the host on one small file system, with ever more room."""
    (tmp_path / "d.yaml").write_text(FIRST)
    outcomes = set()
    for free in range(0, 240, many(30, 12)):
        where = tmp_path / f"small{free}"
        where.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(where)], check=True)
        try:
            root = world(where / "root")
            first = digest(root)
            used = os.statvfs(where)
            pages = used.f_blocks - used.f_bfree + free // 4
            subprocess.run(["mount", "-o", f"remount,size={pages * used.f_bsize}", str(where)], check=True)
            done = reconciler("apply", tmp_path / "d.yaml", "--yes", root=root)
            outcomes.add(done.returncode)
            assert done.returncode == 0 or re.search("no space|full", done.stdout + done.stderr), done.stderr
            subprocess.run(["mount", "-o", "remount,size=64m", str(where)], check=True)
            reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
            reconciler("uninstall", "d", "--yes", root=root, check=0)
            assert digest(root) == first, free
        finally:
            subprocess.run(["umount", str(where)], check=True)
    assert 0 in outcomes and len(outcomes) > 1, "some room was too small, some was enough"


@rooted
def test_a_log_on_a_read_only_file_system_can_be_asked_and_not_written(tmp_path: Path) -> None:
    where = tmp_path / "ro"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(where)], check=True)
    try:
        root = world(where / "root")
        (tmp_path / "d.yaml").write_text(FIRST)
        reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
        subprocess.run(["mount", "-o", "remount,ro", str(where)], check=True)
        for words in (
            ["plan", str(tmp_path / "d.yaml")],
            ["status", str(tmp_path / "d.yaml")],
            ["history"],
            ["state"],
            ["log", "verify"],
        ):
            reconciler(*words, root=root, check=0)
        told = reconciler("uninstall", "d", "--yes", root=root, check=1)
        assert "read-only" in told.stderr
    finally:
        subprocess.run(["umount", str(where)], check=True)


@pytest.mark.parametrize("seed", range(12))
def test_torn_pages_are_refused_and_the_host_is_left_alone(seed: int, tmp_path: Path) -> None:
    from tests.worlds import system

    root = system(tmp_path / "root")
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: v}}\n")
    for value in ("v", "w", "x"):
        (tmp_path / "d.yaml").write_text(
            f"deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {{S: {{k: {value}}}}}\n"
        )
        reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    log, dice = root / "var/lib/reconciler/events.db", random.Random(seed)
    data = bytearray(log.read_bytes())
    page = dice.randrange(len(data) // 4096) * 4096
    half = dice.choice([(page, page + 4096), (page + 2048, page + 4096), (page, page + 512)])
    data[half[0] : half[1]] = dice.choice([bytes(half[1] - half[0]), dice.randbytes(half[1] - half[0])])
    log.write_bytes(data)
    before = digest(root)
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: other}}\n")
    told = reconciler("apply", tmp_path / "d.yaml", "--yes", root=root)
    # Torn is a part that nothing needs (free space, the books), or the run is refused before the host is touched.
    if told.returncode == 0:
        reconciler("log", "verify", root=root, check=0)
        reconciler("uninstall", "d", "--yes", root=root, check=0)
        assert not (root / "etc/x.ini").exists()
    else:
        assert told.returncode in (1, 3) and "events.db" in told.stderr and "unexpected" not in told.stderr
        assert digest(root) == before


def test_a_clock_that_jumps_back_changes_nothing_but_the_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = memory_host()
    bench, before = Bench(host, tmp_path), snapshot(host)
    years = iter([2030, 2010, 2031, 1999, 2024, 2000] * 9)
    monkeypatch.setattr(writer, "now", lambda: store.timestamp(datetime(next(years), 1, 1, tzinfo=UTC)))
    text = "deployment: d\nresources:\n  - file: /etc/agent.conf\n    content: '{}'\n    owner: svc\n"
    marks = []
    for value in ("a", "b", "c"):
        assert bench.apply(text.replace("{}", value)).exit_code == 0
        marks.append((bench.seq(), snapshot(host)))
    for seq, expected in reversed(marks):
        assert bench.rollback(seq).exit_code == 0
        assert snapshot(host)["etc/agent.conf"][:-1] == expected["etc/agent.conf"][:-1]
    assert bench.uninstall("d").exit_code == 0
    assert snapshot(host) == before
    times = [event.at for event in LogReader(bench.log).events()]
    assert times != sorted(times), "the clock did jump back"
    assert verify(LogReader(bench.log)).ok
