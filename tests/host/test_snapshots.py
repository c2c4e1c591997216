"""Plan from a snapshot equals plan on the host, on a real host with daemons that run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.host.machine import Machine
from tests.worlds import reconciler

PARTS = ("transitions", "blocked", "conflicts", "orphaned", "converged", "summary", "plan_id")


def agree(machine: Machine, desired: Path, scratch: Path) -> Any:
    """Both plans of what stands in ``desired``, told equal; the snapshot is taken on the host and planned here."""
    for file in desired.iterdir():
        machine.put(f"/root/plans/{file.name}", file.read_text())
    machine.reconciler("observe", "/root/plans", "--out", "/root/one.json")
    snapshot = scratch / "one.json"
    snapshot.write_text(machine.run("cat", "/root/one.json").stdout)
    return compare(machine, desired, snapshot)


def compare(machine: Machine, desired: Path, snapshot: Path) -> Any:
    for file in desired.iterdir():
        machine.put(f"/root/plans/{file.name}", file.read_text())
    mine = json.loads(machine.reconciler("plan", "/root/plans", "--format", "json", check=None).stdout)
    done = reconciler("plan", desired, "--snapshot", snapshot, "--format", "json")
    assert done.stdout, done.stderr
    there = json.loads(json.dumps(json.loads(done.stdout)).replace(str(desired), "/root/plans"))
    for part in PARTS[:-1]:
        assert there[part] == mine[part], part
    return mine


def test_plans_from_snapshots_are_the_plans_of_the_host(machine: Machine, tmp_path: Path) -> None:
    desired = tmp_path / "desired"
    desired.mkdir()
    file = desired / "managesoft.yaml"
    least = machine.run("cat", "/root/desired/managesoft.yaml").stdout
    file.write_text(least)
    found = agree(machine, desired, tmp_path)
    assert found["summary"]["restart"] >= 2 and found["summary"]["create"] >= 2
    machine.reconciler("apply", "/root/plans", "--yes")
    assert not agree(machine, desired, tmp_path)["transitions"]
    snapshot = tmp_path / "one.json"
    text = snapshot.read_text()
    hashes = [line.split(":")[1] for line in machine.run("cat", "/etc/shadow").stdout.splitlines()]
    assert not [secret for secret in hashes if len(secret) > 5 and secret in text]
    # A pull request, against the snapshot of before it.
    file.write_text("deployment: managesoft\nprofile: managesoft\nmode: default\n")
    assert len(compare(machine, desired, snapshot)["transitions"]) > 5
    file.write_text(least)
    (desired / "more.yaml").write_text(
        "deployment: more\nresources:\n  - account: probe\n  - daemon: cron\n    enabled: false\n"
        "  - daemon: zabbix-agent\n    run_as: {user: probe, group: probe}\n  - file: /etc/probe.conf\n    content: hi\n"
    )
    compare(machine, desired, snapshot)
    (desired / "more.yaml").unlink()
    machine.run("rm", "-f", "/root/plans/more.yaml")
    # Drift: a file of the tree, a key, the process.
    machine.run("chown", "daemon", "/opt/managesoft/bin/ndtrack")
    machine.run("systemctl", "stop", "ndtask")
    found = agree(machine, desired, tmp_path)
    assert {t["verb"] for t in found["transitions"]} >= {"own"}


def test_what_is_adopted_on_a_host_is_so_there(machine: Machine) -> None:
    """Also where nobody of us ever was: the log of the run that made it is gone."""
    machine.reconciler("apply", "/root/desired", "--yes")
    machine.run("rm", "-r", "/var/lib/reconciler")
    words = ["account:flxrasvc", "group:flxrasvc", "/opt/managesoft", "/var/opt/managesoft", "/etc/managesoft.ini"]
    words += ["daemon:ndtask", "daemon:mgsusageag", "daemon:zabbix-agent", "account:zabbix", "/etc/sudoers.d/flexera"]
    told = machine.reconciler("adopt", *words, "--deployment", "agent", "--out", "/root/adopted.yaml")
    text = machine.run("cat", "/root/adopted.yaml").stdout
    for part in ("user: flxrasvc", "running: true", "tree: /opt/managesoft", "LeastPrivilege", "account: flxrasvc"):
        assert part in text, (part, text, told.stderr)
    machine.reconciler("plan", "/root/adopted.yaml", "--detailed-exitcode")
    before = machine.pid_of("ndtask")
    machine.reconciler("apply", "/root/adopted.yaml", "--yes")
    assert machine.pid_of("ndtask") == before
