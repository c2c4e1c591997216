"""Who can become somebody else: by sudo, through a container socket or a disk, by what others run for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import HostError
from ..host import units
from ..host.port import Observer, Type
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
WITH_ARGUMENTS = """
awk gawk mawk find xargs tar zip rsync make strace ltrace ssh scp sftp nmap docker podman lxc systemctl systemd-run
nsenter unshare chroot setpriv runuser cp mv dd tee install chmod chown ln crontab at mount apt apt-get dpkg rpm yum dnf
pip npm tcpdump sed usermod useradd passwd chpasswd gpasswd env nice nohup timeout cpulimit socat nc openssl
"""
BY_THEMSELVES = """
sh bash dash zsh ksh csh tcsh fish busybox su sudo vi vim view rvim nano ed ex emacs less more man perl python ruby lua
php node tclsh expect git gdb script screen tmux ftp journalctl visudo vipw mysql psql sqlite irb
"""
FREE_WITH, FREE_ALONE = frozenset(WITH_ARGUMENTS.split()), frozenset(BY_THEMSELVES.split())
"""Programs that give a shell, or any file: to whoever may choose their arguments, or whatever those are."""
STARTERS = frozenset({"env", "xargs", "nice", "nohup", "timeout", "setpriv", "runuser", "nsenter", "unshare", "chroot"})
"""Programs that only start others, which NOEXEC keeps them from."""
WRITERS = frozenset({"tee", "cp", "mv", "dd", "install", "chmod", "chown", "ln", "sed"})
POWERS = frozenset({"setuid", "setgid", "sys_admin", "sys_ptrace", "sys_module", "sys_rawio", "dac_override", "chown",
                    "fowner", "setfcap", "mac_admin", "sys_chroot"})  # fmt: skip
"""Capabilities with which a process can become root."""
CRONS = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly")
CRITICAL = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/sudoers", "/etc/sudoers.d", "/etc/crontab", "/etc/cron.d",
            "/etc/ld.so.preload", "/etc/systemd/system", "/etc/init.d", "/etc/pam.d", "/root/.ssh/authorized_keys",
            "/var/spool/cron/crontabs")  # fmt: skip
STARTED = (*units.PLACES, "/etc/init.d", "/etc/cron", "/var/spool/cron")
"""Where it stands what runs without being asked."""
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

    def __init__(
        self,
        scene: Scene,
        hostname: str = "localhost",
        users: Mapping[str, str] | None = None,
        before: tuple[Becoming, Iterable[str]] | None = None,
    ) -> None:
        """``users``: whom units run as, where that is not what their files say yet.

        ``before``: the ways on a host from which this one differs in some files.
        """
        self.scene, self.host, self.name, self._users = scene, scene.host, hostname, users or {}
        self._before = before
        self.read: set[str] = set()
        """The sudoers files, those that others include too."""

    def _unlike(self, places: Iterable[str]) -> bool:
        """Whether something differs in these places from how it was before."""
        if self._before is None:
            return True
        _, changed = self._before
        begins = tuple(places)
        return any(path.startswith(begins) for path in changed)

    @cached_property
    def sudoers(self) -> Sudoers:
        """What the sudoers files say; nothing where they cannot be read."""
        if self._before is not None and not self._unlike(["/etc/sudoers", *self._before[0].read]):
            return self._before[0].sudoers

        def read(path: str) -> bytes | None:
            self.read.add(path)
            try:
                file = self.host.read(path)
            except HostError:
                return None
            return file.data if file else None

        return sudoers(read, self.host.names, self.name)

    def may(self, person: Person, grant: Grant) -> bool:
        """Whether a rule is about a person who could use it."""
        if not self._meant(grant.users, person):
            return False
        if not grant.password or not self.scene.locked(person.name):
            return True
        told = self.sudoers
        return (
            self._meant(told.open, person)
            or any(self._meant(told.open_as, target) for target in self.targets(grant))
            or any(word in ("ALL", grant.command.split()[0]) for word in told.open_for)
        )

    def _meant(self, words: Sequence[str], person: Person) -> bool:
        groups = {gid: self.scene.group_names.get(gid, str(gid)) for gid in person.gids}
        return names_person(words, person.name, person.uid, groups)

    def targets(self, grant: Grant) -> list[Person]:
        """The accounts that a rule lets somebody run things as."""
        return [person for person in self.scene.persons if self._meant(grant.runas, person)]

    def free(self, person: Person, grant: Grant) -> str:  # noqa: PLR0911 - the list of ways, one a line
        """Why a rule gives its user everything that its target can do; empty where it does not."""
        command, words = grant.command, grant.command.split()
        if command.startswith("!") or not words or words[0] == "list":
            return ""
        if words[0] == "ALL":
            return "may run anything"
        if grant.setenv:
            return f"may run {words[0]} with variables of his own, LD_PRELOAD too"
        if words[0] == "sudoedit":
            open_to = [word for word in words[1:] if set(word) & set("*?[") or self._critical(word)]
            return f"may edit {open_to[0]}" if open_to else ""
        program, given = words[0], words[1:]
        if program.startswith("^") or set(program) & set("*?["):
            return f"may run {program}, whatever that is"
        if not program.startswith("/"):
            return ""
        if person.name in self.scene.changers(program):
            return f"may run {program}, and can change that"
        if program.endswith("/"):
            names = sorted(name for name in self.host.names(program.rstrip("/")) if _base(name) in FREE_ALONE)
            return f"may run {program}{names[0]}, which gives a shell" if names else ""
        way = self.scene.way(program)
        called = {_base(program), _base(way.path) if way is not None else ""}
        if called & FREE_ALONE:
            return f"may run {program}, which gives a shell"
        mine = not given or any(set(word) & set("*?[") for word in given) or given[0].startswith("^")
        if called & FREE_WITH and mine and not (grant.noexec and called <= STARTERS | {""}):
            return f"may run {program} with arguments of his own, which gives a shell"
        if called & WRITERS and any(self._critical(word.partition("=")[2] or word) for word in given):
            return f"may run {command}, which writes what root relies on"
        return ""

    def _critical(self, path: str) -> bool:
        return any(path == known or path.startswith(known + "/") for known in CRITICAL)

    @cached_property
    def edges(self) -> list[Edge]:
        """Every way from one account to another."""
        return [edge for edge in self._edges() if edge.who != edge.whom]

    def _edges(self) -> Iterator[Edge]:
        for person in self.scene.persons:
            if not person.root:
                yield from self._by_sudo(person)
        for path, what in SOCKETS.items():
            can = self.scene.rights(path) or {}
            yield from (Edge(who, "root", f"can write to the socket of {what}") for who in can.get("write", ()))
        for name in self.host.names("/dev") if self.host.live else ():
            if DISKS.match(name) and (look := self.scene.look(f"/dev/{name}")) is not None and look.type == Type.BLOCK:
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

    def _by_sudo(self, person: Person) -> Iterator[Edge]:
        found: list[Edge] = []
        for grant in self.sudoers.grants:
            if grant.command == "!ALL" and self._meant(grant.users, person):
                found.clear()  # the last rule that fits counts
            elif self.may(person, grant) and (why := self.free(person, grant)):
                told = f"{why} ({grant.file}:{grant.line})"
                found += [Edge(person.name, target.name, told) for target in self.targets(grant)]
        yield from found

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
        # Accounts of one number are one to the kernel, and root becomes anybody.
        reached = {uids.get(whom, whom), 0}
        found: dict[str, str] = {}
        while True:
            more = [
                e for e in self.edges if uids.get(e.whom, e.whom) in reached and uids.get(e.who, e.who) not in reached
            ]
            if not more:
                return found
            for edge in more:
                via = "" if uids.get(edge.whom, edge.whom) == uids.get(whom, whom) else f", as {edge.whom}"
                found.setdefault(edge.who, edge.why + via)
            reached |= {uids.get(edge.who, edge.who) for edge in more}

    # What runs without being asked.

    @cached_property
    def runs(self) -> list[Run]:
        """The programs of units and crontabs."""
        if self._before is not None and not self._users and not self._unlike(STARTED):
            return self._before[0].runs
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
            if "%" in who or _said(unit, "DynamicUser"):
                who = ""
            loose = _said(unit, "PermissionsStartOnly")
            for _, key, value, path in unit.settings:
                if key.startswith("Exec"):
                    sign, programs = programs_of(value)
                    whom = "root" if "+" in sign or "!" in sign or (loose and key != "ExecStart") else who
                    yield from (Run(program, whom, name) for program in programs if whom)
                elif key == "EnvironmentFile" and who and value.lstrip("-").startswith("/"):
                    yield Run(value.lstrip("-"), who, f"{name} takes its environment from it and")
                if path != unit.script:
                    yield Run(path, "root", f"systemd reads {name} from it and")
            if unit.script:
                yield Run(unit.script, "root", name)
            yield from (Run(f"{place}/{name}.d", "root", f"systemd reads {name} from it and") for place in units.PLACES)

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
            yield from cron_lines(path, (file.data if file else b"").decode("utf-8", "replace"), owner)


def _said(unit: units.Unit, key: str) -> bool:
    """Whether a service's files say yes to this."""
    found = unit.last("Service", key)
    return found is not None and found[0] in ("yes", "true", "1", "on")


