"""What every command prints stays as it was: help, and JSON on the examples, held to kept outputs.

A change that is meant is kept anew with ``RECONCILER_KEEP_OUTPUTS=1 pytest tests/unit/test_outputs.py``, and read in
the diff.  Left out of the comparison is what differs from run to run: times, hashes, process numbers, places.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds import REPO, managesoft, put, reconciler, system

KEPT = REPO / "tests/unit/outputs"
KEEP = bool(os.environ.get("RECONCILER_KEEP_OUTPUTS"))
MIXED = """
deployment: mixed
resources:
  - group: agents
  - account: runner
    groups: [docker?, nosuch?]
    home: /opt/agent
  - tree: /opt/agent
    owner: runner
    group: runner
    directory_mode: "0750"
    file_mode: u=rwX,g=rX,o=
    except: {bin/helper: {owner: root, mode: "0755"}}
  - ini: /etc/agent.ini
    set: {Main: {Mode: least, Api_Token: {secret: true, from: {env: TOKEN}}}, Fresh: {K: v}}
  - file: /etc/agent/deep/er.conf
    content: |
      one
    mode: "0640"
    owner: runner
  - daemon: agent
    run_as: {user: runner, group: runner}
    enabled: true
    restart_on: [ini:/etc/agent.ini]
  - mapping: /etc/rsc
    users_local:
      - {who: "Auditors:*", options: [ro, map=runner]}
access:
  /opt/agent: {write: [root, runner]}
