"""Desired state from git on a real host: the units as they are shipped, and the agent's processes in the end."""

from __future__ import annotations

import time
from pathlib import Path

from tests.host.machine import Machine
from tests.host.test_promises import differences, look
from tests.patience import stays, until

UNITS = Path(__file__).parents[2] / "contrib/systemd"


def test_the_service_follows_a_signed_repository_and_stops_at_once(machine: Machine) -> None:
    before = look(machine)
    git = ("git", "-C", "/root/repo", "-c", "user.name=Ops", "-c", "user.email=ops@example.org", "-c", "gpg.format=ssh")
    machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ops", "-f", "/root/ops")
    key = machine.run("cat", "/root/ops.pub").stdout.split()
    machine.put("/etc/reconciler/signers", f"ops@example.org {key[0]} {key[1]}\n")
    machine.run("git", "init", "-q", "-b", "main", "/root/repo")
    machine.run("cp", "-r", "/root/desired", "/root/repo/desired")

    def commit() -> str:
        machine.run(*git, "add", "-A")
        machine.run(*git, "-c", "user.signingkey=/root/ops.pub", "commit", "-q", "-S", "-m", "x")
        return machine.run(*git, "rev-parse", "HEAD").stdout.strip()

    first = commit()
    told = "--repo /root/repo --allowed-signers /etc/reconciler/signers --interval 1s --status-file /run/sync.json"
    machine.put("/etc/reconciler/sync.conf", f"SYNC={told}\n")
    machine.put("/etc/systemd/system/reconciler-sync.service", (UNITS / "reconciler-sync.service").read_text())
    machine.put("/etc/systemd/system/reconciler-sync.timer", (UNITS / "reconciler-sync.timer").read_text())
    said = machine.run("systemd-analyze", "verify", "/etc/systemd/system/reconciler-sync.timer", check=None)
    assert "reconciler-sync" not in said.stderr, said.stderr
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "reconciler-sync")
    until(lambda: machine.uid_of("ndtask") == "flxrasvc")
    until(lambda: first in machine.run("cat", "/run/sync.json", check=None).stdout)
    by = machine.reconciler("explain", "daemon:ndtask:user").stdout
    assert first in by and "signed by ops@example.org" in by
    # Rolled back by hand: it stays so, although the service goes on looking.
    machine.reconciler("rollback", "--yes")
    stays(lambda: machine.uid_of("ndtask") == "root", 4)
    begun = time.monotonic()
    machine.run("systemctl", "stop", "reconciler-sync")
    assert time.monotonic() - begun < 5
    journal = machine.run("journalctl", "-u", "reconciler-sync", "--no-pager").stdout
    assert journal.count("is held back") == 1, journal
    for path in ("/etc/systemd/system/reconciler-sync.service", "/etc/systemd/system/reconciler-sync.timer"):
        machine.run("rm", path)
    machine.run("rm", "-r", "/etc/reconciler", "/root/repo", "/root/ops", "/root/ops.pub", "/run/sync.json")
    machine.run("systemctl", "daemon-reload")
    assert not differences(before, look(machine))
