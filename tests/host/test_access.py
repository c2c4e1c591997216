"""Who can do what on a real host: what the product says is what happens when somebody really tries."""

from __future__ import annotations

import json
from typing import Any

from tests.host.machine import Machine

SETUP = r"""
set -e
useradd -m -s /bin/bash ann; useradd -m -s /bin/bash bob; useradd -r -s /bin/sh svc; useradd -m carl; useradd -m dora
groupadd team; usermod -aG team ann; usermod -aG team carl; groupadd -f docker; usermod -aG docker dora
for u in ann bob carl; do echo "$u:pw" | chpasswd; done
mkdir -p /srv/tree/inner /srv/shut/in /srv/acl /srv/sticky
printf '#!/bin/sh\n' > /srv/tree/inner/run; printf x > /srv/tree/data; printf x > /srv/shut/in/open; printf x > /srv/acl/named
printf x > /srv/sticky/bobs; printf x > /srv/tree/frozen
chown svc:team /srv/tree /srv/tree/inner /srv/tree/inner/run /srv/tree/data; chown bob /srv/sticky/bobs
chmod 0750 /srv/tree /srv/tree/inner; chmod 0740 /srv/tree/inner/run; chmod 0640 /srv/tree/data
chmod 0700 /srv/shut; chmod 0777 /srv/shut/in; chmod 0666 /srv/shut/in/open; chmod 0600 /srv/acl/named
setfacl -m u:bob:rw,g:team:r /srv/acl/named; setfacl -m u:dora:x /srv/shut; chmod 1777 /srv/sticky; chmod 0644 /srv/sticky/bobs
ln -s /srv/tree/data /srv/link; chmod 0666 /srv/tree/frozen; chattr +i /srv/tree/frozen
mkdir -p /srv/mount; mount -t tmpfs -o noexec,nosuid tmpfs /srv/mount
printf '#!/bin/sh\n' > /srv/mount/prog; chmod 0755 /srv/mount/prog; printf x > /srv/mount/file; chmod 0666 /srv/mount/file
mkdir -p /srv/ro; mount -t tmpfs tmpfs /srv/ro; printf x > /srv/ro/file; chmod 0666 /srv/ro/file; mount -o remount,ro /srv/ro
cat > /etc/sudoers.d/test <<'SUDO'
ann ALL=(svc) NOPASSWD: ALL
%docker ALL=(root) NOPASSWD: /usr/bin/id
carl ALL=(svc) NOPASSWD: /bin/sh
Defaults:bob !authenticate
bob ALL=(ALL) /usr/bin/env
SUDO
chmod 0440 /etc/sudoers.d/test
"""
TRY = r"""
import json, os, pwd, stat, sys
paths, people = json.loads(sys.argv[1]), json.loads(sys.argv[2])

def tried(path):
    found = []
    try: directory = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError: return found
    try: os.close(os.open(path, os.O_RDONLY)); found.append("read")
    except OSError: pass
    try:
        if directory: os.mkdir(path + "/.try"); os.rmdir(path + "/.try")
        else: os.close(os.open(path, os.O_WRONLY))
        found.append("write")
    except OSError: pass
    if directory:
        try: os.chdir(path); os.chdir("/"); found.append("execute")
        except OSError: pass
    else:
        pid = os.fork()
        if pid == 0:
            try: os.execv(path, [path])
            except PermissionError: os._exit(99)
            except OSError: os._exit(98)
        found += ["execute"] if os.WEXITSTATUS(os.waitpid(pid, 0)[1]) != 99 else []
    return found

out = {}
for name in people:
    who = pwd.getpwnam(name)
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.initgroups(name, who.pw_gid); os.setresgid(*[who.pw_gid] * 3); os.setresuid(*[who.pw_uid] * 3)
        os.write(w, json.dumps({p: tried(p) for p in paths}).encode()); os._exit(0)
    os.close(w)
    out[name] = json.loads(os.fdopen(r).read()); os.waitpid(pid, 0)
print(json.dumps(out))
"""
PATHS = [
    "/srv/tree", "/srv/tree/inner", "/srv/tree/inner/run", "/srv/tree/data", "/srv/shut/in/open", "/srv/acl/named",
    "/srv/sticky", "/srv/sticky/bobs", "/srv/link", "/srv/mount/prog", "/srv/mount/file", "/srv/ro/file",
    "/etc/shadow", "/etc/passwd", "/srv/tree/frozen",
]  # fmt: skip
PEOPLE = ["root", "ann", "bob", "carl", "dora", "svc", "daemon"]


