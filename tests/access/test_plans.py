"""What a plan says of rights, ways up and policies, on a root directory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import managesoft, reconciler, stamps, system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to change")

DOCUMENT = "deployment: managesoft\nprofile: managesoft\nmode: least-privilege\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = managesoft(system(tmp_path / "root"))
    made.chmod(0o755)
    (made / "etc/group").write_text((made / "etc/group").read_text() + "monitor:x:700:\n")
    (made / "etc/passwd").write_text((made / "etc/passwd").read_text() + "monitor:x:700:700::/:/bin/sh\n")
    return made


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "d.yaml"
    file.write_text(text)
    return file


def plan(file: Path, root: Path, code: int = 0) -> Any:
    before = stamps(root)
    told = json.loads(reconciler("plan", file, "--format", "json", root=root, check=code).stdout)
    assert stamps(root) == before
    return told


def test_a_plan_says_who_gains_and_who_loses(root: Path, tmp_path: Path) -> None:
    told = plan(write(tmp_path, DOCUMENT), root)["access"]
    texts = [item["text"] for item in told["changes"]]
    assert "flxrasvc can also read, write and execute files in /opt/managesoft" in texts
    assert any("monitor" in item["who"] and "read" in item["loses"] for item in told["changes"]), texts
    assert told["escalation"] == ["flxrasvc can become root: is in group docker, which is as good as root"]
    text = reconciler("plan", write(tmp_path, DOCUMENT), root=root, check=0).stdout
    assert "access after this" in text
    assert "! escalation" in text


def test_what_is_told_comes_true(root: Path, tmp_path: Path) -> None:
    """The rights that a plan foresees are those that there are once it is done."""
    file = write(tmp_path, DOCUMENT)
    paths = ("/opt/managesoft", "/etc/managesoft.ini", "/var/opt/managesoft/etc/config.ini")

    def rights() -> dict[tuple[str, str], set[str]]:
        told = json.loads(reconciler("access", *paths, "--format", "json", root=root, check=0).stdout)
        return {
            (item["path"], name): set(item[name]) for item in told["paths"] for name in ("read", "write", "execute")
        }

    before, foreseen = rights(), plan(file, root)["access"]["changes"]
    reconciler("apply", file, "--yes", root=root, check=0)
    after = rights()
    for (path, right), people in after.items():
        named = {path, f"the directory {path}"}
        gains = {who for item in foreseen if item["what"] in named and right in item["gains"] for who in item["who"]}
        loses = {who for item in foreseen if item["what"] in named and right in item["loses"] for who in item["who"]}
        assert people - before[(path, right)] == gains, (path, right)
        assert before[(path, right)] - people == loses, (path, right)


def test_an_undo_says_whose_rights_it_takes(root: Path, tmp_path: Path) -> None:
    reconciler("apply", write(tmp_path, DOCUMENT), "--yes", root=root, check=0)
    told = json.loads(reconciler("uninstall", "managesoft", "--dry-run", "--format", "json", root=root, check=0).stdout)
    assert any("monitor" in item["who"] and "read" in item["gains"] for item in told["access"]["changes"])


def test_a_policy_forbids_what_a_plan_would_bring(root: Path, tmp_path: Path) -> None:
    text = DOCUMENT + "access:\n  /opt/managesoft: {read: [root]}\n"
    told = plan(write(tmp_path, text), root, code=3)
    (blocked,) = told["blocked"]
    assert blocked["address"] == "access:/opt/managesoft"
    assert "flxrasvc can read it" in blocked["reason"]
    assert blocked["source"]["line"] == 5
    assert not (root / "etc/sudoers.d/flexera").exists()
    assert reconciler("apply", write(tmp_path, text), "--yes", root=root).returncode == 3


def test_a_policy_that_is_broken_already_is_told_and_blocks_nothing(root: Path, tmp_path: Path) -> None:
    os.chown(root / "etc/managesoft.ini", 700, 0)
    text = DOCUMENT + "access:\n  /etc/managesoft.ini: {write: [root]}\n  /no/such: {read: [root]}\n"
    told = plan(write(tmp_path, text), root)
    assert not told["blocked"]
    texts = [item["text"] for item in told["access"]["policy"]]
    assert any("/etc/managesoft.ini" in line and "monitor can write it" in line for line in texts)
    assert any("/no/such: is not there" in line for line in texts)


def test_the_profile_promises_who_may_write_the_data(root: Path, tmp_path: Path) -> None:
    file = write(tmp_path, DOCUMENT)
    reconciler("apply", file, "--yes", root=root, check=0)
    (deployment,) = json.loads(reconciler("status", file, "--format", "json", root=root, check=0).stdout)["deployments"]
    assert (deployment["state"], deployment["access"]) == ("converged", [])
    (root / "var/opt/managesoft/log").chmod(0o777)
    (root / "var/opt/managesoft").chmod(0o755)
    (deployment,) = json.loads(reconciler("status", file, "--format", "json", root=root, check=0).stdout)["deployments"]
    assert deployment["state"] == "drifted"
    assert any(item["path"] == "/var/opt/managesoft/log" and "monitor" in item["more"] for item in deployment["access"])
    assert "policy: /var/opt/managesoft/log: " in reconciler("status", file, root=root, check=0).stdout


def test_wide_rules_and_setuid_programs_are_told(root: Path, tmp_path: Path) -> None:
    text = """deployment: d