def membership(who: str, group: str) -> Edge:
    """What being in such a group amounts to."""
    return Edge(who, "root", f"is in group {group}, which is as good as root")


def programs_of(line: str) -> tuple[str, list[str]]:
    """What stands before a unit's command, and the programs and scripts in it.

    >>> programs_of('-+/bin/sh -c "/srv/run x"')
    ('-+', ['/bin/sh', '/srv/run'])
    """
    sign = line[: len(line) - len(line.lstrip("@-:+!|"))]
    words = [word for word in SHELL.split(line[len(sign) :]) if word]
    return sign, [word for word in dict.fromkeys(words) if word.startswith("/") and not set(word) & set("%$")]


def cron_lines(path: str, text: str, owner: str) -> Iterator[Run]:
    """The programs in a crontab; ``owner`` is empty where each line names its user."""
    places = ["/usr/bin", "/bin"]
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if assigned := re.match(r"^(\w+)\s*=\s*(.*)$", line):
            if assigned[1] == "PATH":
                places = [place for place in assigned[2].strip("\"'").split(":") if place.startswith("/")]
            continue
        skip = (1 if line.startswith("@") else 5) + (0 if owner else 1)
        words = line.split(None, skip)
        if len(words) <= skip:
            continue
        user, by = owner or words[skip - 1], f"{path}:{number}"
        parts = [word for word in SHELL.split(words[skip].partition("%")[0]) if word]
        for word in dict.fromkeys(parts):
            if set(word) & set("*?["):
                word = word.rpartition("/")[0]  # noqa: PLW2901 - whoever adds a name there is run
            if word.startswith("/") and not word.startswith(("/dev/", "/proc/")):
                yield Run(word, user, by)
        if parts and "/" not in parts[0]:
            yield from (Run(f"{place}/{parts[0]}", user, by) for place in places)
            yield from (Run(place, user, f"{by} looks for {parts[0]} in it and") for place in places)


def _base(path: str) -> str:
    """The name of a program without its directory and version."""
    return re.sub(r"[\d.]+$", "", path.rpartition("/")[2])


def unit_names(host: Observer) -> list[str]:
    """Every service and every init script."""
    found: dict[str, None] = {}
    for place in units.PLACES:
        found |= dict.fromkeys(name for name in host.names(place) if name.endswith(".service"))
    found |= dict.fromkeys(f"{name}.service" for name in host.names("/etc/init.d") if not name.startswith("."))
    return list(found)
