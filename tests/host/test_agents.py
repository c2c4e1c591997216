"""Real agents, moved to accounts of their own and back."""

from __future__ import annotations

import json

from tests.host.agents import DIGEST
from tests.host.machine import Machine
from tests.host.test_promises import differences, look

ZABBIX = """deployment: zabbix
resources:
  - group: zbxmon
  - account: zbxmon
    group: zbxmon
    groups: [adm, nosuch?]
    home: /var/lib/zabbix
  - tree: /var/log/zabbix-agent
    owner: zbxmon
    group: zbxmon
    directory_mode: "0750"
  - tree: /run/zabbix
    owner: zbxmon
    group: zbxmon
  - ini: /etc/zabbix/zabbix_agentd.conf
    set: {"": {User: zbxmon, Timeout: "7"}}
  - daemon: zabbix-agent
    run_as: {user: zbxmon, group: zbxmon}
    enabled: true
    running: true
    restart_on: ["ini:/etc/zabbix/zabbix_agentd.conf"]
"""


def give_root(machine: Machine) -> None:
    """Let the real zabbix-agent run as root, as a vendor's installer would leave it."""
    machine.put("/root/digest.py", DIGEST)
    machine.put("/etc/systemd/system/zabbix-agent.service.d/override.conf", "[Service]\nUser=root\nGroup=root\n")
    machine.run("sh", "-c", "printf 'AllowRoot=1\\nUser=root\\n' >> /etc/zabbix/zabbix_agentd.conf")
    machine.run(
        "sh",
        "-c",
        "chown -R root:root /var/log/zabbix-agent; systemctl daemon-reload; systemctl restart zabbix-agent",
    )
    assert machine.uid_of("zabbix-agent") == "root"


def test_the_real_zabbix_agent_to_an_account_of_its_own_and_back(bare: Machine) -> None:
    give_root(bare)
    before = look(bare)
    bare.put("/root/desired/zabbix.yaml", ZABBIX)
    bare.reconciler("apply", "/root/desired", "--yes")
    assert bare.uid_of("zabbix-agent") == "zbxmon"
    pid = bare.pid_of("zabbix-agent")
    assert "adm" in bare.run("sh", "-c", f"id -Gn zbxmon; grep Groups /proc/{pid}/status").stdout
    assert json.loads(bare.reconciler("plan", "/root/desired", "--format", "json").stdout)["transitions"] == []

    # One key less: that key goes back, the daemon restarts, and nothing else moves.
    bare.put("/root/desired/zabbix.yaml", ZABBIX.replace(', Timeout: "7"', ""))
    plan = json.loads(bare.reconciler("plan", "/root/desired", "--format", "json").stdout)
    assert [(t["verb"], t["address"]) for t in plan["transitions"]] == [
        ("write", "ini:/etc/zabbix/zabbix_agentd.conf"), ("restart", "daemon:zabbix-agent.service"),
    ]  # fmt: skip
    assert [c["field"] for c in plan["transitions"][0]["changes"]] == [["", "Timeout"]]
    bare.reconciler("apply", "/root/desired", "--yes")
    assert bare.pid_of("zabbix-agent") != pid

    bare.reconciler("uninstall", "zabbix", "--yes")
    assert bare.uid_of("zabbix-agent") == "root"
    assert not differences(before, look(bare))


def test_a_daemon_that_cannot_run_as_its_account_fails_and_is_put_right_again(bare: Machine) -> None:
    bare.put("/root/digest.py", DIGEST)
    bare.put(
        "/usr/lib/systemd/system/picky.service",
        "[Service]\nExecStart=/bin/sh -c 'test -w /etc/shadow && exec sleep 1000'\n",
    )
    bare.run("sh", "-c", "systemctl daemon-reload; systemctl start picky")
    before = look(bare)
    bare.put(
        "/root/desired/d.yaml",
        "deployment: picky\nresources:\n  - account: pick\n  - daemon: picky\n    run_as: {user: pick}\n",
    )
    done = bare.reconciler("apply", "/root/desired", "--yes", "--format", "json", check=5)
    last = json.loads(done.stdout)["transitions"][-1]
    assert last["verb"] == "restart" and last["outcome"] == "stuck" and "journalctl" in last["error"]
    bare.reconciler("rollback", "--yes")
    assert bare.uid_of("picky") == "root", "the daemon that we failed to restart runs again"
    assert not differences(before, look(bare))

    done = bare.reconciler("apply", "/root/desired", "--yes", "--atomic", "--format", "json", check=1)
    assert json.loads(done.stdout)["outcome"] == "undone"
    assert bare.uid_of("picky") == "root"
    assert not differences(before, look(bare))


