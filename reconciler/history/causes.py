"""Why something is other than it was left: the likely cause, from what the host wrote down at that time.

A cause is a lead for somebody who looks further, and no proof: times meet, and a log can be written by whoever is root.
"""

from __future__ import annotations

import binascii
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ..errors import ReconcilerError
from ..formats.text import printable
from ..host.actor import Who
from ..host.port import Observer
from ..model import Json

TAIL = 1 << 18
"""So many bytes of a log's end are read."""
SLACK = timedelta(seconds=2)
"""Logs tell whole seconds, and are written a little later."""
BEFORE = timedelta(minutes=10)
"""Where nobody saw the moment, what happened so long before counts too."""
DPKG = "/var/log/dpkg.log"
DNF = ("/var/log/dnf.rpm.log", "/var/log/yum.log")
ZYPP = "/var/log/zypp/history"
AUDIT = "/var/log/audit/audit.log"
DONE = {
    "upgrade": "upgraded",
    "install": "installed",
    "remove": "removed",
    "purge": "purged",
    "configure": "configured",
}
RPM = re.compile(r"\b(Upgraded?|Installed|Reinstalled?|Updated|Downgraded?|Erased|Removed):? (\S+)")
PACKAGERS = {"dpkg", "dpkg-deb", "apt", "apt-get", "aptitude", "rpm", "dnf", "yum", "zypper", "unattended-upgr"}
UTMP = struct.Struct("=h2xi32s4s32s256s2hiii16s20s")
USER_PROCESS = 7


@dataclass(frozen=True)
class Cause:
    """What probably did it."""

    kind: str
    """interrupted, package, process, audit, login or unknown."""
    text: str
    details: Json = field(default_factory=dict)

    def json(self) -> Json:
        """The form that events carry."""
        return {"kind": self.kind, "text": self.text, **self.details}


UNKNOWN = Cause("unknown", "unknown")


def changed(host: Observer, paths: Iterable[str]) -> tuple[datetime, datetime] | None:
    """Between when and when some paths last changed, as the host itself remembers; None where it does not."""
    times = []
    for path in paths:
        with suppress(ReconcilerError, OSError):
            stat = host.stat(path)
            if stat is not None and stat.changed_ns:
                times.append(datetime.fromtimestamp(stat.changed_ns / 1e9, UTC))
    return (min(times), max(times)) if times else None


@dataclass(frozen=True)
class Asked:
    """What a cause is looked for."""

    paths: tuple[str, ...]
    """Where it shows."""
    since: datetime
    until: datetime
    whos: tuple[Who, ...] = ()
    """Processes that were seen doing something there."""
    interrupted: bool = False
    """Whether a run of ours was cut off."""
    upgraded: str = ""
    """What the guard of a package manager says just happened."""


def cause(host: Observer, asked: Asked) -> Cause:
    """The likely cause."""
    if asked.interrupted:
        return Cause("interrupted", "our own interrupted run")
    package = _package(host, asked)
    last = asked.whos[-1] if asked.whos else None
    named = next((who for who in reversed(asked.whos) if who.name), None)
    if package is not None and (named is None or packager(named) or package.details["owns"]):
        return package
    if named is not None and last is not None:
        text = named.text if named == last else f"{named.text}, or {last.text}"
        return Cause("process", text, {"process": named.json()})
    audited = _audited(host, asked)
    if audited is not None:
        return audited
    if package is not None:
        return package
    here = logins(host, asked.until)
    gone = f"{asked.whos[-1].text}" if asked.whos else ""
    if here:
        who = "; ".join(here[:3])
        return Cause("login", f"{gone}; logged in then: {who}" if gone else f"somebody who was logged in? {who}")
    return Cause("process", gone, {"process": asked.whos[-1].json()}) if gone else UNKNOWN


@dataclass(frozen=True)
class Packaged:
    """One thing that a package manager did."""

    at: datetime
    package: str
    verb: str
    versions: str = ""

    def text(self, log: str) -> str:
        """How it is told."""
        versions = f" {self.versions}" if self.versions else ""
        when = self.at.astimezone(UTC).strftime("%H:%M:%SZ")
        return printable(f"package {self.package} was {self.verb}{versions} at {when} ({log.rpartition('/')[2]})")