def examined(machine: Machine, *paths: str) -> dict[str, Any]:
    told = json.loads(machine.reconciler("access", *paths, "--format", "json").stdout)
    return {item["path"]: item for item in told["paths"]}


def test_every_triple_is_as_it_is_told(bare: Machine) -> None:
    bare.run("sh", "-c", SETUP)
    really = json.loads(bare.run("python3", "-c", TRY, json.dumps(PATHS), json.dumps(PEOPLE)).stdout)
    told = examined(bare, *PATHS)
    bare.run("chattr", "-i", "/srv/tree/frozen")
    triples = 0
    for path in PATHS:
        for name in PEOPLE:
            for right in ("read", "write", "execute"):
                if right == "execute" and path in ("/etc/shadow", "/etc/passwd"):
                    continue
                triples += 1
                assert (name in told[path][right]) == (right in really[name][path]), (path, name, right, told[path])
    assert triples >= 60

    # Becoming the owner: by sudo, tried.
    become = {path: told[path]["become"] for path in ("/srv/tree/data", "/etc/passwd")}
    assert become == {"/srv/tree/data": ["ann", "bob", "carl"], "/etc/passwd": ["bob"]}
    for name in PEOPLE[1:]:
        for owner, path in (("svc", "/srv/tree/data"), ("root", "/etc/passwd")):
            for line in (
                f"sudo -n -u {owner} /bin/sh -c 'id -un'",
                f"sudo -n -u {owner} /usr/bin/env id -un",
            ):
                if (
                    bare.run("runuser", "-u", name, "--", "sh", "-c", line, check=None).stdout.strip() == owner
                    and name != owner
                ):
                    assert name in become[path], (name, line)
                    break
            else:
                assert name not in become[path] or name == owner, (name, owner)


def test_live_processes_and_capabilities_count(bare: Machine) -> None:
    bare.run("sh", "-c", "useradd -r -s /bin/sh splunk; groupadd old; useradd -r -s /bin/sh late")
    bare.put(
        "/etc/systemd/system/fwd.service",
        "[Service]\nUser=splunk\nAmbientCapabilities=CAP_DAC_READ_SEARCH\nExecStart=/bin/sleep 999\n",
    )
    bare.put(
        "/etc/systemd/system/lag.service", "[Service]\nUser=late\nSupplementaryGroups=old\nExecStart=/bin/sleep 999\n"
    )
    bare.run("systemctl", "daemon-reload")
    bare.run("systemctl", "start", "fwd", "lag")
    bare.run("sh", "-c", "printf x > /srv/old; chgrp old /srv/old; chmod 0640 /srv/old")
    told = examined(bare, "/etc/shadow", "/srv/old")
    assert "cap_dac_read_search" in told["/etc/shadow"]["because"]["read"]["splunk"]
    assert "splunk" not in told["/etc/shadow"]["write"]
    assert "process" in told["/srv/old"]["because"]["read"]["late"]


def test_components_run_as_the_service_account(machine: Machine) -> None:
    machine.put("/d/d.yaml", "deployment: managesoft\nprofile: managesoft\nmode: least-privilege\n")
    machine.run("sh", "-c", "cp /bin/sh /opt/managesoft/bin/mgspolicy; groupadd -f docker")
    machine.reconciler("exec", "ndtrack", "-t", "machine")
    machine.reconciler("apply", "/d", "--yes")
    told = machine.reconciler(
        "exec", "--trace", "/tmp/%n.log", "mgspolicy", "-c", "id -un; id -Gn; grep CapEff /proc/self/status; env"
    )
    assert told.stdout == ""
    trace = machine.run("cat", "/tmp/mgspolicy.log").stdout
    assert trace.splitlines()[:2] == ["flxrasvc", "flxrasvc docker"]
    assert "CapEff:\t0000000000000000" in trace
    assert machine.run("stat", "-c", "%U", "/tmp/mgspolicy.log").stdout.strip() == "flxrasvc"
    printed = machine.reconciler("exec", "--print", "mgspolicy", "-c", "id -un").stdout.splitlines()
    assert printed[0] == "sudo -u flxrasvc /opt/managesoft/bin/mgspolicy -c 'id -un'"
    for line in printed:
        assert machine.run("sh", "-c", line).stdout.strip() == "flxrasvc", line
    assert machine.reconciler("exec", "mgspolicy", "-c", "exit 7", check=7)
    history = machine.reconciler("history").stdout
    assert "exec" in history


