"""Whose rights the three files give and take, for everybody whom they can tell apart.  Pure.

Callers are endless, but the files distinguish few: those whom a line names, and everybody else; from the hosts that
a line names, and from everywhere else; with and without an account of their own name.  A name and an address count as
two hosts here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..model import Json
from .resolver import Account, Accounts, Answer, Caller, System, Table, Target, Unasked, resolve
from .text import Entry, Files, address, caller, network

ELSEWHERE = "any other host"
LOCAL, STRANGER, OTHER = "\x00local", "\x00stranger", "\x00role"
OWN = "themselves"
TOLD = {LOCAL: "others with an account", STRANGER: "others without one", OTHER: "other roles"}


@dataclass(frozen=True)
class Row:
    """What one sort of caller gets, from these hosts."""

    who: str
    hosts: tuple[str, ...]
    answer: Answer

    def json(self) -> Json:
        """The form that commands print."""
        found = self.answer.json()
        return {"who": self.who, "hosts": list(self.hosts)} | {k: told(v) for k, v in found.items() if k != "steps"}


@dataclass(frozen=True)
class Difference:
    """A sort of caller whose rights are other than they were."""

    who: str
    hosts: tuple[str, ...]
    before: Answer
    after: Answer

    def json(self) -> Json:
        """The form that plans and commands carry."""
        sides = {"before": self.before, "after": self.after}
        return {"who": self.who, "hosts": list(self.hosts), "text": str(self)} | {
            side: {key: told(value) for key, value in answer.json().items() if key != "steps"}
            for side, answer in sides.items()
        }

    def __str__(self) -> str:
        return f"{self.who} from {', '.join(self.hosts)}: {said(self.before)} → {said(self.after)}"


def told(value: Json) -> Json:
    """A value without our stand-ins."""
    return OWN if value == LOCAL else value


def said(answer: Answer) -> str:
    """An answer in a few words."""
    if answer.decision != "granted":
        return {"denied": "no access", "unknown": "unknown"}[answer.decision]
    who = str(told(answer.runs_as))
    if answer.privileges_of != answer.runs_as:
        who += f" with the rights of {told(answer.privileges_of)}"
    limits = f", {', '.join(answer.limits)}" if answer.limits else ""
    return f"{who} ({answer.permission}{limits})"


class _Population(Accounts):
    """The host's accounts, and our stand-ins."""

    def __init__(self, real: Accounts) -> None:
        self.real = real

    def user(self, name: str) -> Account | Unasked | None:
        if name in (LOCAL, STRANGER):
            return Account(LOCAL, -2) if name == LOCAL else None
        return self.real.user(name)

    def number(self, uid: int) -> Account | Unasked | None:
        return self.real.number(uid)


def _closed(target: Target) -> Target:
    return replace(target, accounts=_Population(target.accounts), resolve=lambda host: frozenset())


def _hosts(tables: Iterable[Table]) -> dict[str, str]:
    """Every sort of host with one of it: as it is told → as it is asked for."""
    words: list[str] = []
    for table in tables:
        words += [word for entry in (*table.exports, *table.lines) for word in entry.hosts]
    found = {ELSEWHERE: "\x00elsewhere"}
    named = {word.casefold() for word in words}
    for word in dict.fromkeys(words):
        subnet = network(word)
        if subnet is not None:
            inner = (str(subnet[index]) for index in range(min(subnet.num_addresses, len(named) + 1)))
            found[word] = next(ip for ip in inner if ip not in named) if subnet.num_addresses > len(named) else word
        elif word != "*":
            found[word] = word
    return found


def _callers(tables: Iterable[Table], system: System) -> list[tuple[str, str | None, str]]:
    """Every sort of caller: as told, role, user."""
    whos: dict[str, None] = {}
    users: dict[str, None] = {}
    for table in tables:
        whos |= dict.fromkeys(entry.who for entry in table.lines if not entry.nouser)
        for entry in table.exports:
            users |= dict.fromkeys([*(entry.values("allowed") or ()), *(entry.values("validusers") or ())])
            users |= dict.fromkeys(word for word in entry.values("root") or () if address(word) is None)
    found: dict[tuple[str | None, str], str] = {}
    for who in [*whos, *users]:
        role, user = caller(who)
        roles: tuple[str | None, ...] = (OTHER,) if role == "*" else (role,)
        for one in roles:
            for name in (LOCAL, STRANGER) if user == "*" else (user,):
                found.setdefault((one, name), _named(one, name))
    for user in users:
        found.setdefault((OTHER, user), _named(OTHER, user))
    if system == "unix":
        found.setdefault((None, "root"), _named(None, "root"))
    for role, user in ((OTHER, LOCAL), (OTHER, STRANGER), (None, LOCAL), (None, STRANGER)):
        found.setdefault((role, user), _named(role, user))
    return [(text, role, user) for (role, user), text in found.items()]


def _named(role: str | None, user: str) -> str:
    who = TOLD.get(user, user)
    if role is None:
        return f"direct, {who}"
    return f"{TOLD.get(role, role)}, {who}" if user in TOLD or role in TOLD else f"{role}:{user}"


def effective(files: Files, target: Target) -> list[Row]:
    """Who gets what: every sort of caller, hosts with one answer together."""
    table, closed = Table(files), _closed(target)
    hosts = _hosts([table])
    rows: list[Row] = []
    for who, role, user in _callers([table], target.system):
        groups: dict[tuple[object, Entry | None], tuple[Answer, list[str]]] = {}
        for word, host in hosts.items():
            answer = resolve(table, Caller(host, user, role), closed)
            rule = answer.rule if answer.decision == "granted" else None
            groups.setdefault((answer.rights, rule), (answer, []))[1].append(word)
        rows += [Row(who, _together(words, hosts), answer) for answer, words in groups.values()]
    return rows


def differences(before: Files, after: Files, was: Target, becomes: Target | None = None) -> list[Difference]:
    """Whose rights differ between two states of the files (and of the agent, where its mode changes)."""
    tables = Table(before), Table(after)
    targets = _closed(was), _closed(becomes or was)
    hosts = _hosts(tables)
    found: list[Difference] = []
    for who, role, user in _callers(tables, was.system):
        groups: dict[object, tuple[Answer, Answer, list[str]]] = {}
        for word, host in hosts.items():
            asked = Caller(host, user, role)
            old, new = (resolve(table, asked, target) for table, target in zip(tables, targets, strict=True))
            if old.rights != new.rights:
                groups.setdefault((old.rights, new.rights), (old, new, []))[2].append(word)
        found += [Difference(who, _together(words, hosts), old, new) for old, new, words in groups.values()]
    return found


def _together(words: list[str], hosts: dict[str, str]) -> tuple[str, ...]:
    return ("any host",) if len(words) == len(hosts) else tuple(words)
