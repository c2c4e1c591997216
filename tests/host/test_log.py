"""What the log promises, on a real host: the way back without us, a confirmation that nobody gave, a rehearsal."""

from __future__ import annotations

import json

from tests.host.machine import Machine
from tests.host.test_promises import differences, look
from tests.patience import until


def test_the_emitted_script_brings_the_host_back_where_we_are_gone(machine: Machine) -> None:
    before = look(machine)
    machine.reconciler("apply", "/root/desired", "--yes")
    machine.reconciler("uninstall", "managesoft", "--emit-script", "/root/undo.sh")
    machine.run("rm", "-r", "/usr/local/bin/reconciler", "/var/lib/reconciler")
    done = machine.run("sh", "/root/undo.sh", check=None)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert machine.uid_of("ndtask") == machine.uid_of("mgsusageag") == "root"
    gone = look(machine)
    before.pop("/usr/local/bin/reconciler")
    assert not differences(before, gone)


def test_a_run_that_nobody_confirms_is_undone_on_the_host(machine: Machine) -> None:
    before = look(machine)
    machine.reconciler("apply", "/root/desired", "--yes", "--confirm-within", "3s")
    assert machine.uid_of("ndtask") == "flxrasvc"

    def undone() -> bool:
        last = json.loads(machine.reconciler("history", "--format", "json").stdout)["events"][-1]
        return bool(last["type"] == "run.finished" and last["run"] == "r2")

    until(undone, 60)
    assert machine.uid_of("ndtask") == "root"
    assert not differences(before, look(machine))


def test_a_rehearsal_on_the_host(machine: Machine) -> None:
    before = look(machine)
    told = machine.reconciler("apply", "/root/desired", "--yes", "--rehearse")
    assert "all are as they were" in told.stderr
    assert machine.uid_of("ndtask") == "root"
    assert not differences(before, look(machine))


def test_explain_names_the_owner_of_a_running_daemon(machine: Machine) -> None:
    machine.reconciler("apply", "/root/desired", "--yes")
    told = json.loads(machine.reconciler("explain", "daemon:ndtask:user", "--format", "json").stdout)
    (field,) = told["fields"]
    assert field["value"] == "flxrasvc" and field["by"]["source"]["file"] == "/root/desired/managesoft.yaml"
    machine.run("chown", "daemon", "/opt/managesoft/bin/ndtrack")
    told = json.loads(machine.reconciler("explain", "/opt/managesoft/bin/ndtrack", "--format", "json").stdout)
    owner = next(f for f in told["fields"] if f["field"] == ["owner"])
    assert owner["value"] == "daemon" and owner["by"] == "drift" and owner["before_us"] == "root"
