"""Agents on a test host: a stand-in managesoft package, and the real zabbix-agent with a vendor-like root unit."""

from __future__ import annotations

from tests.host.machine import Machine

DAEMON = """#!/bin/sh
# Stays, and touches the agent's data as the real daemon does.
echo "$0 as $(id -un) with $(id -Gn)" >> /var/opt/managesoft/log/$(basename "$0").log 2>/dev/null
while :; do sleep 60; done
"""

UNIT = """[Unit]
Description=stand-in for {name}
[Service]
ExecStart=/opt/managesoft/libexec/{name}
[Install]
WantedBy=multi-user.target
"""

INSTALL = r"""
set -e
mkdir -p /opt/managesoft/bin /opt/managesoft/lib /opt/managesoft/libexec /opt/managesoft/documentation
mkdir -p /var/opt/managesoft/etc/ssl /var/opt/managesoft/log /var/opt/managesoft/scheduler/schedules
for b in ndtrack mgspolicy ndupload; do cp /bin/true /opt/managesoft/bin/$b; chmod 0700 /opt/managesoft/bin/$b; done
chmod 4755 /opt/managesoft/bin/ndupload
setcap cap_net_raw+ep /opt/managesoft/bin/mgspolicy
ln -s ndtrack /opt/managesoft/bin/track
printf 'read me\n' > /opt/managesoft/documentation/README
printf '; settings\n[ManageSoft\\Common]\nUserInteractionLevel=Quiet\n' > /etc/managesoft.ini
printf '[ManageSoft\\Common]\r\nSSL=1\r\n' > /var/opt/managesoft/etc/config.ini
chmod 0600 /var/opt/managesoft/etc/config.ini
printf x > /var/opt/managesoft/scheduler/schedules/sched.nds
setfacl -m u:daemon:r /var/opt/managesoft/scheduler/schedules/sched.nds
chmod 0700 /var/opt/managesoft
touch -d 2020-01-01 /etc/managesoft.ini /var/opt/managesoft/etc/config.ini
chmod 0700 /opt/managesoft/libexec/ndtask /opt/managesoft/libexec/mgsusageag
groupadd -r docker
systemctl daemon-reload
systemctl enable --quiet --now ndtask mgsusageag
until [ -s /var/opt/managesoft/log/ndtask.log ] && [ -s /var/opt/managesoft/log/mgsusageag.log ]; do sleep 0.05; done
"""

DESIRED = """deployment: managesoft
profile: managesoft
mode: least-privilege
"""


def install_managesoft(machine: Machine) -> None:
    """Put the stand-in package in place, running as root as the vendor's does."""
    for name in ("ndtask", "mgsusageag"):
        machine.put(f"/opt/managesoft/libexec/{name}", DAEMON, 0o700)
        machine.put(f"/usr/lib/systemd/system/{name}.service", UNIT.format(name=name))
    machine.run("sh", "-c", INSTALL)
    machine.put("/root/desired/managesoft.yaml", DESIRED)
    machine.put("/root/digest.py", DIGEST)


DIGEST = """
import hashlib, json, os, stat, sys
SKIP = {"/proc", "/sys", "/dev", "/run", "/tmp", "/var/lib/reconciler", "/var/log", "/opt/product", "/opt/product-deps",
        "/etc/.pwd.lock", "/root", "/var/tmp", "/var/cache", "/var/lib/systemd", "/.complete"}
ACCOUNTS = {"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"}
LOGS = {"/var/opt/managesoft/log"}
full = "--stamps" in sys.argv
out = {}
pending = ["/"]
while pending:
    directory = pending.pop()
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if path in SKIP:
            continue
        info = os.lstat(path)
        kind = stat.S_IFMT(info.st_mode)
        facts = [oct(info.st_mode), info.st_uid, info.st_gid]
        facts.append({k: os.getxattr(path, k, follow_symlinks=False).hex() for k in os.listxattr(path, follow_symlinks=False)})
        if kind == stat.S_IFLNK:
            facts.append(os.readlink(path))
        elif kind == stat.S_IFREG:
            if directory not in LOGS:
                with open(path, "rb") as file:
                    facts.append(hashlib.sha256(file.read()).hexdigest())
                if path not in ACCOUNTS:
                    facts.append(info.st_mtime_ns)
        elif kind == stat.S_IFDIR:
            pending.append(path)
        if full:
            facts += [info.st_ino, info.st_ctime_ns, info.st_mtime_ns]
        out[path] = facts
json.dump(out, sys.stdout)
"""
