"""Real processes killed at any instant, on a root: nothing lost, nothing asked."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.effort import many
from tests.worlds import REPO, digest, managesoft, reconciler, system

YAML = "deployment: managesoft\nprofile: managesoft\nmode: least-privilege\nwith: {sudoers: 'false'}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="the profile gives files to an account, which needs root")
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_instants_and_then_exact(seed: int, tmp_path: Path) -> None:
    root = managesoft(system(tmp_path / "root"))
    os.chmod(root, 0o755)
    desired = tmp_path / "d.yaml"
    desired.write_text(YAML)
    before = digest(root)
    dice = random.Random(seed)
    env = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(8):
        words = dice.choice([["apply", str(desired)], ["rollback"], ["uninstall", "managesoft"]])
        command = [sys.executable, "-m", "reconciler", *words, "--yes", "--root", str(root)]
        child = subprocess.Popen(command, env=env, start_new_session=True, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        time.sleep(dice.uniform(0.1, 0.7))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        log = root / "var/lib/reconciler/events.db"
        if log.exists():
            assert json.loads(reconciler("log", "verify", "--format", "json", root=root, check=0).stdout)["ok"]
    reconciler("apply", desired, "--yes", root=root, check=0)
    assert "Nothing to do" in reconciler("plan", desired, root=root, check=0).stdout
    reconciler("uninstall", "managesoft", "--yes", root=root, check=0)
    assert digest(root) == before
    leftovers = [p for p in root.rglob(".reconciler-*") if p.is_file()]
    assert not leftovers


BOUNDARIES = many(4, 60)
SYNCS, CHANGES = "fsync,fdatasync", "mkdirat,fchmod,fchown,chown,renameat,unlinkat,symlinkat,utimensat"
LOCATED = """deployment: located
resources:
  - account: svc
  - {directory: /data/h, owner: svc, group: svc, mode: '2750', skel: /etc/skel}
  - {directory: /data/h/in, owner: svc}
  - {link: /data/h/in/l, target: x, owner: svc}
  - {link: /data/there, target: y, owner: svc}
  - {file: /data/h/in/f, content: x, owner: svc, mode: '0600'}
"""


def located(root: Path) -> Path:
    """With a skeleton, and a link that is there."""
    (root / "etc/skel/deep/er").mkdir(parents=True)
    (root / "etc/skel/deep/rc").write_text("a copy\n")
    (root / "etc/skel/l").symlink_to("/etc/shadow")
    (root / "data").mkdir()
    (root / "data/there").symlink_to("before")
    return root


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here, which kills at a given call")
@pytest.mark.skipif(os.geteuid() != 0, reason="the profile gives files to an account, which needs root")
@pytest.mark.parametrize("verb", ["apply", "rollback", "uninstall"])
@pytest.mark.parametrize(
    ("text", "make", "calls"), [(YAML, managesoft, SYNCS), (LOCATED, located, f"{SYNCS},{CHANGES}")],
    ids=["at a sync", "at a change"],
)  # fmt: skip
def test_killed_at_the_boundary_of_an_event(
    text: str, make: Callable[[Path], Path], calls: str, verb: str, tmp_path: Path
) -> None:
    """SIGKILL right before an event, a before-image or a file is durable, or before anything of the host changes."""
    desired, name = tmp_path / "d.yaml", text.split()[1]
    desired.write_text(text)
    words = {"apply": ["apply", str(desired)], "rollback": ["rollback"], "uninstall": ["uninstall", name]}[verb]
    env = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}

    def world(name: str) -> tuple[Path, dict[str, tuple[object, ...]]]:
        root = make(system(tmp_path / name))
        os.chmod(root, 0o755)
        before = digest(root)
        if verb != "apply":
            reconciler("apply", desired, "--yes", root=root, check=0)
        return root, before

    def strace(root: Path, *options: str) -> int:
        command = [sys.executable, "-m", "reconciler", *words, "--yes", "--root", str(root)]
        traced = ["strace", "-f", "-qq", "-e", f"trace={calls}", *options, *command]
        return subprocess.run(traced, env=env, stdin=subprocess.DEVNULL, capture_output=True).returncode

    root, _ = world("counted")
    assert strace(root, "-o", str(tmp_path / "count")) == 0
    total = len((tmp_path / "count").read_text().splitlines())
    assert total > BOUNDARIES
    for number in range(BOUNDARIES):
        at = 1 + number * total // BOUNDARIES
        root, before = world(f"r{number}")
        strace(root, "-o", str(tmp_path / "trace"), "-e", f"inject={calls}:signal=KILL:when={at}")
        assert json.loads(reconciler("log", "verify", "--format", "json", root=root, check=0).stdout)["ok"], at
        reconciler("apply", desired, "--yes", root=root, check=0)
        assert "Nothing to do" in reconciler("plan", desired, root=root, check=0).stdout, at
        if make is located:
            assert (root / "data/h/deep/rc").read_text() == "a copy\n", at
        reconciler("uninstall", name, "--yes", root=root, check=0)
        assert digest(root) == before, at
        shutil.rmtree(root)


def test_a_second_run_waits_its_turn_and_says_who_is_busy(tmp_path: Path) -> None:
    from reconciler.log.writer import LogWriter

    root = system(tmp_path / "root")
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: v}}\n")
    log = LogWriter(str(tmp_path / "log" / "events.db"), "a long apply")
    try:
        busy = reconciler(
            "apply", tmp_path / "d.yaml", "--yes", "--log", tmp_path / "log" / "events.db", root=root, check=4
        )
        assert str(os.getpid()) in busy.stderr and "a long apply" in busy.stderr
    finally:
        log.close()
    reconciler("apply", tmp_path / "d.yaml", "--yes", "--log", tmp_path / "log" / "events.db", root=root, check=0)


def test_a_blob_that_was_changed_or_lost_is_named(tmp_path: Path) -> None:
    root = system(tmp_path / "root")
    (root / "etc/x.ini").write_text("[S]\nk=old\n")
    (tmp_path / "d.yaml").write_text("deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: v}}\n")
    reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    for blob in (root / "var/lib/reconciler/blobs").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    verdict = reconciler("log", "verify", root=root, check=1)
    assert "before-image" in verdict.stderr
    refused = reconciler("uninstall", "d", "--yes", root=root)
    assert refused.returncode != 0 and (root / "etc/x.ini").read_text() == "[S]\nk=v\n"
