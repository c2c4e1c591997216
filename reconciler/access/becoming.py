"""Who can become somebody else: by sudo, through a container socket or a disk, by what others run for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ..errors import HostError
from ..host.port import Observer
from ..kinds import units
from .rights import Person
from .scene import Scene
from .sudoers import Grant, Sudoers, names_person, sudoers

SOCKETS = {
    "/run/docker.sock": "docker", "/run/podman/podman.sock": "podman", "/run/containerd/containerd.sock": "containerd",
    "/var/lib/lxd/unix.socket": "lxd", "/var/snap/lxd/common/lxd/unix.socket": "lxd",
    "/var/lib/incus/unix.socket": "incus", "/run/incus/unix.socket": "incus",
}  # fmt: skip
ROOT_GROUPS = frozenset({"docker", "lxd", "incus-admin", "disk"})
"""Groups whose members can become root by what they are given, wherever that runs."""
DISKS = re.compile(r"^(sd[a-z]+\d*|vd[a-z]+\d*|nvme\d+n\d+(p\d+)?|dm-\d+|md\d+|xvd[a-z]+\d*|mmcblk\d+(p\d+)?)$")
SHELLS = """
sh bash dash zsh ksh csh tcsh fish busybox su sudo env vi vim view rvim nano ed ex emacs less more man awk gawk mawk
perl python python3 ruby lua php node tclsh expect find xargs tar zip rsync git make gdb strace ltrace script screen
tmux ssh scp sftp ftp nmap docker podman lxc systemctl journalctl systemd-run nsenter unshare chroot setpriv runuser
cp mv dd tee install chmod chown ln crontab at visudo vipw mount apt apt-get dpkg rpm yum dnf pip npm tcpdump
"""
ESCAPES = frozenset(SHELLS.split())
"""Programs that give a shell, or any file, to whoever may run them with arguments of his own."""
POWERS = frozenset({"setuid", "setgid", "sys_admin", "sys_ptrace", "sys_module", "sys_rawio", "dac_override", "chown",
                    "fowner", "setfcap", "mac_admin", "sys_chroot"})  # fmt: skip
"""Capabilities with which a process can become root."""
CRONS = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly")
CRITICAL = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/sudoers", "/etc/sudoers.d", "/etc/crontab", "/etc/cron.d",
            "/etc/ld.so.preload", "/etc/systemd/system", "/etc/init.d", "/etc/pam.d", "/root/.ssh/authorized_keys",
            "/var/spool/cron/crontabs")  # fmt: skip
SHELL = re.compile(r"[\s;|&<>()`$'\"]+")


@dataclass(frozen=True)
class Run:
    """A program that somebody starts without being asked each time."""

    program: str
    user: str
    by: str
    """What starts it: a unit, a line of a crontab, a sudoers rule."""


@dataclass(frozen=True)
class Edge:
    """One account can become another."""

    who: str
    whom: str
    why: str

    def __str__(self) -> str:
        return f"{self.who} can become {self.whom}: {self.why}"


class Becoming:
    """All the ways on one host."""

    def __init__(self, scene: Scene, hostname: str = "localhost", users: Mapping[str, str] | None = None) -> None:
        """``users``: whom units run as, where that is not what their files say yet."""
        self.scene, self.host, self.name, self._users = scene, scene.host, hostname, users or {}

    @cached_property
    def sudoers(self) -> Sudoers:
        """What the sudoers files say; nothing where they cannot be read."""

        def read(path: str) -> bytes | None:
            try:
                file = self.host.read(path)
            except HostError:
                return None
            return file.data if file else None

        return sudoers(read, self.host.names, self.name)

    def may(self, person: Person, grant: Grant) -> bool:
        """Whether a rule is about a person who could use it."""
        groups = {gid: self.scene.group_names.get(gid, str(gid)) for gid in person.gids}
        if not names_person(grant.users, person.name, person.uid, groups):
            return False
        opened = {person.name, "ALL"} & set(self.sudoers.open)
        return not grant.password or bool(opened) or not self.scene.locked(person.name)

    def targets(self, grant: Grant) -> list[str]:
        """The accounts that a rule lets somebody run things as."""
        found = []
        for person in self.scene.persons:
            groups = {gid: self.scene.group_names.get(gid, str(gid)) for gid in person.gids}
            if names_person(grant.runas, person.name, person.uid, groups):
                found.append(person.name)
        return found

    def free(self, person: Person, grant: Grant) -> str:
        """Why a rule gives its user everything that its target can do; empty where it does not."""
        words = grant.command.split()
        if grant.command.startswith("!") or not words:
            return ""
        if words[0] == "ALL":
            return "may run anything"
        if words[0] in ("sudoedit", "list") or not words[0].startswith("/"):
            return ""
        program = words[0]
        if "*" in program or "?" in program or "[" in program:
            return f"may run {program}, whatever that is"
        if program.endswith("/"):
            return "can put a program into " + program if person.name in self.scene.changers(program) else ""
        if person.name in self.scene.changers(program):
            return f"may run {program}, and can change that"
        given = words[1:]
        if program.rpartition("/")[2] in ESCAPES and (not given or any("*" in word for word in given)):
            return f"may run {program}, which gives a shell"
        return ""

    @cached_property
    def edges(self) -> list[Edge]:
        """Every way from one account to another."""
        return [edge for edge in self._edges() if edge.who != edge.whom]

    def _edges(self) -> Iterator[Edge]:
        for grant in self.sudoers.grants:
            for person in self.scene.persons:
                if not person.root and self.may(person, grant) and (why := self.free(person, grant)):
                    told = f"{why} ({grant.file}:{grant.line})"
                    yield from (Edge(person.name, whom, told) for whom in self.targets(grant))
        for path, what in SOCKETS.items():
            can = self.scene.rights(path) or {}
            yield from (Edge(who, "root", f"can write to the socket of {what}") for who in can.get("write", ()))
        for name in self.host.names("/dev") if self.host.live else ():
            if DISKS.match(name) and (look := self.scene.look(f"/dev/{name}")) is not None and look.type == "block":
                can = self.scene.rights(f"/dev/{name}") or {}
                yield from (Edge(who, "root", f"can write to /dev/{name}") for who in can.get("write", ()))
        if not self.host.live:
            yield from self._grouped()
        for path in CRITICAL:
            yield from (Edge(who, "root", f"{path}: {why}") for who, why in self.scene.changers(path).items())
        for run in self.runs:
            for who, why in self.scene.changers(run.program).items():
                yield Edge(who, run.user, f"{run.by} runs {run.program}: {why}")
        for person in self.scene.stronger:
            if powers := sorted(person.powers & POWERS):
                yield Edge(person.name, "root", f"{person.how} has cap_{', cap_'.join(powers)}")

    def _grouped(self) -> Iterator[Edge]:
        """In a root directory no socket is there to ask; the groups tell."""
        for person in self.scene.persons:
            for gid in person.gids:
                name = self.scene.group_names.get(gid, "")
                if name in ROOT_GROUPS and not person.root:
                    yield membership(person.name, name)

    def into(self, whom: str) -> dict[str, str]:
        """Who can become somebody, by whatever way, each with the reason for his first step; root is not listed."""
        uids = {person.name: person.uid for person in self.scene.persons}
        reached = {whom}
        found: dict[str, str] = {}
        if whom != "root":
            reached.add("root")  # root becomes anybody
        while True:
            more = [e for e in self.edges if e.whom in reached and e.who not in reached and uids.get(e.who) != 0]
            if not more:
                return {who: why for who, why in found.items() if who not in (whom, "root")}
            for edge in more:
                via = "" if edge.whom == whom else f", as {edge.whom}"
                found.setdefault(edge.who, edge.why + via)
                reached.add(edge.who)

    # What runs without being asked.

    @cached_property
    def runs(self) -> list[Run]:
        """The programs of units and crontabs."""
        return [*self._units(), *self._crons()]

    def _units(self) -> Iterator[Run]:
        for name in unit_names(self.host):
            try:
                unit = units.load(self.host, name)
            except HostError:
                continue
            if unit.masked:
                continue
            user = unit.last("Service", "User")
            who = self._users.get(name) or (user[0] if user and user[0] else "root")
            if "%" in who or unit.last("Service", "DynamicUser") == ("yes", ""):
                continue
            for program in dict.fromkeys(unit.programs()):
                if "%" not in program and "$" not in program:
                    yield Run(program, who, name)

    def _crons(self) -> Iterator[Run]:
        for directory in CRONS:
            yield from (Run(f"{directory}/{name}", "root", directory) for name in self.host.names(directory))
        tables = [("/etc/crontab", "")] + [(f"/etc/cron.d/{name}", "") for name in self.host.names("/etc/cron.d")]
        for spool in ("/var/spool/cron/crontabs", "/var/spool/cron"):
            tables += [(f"{spool}/{name}", name) for name in self.host.names(spool) if name != "crontabs"]
        for path, owner in tables:
            try:
                file = self.host.read(path)
            except HostError:
                continue
            for number, line in enumerate((file.data if file else b"").decode("utf-8", "replace").splitlines(), 1):
                yield from cron_line(path, number, line, owner)


def membership(who: str, group: str) -> Edge:
    """What being in such a group amounts to."""
    return Edge(who, "root", f"is in group {group}, which is as good as root")


def cron_line(path: str, number: int, line: str, owner: str) -> Iterator[Run]:
    """The programs in one line of a crontab; ``owner`` is empty where the line names its user."""
    text = line.strip()
    if not text or text.startswith("#") or re.match(r"^\w+\s*=", text):
        return
    words = text.split(None, (1 if text.startswith("@") else 5) + (0 if owner else 1))
    skip = (1 if text.startswith("@") else 5) + (0 if owner else 1)
    if len(words) <= skip:
        return
    user = owner or words[skip - 1]
    for word in SHELL.split(words[skip]):
        if word.startswith("/") and word.count("/") > 1 and not word.startswith(("/dev/", "/proc/")):
            yield Run(word, user, f"{path}:{number}")


def unit_names(host: Observer) -> list[str]:
    """Every service and every init script."""
    found: dict[str, None] = {}
    for place in units.PLACES:
        found |= dict.fromkeys(name for name in host.names(place) if name.endswith(".service") and "@." not in name)
    found |= dict.fromkeys(f"{name}.service" for name in host.names("/etc/init.d") if not name.startswith("."))
    return list(found)
