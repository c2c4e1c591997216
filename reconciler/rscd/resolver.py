"""Who a caller becomes on a host, by the three files: the decision, and the line that made it.  Pure.

The order of decision, as the vendor tells it: Windows user mapping by an automation principal; exports must admit the
host (a line that names it beats ``*``); the first fitting line of users.local, then of users; ``nouser``; exports'
``allowed=``, ``validusers=`` and ``user=``; a local user of the same name; else ``anon=``, which is nobody (Anonymous
on Windows) where it is not set.  An account database or a host name that cannot be asked is *unknown*, never nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..model import Json
from .accounts import Account, Accounts, Listed, Unasked
from .text import EXPORTS, USERS, USERS_LOCAL, Entry, Files, Network, address, caller, entries, network, plain_host

Decision = Literal["granted", "denied", "unknown"]
Mechanism = Literal["setuid", "windows-user", "privilege-mapping", "system"]
System = Literal["unix", "windows"]
MODES: Mapping[System, tuple[str, ...]] = {
    "unix": ("impersonation",),
    "windows": ("privilege-mapping", "windows-user", "system-only"),
}
"""The mapping modes of each system; the first is what an agent does that was told nothing."""
AGENT, AGENT_ON_CONTROLLER, SYSTEM, ANONYMOUS = "BladeLogicRSCD", "BladeLogicRSCDDC", "SYSTEM", "Anonymous"
NOBODY = 65534
BUILT_IN = {"administrator", "guest", "anonymous", "system"}
"""Accounts that every Windows has."""


@dataclass(frozen=True)
class Caller:
    """Who calls, from which host; ``also`` are further names and addresses of that host."""

    host: str
    user: str
    role: str | None = None
    also: frozenset[str] = frozenset()

    def __str__(self) -> str:
        who = f"{self.role}:{self.user}" if self.role is not None else self.user
        return f"{who} from {self.host}"


@dataclass(frozen=True)
class Target:
    """The agent that is called: its system, how it maps users, and the accounts that it can map to."""

    system: System = "unix"
    mode: str = "impersonation"
    accounts: Accounts = field(default_factory=Listed)
    principal: str | None = None
    """The account of an automation principal, on Windows."""
    controller: bool = False
    """Whether it is a domain controller."""
    resolve: Callable[[str], frozenset[str] | None] = lambda host: None
    """Names and addresses of a host word; None where they cannot be found out."""


@dataclass(frozen=True)
class Answer:
    """What was decided, by which line, in which steps."""

    decision: Decision
    mechanism: Mechanism | None = None
    runs_as: str | None = None
    privileges_of: str | None = None
    permission: str | None = None
    rule: Entry | None = None
    steps: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    """Options that narrow what the caller may do: ``rootdir=``, ``commands=`` and the like."""

    @property
    def rights(self) -> tuple[object, ...]:
        """What counts when two answers are compared."""
        return self.decision, self.runs_as, self.privileges_of, self.permission, self.limits

    def json(self, place: str = "") -> Json:
        """The form that commands print; ``place`` is the directory of the files."""
        rule = self.rule
        return {
            "decision": self.decision,
            "mechanism": self.mechanism,
            "runs_as": self.runs_as,
            "privileges_of": self.privileges_of,
            "permission": self.permission,
            "rule": None
            if rule is None
            else {"file": f"{place.rstrip('/')}/{rule.file}" if place else rule.file, "line": rule.number,
                  "text": rule.text},
            "steps": list(self.steps),
        }  # fmt: skip


class Table:
    """The entries of users.local and users, found by who without reading all of them for every caller."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.exports = entries(files, EXPORTS)
        self.lines = [*entries(files, USERS_LOCAL), *entries(files, USERS)]
        self._by_who: dict[str, list[int]] = {}
        for index, entry in enumerate(self.lines):
            if not entry.nouser:
                self._by_who.setdefault(entry.who, []).append(index)
        self.nouser = next((entry for entry in self.lines if entry.nouser), None)

    def about(self, who: Caller) -> list[Entry]:
        """The lines that are about a caller, in the order in which they decide; conditions are not looked at."""
        role, user = who.role, who.user
        names = [user, "*"] if role is None else [f"{role}:{user}", f"{role}:*", f"*:{user}", "*:*"]
        found = {index for name in dict.fromkeys(names) for index in self._by_who.get(name, ())}
        return [self.lines[index] for index in sorted(found)]


