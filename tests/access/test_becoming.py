"""Ways to become somebody else, each as a file on a root directory, and what a plan or a policy makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.access.test_plans import plan, write
from tests.worlds import managesoft, reconciler, system

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners are root's to change")
PASSWD = "".join(
    f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for name, uid in (("root", 0), ("toor", 0), ("eve", 31), ("bob", 32), ("svc", 33), ("twin", 33), ("nobody", 65534))
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = managesoft(system(tmp_path / "root"))
    made.chmod(0o755)
    (made / "etc/passwd").write_text(PASSWD)
    (made / "etc/shadow").write_text("".join(f"{n}:!:1::::::\n" for n in ("eve", "bob", "svc", "twin")))
    (made / "etc/group").write_text("root:x:0:\nteam:x:40:eve\n" + "".join(f"g{n}:x:{n}:\n" for n in (31, 32, 33)))
    (made / "etc/sudoers").write_text("root ALL=(ALL) ALL\n")
    for name in ("sh", "python3.11", "id", "tee", "less", "env"):
        program = made / "usr/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("x")
        program.chmod(0o755)
    (made / "srv").mkdir(exist_ok=True)
    (made / "srv/eves").write_text("x")
    os.chown(made / "srv/eves", 31, 31)
    return made


def become(root: Path, path: str = "/etc/shadow") -> list[str]:
    told = json.loads(reconciler("access", path, "--format", "json", root=root, check=0).stdout)
    return told["paths"][0]["become"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "rule",
    [
        "eve ALL=(root) NOPASSWD: ALL", "eve ALL=(root) NOPASSWD: /usr/bin/sh", 'eve ALL=(root) NOPASSWD: /usr/bin/sh ""',
        "eve ALL=(root) NOPASSWD: /usr/bin/python3.11", "eve ALL=(root) NOPASSWD: /usr/bin/", "eve ALL=(root) NOPASSWD: ^/usr/.*$",
        "eve ALL=(root) NOPASSWD: /usr/bin/l*", "eve ALL=(root) NOPASSWD:SETENV: /usr/bin/id", "Defaults:eve setenv\neve ALL=(root) NOPASSWD: /usr/bin/id",
        "eve ALL=(root) NOPASSWD: sudoedit /etc/shadow", "eve ALL=(root) NOPASSWD: /srv/eves", "eve ALL=(root) NOPASSWD: /usr/bin/less /var/log/x",
        "eve ALL=(root) NOPASSWD: /usr/bin/tee /etc/passwd", "eve ALL=(toor) NOPASSWD: ALL", "%team ALL=(root) NOPASSWD: ALL",
        "Defaults:%team !authenticate\neve ALL=(root) ALL", "Defaults>root !authenticate\neve ALL=(root) ALL",
        "Defaults!/usr/bin/env !authenticate\neve ALL=(root) /usr/bin/env", "Defaults !authenticate\neve ALL=(ALL) ALL",
        'eve ALL=(root) NOPASSWD: /usr/bin/env # comment "x"', "eve ALL=(root) NOPASSWD: /usr/bin/env#comment",
        "eve ALL=(root) NOPASSWD: /srv/link", "bob ALL=(root) NOPASSWD: ALL\neve ALL=(bob) NOPASSWD: ALL",
    ],
)  # fmt: skip
def test_a_sudo_rule_that_leads_to_root_is_told(rule: str, root: Path) -> None:
    (root / "srv/link").symlink_to("/usr/bin/sh")
    assert become(root) == []
    (root / "etc/sudoers").write_text(rule + "\n")
    assert "eve" in become(root), rule


@pytest.mark.parametrize(
    "rule",
    [
        "eve ALL=(root) ALL", "eve ALL=(root) NOPASSWD: /usr/bin/id", "eve ALL=(:team) NOPASSWD: ALL", "eve ALL=() NOPASSWD: ALL",
        "eve ALL=(root) NOPASSWD: ALL, !ALL", "eve ALL=(root) NOPASSWD:NOEXEC: /usr/bin/env", "eve other=(root) NOPASSWD: ALL",
        "eve ALL=(bob) NOPASSWD: ALL", "eve ALL=(root) NOPASSWD: /usr/bin/tee /srv/log", "# eve ALL=(root) NOPASSWD: ALL",
    ],
)  # fmt: skip
def test_one_that_does_not_is_not(rule: str, root: Path) -> None:
    (root / "etc/sudoers").write_text(rule + "\n")
    assert become(root) == [], rule


def test_accounts_of_one_number_are_one(root: Path) -> None:
    (root / "srv/svcs").write_text("x")
    os.chown(root / "srv/svcs", 33, 33)
    (root / "etc/sudoers").write_text("eve ALL=(twin) NOPASSWD: ALL\n")
    assert become(root, "/srv/svcs") == ["eve"]


def test_an_open_account_needs_no_nopasswd(root: Path) -> None:
    (root / "etc/sudoers").write_text("eve ALL=(root) ALL\n")
    for passwd, shadow in (
        (PASSWD.replace("eve:x", "eve:$6$a$b"), "eve:!:1::::::\n"),
        (PASSWD, "eve:$6$a$b:1::::::\n"),
    ):
        (root / "etc/passwd").write_text(passwd)
        (root / "etc/shadow").write_text(shadow)
        assert become(root) == ["eve"]


UNIT = "/etc/systemd/system/x.service"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (UNIT, "[Service]\nExecStart=/srv/eves\n"), (UNIT, "[Service]\nUser=bob\nExecStart=/usr/bin/id\nExecStartPre=+/srv/eves\n"),
        (UNIT, '[Service]\nExecStart=/usr/bin/sh -c "/srv/eves"\n'), (UNIT, '[Service]\nExecStart="/srv/eves"\n'),
        (UNIT, "[Service]\nExecStart=/usr/bin/id\nExecStopPost=-/srv/eves\n"), (UNIT, "[Service]\nExecStart=/usr/bin/id\nEnvironmentFile=-/srv/eves\n"),
        (UNIT, "[Service]\nUser=bob\nPermissionsStartOnly=yes\nExecStart=/usr/bin/id\nExecStartPre=/srv/eves\n"),
        ("/etc/systemd/system/x@.service", "[Service]\nExecStart=/srv/eves %i\n"),
        ("/etc/crontab", "* * * * * root /srv/eves\n"), ("/etc/cron.d/x", "@daily root cd / && /srv/eves x\n"),
        ("/etc/cron.d/x", "PATH=/srv:/bin\n1 2 3 4 5 root eves --now\n"), ("/etc/cron.d/x", "* * * * * root /srv/eves%x\n"),
        ("/var/spool/cron/crontabs/root", "* * * * * /srv/eves\n"), ("/etc/cron.daily/x", None), ("/etc/init.d/x", None),
    ],
)  # fmt: skip
def test_what_root_runs_and_somebody_can_change_is_told(path: str, text: str | None, root: Path) -> None:
    file = root / path[1:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text or "#!/bin/sh\n")
    if text is None:
        os.chown(file, 31, 31)
    assert become(root) == ["eve"], path


def test_a_unit_file_of_somebodys_is_his_to_write(root: Path) -> None:
    file = root / UNIT[1:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[Service]\nExecStart=/usr/bin/id\n")
    assert become(root) == []
    os.chown(file, 31, 31)
    assert become(root) == ["eve"]


def test_a_mask_without_names_counts(root: Path) -> None:
    path = root / "srv/masked"
    path.write_text("x")
    path.chmod(0o640)
    os.chown(path, 0, 40)
    subprocess.run(["setfacl", "-m", "g::r,m::rw", str(path)], check=True)
    told = json.loads(reconciler("access", "/srv/masked", "--format", "json", root=root, check=0).stdout)["paths"][0]
    assert (told["read"], told["write"]) == (["root", "toor", "eve"], ["root", "toor"])


def test_an_append_only_file_can_be_written_to_and_an_immutable_one_cannot(root: Path) -> None:
    path = root / "srv/log"
    path.write_text("x")
    path.chmod(0o666)
    for flag, names in (("a", ["root", "toor", "eve", "bob", "svc", "twin", "nobody"]), ("i", [])):
        if subprocess.run(["chattr", f"+{flag}", str(path)], check=False, capture_output=True).returncode:
            pytest.skip("this file system knows no such flags")
        try:
            told = json.loads(reconciler("access", "/srv/log", "--format", "json", root=root, check=0).stdout)["paths"][
                0
            ]
        finally:
            subprocess.run(["chattr", f"-{flag}", str(path)], check=True)
        assert told["write"] == names


def test_thousands_of_accounts_take_seconds(root: Path) -> None:
    names = [f"u{n}" for n in range(3000)]
    (root / "etc/passwd").write_text(PASSWD + "".join(f"{n}:x:{5000 + i}:40::/:/bin/sh\n" for i, n in enumerate(names)))
    (root / "etc/group").write_text(
        "".join(f"grp{g}:x:{100 + g}:{','.join(names[g::3])}\n" for g in range(60)) + "team:x:40:\n"
    )
    before = time.monotonic()
    reconciler("access", "/etc/passwd", root=root, check=0)
    assert time.monotonic() - before < 20, "it was a minute and a half when every list was read for every account"


@pytest.mark.parametrize(
    ("resources", "access"),
    [
        ("- account: ann\n  - {tree: /opt/managesoft, owner: ann}", "/opt/managesoft/libexec/h37: {write: [root, toor]}"),
        ("- {file: /srv/new/secret, content: x, owner: eve}", "/srv/new/secret: {write: [root, toor]}"),
        ("- {tree: /srv/newtree, create: true, owner: eve}", "/srv/newtree: {write: [root, toor]}"),
        ("- {tree: /srv/acl, file_mode: '0660'}", "/srv/acl/f: {write: [root, toor]}"),
        ("- {file: /etc/sudoers.d/x, content: \"eve ALL=(root) NOPASSWD: sudoedit /etc/shadow\\n\"}", "/etc/shadow: {become: [root]}"),
    ],
)  # fmt: skip
def test_a_policy_is_not_got_round(resources: str, access: str, root: Path, tmp_path: Path) -> None:
    (root / "etc/sudoers").write_text("@includedir /etc/sudoers.d\n")
    for number in range(60):
        (root / f"opt/managesoft/libexec/h{number:02}").write_text("x")
    (root / "srv/acl").mkdir()
    (root / "srv/acl/f").write_text("x")
    (root / "srv/acl/f").chmod(0o600)
    subprocess.run(["setfacl", "-m", "u:31:rw,m::-", str(root / "srv/acl/f")], check=True)
    file = write(tmp_path, f"deployment: d\nresources:\n  {resources}\naccess:\n  {access}\n")
    blocked = plan(file, root, code=3)["blocked"]
    assert [item["address"].split(":")[0] for item in blocked] == ["access"]
    for more in ((), ("--skip-blocked",)):
        assert reconciler("apply", file, "--yes", *more, root=root).returncode == 3


def test_decoys_do_not_hide_what_breaks_a_policy(root: Path, tmp_path: Path) -> None:
    for name, mode, count in (("a", 0o700, 6), ("z", 0o755, 1)):
        (root / "srv/t" / name).mkdir(parents=True)
        for number in range(count):
            (root / "srv/t" / name / f"f{number}").write_text("x")
            (root / "srv/t" / name / f"f{number}").chmod(0o666)
        (root / "srv/t" / name).chmod(mode)
    file = write(tmp_path, "deployment: d\nresources: []\naccess:\n  /srv/t: {write: [root, toor]}\n")
    (deployment,) = json.loads(reconciler("status", file, "--format", "json", root=root, check=0).stdout)["deployments"]
    assert [item["path"] for item in deployment["access"]] == ["/srv/t/z/f0"]


def test_what_a_plan_makes_root_run_or_grants_is_told(root: Path, tmp_path: Path) -> None:
    text = """deployment: d
resources:
  - {file: /etc/systemd/system/e.service, content: "[Service]\\nExecStart=/usr/bin/id\\n", owner: eve}
  - {file: /etc/cron.d/e, content: "* * * * * root /srv/eves\\n", owner: root}
  - {account: eve, comment: changed}
  - tree: /opt/managesoft
    owner: root
    capabilities: {bin/ndtrack: "cap_setuid,cap_net_raw+ep"}
"""
    told = " | ".join(plan(write(tmp_path, text), root)["access"]["escalation"])
    assert "/etc/systemd/system/e.service: owns it" in told
    assert "/etc/cron.d/e:1 runs /srv/eves: owns it" in told
    assert "/opt/managesoft/bin/ndtrack gets cap_setuid: for whoever may execute it" in told