"""
COMMANDS = (
    "validate", "lint", "fmt", "plan", "apply", "confirm", "sync", "watch", "suspend", "resume", "status", "observe",
    "adopt", "rollback", "uninstall", "purge", "history", "show", "explain", "state", "diff", "log", "log verify",
    "log checkpoint", "log prove", "log export", "log archive", "log backup", "mapping", "mapping resolve",
    "mapping show", "mapping diff", "access", "exec", "profiles", "schema", "report", "doctor",
)  # fmt: skip
CHANGING = (
    (r"sha256:[0-9a-f]{64}", "sha256:X"),
    (r"\(redacted-[0-9a-f]{16}\)", "(redacted-X)"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\b[0-9a-f]{40}\b", "DIGEST"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "DIGEST"),
    (r"\b[0-9a-f]{32}\b", "DIGEST"),
    (r"\b[0-9a-f]{24}\b", "DIGEST"),
    (r'"[A-Za-z0-9+/]{22,}={1,2}"', '"DATA"'),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "TIME"),
    (r'"(mtime|mtime_ns)": \d+', r'"\1": 0'),
    (r'"(uid|login_uid|terminal|sudo_user)": [^,}\n]+', r'"\1": 0'),
    (r'"detail": "(3\.[\d.]+|/\S*visudo|not found: sudoers[^"]*)"', '"detail": "X"'),
    (r'"version": "[^"]+"', '"version": "X"'),
    (r":!:2\d{4}:0:99999:", ":!:DAY:0:99999:"),
    (r"reconciler [0-9]+\.[0-9]+\.[0-9]+", "reconciler X"),
)


def plain(text: str, scratch: Path) -> str:
    """The text without what differs from run to run."""
    text = text.replace(str(scratch), "SCRATCH")
    # Of what a snapshot has seen of a path: type, mode, owner and group; sizes, inodes and times differ.
    text = re.sub(
        r'(\["(?:directory|file|link)",(?: -?\d+,){3})[\d, ]*\]',
        r"\1]",
        re.sub(
            r"\n\s+(?=-?\d+,?\n)|(?<=\d)\n\s+(?=\])", " ", re.sub(r'\[\n\s+(?="(?:directory|file|link)")', "[", text)
        ),
    )
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


def held(name: str, text: str) -> None:
    """Compare with what is kept, or keep it."""
    file = KEPT / f"{name}.txt"
    if KEEP:
        file.write_text(text)
    assert file.exists(), f"{file} is not there; keep it with RECONCILER_KEEP_OUTPUTS=1"
    assert text == file.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root with the examples' agents, and one that no profile knows."""
    tmp_path.chmod(0o755)
    root = managesoft(system(tmp_path / "root"))
    put(root, "/etc/hostname", "rscd-1\n")
    put(root, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    put(root, "/etc/agent.ini", "[Main]\nMode = full ; why\nPort=1\n\n[Other]\nX=1\n")
    put(root, "/etc/rsc/exports", "*\trw\n")
    put(root, "/etc/rsc/users.local", "BLAdmins:ann rw,map=root\n")
    put(root, "/opt/agent/bin/run", "#!/bin/sh\n", 0o755)
    put(root, "/opt/agent/bin/helper", "#!/bin/sh\n", 0o4755)
    put(root, "/opt/agent/data/a", "a", 0o644)
    unit = "[Service]\nExecStart=/opt/agent/bin/run\n[Install]\nWantedBy=multi-user.target\n"
    put(root, "/usr/lib/systemd/system/agent.service", unit)
    for directory, _, _ in os.walk(root):
        os.chmod(directory, 0o755)
    return root


def story(  # noqa: PLR0915 - one statement for each command, in the order of a working day
    root: Path, scratch: Path
) -> Iterator[tuple[str, str, int]]:
    """Every command that prints data, in an order in which each has something to say."""
    desired = scratch / "desired"
    shutil.copytree(REPO / "desired", desired)
    (desired / "mixed.yaml").write_text(MIXED)
    env = {"TOKEN": "s3cr3t-of-the-test"}

    def asked(name: str, *words: str, form: str = "json") -> tuple[str, str, int]:
        given = (*words, "--format", form) if form else words
        done = reconciler(*given, root=None if words[0] in ALONE else root, env=env, cwd=scratch)
        return name, done.stdout + "---- stderr\n" + done.stderr, done.returncode

    yield asked("validate", "validate", "desired")
    yield asked("lint", "lint", "desired")
    yield asked("profiles", "profiles")
    yield asked("profile", "profiles", "managesoft")
    for name in ("desired", "plan", "event", "snapshot"):
        yield asked(f"schema-{name}", "schema", name, form="")
    yield asked("plan", "plan", "desired")
    yield asked("plan-text", "plan", "desired", form="text")
    for form in ("markdown", "github", "gitlab", "junit", "sarif"):
        yield asked(f"plan-{form}", "plan", "desired", form=form)
    yield asked("plan-all-paths", "plan", "desired", "--all-paths")
    yield asked("status-before", "status", "desired")
    yield asked("observe", "observe", "desired", form="")
    yield asked("mapping-diff", "mapping", "diff", "desired")
    yield asked("apply", "apply", "desired", "--yes")
    yield asked("apply-again", "apply", "desired", "--yes")
    yield asked("status", "status", "desired")
    put(root, "/etc/agent.ini", (root / "etc/agent.ini").read_text().replace("least", "greatest"))
    (root / "opt/agent/data/a").chmod(0o777)
    put(root, "/opt/agent/data/born", "b")
    yield asked("status-drift", "status", "desired")
    yield asked("status-drift-text", "status", "desired", form="text")
    yield asked("repair", "apply", "desired", "--yes")
    for address in ("ini:/etc/agent.ini", "/opt/agent", "account:runner", "daemon:agent"):
        yield asked(f"explain-{address.strip('/').replace('/', '_').replace(':', '_')}", "explain", address)
    yield asked("state", "state")
    yield asked("state-at", "state", "--at", "r1")
    yield asked("diff", "diff", "--from", "r1")
    yield asked("history", "history")
    yield asked("history-text", "history", form="text")
    yield asked("history-address", "history", "account:runner")
    yield asked("show", "show", "r2")
    yield asked("show-event", "show", "3")
    yield asked("log-verify", "log", "verify")
    yield asked("mapping-show", "mapping", "show")
    yield asked("mapping-resolve", "mapping", "resolve", "--host", "app1", "--user", "ann", "--role", "BLAdmins")
    yield asked("access", "access", "/opt/agent", "/etc/agent.ini")
    things = ("account:runner", "group:agents", "daemon:agent", "/opt/agent", "/etc/agent.ini", "/etc/rsc")
    yield asked("adopt", "adopt", *things, form="")
    yield asked("observe-after", "observe", "desired", form="")
    (desired / "mixed.yaml").write_text(MIXED.replace("Fresh: {K: v}", "Fresh: {L: w}").replace("0640", "0600"))
    yield asked("plan-changed", "plan", "desired")
    yield asked("apply-changed", "apply", "desired", "--yes")
    yield asked("rollback-dry", "rollback", "--dry-run")
    yield asked("rollback", "rollback", "--yes")
    yield asked("uninstall-dry", "uninstall", "mixed", "--dry-run")
    yield asked("uninstall", "uninstall", "mixed", "--yes")
    (desired / "mixed.yaml").unlink()
    yield asked("prune-dry", "plan", "desired", "--prune")
    yield asked("purge", "purge", "mixed", "--yes")
    yield asked("confirm", "confirm")
    yield asked("suspend", "suspend", "--why", "a test")
    yield asked("resume", "resume")
    yield asked("doctor", "doctor")
    yield asked("wrong", "plan", "nowhere")
    yield asked("unknown-deployment", "uninstall", "mixd", "--yes")


ALONE = {"validate", "lint", "profiles", "schema"}


def test_what_commands_print_stays(machine: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, since owners are given away")
    for name, text, code in story(machine, tmp_path):
        held(name, plain(f"exit {code}\n{text}", tmp_path))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_stays(command: str, tmp_path: Path) -> None:
    done = reconciler(*command.split(), "--help", cwd=tmp_path, env={"COLUMNS": "100"})
    held(f"help-{command.replace(' ', '-')}", plain(done.stdout, tmp_path))


def test_the_list_of_commands_stays(tmp_path: Path) -> None:
    held("help", reconciler("--help", cwd=tmp_path, env={"COLUMNS": "100"}).stdout)
