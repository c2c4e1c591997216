"""mapping resolve, show and diff, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rscd.test_kind import desired, host
from tests.worlds import reconciler, stamps


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return host(tmp_path / "root", exports="10.0.0.1 rw\napp1 ro,user=joe\n", local="# x\nA:joe rw,map=root\nnouser\n")


def asked(root: Path, *words: str) -> dict[str, object]:
    before = stamps(root)
    done = reconciler("mapping", "resolve", "--format", "json", *words, root=root, check=0)
    assert stamps(root) == before
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_the_answer_and_the_line_that_decided(root: Path) -> None:
    told = asked(root, "--host", "10.0.0.1", "--role", "A", "--user", "joe")
    assert told["format_version"] == "1.0"
    assert (told["decision"], told["mechanism"], told["runs_as"], told["permission"]) == (
        "granted",
        "setuid",
        "root",
        "rw",
    )
    assert told["rule"] == {"file": "/etc/rsc/users.local", "line": 2, "text": "A:joe rw,map=root"}
    assert told["steps"]


def test_the_hosts_file_tells_names_from_addresses(root: Path) -> None:
    caller = ("--role", "A", "--user", "joe")
    assert asked(root, "--host", "10.0.0.9", *caller)["decision"] == "unknown"
    (root / "etc/hosts").write_text("10.0.0.9 app1.example.com app1\n")
    assert asked(root, "--host", "10.0.0.9", *caller)["decision"] == "granted"
    (root / "etc/hosts").unlink()
    assert asked(root, "--host", "10.0.0.9", "--host", "app1", *caller)["decision"] == "granted"


def test_a_decision_is_exit_0_whatever_it_is(root: Path) -> None:
    said = reconciler("mapping", "resolve", "--host", "10.0.0.1", "--user", "joe", root=root, check=0).stdout
    assert said.startswith("denied: joe from 10.0.0.1\n  because of /etc/rsc/users.local:3: nouser\n")


def test_windows_facts_come_from_the_command_line(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="A:joe rw,map=svc\n")
    (root / "Windows").mkdir()
    (root / "etc/rsc").rename(root / "Windows/rsc")
    words = ("--os", "windows", "--host", "h", "--role", "A", "--user")
    told = asked(root, *words, "joe")
    assert (told["mechanism"], told["runs_as"], told["privileges_of"]) == ("privilege-mapping", "BladeLogicRSCD", "svc")
    assert asked(root, *words, "joe", "--domain-controller")["runs_as"] == "BladeLogicRSCDDC"
    assert asked(root, *words, "ann")["decision"] == "unknown"
    assert asked(root, *words, "ann", "--local-user", "ann")["privileges_of"] == "ann"
    assert asked(root, *words, "ann", "--local-user", "bob")["privileges_of"] == "Anonymous"
    assert asked(root, *words, "ann", "--mode", "windows-user", "--principal", "CORP\\x")["runs_as"] == "CORP\\x"
    assert asked(root, *words, "joe", "--mode", "system-only")["runs_as"] == "SYSTEM"
    (root / "Windows/rsc/mapping.ini").write_text("[RSCD]\nUserMapping=system-only\n")
    assert asked(root, *words, "joe")["runs_as"] == "SYSTEM"


def test_the_table_names_lines_and_dangers(root: Path) -> None:
    table = json.loads(reconciler("mapping", "show", "--format", "json", root=root, check=0).stdout)
    assert (table["mode"], table["agent"]) == ("impersonation", "root")
    row = next(row for row in table["rows"] if row["who"] == "A:joe" and "10.0.0.1" in row["hosts"])
    assert (row["runs_as"], row["rule"]["line"]) == ("root", 2)
    text = reconciler("mapping", "show", root=root, check=0).stdout
    assert "A:joe" in text
    assert "root (rw)   users.local:2" in text


def test_whose_rights_would_change(root: Path, tmp_path: Path) -> None:
    file = desired(tmp_path, "users_local: [{who: 'A:joe', options: [ro]}]")
    done = reconciler("mapping", "diff", file, "--detailed-exitcode", root=root, check=2)
    assert done.stdout == "A:joe from 10.0.0.1, app1: root (rw) → joe (ro)\n"
    plan = json.loads(reconciler("plan", file, "--format", "json", root=root, check=0).stdout)
    rights = plan["transitions"][0]["rights"]
    assert [(r["before"]["runs_as"], r["after"]["runs_as"]) for r in rights] == [("root", "joe")]
    reconciler("apply", file, "--yes", root=root, check=0)
    assert reconciler("mapping", "diff", file, root=root, check=0).stdout == "nobody's rights change\n"


def test_whose_rights_differ_from_another_directory(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "exports").write_text("10.0.0.1 rw\n")
    told = reconciler("mapping", "diff", "--with", other, root=root, check=0).stdout
    assert "A:joe from 10.0.0.1: root (rw) → joe (rw)\n" in told


def test_a_plan_foresees_an_account_that_it_makes(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(
        "deployment: d\nresources:\n  - account: ops\n"
        "  - {mapping: /etc/rsc, users_local: [{who: 'A:ann', options: [rw, map=ops]}]}\n"
    )
    plan = json.loads(reconciler("plan", file, "--format", "json", root=root, check=0).stdout)
    verbs = [(t["verb"], t["address"]) for t in plan["transitions"]]
    assert verbs.index(("create", "account:ops")) < verbs.index(("write", "mapping:/etc/rsc"))
    assert plan["transitions"][-1]["rights"][0]["after"]["runs_as"] == "ops"
    assert "does not exist on this host" not in json.dumps(plan)


def test_an_account_that_gives_callers_of_its_name_something_is_told(root: Path, tmp_path: Path) -> None:
    (root / "etc/rsc/users.local").write_text("A:svc rw\nB:svc rw,map=joe\n")
    file = tmp_path / "d.yaml"
    file.write_text("deployment: d\nresources:\n  - account: svc\n")
    told = json.loads(reconciler("plan", file, "--format", "json", root=root, check=0).stdout)["access"]["escalation"]
    assert "through the RSCD agent: A:svc from 10.0.0.1: nobody (rw) → svc (rw)" in told
    assert not any("B:svc" in line for line in told)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("resolve", "--user", "joe"), 64, "--host"),
        (("resolve", "--host", "h", "--user", "joe", "--mode", "system-only"), 64, "not one of unix's"),
        (("resolve", "--host", "h", "--user", "joe", "--dir", "/nowhere"), 1, "no such directory"),
        (("show", "--dir", "etc"), 64, "absolute path"),
        (("diff", "x", "--with", "y"), 64, "not both"),
    ],
)
def test_wrong_usage_is_answered(words: tuple[str, ...], code: int, said: str, root: Path) -> None:
    assert said in reconciler("mapping", *words, root=root, check=code).stderr


def test_hostile_bytes_do_not_reach_the_terminal(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="A:\x1b[31mjoe rw\n")
    for words in (("show",), ("resolve", "--host", "h", "--role", "A", "--user", "\x1b[31mjoe")):
        assert "\x1b" not in reconciler("mapping", *words, root=root, check=0).stdout