def _package(host: Observer, asked: Asked) -> Cause | None:
    """What a package manager did at that time; a package that owns one of the paths goes before all others."""
    for log, read in ((DPKG, dpkg), *((path, rpm) for path in DNF), (ZYPP, zypp)):
        text = _end(host, log)
        window = [one for one in read(text) if asked.since - SLACK <= one.at <= asked.until + SLACK] if text else []
        if not window:
            continue
        latest = sorted({one.package: one for one in sorted(window, key=_weight)}.values(), key=_weight)
        owning = [one for one in latest if _owns(host, one.package, asked.paths)]
        chosen = (owning or latest)[-1]
        more = len({one.package for one in owning or latest}) - 1
        text = chosen.text(log) + (f", and {more} more" if more else "")
        return Cause("package", text, {"package": chosen.package, "owns": bool(owning)})
    if asked.upgraded:
        return Cause("package", printable(f"package upgrade ({asked.upgraded})"), {"package": None, "owns": True})
    return None


def packager(who: Who) -> bool:
    """Whether a process is a package manager, by its program: a name anybody can give himself."""
    directory, _, name = who.program.rpartition("/")
    return name in PACKAGERS and directory in ("/bin", "/sbin", "/usr/bin", "/usr/sbin")


def _weight(one: Packaged) -> tuple[bool, datetime]:
    # That it was configured says less than that it was upgraded.
    return one.verb != "configured", one.at


def dpkg(text: str) -> Iterator[Packaged]:
    """The lines of dpkg.log: local time, action, package:architecture, versions."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and words[2] in DONE:
            with suppress(ValueError):
                at = datetime.fromisoformat(f"{words[0]}T{words[1]}").astimezone()
                old, new = words[4], words[5] if len(words) > 5 else "<none>"
                versions = f"from {old} to {new}" if words[2] == "upgrade" else f"({new})" if "<" not in new else ""
                yield Packaged(at, words[3].partition(":")[0], DONE[words[2]], versions)


def rpm(text: str) -> Iterator[Packaged]:
    """The lines of dnf.rpm.log (ISO times) and of yum.log (as syslog writes them)."""
    for line in text.splitlines():
        found = RPM.search(line)
        at = _moment(line)
        if found and at:
            verb = found[1].lower()
            yield Packaged(at, found[2], verb if verb.endswith("ed") else f"{verb}d")


def zypp(text: str) -> Iterator[Packaged]:
    """The lines of zypp's history: time|action|package|version|…"""
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) > 3 and parts[1] in ("install", "remove"):
            with suppress(ValueError):
                at = datetime.fromisoformat(parts[0]).astimezone()
                verb = "installed" if parts[1] == "install" else "removed"
                yield Packaged(at, parts[2], verb, f"({parts[3].rpartition('-')[0] or parts[3]})")


def _moment(line: str) -> datetime | None:
    with suppress(ValueError, IndexError):
        return datetime.fromisoformat(line.split(maxsplit=1)[0]).astimezone()
    with suppress(ValueError):
        now = datetime.now().astimezone()
        at = datetime.strptime(f"{now.year} {line[:15]}", "%Y %b %d %H:%M:%S").astimezone()
        return at if at <= now + timedelta(days=1) else at.replace(year=now.year - 1)
    return None


def _owns(host: Observer, package: str, paths: Iterable[str]) -> bool:
    """Whether a Debian package lists one of the paths, or something below it."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package):
        return False
    with suppress(ReconcilerError):
        for name in host.names("/var/lib/dpkg/info"):
            if name == f"{package}.list" or (name.startswith(f"{package}:") and name.endswith(".list")):
                file = host.read(f"/var/lib/dpkg/info/{name}")
                lines = set((file.data if file else b"").decode("utf-8", "surrogateescape").splitlines())
                return any(path in lines for path in paths)
    return False


def _end(host: Observer, path: str) -> str:
    """The last part of a log; empty where there is none, or where it is not root's to write."""
    with suppress(ReconcilerError):
        file = host.read(path)
        if file is not None and file.uid == 0 and not file.mode & 0o002:
            return file.data[-TAIL:].decode("utf-8", "replace")
    return ""


