"""Services that run: their processes, and the init system that starts and stops them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import HostError
from ..formats.text import printable
from ..model import clean_path, inside
from .held import account_files
from .names import Names
from .port import Host, Observer, Process
from .userdb import members_of


def misfit(host: Observer, process: Process, effective: Mapping[str, str]) -> str:
    """How a process differs from what its unit says; empty where it does not, or the unit says nothing."""
    user = effective.get("User")
    if not user:
        return ""
    names = Names(host)
    uid = names.uid(user)
    told = f"process {process.pid} ({printable(process.name)})"
    if uid is None:
        return f"user {user} does not exist"
    if uid == 0:
        return ""  # what may run as root may give that up by itself
    if process.uids != {uid}:
        return f"{told} runs as {', '.join(str(names.user(u)) for u in sorted(process.uids))}, not as {user}"
    files = account_files(host)
    columns = files.need("passwd").get(user)
    primary = names.gid(effective["Group"]) if effective.get("Group") else int(columns[3]) if columns else None
    if primary is not None and process.gids != {primary}:
        groups = ", ".join(str(names.group(gid)) for gid in sorted(process.gids))
        return f"{told} runs with group {groups}, not {names.group(primary)}"
    if columns is None:
        return ""
    wanted = {int(c[2]) for c in files.need("group").entries() if len(c) > 3 and user in members_of(c)}
    wanted |= {gid for word in effective.get("SupplementaryGroups", "").split() if (gid := names.gid(word)) is not None}
    have = process.groups - {primary, int(columns[3])}
    if have != wanted - {primary, int(columns[3])}:
        has, asked = (", ".join(sorted(str(names.group(gid)) for gid in gids)) or "none" for gids in (have, wanted))
        return f"{told} has the further groups {has}, not {asked}"
    return ""


INTERPRETER = re.compile(r"^(ba|da|z|k|c|tc|fi)?sh$|^(busybox|perl|python|ruby|php|node|lua|java|tclsh|env)[\d.]*$")
TAKING = re.compile(r"^-[a-zA-Z]*[cmWX]$")
"""Options whose next word is no script."""


def running_from(host: Observer, top: str) -> list[Process]:
    """The processes whose program or script lies in a tree."""
    return [process for process in host.processes() if any(inside(path, top) for path in run_by(process))]


def run_by(process: Process) -> list[str]:
    """The program of a process, and the script where that is an interpreter."""
    program = process.exe.removesuffix(" (deleted)")
    found = [program, *process.args[:2]]
    if INTERPRETER.match(program.rpartition("/")[2]):
        words = iter(process.args[1:12])
        for word in words:
            if not word.startswith("-"):
                found.append(word if word.startswith("/") else clean_path(f"{process.cwd}/{word}"))
                break
            if TAKING.match(word):
                break
    return found


def call(host: Host, *words: str) -> None:
    """Tell systemd to do something; its own words where it will not."""
    result = host.run(["systemctl", "--no-pager", "--quiet", *words])
    if result.code != 0:
        said = [printable(line) for line in result.err.strip().splitlines() if line.strip()]
        raise HostError(f"systemctl {' '.join(words)}: {' '.join(said) or f'exit code {result.code}'}")


def sysv(host: Host, name: str, verb: str) -> None:
    """Run the init script of a service."""
    script = f"/etc/init.d/{name.removesuffix('.service')}"
    result = host.run([script, verb])
    if result.code != 0:
        raise HostError(f"{script} {verb}: exit code {result.code}: {printable(result.err.strip())}")
