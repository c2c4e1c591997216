"""What the programs that read a directory of the system skip there, and say nothing.  Pure.

Sources: sudoers(5), cron(8) and run-parts(8) of Debian, crontabs(5) of cronie, logrotate(8), systemd.unit(5),
tmpfiles.d(5), sysctl.d(5), udev(7), limits.conf(5), xinetd.conf(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PARTS = re.compile(r"^[A-Za-z0-9_-]+$")
TABOO = (
    ".disabled", ".bak", ".swp", ".rpmsave", ".rpmorig", ".rpmnew", ".rhn-cfg-tmp", ".old", ".dpkg-old", ".dpkg-dist",
    ".dpkg-new", ".dpkg-bak", ".dpkg-del", ".cfsaved", ".ucf-old", ".ucf-dist", ".ucf-new", "~", ",v", ".tmp",
)  # fmt: skip
UNITS = (
    ".service", ".socket", ".timer", ".path", ".mount", ".automount", ".target", ".slice", ".scope", ".swap", ".device",
)  # fmt: skip
ENDINGS = {
    "tmpfiles.d": ".conf", "sysusers.d": ".conf", "sysctl.d": ".conf", "modules-load.d": ".conf", "modprobe.d": ".conf",
    "limits.d": ".conf", "rsyslog.d": ".conf", "ld.so.conf.d": ".conf", "sshd_config.d": ".conf", "rules.d": ".rules",
    "profile.d": ".sh", "yum.repos.d": ".repo",
}  # fmt: skip
"""How a name has to end, by the directory that it stands in."""


@dataclass(frozen=True)
class Placed:
    """A file as its reader meets it; None: not known."""

    path: str
    mode: int | None = None
    data: str | None = None
    root: bool = True
    """Whether root owns it, as far as that is known."""


def unread(file: Placed) -> list[tuple[str, str]]:
    """Why the reader of a directory skips a file in it, each with what to do; empty where nothing is known.

    >>> unread(Placed("/etc/sudoers.d/agent.conf"))
    [('sudo skips a name with a dot in it', 'call it agent-conf')]
    >>> unread(Placed("/etc/sudoers.d/agent"))
    []
    """
    top, _, name = file.path.rpartition("/")
    found: list[tuple[str, str]] = []
    if top == "/etc/sudoers.d":
        found += [("sudo skips a name with a dot in it", renamed(name))] if "." in name else []
        found += [("sudo skips a name that ends in ~", renamed(name))] if name.endswith("~") else []
        found += _foreign("sudo", file)
    elif top == "/etc/cron.d":
        found += _parts("cron", name)
        found += _foreign("cron", file)
        if file.data is not None and not file.data.endswith("\n"):
            found.append(("cron skips a table whose last line has no newline", "end its content with a newline"))
    elif re.fullmatch(r"/etc/cron\.(hourly|daily|weekly|monthly)|/etc/network/if-[a-z-]+\.d|/etc/update-motd\.d", top):
        found += _parts("run-parts", name)
        if file.mode is not None and not file.mode & 0o111:
            found.append((f"run-parts skips what is not executable ({file.mode:04o})", "give it mode 0755"))
    elif top == "/etc/logrotate.d":
        found += [(f"logrotate skips names that end in {end}", renamed(name))
                  for end in TABOO if name.endswith(end)][:1]  # fmt: skip
        found += _foreign("logrotate", file)
    elif top == "/etc/xinetd.d" and ("." in name or name.endswith("~")):
        found.append(("xinetd skips a name with a dot in it, or with ~ at its end", renamed(name)))
    elif re.fullmatch(r"/(etc|run|usr/lib|usr/local/lib)/systemd/(system|user)", top):
        if not name.endswith(UNITS):
            found.append(("systemd knows no unit by such a name", f"end it as in {name}.service"))
    elif re.fullmatch(r"/(etc|run|usr/lib|usr/local/lib)/systemd/.*\.d", top) and not name.endswith(".conf"):
        found.append(("systemd skips a drop-in that does not end in .conf", f"call it {name}.conf"))
    elif (end := ENDINGS.get(top.rpartition("/")[2])) and not name.endswith(end):
        found.append((f"what stands in {top} is skipped where it does not end in {end}", f"call it {name}{end}"))
    return found


def renamed(name: str) -> str:
    """What to call a file that is skipped by its name."""
    return f"call it {re.sub(r'[^A-Za-z0-9_-]+', '-', name.rstrip('~')).strip('-') or 'agent'}"


def _parts(reader: str, name: str) -> list[tuple[str, str]]:
    if PARTS.match(name):
        return []
    return [(f"{reader} of Debian skips names with anything but letters, digits, - and _", renamed(name))]


def _foreign(reader: str, file: Placed) -> list[tuple[str, str]]:
    """Files that others could have written are not trusted."""
    found = []
    if file.mode is not None and file.mode & 0o022:
        found.append((f"{reader} skips what group or others can write ({file.mode:04o})", "give it mode 0644 or less"))
    if not file.root:
        found.append((f"{reader} skips what root does not own", "leave its owner out"))
    return found