def test_processes_are_observed_and_one_as_root_is_drift(machine: Machine) -> None:
    machine.put("/d/d.yaml", "deployment: managesoft\nprofile: managesoft\nmode: least-privilege\n")
    machine.reconciler("apply", "/d", "--yes")

    def deployment() -> Any:
        return json.loads(machine.reconciler("status", "/d", "--format", "json").stdout)["deployments"][0]

    seen = deployment()
    daemons = {p["name"]: p for p in seen["processes"]}
    assert {"ndtask", "mgsusageag"} <= set(daemons), seen["processes"]
    assert daemons["ndtask"]["users"] == ["flxrasvc"]
    assert (daemons["ndtask"]["capabilities"], daemons["ndtask"]["no_new_privs"]) == ([], False)
    assert seen["state"] == "converged"
    machine.run(
        "sh", "-c", "cp /bin/sleep /opt/managesoft/libexec/flxfsscan; chown flxrasvc /opt/managesoft/libexec/flxfsscan"
    )
    machine.run("sh", "-c", "runuser -u flxrasvc -- /opt/managesoft/libexec/flxfsscan 99 >/dev/null 2>&1 & sleep 0.3")
    helper = next(p for p in deployment()["processes"] if p["name"] == "flxfsscan")
    assert (helper["helper"], helper["drift"]) == (True, None)
    machine.run(
        "sh",
        "-c",
        "cp /bin/sleep /opt/managesoft/bin/rogue; chown flxrasvc:flxrasvc /opt/managesoft/bin/rogue; chmod 750 /opt/managesoft/bin/rogue",
    )
    machine.run("sh", "-c", "/opt/managesoft/bin/rogue 99 >/dev/null 2>&1 & sleep 0.3")
    seen = deployment()
    rogue = next(p for p in seen["processes"] if p["name"] == "rogue")
    assert rogue["drift"] == "runs as root, not as flxrasvc"
    assert seen["state"] == "drifted"
    assert "runs as root, not as flxrasvc" in machine.reconciler("status", "/d").stdout


def test_the_mapping_of_a_real_agent_directory(bare: Machine) -> None:
    bare.run(
        "sh", "-c", "mkdir -p /etc/rsc; printf '# rscd\\n*\\trw\\n' > /etc/rsc/exports; : > /etc/rsc/users; useradd joe"
    )
    bare.put("/d/rscd.yaml", "deployment: rscd\nprofile: rscd\nmode: impersonation\nwith:\n  exports: [{hosts: [127.0.0.1], options: [rw]}]\n"
             "  users_local: [{who: 'BLAdmins:BLAdmin', options: [rw, map=joe]}, {who: nouser}]\n")  # fmt: skip
    before = bare.run("sh", "-c", "cat -A /etc/rsc/*; ls -l --time-style=full-iso /etc/rsc").stdout
    bare.reconciler("apply", "/d", "--yes")
    told = json.loads(
        bare.reconciler(
            "mapping", "resolve", "--host", "localhost", "--role", "BLAdmins", "--user", "BLAdmin", "--format", "json"
        ).stdout
    )
    assert (told["decision"], told["runs_as"], told["rule"]["file"]) == ("granted", "joe", "/etc/rsc/users.local")
    assert (
        bare.reconciler("exec", "--mapped", "BLAdmins:BLAdmin@localhost", "--", "/usr/bin/id", "-un").stdout == "joe\n"
    )
    bare.run("sh", "-c", "sed -i 's/^passwd:.*/passwd: files ldap/' /etc/nsswitch.conf")
    unknown = json.loads(
        bare.reconciler("mapping", "resolve", "--host", "localhost", "--user", "ann", "--format", "json").stdout
    )
    assert unknown["decision"] == "denied", "nouser decides before any account is asked for"
    bare.reconciler("uninstall", "rscd", "--yes")
    assert bare.run("sh", "-c", "cat -A /etc/rsc/*; ls -l --time-style=full-iso /etc/rsc").stdout == before
    gone = json.loads(
        bare.reconciler("mapping", "resolve", "--host", "localhost", "--user", "ann", "--format", "json").stdout
    )
    assert (gone["decision"], gone["runs_as"]) == ("unknown", None)
