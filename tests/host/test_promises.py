"""The six promises, on a real host with systemd, each tried to be broken."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.host.machine import Machine


def look(machine: Machine, *flags: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run("python3", "/root/digest.py", *flags).stdout)
    return found


def differences(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {k: (a.get(k), b.get(k)) for k in a | b if a.get(k) != b.get(k)}


def test_p1_a_plan_never_writes(machine: Machine) -> None:
    machine.reconciler("plan", "/root/desired")  # whatever Python itself sets up on a first start is there now
    before = look(machine, "--stamps")
    for words in (["plan"], ["status"], ["apply", "--dry-run"]):
        machine.reconciler(*words, "/root/desired")
    assert not differences(before, look(machine, "--stamps"))
    assert machine.run("test", "-e", "/var/lib/reconciler", check=None).returncode == 1, "not even the log is made"


def test_p2_what_was_planned_is_what_happens(machine: Machine) -> None:
    plan = json.loads(machine.reconciler("plan", "/root/desired", "--format", "json").stdout)
    done = json.loads(machine.reconciler("apply", "/root/desired", "--yes", "--format", "json").stdout)
    planned = [(t["address"], t["verb"]) for t in plan["transitions"]]
    assert planned == [(t["address"], t["verb"]) for t in done["transitions"]]
    assert {t["outcome"] for t in done["transitions"]} == {"succeeded"}
    assert done["outcome"] == "converged"
    for a, b in zip(plan["transitions"], done["transitions"], strict=True):
        for key in ("changes", "counts", "sample"):
            assert a.get(key) == b.get(key)
    assert machine.uid_of("ndtask") == machine.uid_of("mgsusageag") == "flxrasvc"


def test_p3_twice_is_once(machine: Machine) -> None:
    machine.reconciler("apply", "/root/desired", "--yes")
    pids = [machine.pid_of(unit) for unit in ("ndtask", "mgsusageag")]
    before = look(machine, "--stamps")
    again = json.loads(machine.reconciler("apply", "/root/desired", "--yes", "--format", "json").stdout)
    assert (again["outcome"], again["transitions"], again["run"]) == ("unchanged", [], None)
    assert not differences(before, look(machine, "--stamps"))
    assert pids == [machine.pid_of(unit) for unit in ("ndtask", "mgsusageag")]
    state = json.loads(machine.reconciler("status", "/root/desired", "--format", "json").stdout)
    assert [d["state"] for d in state["deployments"]] == ["converged"]


@pytest.mark.parametrize("back", [["rollback"], ["uninstall", "managesoft"]])
def test_p4_undo_is_exact(machine: Machine, back: list[str]) -> None:
    before = look(machine)
    machine.reconciler("apply", "/root/desired", "--yes")
    assert differences(before, look(machine))
    machine.run("sudo", "-u", "flxrasvc", "touch", "/var/opt/managesoft/log/born-since")
    machine.reconciler(*back, "--yes")
    assert machine.uid_of("ndtask") == "root"
    assert machine.run("stat", "-c", "%U:%G", "/var/opt/managesoft/log/born-since").stdout.strip() == "root:root"
    machine.run("rm", "/var/opt/managesoft/log/born-since")
    assert not differences(before, look(machine))


def test_p5_a_kill_at_any_instant_is_survived(machine: Machine) -> None:
    before = look(machine)
    dice = random.Random(7)
    for verb in ("apply", "uninstall", "apply", "rollback", "apply", "uninstall"):
        words = {"apply": "apply /root/desired", "uninstall": "uninstall managesoft", "rollback": "rollback"}[verb]
        for _ in range(2):
            child = subprocess.Popen([*machine.enter(), "sh", "-c", f"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin exec reconciler {words} --yes"],
                                     start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            time.sleep(dice.uniform(0.15, 1.4))
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        verdict = json.loads(machine.reconciler("log", "verify", "--format", "json").stdout)
        assert verdict["ok"], verdict
    machine.reconciler("apply", "/root/desired", "--yes")
    assert machine.uid_of("ndtask") == machine.uid_of("mgsusageag") == "flxrasvc"
    assert json.loads(machine.reconciler("plan", "/root/desired", "--format", "json").stdout)["transitions"] == []
    machine.reconciler("uninstall", "managesoft", "--yes")
    assert machine.uid_of("ndtask") == "root"
    assert not differences(before, look(machine))


TAMPER = """
import sqlite3, sys
base = sqlite3.connect("/var/lib/reconciler/events.db")
base.executescript("DROP TRIGGER events_no_update; DROP TRIGGER events_no_delete;")
base.executescript(sys.argv[1])
base.commit()
"""


@pytest.mark.parametrize(
    "how",
    [
        "UPDATE events SET data = replace(data, 'docker', 'wheel') WHERE data LIKE '%docker%'",
        "UPDATE events SET at = '2020-01-01T00:00:00Z' WHERE seq = 2",
        "DELETE FROM events WHERE seq = 4",
        "UPDATE events SET seq = -1 WHERE seq = 5; UPDATE events SET seq = 5 WHERE seq = 6; UPDATE events SET seq = 6 WHERE seq = -1",
        "DELETE FROM events WHERE seq > 6",
        "DELETE FROM events",
    ],
)
def test_p6_history_cannot_be_changed_unseen(machine: Machine, how: str) -> None:
    machine.reconciler("apply", "/root/desired", "--yes")
    machine.reconciler("log", "verify")
    machine.run("python3", "-c", TAMPER, how)
    verdict = machine.reconciler("log", "verify", "--format", "json", check=1)
    assert json.loads(verdict.stdout)["problems"]
    for words in (
        ["apply", "/root/desired", "--yes"],
        ["uninstall", "managesoft", "--yes"],
        ["rollback", "--yes"],
        ["plan", "/root/desired"],
    ):
        machine.reconciler(*words, check=3)
    assert machine.uid_of("ndtask") == "flxrasvc", "a tampered log leaves the host alone"
