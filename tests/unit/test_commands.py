"""The commands end to end on a root: JSON shapes, conflicts, secrets, links, and what an administrator reads."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.worlds import digest, managesoft, reconciler, stamps, system

INI = "deployment: d\nresources:\n  - ini: /etc/x.ini\n    set: {S: {k: new, user_password: hunter2}}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = managesoft(system(tmp_path / "root"))
    os.chmod(made, 0o755)
    (made / "etc/x.ini").write_text("[S]\nk = old\nuser_password = opensesame\n")
    return made


@pytest.fixture
def desired(tmp_path: Path) -> Path:
    (tmp_path / "desired").mkdir()
    (tmp_path / "desired" / "d.yaml").write_text(INI)
    return tmp_path / "desired"


def test_a_plan_is_json_as_published_and_writes_nothing(root: Path, desired: Path) -> None:
    before = stamps(root)
    plan = json.loads(reconciler("plan", desired, "--format", "json", root=root, check=0).stdout)
    assert stamps(root) == before
    schema = json.loads(reconciler("schema", "plan").stdout)
    assert set(schema["required"]) <= set(plan)
    transition = plan["transitions"][0]
    assert set(schema["properties"]["transitions"]["items"]["required"]) <= set(transition)
    assert (transition["address"], transition["verb"], transition["reversible"]) == ("ini:/etc/x.ini", "write", "exact")
    assert {"field": ["S", "k"], "before": "old", "after": "new"} in transition["changes"]
    assert transition["source"]["line"] == 3
    assert plan["plan_id"] == json.loads(reconciler("plan", desired, "--format", "json", root=root).stdout)["plan_id"]
    reconciler("plan", desired, "--detailed-exitcode", root=root, check=2)


def test_a_secret_is_nowhere(root: Path, desired: Path) -> None:
    told = ""
    for words in (["plan", desired], ["plan", desired, "--format", "json"], ["apply", desired, "--yes"], ["status", desired],
                  ["history", "ini:/etc/x.ini"], ["history", "--format", "json"], ["show", "r1"], ["uninstall", "d", "--dry-run"]):  # fmt: skip
        done = reconciler(*words, root=root, check=0)
        told += done.stdout + done.stderr
    for secret in ("hunter2", "opensesame"):
        assert secret not in told
        for file in (root / "var/lib/reconciler").rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    assert oct((root / "var/lib/reconciler").stat().st_mode & 0o777) == "0o700"


def test_what_others_changed_is_a_conflict_and_force_loses_nothing(root: Path, desired: Path) -> None:
    reconciler("apply", desired, "--yes", root=root, check=0)
    ini = root / "etc/x.ini"
    ini.write_text(ini.read_text().replace("k = new", "k = theirs") + "mine = 1\n")
    refused = reconciler("uninstall", "d", "--yes", "--format", "json", root=root, check=3)
    assert json.loads(refused.stdout)["conflicts"] == [
        {"address": "ini:/etc/x.ini", "field": ["S", "k"], "recorded": "new", "found": "theirs"}
    ]
    reconciler("uninstall", "d", "--yes", "--skip-conflicts", root=root, check=5)
    assert "k = theirs" in ini.read_text() and "opensesame" in ini.read_text()
    reconciler("uninstall", "d", "--yes", "--force", root=root, check=0)
    assert ini.read_text() == "[S]\nk = old\nuser_password = opensesame\nmine = 1\n"
    reconciler("rollback", "--yes", root=root, check=0)
    assert "k = theirs" in ini.read_text()


def test_an_orphan_is_shown_and_left_until_it_is_pruned(root: Path, desired: Path) -> None:
    reconciler("apply", desired, "--yes", root=root, check=0)
    (desired / "d.yaml").write_text("deployment: e\nresources:\n  - ini: /etc/y.ini\n    set: {S: {k: v}}\n")
    plan = json.loads(reconciler("plan", desired, "--format", "json", root=root, check=0).stdout)
    assert plan["orphaned"] == ["d"]
    reconciler("apply", desired, "--yes", root=root, check=0)
    assert "k = new" in (root / "etc/x.ini").read_text()
    reconciler("apply", desired, "--yes", "--prune", root=root, check=0)
    assert (root / "etc/x.ini").read_text() == "[S]\nk = old\nuser_password = opensesame\n"


def test_two_deployments_share_what_both_wish_for(root: Path, desired: Path) -> None:
    (desired / "d.yaml").write_text("deployment: d\nresources:\n  - group: shared\n    gid: 800\n")
    (desired / "e.yaml").write_text("deployment: e\nresources:\n  - group: shared\n    gid: 800\n")
    before = digest(root)
    reconciler("apply", desired, "--yes", root=root, check=0)
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert "shared:x:800:" in (root / "etc/group").read_text()
    reconciler("uninstall", "e", "--yes", root=root, check=0)
    assert digest(root) == before


def test_no_link_leads_out_of_the_root(root: Path, desired: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("[S]\nk = old\n")
    (root / "etc/x.ini").unlink()
    (root / "etc/x.ini").symlink_to(f"../../../../../../..{outside}/victim")
    reconciler("apply", desired, "--yes", root=root, check=3)
    assert (outside / "victim").read_text() == "[S]\nk = old\n"
    (root / "var/lib").rename(root / "var/elsewhere")
    (root / "var/lib").symlink_to(outside)
    reconciler("apply", desired, "--yes", root=root, check=1)
    assert sorted(p.name for p in outside.iterdir()) == ["victim"]


def test_a_hostile_log_place_is_refused(root: Path, desired: Path, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(mode=0o777)
    (tmp_path / "log").chmod(0o777)
    refused = reconciler("apply", desired, "--yes", "--log", tmp_path / "log" / "events.db", root=root, check=1)
    assert "can be written by others" in refused.stderr


def test_a_validator_refuses_before_anything_is_planned(root: Path, desired: Path) -> None:
    (desired / "d.yaml").write_text(
        "deployment: d\nresources:\n  - file: /etc/x.conf\n    content: bad\n    validate: grep -q good {}\n"
    )
    blocked = json.loads(reconciler("plan", desired, "--format", "json", root=root, check=3).stdout)["blocked"]
    assert blocked[0]["unknown"] is False and "grep refuses" in blocked[0]["reason"]


def test_policy_audit_reports_and_never_writes(root: Path, desired: Path) -> None:
    (desired / "d.yaml").write_text(INI.replace("resources:", "policy: audit\nresources:"))
    before = (root / "etc/x.ini").read_bytes()
    assert "Audit only" in reconciler("apply", desired, "--yes", root=root, check=0).stdout
    assert (root / "etc/x.ini").read_bytes() == before
    status = json.loads(reconciler("status", desired, "--format", "json", root=root).stdout)
    assert [(d["policy"], d["state"]) for d in status["deployments"]] == [("audit", "pending")]


def test_policy_of_one_resource(root: Path, desired: Path) -> None:
    """What is audited is left and stays held; what is enforced beside it is brought about, in an audited one too."""
    both = "deployment: d\nresources:\n  - file: /etc/one\n    content: a\n  - file: /etc/two\n    content: b\n"
    (desired / "d.yaml").write_text(both)
    reconciler("apply", desired, "--yes", root=root, check=0)
    (root / "etc/one").write_text("drifted")
    (root / "etc/two").write_text("drifted")
    (desired / "d.yaml").write_text(both.replace("content: a\n", "content: a\n    policy: audit\n"))
    reconciler("apply", desired, "--yes", root=root, check=0)
    assert [(root / "etc" / name).read_text() for name in ("one", "two")] == ["drifted", "b"]
    told = json.loads(reconciler("plan", desired, "--format", "json", root=root, check=0).stdout)
    assert [t["address"] for t in told["audit"]] == ["file:/etc/one"] and told["transitions"] == []
    audited = both.replace("resources:", "policy: audit\nresources:")
    (desired / "d.yaml").write_text(audited.replace("content: a\n", "content: a\n    policy: enforce\n"))
    reconciler("apply", desired, "--yes", root=root, check=0)
    assert (root / "etc/one").read_text() == "a"
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert not (root / "etc/one").exists() and not (root / "etc/two").exists()


def test_match_chooses_hosts_and_an_unreadable_fact_is_unknown(root: Path, desired: Path) -> None:
    (desired / "d.yaml").write_text(INI.replace("resources:", 'match: {hostname: "db-*"}\nresources:'))
    assert json.loads(reconciler("plan", desired, "--format", "json", root=root, check=0).stdout)["transitions"] == []
    (desired / "d.yaml").write_text(INI.replace("resources:", 'match: {hostname: "web-*", os: linux}\nresources:'))
    assert json.loads(reconciler("plan", desired, "--format", "json", root=root, check=0).stdout)["transitions"]
    (root / "etc/hostname").unlink()
    blocked = json.loads(reconciler("plan", desired, "--format", "json", root=root, check=3).stdout)["blocked"]
    assert blocked[0]["unknown"] is True


def test_guards(root: Path, desired: Path) -> None:
    reconciler("apply", desired, "--yes", "--max-changes", "0", root=root, check=3)
    reconciler("apply", desired, "--yes", "--only", "ini:/etc/nothing", root=root, check=3)
    reconciler("apply", desired, "--yes", "--only", "ini:/etc/x.ini", root=root, check=0)
    assert "k = new" in (root / "etc/x.ini").read_text()


def test_the_reference_is_made_from_the_models() -> None:
    from contrib.dev.reference import ROOT, page

    assert (ROOT / "contrib/docs/desired.md").read_text() == page()


def test_every_command_has_help_with_an_example() -> None:
    from reconciler.cli._main import commands

    for name in commands():
        words = [name, "verify", "--help"] if name == "log" else [name, "--help"]
        assert "Example: reconciler" in reconciler(*words, check=0).stdout
    readme = Path("README.md").read_text() if Path("README.md").exists() else ""
    assert "make demo" in readme and "make test" in readme


def test_imports_run_downwards() -> None:
    import subprocess
    import sys

    from tests.worlds import REPO

    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], capture_output=True, text=True, cwd=REPO, check=False
    )
    assert done.returncode == 0, done.stdout
