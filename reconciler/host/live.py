"""The running Linux host: files as any root directory, and besides programs, processes and name services."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..formats.text import printable
from .files import FileHost, FileObserver, spawn
from .names import sources
from .port import Entity, Process, Result

if TYPE_CHECKING:
    from .port import Host, Observer

VIRTUAL = {
    "proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "securityfs", "debugfs", "tracefs", "bpf",
    "pstore", "efivarfs", "configfs", "fusectl", "mqueue", "hugetlbfs", "autofs", "binfmt_misc", "rpc_pipefs",
    "nsfs", "selinuxfs",
}  # fmt: skip
REMOTE = {"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "afs", "9p", "fuse.sshfs", "ncpfs"}
LOCAL_SOURCES = {
    "files",
    "systemd",
    "compat",
    "myhostname",
    "altfiles",
    "extrausers",
    "db",
    "shadow",
    "cache",
}
PROBES: dict[str, list[str]] = {
    "sss": [
        "busctl", "--system", "call", "org.freedesktop.sssd.infopipe", "/org/freedesktop/sssd/infopipe",
        "org.freedesktop.sssd.infopipe", "Ping", "s", "ping",
    ],
    "winbind": ["wbinfo", "--ping-dc"],
    "nis": ["ypwhich"],
}  # fmt: skip


class LiveObserver(FileObserver):
    """The read-only half of the running host."""

    live = True

    def __init__(self, root: str = "/") -> None:
        super().__init__(root)
        self._points: dict[str, str] | None = None

    def query(self, argv: Sequence[str], feed: bytes | None = None) -> Result:
        """Run a program that only tells."""
        return spawn(argv, feed=feed)

    def boot(self) -> str:
        """The id of this boot."""
        with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
        return ""

    def processes(self) -> list[Process]:
        """Every live process but kernel threads and ourselves."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with suppress(OSError, ValueError, KeyError, IndexError):
                    if process := read_process(int(name)):
                        found.append(process)
        return found

    def remote(self, database: str, name: str) -> Entity | str | None:
        """What name services beside the local files say: an entity, None, or why they cannot say."""
        sources = [s for s in self._sources(database) if s not in LOCAL_SOURCES]
        found: Entity | None = None
        with suppress(KeyError):
            if database == "passwd":
                user = pwd.getpwnam(name)
                found = Entity(user.pw_name, user.pw_uid)
            else:
                group = grp.getgrnam(name)
                found = Entity(group.gr_name, group.gr_gid)
        if found is not None or not sources:
            return found
        for source in sources:
            if problem := self._unproven(source):
                return problem
        return None

    def named(self, database: str, number: int) -> str | None:
        """The name that the name services have for a number."""
        with suppress(KeyError):
            return pwd.getpwuid(number).pw_name if database == "passwd" else grp.getgrgid(number).gr_name
        return None

    def groups(self, name: str, gid: int) -> frozenset[int] | None:
        """All groups of a user, from every name service, with the primary one given."""
        try:
            return frozenset(os.getgrouplist(name, gid))
        except OSError:
            return None

    def _flags(self, fd: int) -> frozenset[str]:
        mount = os.fstatvfs(fd).f_flag
        named = {"read-only": os.ST_RDONLY, "noexec": os.ST_NOEXEC, "nosuid": os.ST_NOSUID}
        return super()._flags(fd) | {name for name, bit in named.items() if mount & bit}

    def _sources(self, database: str) -> list[str]:
        try:
            file = self.read("/etc/nsswitch.conf")
        except Exception:  # noqa: BLE001 - an unreadable nsswitch.conf means the libc's default
            file = None
        found = sources(file.data if file else b"", database)
        return ["files"] if found is None else found

    def _unproven(self, source: str) -> str:
        """Why an answer of "no such name" from this source proves nothing; empty where it does."""
        probe = PROBES.get(source)
        if probe is None:
            return f"name service '{source}' is configured and cannot be proven to answer"
        try:
            result = self.query(probe)
        except Exception as error:  # noqa: BLE001 - whatever the probe's fault, the answer is unproven
            return f"name service '{source}' does not answer ({printable(str(error))})"
        if result.code != 0:
            said = (result.err or result.out).strip().splitlines()
            return f"name service '{source}' does not answer ({printable(said[-1]) if said else 'no reason given'})"
        return ""

    def _enter(self, path: str) -> bool:
        if self._points is None:
            self._points = dict(self.mounts())
        kind = self._points.get(path)
        return kind is None or (kind not in VIRTUAL and kind not in REMOTE)


def read_process(pid: int) -> Process | None:
    """One process from /proc; None for a kernel thread."""
    base = f"/proc/{pid}"
    with open(f"{base}/status", encoding="utf-8", errors="surrogateescape") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open(f"{base}/stat", "rb") as raw:
        tail = raw.read().rpartition(b") ")[2].split()
    with open(f"{base}/cmdline", "rb") as raw:
        args = tuple(os.fsdecode(word) for word in raw.read().split(b"\0")[:-1])
    if not args and not status.get("VmSize"):
        return None
    exe = cwd = cgroup = ""
    with suppress(OSError):
        exe = os.readlink(f"{base}/exe")
    with suppress(OSError):
        cwd = os.readlink(f"{base}/cwd")
    with suppress(OSError), open(f"{base}/cgroup", encoding="utf-8") as file:
        cgroup = file.read().strip().splitlines()[-1].split("::")[-1]
    return Process(
        pid,
        status["Name"],
        exe,
        args,
        cwd,
        frozenset(map(int, status["Uid"].split())),
        frozenset(map(int, status["Gid"].split())),
        frozenset(map(int, status["Groups"].split())),
        int(status.get("CapAmb", "0"), 16),
        int(tail[19]),
        cgroup,
        # What it may use is what it can, whether it does so now or not.
        int(status.get("CapPrm", "0"), 16),
        status.get("NoNewPrivs", "0").strip() == "1",
        _mounts_of(pid) != _mounts_of("self"),
    )


def _mounts_of(pid: int | str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/mnt")
    return ""


class LiveHost(LiveObserver, FileHost):
    """The running host, to be changed."""

    def run(self, argv: Sequence[str]) -> Result:
        """Run a program that changes the host."""
        return spawn(argv)


if TYPE_CHECKING:
    _observer: Observer = LiveObserver()
    _host: Host = LiveHost()
