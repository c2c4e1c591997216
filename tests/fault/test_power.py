"""Power lost at any moment, with every unsynced change lost or kept by chance: nothing lost, nothing asked."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.effort import many
from tests.fault.trace import copy, crash, record
from tests.worlds import REPO, digest, reconciler, system

SAMPLES = many(6, 100)
ENV = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}
FIRST = """deployment: d
resources:
  - group: agents
  - account: runner
    groups: [agents]
  - file: /etc/deep/er/x
    content: one
    owner: runner
  - ini: /etc/x.ini
    set: {S: {k: '2', n: '3'}}
  - tree: /opt/agent
    owner: runner
    file_mode: u=rwX,go=
"""
SECOND = (
    FIRST.replace("content: one", "content: two")
    .replace("k: '2', ", "")
    .replace("owner: runner\n    file_mode", "file_mode")
)

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here, which records what a process does"),
    pytest.mark.skipif(os.geteuid() != 0, reason="giving files to an account needs root"),
]


def world(directory: Path) -> Path:
    root = system(directory)
    (root / "etc/x.ini").write_text("; head\n[S]\nk=1\n")
    os.utime(root / "etc/x.ini", (1e9, 1e9))
    for name in ("a", "b/c"):
        path = root / "opt/agent" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return root


@pytest.mark.parametrize("verb", ["apply", "change", "rollback", "uninstall"])
def test_a_power_loss_at_any_moment_is_survived(verb: str, tmp_path: Path) -> None:
    root = world(tmp_path / "root")
    first = digest(root)
    (tmp_path / "d.yaml").write_text(FIRST)
    (tmp_path / "e.yaml").write_text(SECOND)
    if verb != "apply":
        reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=0)
    copy(root, tmp_path / "before")
    words = {
        "apply": ["apply", str(tmp_path / "d.yaml")],
        "change": ["apply", str(tmp_path / "e.yaml")],
        "rollback": ["rollback"],
        "uninstall": ["uninstall", "d"],
    }[verb]
    command = [sys.executable, "-m", "reconciler", *words, "--yes", "--root", str(root)]
    trace = record(command, ENV, root, tmp_path / "trace")
    assert len(trace.ops) > 30, "a story of some length"
    dice = random.Random(verb)
    for sample in range(SAMPLES):
        at, odds = dice.randint(1, trace.length), dice.choice([0.2, 0.5, 1.0])
        left = tmp_path / f"left{sample}"
        crash(trace, tmp_path / "before", left, at, dice, odds)
        told = (verb, sample, at, odds)
        verdict = json.loads(reconciler("log", "verify", "--format", "json", root=left).stdout)
        assert verdict["ok"], (told, verdict)
        target = tmp_path / ("e.yaml" if verb == "change" else "d.yaml")
        again = reconciler("apply", target, "--yes", root=left)
        assert again.returncode == 0, (told, again.stdout, again.stderr)
        assert "Nothing to do" in reconciler("plan", target, root=left, check=0).stdout, told
        back = reconciler("uninstall", "d", "--yes", root=left)
        assert back.returncode == 0, f"{told}\n{back.stdout}\n{back.stderr}"
        after = digest(left)
        assert after == first, (
            told,
            {k: (first.get(k), after.get(k)) for k in {*first, *after} if first.get(k) != after.get(k)},
        )
        shutil.rmtree(left)