def test_an_agent_that_still_runs_as_root_is_a_failure(bare: Machine) -> None:
    bare.put("/usr/lib/systemd/system/stubborn.service", "[Service]\nExecStart=+/bin/sleep 1000\n")
    bare.run("sh", "-c", "systemctl daemon-reload; systemctl start stubborn")
    bare.put(
        "/root/desired/d.yaml",
        "deployment: s\nresources:\n  - account: pick\n  - daemon: stubborn\n    run_as: {user: pick}\n",
    )
    done = bare.reconciler("apply", "/root/desired", "--yes", check=5)
    assert "runs as root, not as pick" in done.stdout


def test_destroyed_data_waits_in_quarantine(machine: Machine) -> None:
    before = look(machine)
    machine.put(
        "/root/desired/managesoft.yaml",
        "deployment: managesoft\nprofile: managesoft\nmode: least-privilege\nwith: {on_uninstall_data: delete}\n",
    )
    machine.reconciler("apply", "/root/desired", "--yes")
    refused = machine.reconciler("uninstall", "managesoft", "--yes", check=3)
    assert "--destroy-data" in refused.stderr
    machine.run("systemctl", "stop", "ndtask", "mgsusageag")
    machine.run("systemctl", "disable", "--quiet", "ndtask", "mgsusageag")
    machine.reconciler("uninstall", "managesoft", "--yes", "--destroy-data")
    assert machine.run("test", "-e", "/var/opt/managesoft", check=None).returncode == 1
    machine.reconciler("rollback", "--yes")
    assert machine.run("stat", "-c", "%U", "/var/opt/managesoft/etc/config.ini").stdout.strip() == "flxrasvc"
    machine.reconciler("uninstall", "managesoft", "--yes", "--destroy-data")
    machine.reconciler("purge", "managesoft", "--yes")
    assert ".reconciler-quarantine" not in machine.run("ls", "-A", "/var/opt").stdout
    gone = {
        path
        for path in differences(before, look(machine))
        if not path.startswith(("/var/opt/managesoft", "/etc/systemd/system"))
    }
    assert not gone


def test_the_way_back_from_a_move_that_nobody_recorded_is_the_vendors(machine: Machine) -> None:
    machine.put("/root/desired/managesoft.yaml", "deployment: managesoft\nprofile: managesoft\nmode: default\n")
    machine.reconciler("plan", "/root/desired")
    machine.run("sh", "-c", "printf 'LeastPrivilege=True\\n' >> /etc/managesoft.ini")
    refused = machine.reconciler("apply", "/root/desired", "--yes", check=3)
    assert "uninstall the package" in " ".join(refused.stdout.split())


def test_mode_default_gives_back_what_the_log_holds(machine: Machine) -> None:
    before = look(machine)
    machine.reconciler("apply", "/root/desired", "--yes")
    machine.put("/root/desired/managesoft.yaml", "deployment: managesoft\nprofile: managesoft\nmode: default\n")
    machine.reconciler("apply", "/root/desired", "--yes")
    assert machine.uid_of("ndtask") == "root"
    assert not differences(before, look(machine))


def test_an_account_with_a_life_of_its_own_is_not_removed(machine: Machine) -> None:
    machine.reconciler("apply", "/root/desired", "--yes")
    machine.run("sh", "-c", "cp /bin/true /srv/stray && chown flxrasvc /srv/stray")
    refused = machine.reconciler("uninstall", "managesoft", "--yes", check=3)
    assert "/srv/stray" in refused.stdout
    machine.run("rm", "/srv/stray")
    machine.run("sh", "-c", "cd / && setsid sudo -u flxrasvc sleep 1000 >/dev/null 2>&1 </dev/null &")
    machine.run("sh", "-c", "until pgrep -u flxrasvc -x sleep >/dev/null; do sleep 0.05; done")
    refused = machine.reconciler("uninstall", "managesoft", "--yes", check=3)
    assert "process" in refused.stdout and "(sleep)" in refused.stdout


def test_a_silent_name_service_blocks_creating_and_removing(bare: Machine) -> None:
    bare.put("/root/desired/d.yaml", "deployment: d\nresources:\n  - group: newgroup\n")
    bare.run("sed", "-i", "s/^group:.*/group: files sss/", "/etc/nsswitch.conf")
    plan = bare.reconciler("plan", "/root/desired", "--format", "json", check=3)
    blocked = json.loads(plan.stdout)["blocked"][0]
    assert blocked["unknown"] is True and "sss" in blocked["reason"]
