"""Snapshots: a plan from one is the host's own plan, and no secret is in it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.app.guards import foresee
from reconciler.core.goals import from_desired
from reconciler.core.options import Options
from reconciler.desired.documents import parse
from reconciler.engine.execute import Engine
from reconciler.host.recording import Recording
from reconciler.log.store import LogReader
from reconciler.snapshots.capture import look, redactor_of
from reconciler.snapshots.redaction import Redactor
from reconciler.snapshots.snapshot import Snapshot, snapshot_json
from tests.drive import Bench
from tests.effort import LONG, many
from tests.laws.hosts import memory_host
from tests.laws.test_machine import DOCUMENTS, PARTS, document
from tests.worlds import REPO, digest, reconciler, stamps

EVERY = [f"deployment: d\nresources:\n{text}" for texts in PARTS.values() for text in texts]
PARTS_OF_A_PLAN = (
    "transitions",
    "blocked",
    "conflicts",
    "orphaned",
    "converged",
    "summary",
    "skipped",
    "notes",
    "audit",
)


def plan_json(engine: Engine, text: str) -> Any:
    documents = parse({"0.yaml": text.encode()}).documents
    return engine.survey(from_desired(documents, engine.ledger, engine.unseal), Options()).json()


@settings(
    max_examples=many(60), derandomize=not LONG, phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(st.lists(DOCUMENTS, max_size=2), st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_a_plan_from_a_snapshot_is_the_plan_of_the_host(
    before: list[dict[str, str | None]], asked: list[dict[str, str | None]]
) -> None:
    """Whatever was applied, and whatever is asked of things that the snapshot was told of."""
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(memory_host(), Path(scratch))
        for parts in before:
            bench.apply(document(parts))
        reader = LogReader(bench.log)
        watched = Engine(Recording(bench.observer()), reader)
        every = [d for text in EVERY for d in parse({"0.yaml": text.encode()}).documents]
        look(watched, every, foresee)
        assert isinstance(watched.host, Recording)
        about = {"at": "now", "host": {"name": "here", "id": "1"}}
        redactor = redactor_of(watched, every, b"k")
        told = snapshot_json(watched.host.record, watched.ledger, watched.vault, redactor, about, local_names=True)
        file = Path(scratch) / "here.json"
        file.write_text(json.dumps(told))
        for parts in asked:
            text = document(parts)
            there = Snapshot(str(file))
            mine = plan_json(Engine(bench.observer(), LogReader(bench.log)), text)
            assert plan_json(Engine(there.observer, there.log), text) == mine


@pytest.fixture
def desired(tmp_path: Path) -> Path:
    folder = tmp_path / "desired"
    folder.mkdir()
    shutil.copy(REPO / "desired/managesoft.yaml", folder / "a.yaml")
    return folder


def both(desired: Path, root: Path, snapshot: Path) -> tuple[Any, Any]:
    mine = reconciler("plan", desired, "--format", "json", root=root)
    there = reconciler("plan", desired, "--format", "json", "--snapshot", snapshot)
    assert mine.returncode == there.returncode, there.stderr
    return json.loads(mine.stdout), json.loads(there.stdout)


def test_the_commands_agree_to_the_identity_of_the_plan(root: Path, desired: Path, tmp_path: Path) -> None:
    file, document = tmp_path / "one.json", desired / "a.yaml"

    def agree() -> None:
        before = stamps(root)
        reconciler("observe", desired, "--out", file, root=root, check=0)
        assert stamps(root) == before, "observe writes nothing on the host"
        mine, there = both(desired, root, file)
        assert there["plan_id"] == mine["plan_id"] and there["transitions"] == mine["transitions"]

    agree()
    assert not (root / "var/lib/reconciler").exists()
    reconciler("apply", desired, "--yes", root=root, check=0)
    agree()
    text = document.read_text()
    document.write_text("deployment: managesoft\nprofile: managesoft\nmode: default\n")
    mine, there = both(desired, root, file)
    assert there["plan_id"] == mine["plan_id"] and len(mine["transitions"]) > 5, "the way back, with the old snapshot"
    document.write_text(text + "resources:\n  - file: /etc/brand-new\n    content: hi\n  - account: another\n")
    mine, there = both(desired, root, file)
    assert there["transitions"] == mine["transitions"]
    shutil.chown(root / "opt/managesoft/bin/ndtrack", 7, 7)
    (root / "etc/managesoft.ini").write_text("[ManageSoft\\Common]\nLeastPrivilege=False\n")
    document.write_text("deployment: managesoft\nprofile: managesoft\nmode: default\n")
    agree()


def test_what_was_not_looked_at_is_unknown(root: Path, desired: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    reconciler("observe", desired, "--out", file, root=root, check=0)
    (desired / "b.yaml").write_text(
        "deployment: b\nresources:\n  - ini: /usr/share/deep/x.ini\n    set: {S: {k: v}}\n  - tree: /usr/lib\n"
        "    owner: root\n    allow_protected: true\n  - daemon: nothing-known\n    enabled: true\n"
    )
    done = reconciler("plan", desired, "--format", "json", "--snapshot", file)
    assert done.returncode == 3
    blocked = {item["address"]: item for item in json.loads(done.stdout)["blocked"]}
    for address in ("ini:/usr/share/deep/x.ini", "tree:/usr/lib"):
        assert blocked[address]["unknown"] is True and "reconciler observe" in blocked[address]["reason"]


SECRET = "s3cr3t-Vb4"


def test_no_secret_is_in_a_snapshot_and_secrets_compare_as_unknown(root: Path, tmp_path: Path) -> None:
    (root / "etc/x.ini").write_text(
        f"[S]\nplain = 1\npassword = {SECRET}\nnamed = {SECRET}\nurl = https://x/?api_token={SECRET} ; why\n"
    )
    (root / "etc/conf").write_text(SECRET)
    (root / "etc/env").write_text(f"DB_PASSWORD='{SECRET}'\nx: y\n")
    unit = root / "etc/systemd/system/agent.service"
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(
        f"[Service]\nExecStart=/bin/x --password {SECRET}\nEnvironment=TOKEN={SECRET}\n[Install]\nWantedBy=x.target\n"
    )
    shadow = root / "etc/shadow"
    shadow.write_text(shadow.read_text() + f"ann:$6${SECRET}:1::::::\nbob:!$6${SECRET}:1::::::\n")
    passwd = root / "etc/passwd"
    passwd.write_text(passwd.read_text() + "ann:x:4001:0::/:/bin/sh\nbob:x:4002:0::/:/bin/sh\n")
    (tmp_path / "value").write_text(SECRET)
    source = f"{{secret: true, from: {{file: {tmp_path}/value}}}}"
    folder = tmp_path / "desired"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "deployment: a\nresources:\n"
        f"  - ini: /etc/x.ini\n    set: {{S: {{plain: '2', password: other, named: {source}, made: {source}}}}}\n"
        f"  - file: /etc/conf\n    content: {source}\n"
        "  - file: /etc/env\n    owner: ann\n"
        "  - account: ann\n    password: locked\n  - account: bob\n    password: locked\n"
        "  - daemon: agent\n    enabled: true\n"
    )
    file = tmp_path / "one.json"

    def clean() -> Any:
        said = reconciler("observe", folder, "--out", file, root=root, check=0)
        done = reconciler("plan", folder, "--format", "json", "--snapshot", file)
        for text in (said.stdout + said.stderr, file.read_text(), done.stdout + done.stderr):
            assert SECRET not in text, text[max(0, text.index(SECRET) - 300) : text.index(SECRET) + 40]
        return {t["address"]: t for t in json.loads(done.stdout)["transitions"]}

    found = clean()
    fields = {tuple(c["field"]): (c["before"], c["after"]) for c in found["ini:/etc/x.ini"]["changes"]}
    assert fields == {("S", "plain"): ("1", "2"), ("S", "made"): (None, {"secret": True})}
    assert "file:/etc/conf" not in found and "account:ann" in found and "account:bob" not in found
    reconciler("apply", folder, "--yes", root=root, check=0)
    assert SECRET in (root / "etc/x.ini").read_text()
    assert not clean()
    # What was before us is in the log, and secret too.
    (folder / "a.yaml").write_text(
        f"deployment: a\nresources:\n  - group: agents\n  - ini: /etc/x.ini\n    set: {{S: {{named: {source}}}}}\n"
    )
    back = clean()
    changed = {tuple(c["field"]) for c in back["ini:/etc/x.ini"]["changes"]}
    assert {("S", "plain"), ("S", "password"), ("S", "made")} <= changed
    mine = json.loads(reconciler("plan", folder, "--format", "json", root=root).stdout)["transitions"]
    assert list(back.values()) == mine


@pytest.mark.parametrize(
    "told", ["", "{}", "[]", "null", '{"snapshot": 1}', '{"snapshot": 2, "version": "9"}', "[" * 100_000]
)
def test_what_is_no_snapshot_is_refused_by_name(told: str, desired: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text(told)
    done = reconciler("plan", desired, "--snapshot", file)
    assert done.returncode == 1 and "bad.json" in done.stderr


def test_a_snapshot_from_a_hostile_host_cannot_hurt(root: Path, desired: Path, tmp_path: Path) -> None:
    """Its names reach the terminal without what a terminal obeys, and whatever is missing is an error in words."""
    file, bad = tmp_path / "one.json", tmp_path / "bad.json"
    reconciler("observe", desired, "--out", file, root=root, check=0)
    whole = json.loads(file.read_text())
    whole["host"]["name"] = "\x1b[31mevil\n::error::x"
    bad.write_text(json.dumps(whole))
    for style in ("text", "markdown", "github", "junit", "sarif", "html", "gitlab"):
        done = reconciler("plan", desired, "--snapshot", bad, "--format", style)
        assert "\x1b" not in done.stdout + done.stderr and "\n::error::x" not in done.stdout, style
    odd = [None, [], {}, "x", 7, [[]], {"/": 7}]
    for number, table in enumerate(whole["observed"]):
        for broken in odd if LONG else (odd[number % len(odd)], odd[(number + 3) % len(odd)]):
            changed = {**whole, "observed": {**whole["observed"], table: broken}}
            bad.write_text(json.dumps(changed))
            assert "unexpected" not in reconciler("plan", desired, "--snapshot", bad).stderr, (table, broken)


def test_equal_plans_are_shown_once(root: Path, desired: Path, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    folder.mkdir()

    def take(name: str) -> None:
        (root / "etc/hostname").write_text(f"{name}\n")
        (root / "etc/machine-id").write_text(name.encode().hex().ljust(32, "0") + "\n")
        reconciler("observe", desired, "--out", folder / f"{name}.json", root=root, check=0)

    for n in range(3):
        take(f"web-{n}")
    group = root / "etc/group"
    text = group.read_text()
    group.write_text(text + "other:x:810:\n")
    (desired / "b.yaml").write_text(
        "deployment: b\nmatch: {hostname: 'web-*'}\nresources:\n  - group: wanted\n    gid: 810\n"
    )
    take("web-9")
    group.write_text(text)
    reconciler("apply", desired, "--yes", root=root, check=0)
    take("db-1")
    files = sorted(folder.glob("*.json"))
    done = reconciler("plan", desired, "--snapshot", *files)
    assert done.returncode == 3
    last = [line for line in done.stdout.splitlines() if line][-1]
    assert "3 hosts: the same" in last and "1 host: would be refused" in last and "1 host: no change" in last, last
    assert done.stdout.count("create   account:flxrasvc") == 2
    groups = json.loads(reconciler("plan", desired, "--snapshot", *files, "--format", "json").stdout)["groups"]
    assert [group["hosts"] for group in groups] == [["web-9"], ["web-0", "web-1", "web-2"], ["db-1"]]
    one = reconciler("plan", desired, "--snapshot", *files, "--for-host", "db-1", "--detailed-exitcode", check=0)
    assert "no change" in one.stdout
    assert reconciler("plan", desired, "--snapshot", files[0], files[0]).returncode == 1
    for style in ("markdown", "junit", "sarif", "html", "gitlab"):
        assert (
            "web-9" in reconciler("plan", desired, "--snapshot", *files, "--format", style).stdout or style == "gitlab"
        )


def test_signed_snapshots(root: Path, desired: Path, tmp_path: Path) -> None:
    import subprocess

    for who in ("host", "mallory"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / who], check=True)
    key = (tmp_path / "host.pub").read_text().split()
    signers = tmp_path / "signers"
    signers.write_text(f"web-1 {key[0]} {key[1]}\n")
    file = tmp_path / "one.json"
    words = ("plan", desired, "--snapshot", file, "--snapshot-signers", signers)
    reconciler("observe", desired, "--out", file, root=root, check=0)
    assert "signed by nobody" in reconciler(*words, check=3).stderr
    reconciler("observe", desired, "--out", file, "--sign", tmp_path / "mallory", root=root, check=0)
    reconciler(*words, check=3)
    reconciler("observe", desired, "--out", file, "--sign", tmp_path / "host", root=root, check=0)
    reconciler(*words, check=0)
    file.write_text(file.read_text().replace("/opt/managesoft", "/opt/managesoff"))
    reconciler(*words, check=3)
    assert reconciler("observe", "--sign", "x", root=root, cwd=tmp_path).returncode == 64


def test_nothing_is_executed_for_a_snapshot(root: Path, desired: Path, tmp_path: Path) -> None:
    file, canary = tmp_path / "one.json", tmp_path / "canary"
    reconciler("observe", desired, "--out", file, root=root, check=0)
    (desired / "b.yaml").write_text(
        "deployment: b\nresources:\n"
        f"  - file: /etc/checked\n    content: hi\n    validate: touch {canary}\n"
        f"  - file: /etc/kept\n    content: {{secret: true, from: {{command: touch {canary}}}}}\n"
        "  - ini: /etc/k.ini\n    set: {S: {k: {secret: true, from: {file: /etc/shadow}}}}\n"
    )
    done = reconciler("plan", desired, "--snapshot", file, "--format", "json", check=0)
    assert not canary.exists() and "root:*:" not in done.stdout
    assert {"file:/etc/checked", "file:/etc/kept", "ini:/etc/k.ini"} <= {
        t["address"] for t in json.loads(done.stdout)["transitions"]
    }


def test_a_root_that_is_applied_to_is_untouched_by_observe(root: Path, desired: Path) -> None:
    reconciler("apply", desired, "--yes", root=root, check=0)
    before, seen = digest(root, skip=()), stamps(root)
    done = reconciler("observe", desired, root=root, check=0)
    assert json.loads(done.stdout)["host"]["name"]
    assert digest(root, skip=()) == before and stamps(root) == seen


def test_private_files_keep_what_plans_speak_of_alone(root: Path, tmp_path: Path) -> None:
    files = {
        "app.ini": "; Hunter2G\n[db]\nconn = Hunter2A\nport = 0\n",
        "systemd/system/app.service": '[Service]\nExecStart=/x --password=abc"Hunter2E\nEnvironment="DB_PASSWORD=b Hunter2B c"\n'
        "Environment=A_SECRET=\\\nHunter2F\n",
        "sudoers": "# Hunter2D\nann ALL=(root) /bin/ls\n",
        "x.json": '{"a": {"password":"Hunter2J"}, "passwords": ["Hunter2L"]}\n',
    }
    for name, text in files.items():
        (root / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "etc" / name).write_text(text)
        (root / "etc" / name).chmod(0o644 if name == "x.json" else 0o600)
    folder, file = tmp_path / "desired", tmp_path / "one.json"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "deployment: a\nresources:\n  - ini: /etc/app.ini\n    set: {db: {port: '1'}}\n  - file: /etc/x.json\n    mode: '0640'\n"
        "  - daemon: app\n    run_as: {user: daemon}\n"
    )
    for _ in range(2):
        reconciler("observe", folder, "--out", file, root=root, check=0)
        assert "Hunter2" not in file.read_text()
        mine, there = both(folder, root, file)
        assert there["transitions"] == mine["transitions"] and there["conflicts"] == mine["conflicts"]
        reconciler("apply", folder, "--yes", root=root, check=0)
    (folder / "a.yaml").write_text("deployment: a\nresources: []\n")
    mine, there = both(folder, root, file)
    assert there["transitions"] == mine["transitions"] and there["conflicts"] == mine["conflicts"] == []


@pytest.mark.parametrize(
    "text", ["; 5 €\n[S]\nx=1\n", "[S]\nx=é\n", "; \udce9t\n[S]\nx=\udce9\n", "\ufeff[S]\nx=1\n", "[S]\r\nx=1"]
)
def test_bytes_of_every_kind_survive(text: str, root: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "desired", tmp_path / "one.json"
    folder.mkdir()
    (folder / "a.yaml").write_text('deployment: a\nresources:\n  - ini: /etc/l.ini\n    set: {S: {x: "é"}}\n')
    for name in ("l.ini", "sudoers"):
        (root / "etc" / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    reconciler("observe", folder, "--out", file, root=root, check=0)
    mine, there = both(folder, root, file)
    assert there["transitions"] == mine["transitions"] and there["plan_id"] == mine["plan_id"]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["observed"]["stats"].update({"/etc/managesoft.ini": ["file", "x", 0, 0, 1, 1, 1, 1, 1]}),
        lambda t: t["log"].update({"facts": {"hold|x": [1, 2]}}),
        lambda t: t["log"].update({"facts": {'hold|ini:/etc/managesoft.ini\t["exists"]': [1]}}),
    ],
)
def test_a_snapshot_that_tells_nonsense_is_refused_in_words(
    change: Any, root: Path, desired: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one.json"
    reconciler("observe", desired, "--out", file, root=root, check=0)
    told = json.loads(file.read_text())
    change(told)
    file.write_text(json.dumps(told))
    done = reconciler("plan", desired, "--snapshot", file)
    assert done.returncode in (1, 3) and "unexpected" not in done.stderr, done.stderr


TEXTS: list[Callable[[str], str]] = [
    lambda s: f"[S]\npassword = {s}\n", lambda s: f"token: {s}", lambda s: f"export X_SECRET={s}\n",
    lambda s: f'Environment="A=b" "DB_PASSWORD={s}"\n', lambda s: f"user = x password={s}\n",
]  # fmt: skip


@given(st.sampled_from(TEXTS), st.from_regex(r"[A-Za-z0-9!$%&/=?+~-]{6,30}", fullmatch=True))
def test_redaction_is_stable_and_leaves_nothing(form: Callable[[str], str], secret: str) -> None:
    redactor = Redactor(os.urandom(8), {})
    told = (redactor.file("/etc/x", form(secret).encode()) or b"").decode()
    assert secret not in told and "(redacted-" in told