resources:
  - account: svc2
  - file: /etc/sudoers.d/svc2
    content: |
      svc2 ALL=(root) NOPASSWD: /opt/managesoft/bin/*, /usr/bin/vi
      svc2 ALL=(monitor) NOPASSWD:SETENV: ALL
    mode: "0440"
  - file: /opt/tool
    content: x
    mode: "4755"
"""
    sudoers = root / "etc/sudoers"
    sudoers.write_text("root ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n")
    told = " ".join(plan(write(tmp_path, text), root)["access"]["escalation"])
    assert "/opt/tool becomes setuid root" in told
    assert "svc2 can become root: may run /opt/managesoft/bin/*, whatever that is" in told
    assert "may run /usr/bin/vi, which gives a shell" in told
    assert "svc2 can become monitor: may run anything" in told
    assert "may set the environment of ALL" in told


def test_what_root_runs_and_the_account_will_own_is_told(root: Path, tmp_path: Path) -> None:
    (root / "etc/cron.d").mkdir()
    (root / "etc/cron.d/agent").write_text("PATH=/bin\n*/5 * * * * root /opt/managesoft/bin/ndtrack -t machine\n")
    told = plan(write(tmp_path, DOCUMENT), root)["access"]["escalation"]
    assert any("/etc/cron.d/agent:2 runs /opt/managesoft/bin/ndtrack: owns it" in line for line in told), told


def test_the_identity_of_a_plan_is_not_that_of_other_accounts(root: Path, tmp_path: Path) -> None:
    file = write(tmp_path, DOCUMENT)
    reconciler("plan", file, "--out", tmp_path / "p.json", root=root, check=0)
    before = plan(file, root)["plan_id"]
    (root / "etc/passwd").write_text((root / "etc/passwd").read_text() + "late:x:701:700::/:/bin/sh\n")
    after = plan(file, root)
    assert after["plan_id"] == before
    assert any("late" in item["who"] for item in after["access"]["changes"])
    reconciler("apply", "--plan", tmp_path / "p.json", root=root, check=0)


def test_a_policy_path_has_to_be_absolute(root: Path, tmp_path: Path) -> None:
    file = write(tmp_path, "deployment: d\naccess: {opt/x: {write: [root]}, /opt: {own: [root]}}\n")
    said = reconciler("validate", file, check=1).stderr
    assert "d.yaml:2:" in said
    assert "own" in said
