"""Whose rights the three files give and take, for everybody whom they can tell apart.  Pure.

Callers are endless, but the files distinguish few: those whom a line names, and everybody else; from the hosts that
a line names, and from everywhere else; with and without an account of their own name.  A name and an address count as
two hosts here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..model import Json
from .accounts import Account, Accounts, Unasked
from .resolver import Answer, Caller, System, Table, Target, admitting, resolve
from .text import Entry, Files, Network, address, caller, host_covers, network, plain_host

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
    words: dict[str, None] = {}
    for table in tables:
        for entry in (*table.exports, *table.lines):
            words |= dict.fromkeys((*entry.words, *map(plain_host, entry.values("root") or ())))
    found = {ELSEWHERE: "\x00elsewhere"}
    nets = {word: net for word in words if (net := network(word)) is not None}
    for word in words:
        if word in nets:
            inner = [net for other, net in nets.items() if other != word and host_covers(word, other)]
            if (one := _one_of(nets[word], inner, words)) is not None:
                found[word] = one
        elif word != "*":
            found[word] = word
    return found


def _one_of(net: Network, inner: Iterable[Network], named: Iterable[str]) -> str | None:
    """An address of a subnet that no smaller subnet has and nobody names; None where there is none."""
    edges = [net, *inner]
    for edge in edges:
        first, last = int(edge.network_address), int(edge.broadcast_address)
        for number in (first, first + 1, last, last - 1, first - 1, last + 1, first + 2, last - 2):
            if int(net.network_address) <= number <= int(net.broadcast_address):
                ip = type(net.network_address)(number)
                if not any(ip in other for other in edges[1:]) and str(ip) not in named:
                    return str(ip)
    return None


def _callers(tables: Sequence[Table], system: System) -> list[tuple[str, str | None, str]]:
    """Every sort of caller: as told, role, user.

    A role's line and a user's line may both be about one caller, so that roles that are named meet users that are
    named for every role, and those that exports names.
    """
    whos: dict[str, None] = {}
    users: dict[str, None] = dict.fromkeys(["root"] if system == "unix" else [])
    for table in tables:
        whos |= dict.fromkeys(entry.who for entry in table.lines if not entry.nouser)
        for entry in table.exports:
            for name in ("allowed", "validusers", "root"):
                users |= dict.fromkeys(w for w in entry.values(name) or () if address(w) is None and network(w) is None)
    parts = [caller(who) for who in whos]
    everywhere = [user for role, user in parts if role == "*" and user != "*"] + list(users)
    found: dict[tuple[str | None, str], str] = {}
    for role, user in parts:
        one = OTHER if role == "*" else role
        names = [user] if user != "*" else [LOCAL, STRANGER]
        if role is not None and user == "*":
            names += everywhere
        for name in names:
            found.setdefault((one, name), _named(one, name))
    for one in (OTHER, None):
        for name in (*everywhere, LOCAL, STRANGER):
            found.setdefault((one, name), _named(one, name))
    return [(text, role, user) for (role, user), text in found.items()]


def _named(role: str | None, user: str) -> str:
    who = TOLD.get(user, user)
    if role is None:
        return f"direct, {who}"
    return f"{TOLD.get(role, role)}, {who}" if user in TOLD or role in TOLD else f"{role}:{user}"


def effective(files: Files, target: Target) -> list[Row]:
    """Who gets what: every sort of caller, hosts with one answer together."""
    table, closed = Table(files), _closed(target)
    sorts = _sorts([table], [closed])
    count = sum(map(len, sorts.values()))
    rows: list[Row] = []
    for who, role, user in _callers([table], target.system):
        groups: dict[tuple[object, Entry | None], tuple[Answer, list[str]]] = {}
        for host, words in sorts.items():
            answer = resolve(table, Caller(host, user, role), closed)
            rule = answer.rule if answer.decision == "granted" else None
            groups.setdefault((answer.rights, rule), (answer, []))[1].extend(words)
        rows += [Row(who, _together(words, count), answer) for answer, words in groups.values()]
    return rows


def differences(before: Files, after: Files, was: Target, becomes: Target | None = None) -> list[Difference]:
    """Whose rights differ between two states of the files (and of the agent, where its mode changes)."""
    tables = Table(before), Table(after)
    targets = _closed(was), _closed(becomes or was)
    sorts = _sorts(tables, targets)
    alike = exports_alike(tables) and targets[0].mode == targets[1].mode and becomes in (None, was)
    found: list[Difference] = []
    for who, role, user in _callers(tables, was.system):
        lines = [[(e.who, e.options, e.words) for e in table.about(Caller("", user, role))] for table in tables]
        if alike and lines[0] == lines[1] and (tables[0].nouser is None) == (tables[1].nouser is None):
            continue
        found += _differing(who, role, user, tables, targets, sorts)
    return found


def _differing(
    who: str,
    role: str | None,
    user: str,
    tables: Sequence[Table],
    targets: Sequence[Target],
    sorts: Mapping[str, list[str]],
) -> list[Difference]:
    """What differs for one sort of caller, hosts with one difference together."""
    count = sum(map(len, sorts.values()))
    groups: dict[object, tuple[Answer, Answer, list[str]]] = {}
    for host, words in sorts.items():
        asked = Caller(host, user, role)
        old, new = (resolve(table, asked, target) for table, target in zip(tables, targets, strict=True))
        if old.rights != new.rights:
            groups.setdefault((old.rights, new.rights), (old, new, []))[2].extend(words)
    return [Difference(who, _together(words, count), old, new) for old, new, words in groups.values()]


def newcomer(files: Files, was: Target, becomes: Target, name: str) -> list[Difference]:
    """What callers of this name gain or lose where an account of that name comes, or goes."""
    table, targets = Table(files), (_closed(was), _closed(becomes))
    sorts = _sorts([table], targets[:1])
    roles = dict.fromkeys(role for entry in table.lines if (role := caller(entry.who)[0]) not in (None, "*"))
    found: list[Difference] = []
    for role in (None, OTHER, *roles):
        found += _differing(_named(role, name), role, name, (table, table), targets, sorts)
    return found


def exports_alike(tables: Sequence[Table]) -> bool:
    """Whether exports says the same in both."""
    one, other = ([(entry.words, entry.options) for entry in table.exports] for table in tables)
    return one == other


def _sorts(tables: Sequence[Table], targets: Sequence[Target]) -> dict[str, list[str]]:
    """Hosts that no line tells apart, together: one of them → the words for all of them."""
    conditions = {word for table in tables for entry in table.lines for word in entry.words}
    conditions |= {plain_host(w) for table in tables for entry in table.exports for w in entry.values("root") or ()}
    found: dict[object, tuple[str, list[str]]] = {}
    for word, host in _hosts(tables).items():
        admitted = tuple(
            None if line is None else line.options
            for table, target in zip(tables, targets, strict=True)
            for line in [admitting(table, host, target)]
        )
        plain = plain_host(host)
        told = frozenset(c for c in conditions if host_covers(c, plain))
        found.setdefault((admitted, told), (host, []))[1].append(word)
    return dict(found.values())


def _together(words: list[str], count: int) -> tuple[str, ...]:
    return ("any host",) if len(words) == count else tuple(words)
