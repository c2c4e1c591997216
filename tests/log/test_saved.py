"""Saved plans, approvals, confirmations and rehearsals, as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.patience import stays, until
from tests.worlds import digest, managesoft, reconciler, system

YAML = """deployment: d
resources:
  - ini: /etc/x.ini
    set: {S: {k: new, password: swordfish}}
  - file: /etc/made
    content: x
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = system(tmp_path / "root")
    (root / "etc/x.ini").write_text("[S]\nk=old\npassword=hunter2\n")
    os.utime(root / "etc/x.ini", (1e9, 1e9))
    (tmp_path / "d.yaml").write_text(YAML)
    return root


def test_a_saved_plan_is_applied_once_and_exactly(root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    reconciler("plan", tmp_path / "d.yaml", "--out", saved, root=root, check=0)
    assert saved.stat().st_mode & 0o777 == 0o600 and "hunter2" not in saved.read_text()
    (tmp_path / "d.yaml").unlink()
    reconciler("apply", "--plan", saved, root=root, check=0)
    assert "k=new" in (root / "etc/x.ini").read_text()
    again = reconciler("apply", "--plan", saved, root=root, check=3)
    assert "applied already, by r1" in again.stderr or "stale" in again.stderr
    reconciler("rollback", "--yes", root=root, check=0)
    assert "applied already, by r1" in reconciler("apply", "--plan", saved, root=root, check=3).stderr


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("[S]\nk=other\npassword=hunter2\n", "S.k was 'old' → 'new', and is 'other' → 'new'"),
        ("[S]\nk=old\npassword=changed\n", "a secret value"),
        ("[S]\nk=new\npassword=swordfish\n", "is not needed any more"),
        (None, "write ini:/etc/x.ini is not needed any more, or not possible"),
    ],
)
def test_a_stale_plan_is_refused_and_every_fact_named(edit: str | None, said: str, root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    reconciler("plan", tmp_path / "d.yaml", "--out", saved, root=root, check=0)
    if edit is None:
        (root / "etc/x.ini").unlink()
    else:
        (root / "etc/x.ini").write_text(edit)
    before = digest(root)
    refused = reconciler("apply", "--plan", saved, root=root, check=3)
    assert said in refused.stderr and "hunter2" not in refused.stderr
    assert digest(root) == before


def test_an_edited_plan_and_what_is_no_plan_are_refused(root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    reconciler("plan", tmp_path / "d.yaml", "--out", saved, root=root, check=0)
    text = saved.read_text()
    saved.write_text(text.replace('"after": "new"', '"after": "evil"'))
    assert "edited" in reconciler("apply", "--plan", saved, root=root, check=3).stderr
    for junk in ("", "{}", "[]", "null", '{"saved": 1}'):
        saved.write_text(junk)
        assert "is no saved plan" in reconciler("apply", "--plan", saved, root=root, check=64).stderr
    reconciler("apply", "--plan", tmp_path / "nothing", root=root, check=64)
    saved.write_text(text)
    reconciler("apply", tmp_path / "d.yaml", "--plan", saved, root=root, check=64)
    other = system(tmp_path / "other")
    (other / "etc/hostname").write_text("other\n")
    (other / "etc/x.ini").write_bytes((root / "etc/x.ini").read_bytes())
    assert "the plan is for the host" in reconciler("apply", "--plan", saved, root=other, check=3).stderr


def test_a_host_that_asks_for_approval_applies_nothing_else(root: Path, tmp_path: Path) -> None:
    saved, key = tmp_path / "plan.json", tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (root / "etc/reconciler").mkdir()
    kind, text = (tmp_path / "key.pub").read_text().split()[:2]
    (root / "etc/reconciler/approvers").write_text(f"ann@example.com {kind} {text}\n")
    reconciler("plan", tmp_path / "d.yaml", "--out", saved, root=root, check=0)
    assert "approver signed" in reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=3).stderr
    assert "no signature" in reconciler("apply", "--plan", saved, root=root, check=3).stderr
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), str(saved)]
    subprocess.run([*sign[:4], "-n", "file", *sign[4:]], check=True, capture_output=True)
    assert "no signature of this plan" in reconciler("apply", "--plan", saved, root=root, check=3).stderr
    (tmp_path / "plan.json.sig").unlink()
    subprocess.run([*sign[:4], "-n", "plan@reconciler", *sign[4:]], check=True, capture_output=True)
    assert "approved by ann@example.com" in reconciler("apply", "--plan", saved, root=root, check=0).stderr


def test_what_nobody_confirms_is_undone_by_itself(root: Path, tmp_path: Path) -> None:
    before = digest(root)
    told = reconciler("apply", tmp_path / "d.yaml", "--yes", "--confirm-within", "2s", root=root, check=0)
    assert "reconciler confirm" in told.stderr and (root / "etc/made").exists()
    assert "waits for" in reconciler("apply", tmp_path / "d.yaml", "--yes", root=root, check=3).stderr
    until(lambda: not (root / "etc/made").exists())
    until(lambda: "rollback" in reconciler("history", root=root, check=0).stdout)
    assert digest(root) == before
    assert "no run waits" in reconciler("confirm", root=root, check=0).stdout


def test_what_is_confirmed_stays(root: Path, tmp_path: Path) -> None:
    reconciler("apply", tmp_path / "d.yaml", "--yes", "--confirm-within", "4s", root=root, check=0)
    assert "confirmed: r1" in reconciler("confirm", root=root, check=0).stdout
    stays((root / "etc/made").exists, 5)
    reconciler("confirm", "--expire", root=root, check=0)
    assert (root / "etc/made").exists()
    for wrong in ("0m", "10", "m", "-1m", "1y", ""):
        reconciler("apply", tmp_path / "d.yaml", "--yes", "--confirm-within", wrong, root=root, check=64)


def test_an_expiry_after_a_reboot_is_carried_out_by_the_unit(root: Path, tmp_path: Path) -> None:
    """The process that waits is gone with a reboot; what the unit starts then does its work."""
    before = digest(root)
    reconciler("apply", tmp_path / "d.yaml", "--yes", "--confirm-within", "1d", root=root, check=0)
    waiting = [
        p
        for p in Path("/proc").glob("[0-9]*/cmdline")
        if str(root).encode() in p.read_bytes() and b"--expire" in p.read_bytes()
    ]
    assert len(waiting) == 1
    os.kill(int(waiting[0].parent.name), 9)
    reconciler("confirm", "--expire", root=root, check=0)
    assert (root / "etc/made").exists(), "its time is not over"
    reconciler("rollback", "--yes", root=root, check=0)
    assert "no run waits" in reconciler("confirm", root=root, check=0).stdout
    assert digest(root) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="the profile gives files to an account, which needs root")
def test_a_rehearsal_leaves_everything_as_it_was_and_says_so(tmp_path: Path) -> None:
    root = managesoft(system(tmp_path / "root"))
    before = digest(root)
    (tmp_path / "d.yaml").write_text(
        "deployment: m\nprofile: managesoft\nmode: least-privilege\nwith: {sudoers: 'false'}\n"
    )
    told = reconciler("apply", tmp_path / "d.yaml", "--yes", "--rehearse", root=root, check=0)
    assert "all are as they were" in told.stderr
    assert digest(root) == before
    events = json.loads(reconciler("history", "--format", "json", root=root, check=0).stdout)["events"]
    assert {e["run"] for e in events} == {"r1", "r2"}
