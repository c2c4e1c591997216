"""The kind that edits the three files: our lines stand where they decide, others keep their bytes, undo is exact."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.rscd.edit import Ask, arrange, decides
from reconciler.rscd.text import RscFile
from tests.rscd.test_language import USERS
from tests.worlds import digest, reconciler

DIRECTORY = "etc/rsc"
ASKS = st.lists(
    st.builds(
        lambda who, options: Ask((who,), tuple(options)),
        st.sampled_from(["A:joe", "A:*", "B:ann", "joe", "*:*"]),
        st.sampled_from([["rw"], ["ro", "map=root"], ["hosts=h1", "rw"]]),
    ),
    max_size=3,
)


def possible(asks: list[Ask]) -> bool:
    """Whether no line is covered by one before it, as the desired state demands."""
    entries = [ask.entry("users") for ask in asks]
    return all(not a.covers(b) and a.key != b.key for n, b in enumerate(entries) for a in entries[:n])


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(USERS, ASKS.filter(possible))
def test_asked_lines_decide_and_all_others_keep_their_bytes_and_order(text: str, asks: list[Ask]) -> None:
    file = RscFile("users", text.encode())
    keys = [ask.entry("users").key for ask in asks]
    arrange(file, asks)
    for ask in asks:
        wanted = ask.entry("users")
        there = file.first(wanted.key)
        assert there is not None
        assert sorted(map(str, there.options)) == sorted(map(str, wanted.options))
        assert decides(file, there, keys)
    once = file.render()
    arrange(file, asks)
    assert file.render() == once, "twice is once"
    touched = {entry.number for entry in (RscFile("users", text.encode()).first(key) for key in keys) if entry}
    ours = {entry.number for entry in (file.first(key) for key in keys) if entry}
    before = [
        line.rstrip("\r\n") for n, line in enumerate(RscFile("users", text.encode()).lines, 1) if n not in touched
    ]
    after = [line.rstrip("\r\n") for n, line in enumerate(file.lines, 1) if n not in ours]
    assert before == after


def host(root: Path, exports: str | None = "* ro\n", local: str = "", users: str = "") -> Path:
    (root / DIRECTORY).mkdir(parents=True)
    (root / "var/lib").mkdir(parents=True)
    for name, text in (("exports", exports), ("users.local", local), ("users", users)):
        if text:
            (root / DIRECTORY / name).write_bytes(text.encode())
            os.utime(root / DIRECTORY / name, (1e9, 1e9))
    (root / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\njoe:x:9:9::/:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\njoe:x:9:\n")
    (root / "etc/shadow").write_text("")
    (root / "etc/gshadow").write_text("")
    os.chmod(root, 0o755)
    return root


def desired(tmp_path: Path, resource: str) -> Path:
    file = tmp_path / "d.yaml"
    file.write_text(f"deployment: rscd\nresources:\n  - {{mapping: /etc/rsc, {resource}}}\n")
    return file


def local(root: Path) -> str:
    return (root / DIRECTORY / "users.local").read_text()


def test_a_line_goes_above_what_would_decide_in_its_place(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="# head\nX:y rw\nA:* ro\nB:* ro\n")
    before = digest(root)
    file = desired(tmp_path, "users_local: [{who: 'A:joe', options: [rw, map=root]}, {who: 'C:c', options: [ro]}]")
    assert "A:joe from any host: joe (ro) → root (rw)" in reconciler("plan", file, root=root, check=0).stdout
    reconciler("apply", file, "--yes", root=root, check=0)
    assert local(root) == "# head\nX:y rw\nA:joe rw,map=root\nC:c ro\nA:* ro\nB:* ro\n"
    assert reconciler("plan", file, "--detailed-exitcode", root=root).returncode == 0
    reconciler("uninstall", "rscd", "--yes", root=root, check=0)
    assert digest(root) == before


def test_a_line_above_ours_is_drift_and_ours_moves_up_again(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="B:* ro\n")
    file = desired(tmp_path, "users_local: [{who: 'A:joe', options: [rw]}]")
    reconciler("apply", file, "--yes", root=root, check=0)
    (root / DIRECTORY / "users.local").write_text("A:* ro\n" + local(root))
    told = reconciler("plan", file, root=root, check=0).stdout
    assert "never decides" in told
    reconciler("apply", file, "--yes", root=root, check=0)
    assert local(root) == "A:joe rw\nA:* ro\nB:* ro\n"


def test_lines_of_others_stay_through_all_of_it(tmp_path: Path) -> None:
    root = host(tmp_path / "root", exports="* rw\n", local="B:* ro # theirs\r\n")
    file = desired(tmp_path, "exports: [{hosts: '*', options: [ro]}], users_local: [{who: 'A:joe', options: [rw]}]")
    reconciler("apply", file, "--yes", root=root, check=0)
    (root / DIRECTORY / "users.local").write_text("# new\n" + local(root) + "Z:z ro\n")
    reconciler("uninstall", "rscd", "--yes", root=root, check=0)
    assert local(root) == "# new\nB:* ro # theirs\nZ:z ro\n"
    assert (root / DIRECTORY / "exports").read_text() == "* rw\n"


def test_an_edit_of_our_line_is_a_conflict_at_undo(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    file = desired(tmp_path, "users_local: [{who: 'A:joe', options: [rw]}]")
    reconciler("apply", file, "--yes", root=root, check=0)
    (root / DIRECTORY / "users.local").write_text("A:joe ro\nM:m ro\n")
    refused = reconciler("uninstall", "rscd", "--yes", root=root, check=3)
    assert "we left rw, and found ro" in refused.stdout
    reconciler("uninstall", "rscd", "--yes", "--skip-conflicts", root=root, check=5)
    assert local(root) == "A:joe ro\nM:m ro\n"


def test_strangers_become_whom_fallback_says_on_every_line(tmp_path: Path) -> None:
    root = host(tmp_path / "root", exports="h1\trw,anon=root # old\n* ro\n")
    before = digest(root)
    file = desired(tmp_path, "fallback: nobody, exports: [{hosts: h2, options: [rw]}]")
    reconciler("apply", file, "--yes", root=root, check=0)
    text = (root / DIRECTORY / "exports").read_text()
    assert text == "h1\trw,anon=nobody # old\n* ro,anon=nobody\nh2\trw,anon=nobody\n"
    reconciler("rollback", "--yes", root=root, check=0)
    assert digest(root) == before


def test_the_mode_is_set_where_it_is_said_to_be(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    before = digest(root)
    file = desired(
        tmp_path, "layout: windows, mode: privilege-mapping, mode_in: {file: /etc/x.ini, section: S, key: K}"
    )
    plan = json.loads(reconciler("plan", file, "--format", "json", root=root, check=0).stdout)
    assert [(t["verb"], t["changes"][0]["after"]) for t in plan["transitions"]] == [("set-mode", "privilege-mapping")]
    assert plan["summary"]["change"] == 1
    reconciler("apply", file, "--yes", root=root, check=0)
    assert (root / "etc/x.ini").read_text() == "[S]\nK=privilege-mapping\n"
    file.write_text(file.read_text().replace("mode: privilege-mapping", "mode: windows-user"))
    reconciler("apply", file, "--yes", root=root, check=0)
    assert "K=windows-user" in (root / "etc/x.ini").read_text()
    reconciler("uninstall", "rscd", "--yes", root=root, check=0)
    assert digest(root) == before


def test_system_only_wants_no_account_of_the_agents_own(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    (root / "Users/BladeLogicRSCD").mkdir(parents=True)
    file = desired(tmp_path, "layout: windows, mode: system-only")
    blocked = reconciler("plan", file, root=root, check=3).stdout
    assert "BladeLogicRSCD is not used" in blocked
    (root / "Users/BladeLogicRSCD").rmdir()
    reconciler("apply", file, "--yes", root=root, check=0)
    assert "UserMapping=system-only" in (root / DIRECTORY / "mapping.ini").read_text()


def test_where_no_agent_is_nothing_is_made(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    file = desired(tmp_path, "users_local: [{who: 'A:joe', options: [rw]}]")
    (root / DIRECTORY / "exports").unlink()
    (root / DIRECTORY).rmdir()
    assert "there is no RSCD agent here" in reconciler("apply", file, "--yes", root=root, check=3).stdout
    assert not (root / DIRECTORY).exists()


def test_a_file_that_we_made_goes_and_one_with_lines_of_others_is_a_conflict(tmp_path: Path) -> None:
    root = host(tmp_path / "root", exports=None)
    before = digest(root)
    file = desired(tmp_path, "exports: [{hosts: '*', options: [ro]}]")
    reconciler("apply", file, "--yes", root=root, check=0)
    reconciler("rollback", "--yes", root=root, check=0)
    assert digest(root) == before
    reconciler("apply", file, "--yes", root=root, check=0)
    with (root / DIRECTORY / "exports").open("a") as exports:
        exports.write("h9 rw\n")
    assert "1 more lines" in reconciler("uninstall", "rscd", "--yes", root=root, check=3).stdout
    reconciler("uninstall", "rscd", "--yes", "--force", root=root, check=0)
    assert not (root / DIRECTORY / "exports").exists()


def test_two_deployments_each_keep_their_lines(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="B:* ro\n")
    before = digest(root)
    for name, who in (("one", "A:joe"), ("two", "C:c")):
        (tmp_path / f"{name}.yaml").write_text(
            f"deployment: {name}\nresources:\n  - {{mapping: /etc/rsc, users_local: [{{who: '{who}', options: [rw]}}]}}\n"
        )
    both = (tmp_path / "one.yaml", tmp_path / "two.yaml")
    reconciler("apply", *both, "--yes", root=root, check=0)
    assert local(root) == "B:* ro\nA:joe rw\nC:c rw\n"
    reconciler("uninstall", "one", "--yes", root=root, check=0)
    assert local(root) == "B:* ro\nC:c rw\n"
    reconciler("uninstall", "two", "--yes", root=root, check=0)
    assert digest(root) == before


def test_two_deployments_that_say_different_things_of_one_caller_are_a_mistake(tmp_path: Path) -> None:
    for name, option in (("one", "rw"), ("two", "ro")):
        (tmp_path / f"{name}.yaml").write_text(
            f"deployment: {name}\nresources:\n  - {{mapping: /etc/rsc, users_local: [{{who: 'A:j', options: [{option}]}}]}}\n"
        )
    said = reconciler("validate", tmp_path, check=1).stderr
    assert "users.local.A:j is 'ro' here" in said


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (
            "users_local: [{who: 'A:*', options: [ro]}]",
            "users_local: [{who: 'A:joe', options: [rw]}]",
            "can never decide",
        ),
        ("fallback: nobody", "exports: [{hosts: h2, options: [rw, anon=joe]}]", "both 'fallback' and 'anon='"),
        (
            "exports: [{hosts: [a, b], options: [rw]}]",
            "exports: [{hosts: [b, c], options: [ro]}]",
            "is named by two lines",
        ),
    ],
)
def test_what_one_agent_cannot_have_is_a_mistake_of_two_files(one: str, two: str, said: str, tmp_path: Path) -> None:
    for name, body in (("one", one), ("two", two)):
        (tmp_path / f"{name}.yaml").write_text(f"deployment: {name}\nresources:\n  - {{mapping: /etc/rsc, {body}}}\n")
    told = reconciler("validate", tmp_path, check=1).stderr
    assert said in told
    assert "two.yaml:3" in told
    assert "one.yaml:3" in told


def test_equal_wishes_in_another_order_are_one(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    for name, options in (("one", "rw, map=joe"), ("two", "map=joe, rw")):
        (tmp_path / f"{name}.yaml").write_text(
            f"deployment: {name}\nresources:\n  - {{mapping: /etc/rsc, users_local: [{{who: 'A:j', options: [{options}]}}]}}\n"
        )
    reconciler("apply", tmp_path / "one.yaml", tmp_path / "two.yaml", "--yes", root=root, check=0)
    assert local(root) == "A:j rw,map=joe\n"
    for name in ("one", "two"):
        assert local(root) == "A:j rw,map=joe\n"
        reconciler("uninstall", name, "--yes", root=root, check=0)
    assert not (root / DIRECTORY / "users.local").exists()


def test_inside_a_tree_the_files_stay_roots(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    before = digest(root)
    file = tmp_path / "d.yaml"
    file.write_text(
        "deployment: d\nresources:\n  - {tree: /etc/rsc, owner: joe, file_mode: '0640'}\n"
        "  - {mapping: /etc/rsc, layout: windows, mode: system-only, users_local: [{who: 'A:j', options: [rw]}]}\n"
    )
    reconciler("apply", file, "--yes", root=root, check=0)
    assert reconciler("plan", file, "--detailed-exitcode", root=root).returncode == 0
    if os.geteuid() == 0:
        assert (root / DIRECTORY / "users.local").stat().st_uid == 0
    reconciler("uninstall", "d", "--yes", root=root, check=0)
    assert digest(root) == before


@pytest.mark.parametrize(
    "other", ["{file: /etc/rsc/users.local, content: x}", "{ini: /etc/rsc/m.ini, set: {RSCD: {UserMapping: x}}}"]
)
def test_a_file_has_one_resource(other: str, tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    more = "layout: windows, mode: system-only, mode_in: {file: m.ini}, users_local: [{who: j, options: [rw]}]"
    file.write_text(f"deployment: d\nresources:\n  - {{mapping: /etc/rsc, {more}}}\n  - {other}\n")
    assert "belongs to 'mapping: /etc/rsc' already" in reconciler("validate", file, check=1).stderr


@pytest.mark.parametrize(
    ("there", "asked"),
    [("A:joe hosts=*,ro\n", "hosts=app1"), ("A:joe hosts=10.1.0.0/16,ro\n", "hosts=10.1.2.3"), ("A:joe hosts=10.1.2.3,ro\n", "hosts=10.1.0.0/16")],
)  # fmt: skip
def test_hosts_that_lie_in_each_other_are_seen_to(there: str, asked: str, tmp_path: Path) -> None:
    root = host(tmp_path / "root", local=there)
    file = desired(tmp_path, f"users_local: [{{who: 'A:joe', options: [rw, '{asked}']}}]")
    reconciler("apply", file, "--yes", root=root, check=0)
    assert local(root) == f"A:joe rw,{asked}\n{there}"


def test_a_line_for_users_that_users_local_takes_is_blocked(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="A:* ro\n")
    file = desired(tmp_path, "edit_generated: true, users: [{who: 'A:joe', options: [rw]}]")
    told = " ".join(reconciler("plan", file, root=root, check=3).stdout.split())
    assert "can never decide: users.local:1 fits first" in told


def test_a_byte_order_mark_stays_where_it_was(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="\ufeffA:* ro\n")
    before = digest(root)
    for who in ("[{who: 'A:joe', options: [rw]}, {who: 'A:ann', options: [rw]}]", "[{who: 'A:ann', options: [rw]}]"):
        reconciler("apply", desired(tmp_path, f"users_local: {who}"), "--yes", root=root, check=0)
    assert local(root) == "\ufeffA:ann rw\nA:* ro\n"
    reconciler("rollback", "--yes", root=root, check=0)
    reconciler("rollback", "--yes", root=root, check=0)
    assert digest(root) == before


def test_two_edits_and_an_uninstall_leave_nothing(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="joe map=ann,ro\n* ro\nann map=root,ro\n")
    before = digest(root)
    for who, option in (("ann", "map=ann"), ("'*'", "map=root")):
        reconciler(
            "apply",
            desired(tmp_path, f"users_local: [{{who: {who}, options: [ro, {option}]}}]"),
            "--yes",
            root=root,
            check=0,
        )
    reconciler("uninstall", "rscd", "--yes", root=root, check=0)
    assert digest(root) == before


def test_who_keeps_changing_our_lines_back_is_not_fought(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    file = desired(tmp_path, "users_local: [{who: 'A:joe', options: [rw]}]")
    for _ in range(4):
        reconciler("apply", file, "--yes", root=root, check=0)
        (root / DIRECTORY / "users.local").write_text("A:joe ro\n")
    stopped = reconciler("apply", file, "--yes", root=root, check=3)
    assert "contested: 3 times within the hour" in " ".join(stopped.stdout.split())
    assert local(root) == "A:joe ro\n"
    reconciler("apply", file, "--yes", "--force", root=root, check=0)
    assert local(root) == "A:joe rw\n"


def test_our_own_changes_of_mind_are_no_fight(tmp_path: Path) -> None:
    root = host(tmp_path / "root")
    for option in ("rw", "ro") * 4:
        file = desired(tmp_path, f"users_local: [{{who: 'A:joe', options: [{option}]}}]")
        reconciler("apply", file, "--yes", root=root, check=0)
    assert local(root) == "A:joe ro\n"


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("mode: system-only", "mode 'system-only' is not one of unix's: impersonation"),
        ("layout: windows, mode: impersonation", "is not one of windows's"),
        ("users: [{who: joe, options: [rw]}]", "'users' is generated by the vendor's ACL push"),
        ("fallback: nobody, exports: [{hosts: '*', options: [rw, anon=joe]}]", "both 'fallback' and 'anon='"),
        ("layout: windows, fallback: nobody", "'fallback' counts on unix alone"),
        ("users_local: [{who: 'A:*', options: [rw]}, {who: 'A:joe', options: [ro]}]", "'A:joe' can never decide"),
        ("users_local: [{who: 'A:joe', options: [rw]}, {who: 'A:joe', options: [ro]}]", "'A:joe' can never decide"),
        ("exports: [{hosts: [a, b], options: [rw]}, {hosts: b, options: [ro]}]", "can never decide"),
        ("exports: [{hosts: [a, b], options: [rw]}, {hosts: [b, c], options: [ro]}]", "host 'b' is named by two lines"),
        ("exports: [{hosts: '*', options: [rw, ro]}]", "says both ro and rw"),
        ("exports: [{hosts: '*', options: [rww]}]", "unknown option 'rww'; did you mean 'rw'?"),
        ("exports: [{hosts: '*', options: [map=root]}]", "map= has no meaning in exports; write user"),
        ("users_local: [{who: 'A:joe', options: [user=root]}]", "user= has no meaning in users; write map"),
        ("users_local: [{who: ':joe', options: [rw]}]", "is no caller"),
        ("users_local: [{who: nouser, options: [rw]}]", "'nouser' stands alone"),
        ("users_local: [{who: 'A:joe', options: ['map=']}]", "lacks its value"),
        ("users_local: [{who: 'A b:joe', options: [rw]}]", "has a blank, a comma"),
        ("exports: [{hosts: [], options: [rw]}]", "'hosts' is empty"),
        ("exports: [{hosts: 10.300.0.1, options: [rw]}]", "neither an address nor a subnet"),
        ("exports: [{hosts: [10.1.0.0/16], options: [rw]}, {hosts: ['10.1.*'], options: [ro]}]", "can never decide"),
        ("users_local: [{who: j, options: ['hosts=*', rw]}, {who: j, options: ['hosts=a', ro]}]", "can never decide"),
        ("users_local: [{who: j, options: [MAP=root]}]", "did you mean 'map'?"),
        ("users_local: [{who: j, options: [map=a, map=b]}]", "map= stands twice"),
        ("users_local: [{who: j, options: [yes]}]", "unknown option 'yes'; write rw or ro"),
        ("users_local: [{who: j, options: [validusers=a, rww]}]", "validusers= has no meaning in users; unknown option 'rww'"),
        ('users_local: [{who: "j\\u200b", options: [rw]}]', "invisible character"),
        ("fallback: no", "write an account, or deny"),
        ("layout: windows, mode: system-only, mode_in: {file: exports}", "cannot hold the mode"),
        ("layout: windows, mode: system-only, mode_in: {file: ../x.ini}", "cannot hold the mode"),
        ("layout: windows, mode: system-only, mode_in: {section: 'a]b'}", "cannot be the name of a section"),
        ("layout: windows, mode: system-only, mode_in: {key: 'k=v'}", "cannot be the name of a key"),
        ("users_local: [{user: 'A:joe', options: [rw]}]", "unknown key 'user'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_mistake(resource: str, said: str, tmp_path: Path) -> None:
    file = desired(tmp_path, resource)
    refused = reconciler("validate", file, check=1).stderr
    assert f"{file}:3:" in refused
    assert said in refused, refused


def test_a_line_that_only_moved_comes_back_to_its_place(tmp_path: Path) -> None:
    root = host(tmp_path / "root", local="A:* ro\njoe ro\nB:b ro\n")
    file = desired(
        tmp_path, "users_local: [{who: '*:ann', options: [ro]}, {who: joe, options: [ro]}, {who: '*', options: [rw]}]"
    )
    reconciler("apply", file, "--yes", root=root, check=0)
    (root / DIRECTORY / "users.local").write_text("# theirs\n" + local(root))
    reconciler("uninstall", "rscd", "--yes", root=root, check=0)
    assert local(root) == "# theirs\nA:* ro\njoe ro\nB:b ro\n"
