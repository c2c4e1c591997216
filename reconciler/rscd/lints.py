"""What is dangerous, dead or doubtful in the three files, each with its line.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..model import Json
from .accounts import Accounts, Unasked
from .resolver import Target, place
from .text import EXPORTS, KNOWN, USERS, Entry, Files, Option, caller, entries, network, unreached

ROOT_LIKE = frozenset({"docker", "lxd", "lxc", "incus", "incus-admin", "disk", "sudo", "wheel", "admin", "shadow"})
"""Groups whose members can become root, or read what only root should."""
SUPREME = {"unix": {"root", "0"}, "windows": {"administrator", "system"}}
UNIX_ONLY = {"anon", "nomknod", "nosuid", "root"}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing to look at."""

    file: str
    line: int
    message: str
    danger: bool = False

    def json(self) -> Json:
        """The form that commands print."""
        level = "danger" if self.danger else "warning"
        return {"file": self.file, "line": self.line, "level": level, "message": self.message}


def lints(files: Files, target: Target) -> list[Finding]:
    """Everything to look at, in the order of files and lines."""
    exports = entries(files, EXPORTS)
    users = [entry for name in ("users.local", USERS) for entry in entries(files, name)]
    found = [*_exports(files, exports, target), *_users(users, exports, target)]
    for entry in (*exports, *users):
        found += _form(entry, target, exports)
        found += _accounts(entry, target.accounts, target)
    return sorted(set(found))


def _at(entry: Entry, message: str, *, danger: bool = False) -> Finding:
    return Finding(entry.file, entry.number, message, danger)


def _exports(files: Files, exports: Sequence[Entry], target: Target) -> Iterator[Finding]:
    if not exports:
        what = "is missing" if EXPORTS not in files else "says nothing"
        yield Finding(EXPORTS, 0, f"{what}: nobody can connect to the agent")
    seen: dict[str, Entry] = {}
    for entry in exports:
        for word in entry.hosts:
            first = seen.setdefault(word.casefold(), entry)
            if first is not entry:
                yield _at(
                    entry, f"names {word}, as line {first.number} does; which of the two counts is not documented"
                )
            elif network(word):
                yield _at(entry, f"{word} is read as a subnet, whose form the vendor does not document")
        wide = "*" in entry.hosts
        if wide and entry.permission == "rw":
            yield _at(entry, "every host may connect and write; name the hosts of the application servers", danger=True)
        named = entry.value("user")
        if named and named.casefold() in SUPREME[target.system] and target.mode != "system-only":
            who = "every host" if wide else ", ".join(entry.hosts)
            yield _at(entry, f"callers from {who} become {named} where no users line says otherwise", danger=True)
        anon = entry.value("anon")
        if anon in ("0", "root"):
            yield _at(entry, "unknown users become root", danger=True)


def _users(users: Sequence[Entry], exports: Sequence[Entry], target: Target) -> Iterator[Finding]:
    earlier: dict[str, list[Entry]] = {}
    words = {host.casefold() for entry in exports for host in entry.hosts}
    open_to_all = "*" in words or any(network(word) for word in words)
    for entry in users:
        if entry.nouser:
            continue
        role, user = caller(entry.who)
        names = [user, "*"] if role is None else [f"{role}:{user}", f"{role}:*", f"*:{user}", "*:*"]
        above = [e for name in dict.fromkeys(names) for e in earlier.get(name, ())]
        if not unreached(entry, above):
            first = next((e for e in above if e.covers(entry)), above[0])
            yield _at(entry, f"never decides: {place(first)} fits first whenever this would")
        earlier.setdefault(entry.who, []).append(entry)
        if entry.hosts and exports and not open_to_all and words.isdisjoint(map(str.casefold, entry.hosts)):
            yield _at(entry, "never decides: exports admits none of its hosts")
        mapped = entry.value("map")
        if mapped and mapped.casefold() in SUPREME[target.system] and target.mode != "system-only":
            if user == "*":
                whom = "everybody" if role in (None, "*") else f"every user of role {role}"
                yield _at(entry, f"{whom} becomes {mapped}; name the users", danger=True)
        if mapped and target.mode == "system-only":
            yield _at(entry, "map= is ignored: the agent maps everybody to SYSTEM")
    if target.mode == "system-only" and not any(entry.nouser for entry in users):
        yield Finding(USERS, 0, "without nouser, everybody from an admitted host is SYSTEM", danger=True)


def _form(entry: Entry, target: Target, exports: Sequence[Entry]) -> Iterator[Finding]:
    if entry.odd:
        yield _at(entry, entry.odd)
    names = [option.name for option in entry.options]
    if "ro" in names and "rw" in names:
        yield _at(entry, "says both ro and rw; read as rw")
    for option in entry.options:
        if option.name not in KNOWN:
            yield _at(entry, f"{option.name!r} is no option that is known")
        elif not option.bare and not option.values:
            yield _at(entry, f"{option.name}= has no value")
        elif option.name in UNIX_ONLY and target.system == "windows":
            yield _at(entry, f"{option.name} counts on UNIX alone")
        elif option == Option("validuser"):
            yield _at(entry, "what validuser does here is not documented; it is left out of every answer")
    if not entry.options and not entry.nouser:
        own = entry.file == EXPORTS or not any(other.permission for other in exports)
        yield _at(entry, "gives no permission; " + ("taken as ro" if own else "that of exports counts"))
    if entry.file != EXPORTS and "," in entry.who:
        yield _at(entry, "a comma in a user's name; one line is about one user")


def _accounts(entry: Entry, accounts: Accounts, target: Target) -> Iterator[Finding]:
    if target.mode == "system-only":
        return
    for name in ("map", "user", "anon"):
        value = entry.value(name)
        if not value or value == "-1" or (target.system == "windows" and "\\" in value):
            continue
        known = accounts.user(value)
        if value.isascii() and value.isdecimal() and target.system == "unix":
            known = accounts.number(int(value))
        if isinstance(known, Unasked):
            continue
        if known is None:
            if target.system == "unix":
                yield _at(entry, f"{name}={value} does not exist on this host")
            continue
        strong = sorted(known.groups & ROOT_LIKE)
        if strong:
            yield _at(entry, f"{name}={value} is in group {', '.join(strong)}, which is as good as root", danger=True)