class _Undecidable(Exception):
    """Something that decides cannot be known."""

    def __init__(self, reason: str, rule: Entry | None = None) -> None:
        self.reason, self.rule = reason, rule
        super().__init__(reason)


class _Denied(Exception):
    """The agent refuses."""

    def __init__(self, reason: str, rule: Entry | None = None) -> None:
        self.reason, self.rule = reason, rule
        super().__init__(reason)


def admitting(table: Table, host: str, target: Target) -> Entry | None:
    """The line of exports that counts for a host; None where there is none, or it cannot be known."""
    try:
        return _Case(table, Caller(host, ""), target).admitting()
    except (_Denied, _Undecidable):
        return None


def resolve(files: Files | Table, who: Caller, target: Target) -> Answer:
    """Decide who a caller becomes."""
    return _Case(files if isinstance(files, Table) else Table(files), who, target).answer()


class _Case:
    """One question, and the steps on the way to its answer."""

    def __init__(self, table: Table, who: Caller, target: Target) -> None:
        self.table, self.who, self.target = table, who, target
        self.steps: list[str] = []

    def answer(self) -> Answer:
        try:
            return self._decide()
        except _Denied as no:
            self.steps.append(no.reason)
            return Answer("denied", rule=no.rule, steps=tuple(self.steps))
        except _Undecidable as gap:
            self.steps.append(gap.reason)
            return Answer("unknown", rule=gap.rule, steps=tuple(self.steps))

    def _decide(self) -> Answer:
        target, who = self.target, self.who
        if target.mode == "windows-user":
            if found := self._principal():
                return found
        export = self.admitting()
        line = self._line()
        if line is None and self.table.nouser is not None:
            nouser = self.table.nouser
            raise _Denied(f"{place(nouser)}: nouser: only listed users may connect, and no line fits {who}", nouser)
        if line is None:
            self._listed(export)
        permission = (line.permission if line else None) or export.permission
        if permission is None:
            permission = "ro"
            self.steps.append("neither ro nor rw is given; taken as ro")
        # What a line does not say again of these is taken to count as exports says it.
        told = {option.name: str(option) for entry in (export, line) if entry is not None for option in entry.options}
        limits = tuple(told[name] for name in ("rootdir", "commands", "nomknod", "nosuid") if name in told)
        if target.mode == "system-only":
            self.steps.append("SYSTEM User Only: map= and user= are ignored, everybody admitted is SYSTEM")
            return Answer("granted", "system", SYSTEM, SYSTEM, permission, line or export, tuple(self.steps), limits)
        identity, rule = self._identity(line, export)
        return self._granted(identity, permission, rule, limits)

    def _granted(self, identity: str, permission: str, rule: Entry | None, limits: tuple[str, ...]) -> Answer:
        if self.target.system == "unix":
            return Answer("granted", "setuid", identity, identity, permission, rule, tuple(self.steps), limits)
        agent = AGENT_ON_CONTROLLER if self.target.controller else AGENT
        self.steps.append(f"the process stays {agent} and gets the group privileges of {identity}")
        return Answer("granted", "privilege-mapping", agent, identity, permission, rule, tuple(self.steps), limits)

    def _principal(self) -> Answer | None:
        principal = self.target.principal
        if principal is None:
            self.steps.append("Windows user mapping: no automation principal for this caller")
            return None
        if self.who.role is None:
            self.steps.append("Windows user mapping: a direct Network Shell caller has no role, so no principal")
            return None
        self.steps.append(f"Windows user mapping: the automation principal is {principal}; the files are not asked")
        return Answer("granted", "windows-user", principal, principal, "rw", None, tuple(self.steps))

    # Which hosts may connect.

    def admitting(self) -> Entry:
        """The line of exports that counts for the caller's host: one that names it beats a subnet, that beats *."""
        listed = self.table.exports
        if not listed:
            missing = "is missing" if EXPORTS not in self.table.files else "says nothing"
            raise _Denied(f"exports {missing}: nobody can connect")
        ranked: list[tuple[int, int, Entry]] = []
        doubtful: list[tuple[int, Entry]] = []
        for entry in listed:
            for word in entry.hosts:
                fits, weight = self._host(word)
                if fits:
                    ranked.append((-weight, entry.number, entry))
                elif fits is None:
                    doubtful.append((weight, entry))
        best = min(ranked, key=lambda item: item[:2], default=None)
        above = next((entry for weight, entry in doubtful if best is None or weight > -best[0]), None)
        if above is not None and (best is None or above is not best[2]):
            raise _Undecidable(
                f"{place(above)}: {', '.join(above.hosts)} may be {self.who.host} under another name; "
                "name the host by its address and its name, with two --host",
                above,
            )
        if best is None:
            raise _Denied(f"exports has no line for {self.who.host}, and none for *")
        entry = best[2]
        self.steps.append(f"{place(entry)}: {self.who.host} is admitted by {', '.join(entry.hosts)!r}")
        return entry

    def _host(self, word: str) -> tuple[bool | None, int]:
        """Whether a host word means the caller's host (None: cannot be known), and how special it is."""
        if word == "*":
            return True, 0
        ours = {plain_host(self.who.host), *map(plain_host, self.who.also)}
        word = plain_host(word)
        subnet = network(word)
        if subnet is not None:
            return self._within(ours, subnet), 1 + subnet.prefixlen
        if word in ours:
            return True, 1000
        both = {address(name) is None for name in ours}
        if (address(word) is None) in both and (address(word) is not None or not _akin(word, ours)):
            return False, 1000
        more = self.target.resolve(word)
        return (None if more is None else not {name.casefold() for name in more}.isdisjoint(ours)), 1000

    def _within(self, ours: set[str], subnet: Network) -> bool | None:
        """Whether an address of the caller's host lies in a subnet; None where no address of it is known."""
        known = [ip for name in ours if (ip := address(name)) is not None]
        if not known:
            more = self.target.resolve(self.who.host)
            if more is None:
                return None
            known = [ip for name in more if (ip := address(name)) is not None]
        return any(ip in subnet for ip in known)

    # Which line is about the caller.

    def _line(self) -> Entry | None:
        for entry in self.table.about(self.who):
            if not entry.hosts:
                self.steps.append(f"{place(entry)}: fits {self.who}")
                return entry
            fits = [self._host(word)[0] for word in entry.hosts]
            if True in fits:
                self.steps.append(f"{place(entry)}: fits {self.who}, whose host is among hosts=")
                return entry
            if None in fits:
                raise _Undecidable(
                    f"{place(entry)}: whether {self.who.host} is among hosts={':'.join(entry.hosts)} cannot be known",
                    entry,
                )
            self.steps.append(f"{place(entry)}: is about {self.who}, but only from {', '.join(entry.hosts)}")
        self.steps.append(f"no line of users.local or users fits {self.who}")
        return None

    def _listed(self, export: Entry) -> None:
        """Whether exports' own lists of users let the caller in."""
        allowed, valid = export.values("allowed"), export.values("validusers")
        if allowed is None and valid is None:
            return
        if allowed is not None and self.who.user in allowed:
            self.steps.append(f"{place(export)}: allowed= lists {self.who.user}, who needs no local account")
            return
        if valid is not None and self.who.user in valid:
            known = self.target.accounts.user(self.who.user)
            if isinstance(known, Unasked):
                raise _Undecidable(f"validusers= needs a local account {self.who.user}: {known.reason}", export)
            if known is None:
                raise _Denied(
                    f"{place(export)}: validusers= lists {self.who.user}, who has no account on this host", export
                )
            self.steps.append(f"{place(export)}: validusers= lists {self.who.user}")
            return
        names = " and ".join(
            name for name, listed in (("allowed=", allowed), ("validusers=", valid)) if listed is not None
        )
        raise _Denied(f"{place(export)}: {names} does not list {self.who.user}", export)

    # Who the caller becomes.

    def _identity(self, line: Entry | None, export: Entry) -> tuple[str, Entry | None]:
        mapped, by = (line.value("map") if line else None), line
        if mapped is None:
            mapped, by = export.value("user"), export
        if mapped:
            assert by is not None
            word = "map" if by is line else "user"
            self.steps.append(f"{place(by)}: {word}={mapped}")
            return self._mapped(mapped, by), by
        same = self.target.accounts.user(self.who.user)
        if isinstance(same, Unasked):
            raise _Undecidable(f"whether there is a local user {self.who.user} cannot be known: {same.reason}")
        if same is not None and self.target.system == "unix" and same.uid == 0 and not self._may_be_root(export):
            self.steps.append(f"{self.who.user} has uid 0, which counts as unknown without root=")
        elif same is not None:
            self.steps.append(f"a local user has the same name: {same.name}")
            return same.name, None
        else:
            self.steps.append(f"no mapping, and no local user {self.who.user}")
        return self._fallback(export)

    def _may_be_root(self, export: Entry) -> bool:
        """Whether root= names the caller's host (or, since its form is not documented, the caller)."""
        words = export.values("root")
        if words is None:
            return False
        if self.who.user in words or any(self._host(word)[0] for word in words):
            self.steps.append(f"{place(export)}: root= lets uid 0 be itself")
            return True
        return False

    def _mapped(self, name: str, by: Entry) -> str:
        """The account that a line names, as the host has it."""
        known = self._named(name)
        if isinstance(known, Unasked):
            if self.target.system == "windows":
                return name
            raise _Undecidable(f"whether {name} exists cannot be known: {known.reason}", by)
        if known is None:
            raise _Denied(f"{place(by)}: {name} does not exist on this host, so nobody can become it", by)
        return known.name

    def _named(self, name: str) -> Account | Unasked | None:
        """An account by its name, or by its number on UNIX; of a Windows domain only the name is known."""
        if self.target.system == "windows" and ("\\" in name or name.casefold() in BUILT_IN):
            return Account(name)
        found = self.target.accounts.user(name)
        if found is None and self.target.system == "unix" and name.isascii() and name.isdecimal():
            numbered = self.target.accounts.number(int(name))
            return numbered if numbered is not None else Account(name, int(name))
        return found

    def _fallback(self, export: Entry) -> tuple[str, Entry | None]:
        if self.target.system == "windows":
            self.steps.append("the caller becomes Anonymous")
            return ANONYMOUS, None
        anon = export.value("anon")
        if anon == "-1":
            raise _Denied(f"{place(export)}: anon=-1 disables anonymous access", export)
        if anon:
            self.steps.append(f"{place(export)}: unknown users become anon={anon}")
            return self._mapped(anon, export), export
        nobody = self.target.accounts.user("nobody")
        if isinstance(nobody, Unasked):
            raise _Undecidable(f"whether there is a user nobody cannot be known: {nobody.reason}")
        name = nobody.name if nobody else str(NOBODY)
        self.steps.append(f"the caller becomes {name}" + ("" if nobody else ", since there is no user nobody"))
        return name, None


def place(entry: Entry) -> str:
    """Where a line stands."""
    return f"{entry.file}:{entry.number}"


def _akin(word: str, ours: Iterable[str]) -> bool:
    """Whether a name may be one of ours with or without its domain."""
    head = word.casefold().partition(".")[0]
    return any(name.partition(".")[0] == head and ("." in name) != ("." in word) for name in ours)


def question(text: str) -> Caller:
    """A caller as the command line writes it, ``ROLE:USER@HOST`` or ``USER@HOST``; ValueError for anything else."""
    who, at, host = text.rpartition("@")
    role, user = caller(who)
    if not at or not host or not user or role == "" or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError(f"{text!r} is no caller; write ROLE:USER@HOST, or USER@HOST for a direct Network Shell")
    return Caller(host, user, role)