AUDITED = re.compile(r"^type=(\w+) msg=audit\((\d+)\.(\d+):(\d+)\): (.*)$")
FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')


def _audited(host: Observer, asked: Asked) -> Cause | None:
    """The system call that the audit log has for one of the paths, the last one first."""
    calls: dict[str, dict[str, str]] = {}
    named: list[tuple[str, str]] = []
    for line in _end(host, AUDIT).splitlines():
        found = AUDITED.match(line)
        if not found:
            continue
        kind, seconds, _, serial, rest = found.groups()
        at = datetime.fromtimestamp(int(seconds), UTC)
        if not asked.since - SLACK <= at <= asked.until + SLACK:
            continue
        told = {key: value.strip('"') for key, value in FIELD.findall(rest)}
        if kind == "SYSCALL":
            calls[serial] = told
        elif kind == "PATH" and "name" in told:
            named.append((serial, _plain(told["name"])))
    for serial, path in reversed(named):
        call = calls.get(serial)
        if call is None or call.get("success") == "no" or path not in asked.paths:
            continue
        with suppress(ValueError, KeyError):
            login = int(call["auid"])
            who = Who(int(call["pid"]), _plain(call.get("comm", "")), _plain(call.get("exe", "")), int(call["uid"]),
                      None if login == 0xFFFFFFFF else login)  # fmt: skip
            return Cause("audit", f"{who.text} (audit record {serial})", {"process": who.json()})
    return None


def _plain(value: str) -> str:
    """A name as auditd writes it: in hexadecimal where it has odd characters."""
    if re.fullmatch(r"(?:[0-9A-F]{2})+", value) and len(value) > 2:
        with suppress(binascii.Error):
            return binascii.unhexlify(value).decode("utf-8", "replace")
    return value


def logins(host: Observer, at: datetime) -> list[str]:
    """Who was logged in at a time, as utmp or systemd's sessions tell."""
    found: list[str] = []
    with suppress(ReconcilerError):
        file = host.read("/run/utmp")
        for start in range(0, len(file.data) - UTMP.size + 1 if file else 0, UTMP.size):
            assert file is not None
            kind, _, line, _, user, place, _, _, _, seconds, *_ = UTMP.unpack_from(file.data, start)
            if kind == USER_PROCESS and seconds <= at.timestamp() + 1:
                found.append(_login(_text(user), _text(line), _text(place)))
    with suppress(ReconcilerError):
        for name in host.names("/run/systemd/sessions") if not found and host.stat("/run/systemd/sessions") else ():
            file = host.read(f"/run/systemd/sessions/{name}") if "." not in name else None
            lines = (file.data if file else b"").decode("utf-8", "replace").splitlines()
            told = dict(line.split("=", 1) for line in lines if "=" in line)
            if told.get("CLASS") == "user" and told.get("STATE") in ("active", "online"):
                found.append(_login(told.get("USER", "?"), told.get("TTY", ""), told.get("REMOTE_HOST", "")))
    return list(dict.fromkeys(found))


def _login(user: str, line: str, place: str) -> str:
    return printable(user + (f" on {line}" if line else "") + (f" from {place}" if place else ""))


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def upgrading(locks: Sequence[str] = ("/var/lib/dpkg/lock", "/var/lib/rpm/.rpm.lock", "/run/zypp.pid")) -> str:
    """The package manager's lock that somebody holds now; empty where none does."""
    import fcntl  # noqa: PLC0415 - beside its use
    import os  # noqa: PLC0415

    for path in locks:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_GETLK, asked))
            if answer[0] != fcntl.F_UNLCK and answer[4] != os.getpid():
                return path
        except OSError:
            continue
        finally:
            os.close(fd)
    return ""
