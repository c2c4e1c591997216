"""A real Debian host for every test: a root built once, booted on an overlay, entered with nsenter."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.worlds import REPO

PACKAGES = (
    "systemd,systemd-sysv,dbus,sudo,acl,attr,libcap2-bin,procps,passwd,python3,"
    "zabbix-agent,prometheus-node-exporter,nagios-nrpe-server,git,openssh-client,vim-tiny"
)
NEEDS = ("mmdebstrap", "systemd-nspawn", "nsenter")
DEPENDENCIES = (
    "click", "cryptography", "jeepney", "prometheus-client", "pydantic", "rich", "ruamel.yaml", "sqlite-utils", "watchdog",
)  # fmt: skip
WRAPPER = '#!/bin/sh\nPYTHONPATH=/opt/product:/opt/product-deps exec /usr/bin/python3 -B -m reconciler "$@"\n'


def why_not() -> str | None:
    """Why no host can be booted here; None where one can."""
    if os.geteuid() != 0:
        return "booting a host needs root"
    missing = [name for name in NEEDS if shutil.which(name) is None]
    return f"missing programs: {', '.join(missing)}" if missing else None


def base() -> Path:
    """The root that every host starts from; built once and kept in a cache."""
    key = hashlib.sha256((PACKAGES + ",".join(DEPENDENCIES) + WRAPPER).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("RECONCILER_TEST_CACHE", "/var/tmp/reconciler-test-hosts"))
    root = cache / f"base-{key}"
    if (root / ".complete").exists():
        return root
    cache.mkdir(parents=True, exist_ok=True)
    import fcntl

    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (root / ".complete").exists():
            return root
        shutil.rmtree(root, ignore_errors=True)
        tar = cache / f"base-{key}.tar"
        build = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(tar)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        root.mkdir()
        subprocess.run(["tar", "-C", str(root), "--xattrs", "--xattrs-include=*", "-xf", str(tar)], check=True)
        tar.unlink()
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(root / "opt/product-deps")]
        pip += ["--python-version", "3.11", "--only-binary=:all:", *DEPENDENCIES]
        subprocess.run(pip, check=True)
        (root / "opt/product").mkdir()
        wrapper = root / "usr/local/bin/reconciler"
        wrapper.write_text(WRAPPER)
        wrapper.chmod(0o755)
        (root / ".complete").touch()
    return root


def own_cgroups(name: str) -> list[Path]:
    """A control group of this name in every hierarchy that systemd uses, below where this process is.

    Two booted hosts in one group would each find the other's processes under the names of their own units, and
    systemd could not end what it cannot see.
    """
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    ours = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    made = []
    for controllers, place in ((two, three) for _, two, three in ours):
        for _, where, kind, options, *_ in mounts:
            if (kind == "cgroup2" and not controllers) or (kind == "cgroup" and controllers and controllers == options.rpartition(",")[2]
                                                           and controllers.startswith("name=")):  # fmt: skip
                group = Path(where) / place.lstrip("/") / name
                group.mkdir(exist_ok=True)
                made.append(group)
                break
    return made


def remove_when_empty(group: Path, seconds: float = 5) -> None:
    """Take a control group away; the kernel keeps it busy until the last of its processes is reaped."""
    limit = time.monotonic() + seconds
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)


class Machine:
    """One booted host."""

    def __init__(self) -> None:
        lower = base()
        self.scratch = Path(tempfile.mkdtemp(prefix="reconciler-host-", dir="/var/tmp"))
        self.root = self.scratch / "root"
        for name in ("upper", "work", "root", "disk"):
            (self.scratch / name).mkdir()
        options = f"lowerdir={lower},upperdir={self.scratch}/upper,workdir={self.scratch}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)
        self.nspawn: subprocess.Popen[bytes] | None = None
        self.cgroups: list[Path] = []
        self.pid = 0

    def boot(self) -> Machine:
        """Start it and wait until its systemd is up."""
        command = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"]
        command += [f"--directory={self.root}", f"--bind-ro={REPO / 'reconciler'}:/opt/product/reconciler"]
        # An overlay's whole file system cannot be marked; what is below /srv lies on a real one.
        command += [
            f"--bind={self.scratch / 'disk'}:/srv",
            "--system-call-filter=fanotify_init fanotify_mark open_by_handle_at",
        ]
        command += [
            f"--machine=t{os.getpid()}-{self.scratch.name[-8:].replace('_', 'x')}",
            "--link-journal=no",
        ]
        self.cgroups = own_cgroups(self.scratch.name)
        into = 'for group do [ "$group" = -- ] && break; echo $$ > "$group/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
        command = ["sh", "-c", into, "sh", *map(str, self.cgroups), "--", *command]
        self.nspawn = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            if self.nspawn.poll() is not None:
                assert self.nspawn.stderr is not None
                raise RuntimeError(f"the host did not boot: {self.nspawn.stderr.read().decode()}")
            children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
            if children:
                self.pid = int(children[0])
                state = self.run("systemctl", "is-system-running", check=None).stdout.strip()
                if state in ("running", "degraded"):
                    return self
            time.sleep(0.05)
        raise RuntimeError("the host did not come up within a minute")

    def enter(self) -> list[str]:
        """The words that put a command into the host."""
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "--"]

    def run(self, *words: str, check: int | None = 0, feed: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program in the host."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
        }
        done = subprocess.run([*self.enter(), *words], capture_output=True, text=True, env=environment, timeout=300,
                              input=feed, stdin=subprocess.DEVNULL if feed is None else None)  # fmt: skip
        if check is not None:
            assert done.returncode == check, f"{words} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def reconciler(self, *words: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the product in the host."""
        done = self.run("reconciler", *words, check=check)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the host, from within."""
        self.run(
            "sh",
            "-c",
            'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"',
            "sh",
            path,
            f"{mode:o}",
            feed=text,
        )

    def uid_of(self, unit: str) -> str:
        """The name of the user that a unit's main process really runs as; "(down)" where there is none."""
        asked = self.run("stat", "-c", "%U", f"/proc/{self.pid_of(unit)}", check=None)
        # Of a number that was told a moment ago the process may have ended since.
        return asked.stdout.strip() if asked.returncode == 0 and self.pid_of(unit) != "0" else "(down)"

    def pid_of(self, unit: str) -> str:
        """The main process of a unit."""
        return self.run("systemctl", "show", "-p", "MainPID", "--value", unit).stdout.strip()

    def stop(self) -> None:
        """Switch it off and take everything away."""
        if self.nspawn is not None and self.nspawn.poll() is None:
            if self.pid:
                subprocess.run([*self.enter(), "systemctl", "poweroff", "--force", "--force"], check=False,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            try:
                self.nspawn.wait(10)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait(10)
        if self.nspawn is not None and self.nspawn.stderr is not None:
            self.nspawn.stderr.close()
        for group in self.cgroups:
            for directory in [*sorted(group.rglob("*/"), reverse=True), group]:
                remove_when_empty(directory)
        subprocess.run(["umount", "--recursive", "--lazy", str(self.root)], check=False)
        shutil.rmtree(self.scratch, ignore_errors=True)
