"""What a plan changes in who may do what, and which ways to become somebody else it opens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..core.plan import POLICY, Blocked, Plan, Transition
from ..desired.documents import Document
from ..host.people import HostAccounts
from ..host.port import Observer, Type
from ..kinds import kinds
from ..model import Absent, Address, Json
from ..rscd.accounts import Account, Listed
from .becoming import POWERS, ROOT_GROUPS, Becoming, membership
from .foresight import Then, after, before
from .rights import BITS, Look, any_of
from .scene import Scene
from .sudoers import Grant

SETUID = 0o4000


@dataclass(frozen=True)
class Shift:
    """Rights to one path that some accounts gain or lose."""

    what: str
    who: tuple[str, ...]
    gains: tuple[str, ...]
    loses: tuple[str, ...]
    everybody: bool = False
    """Whether these are all accounts but those that other shifts of the path name, and root."""

    def json(self) -> Json:
        """The form that plans carry."""
        return {"what": self.what, "who": list(self.who), "gains": list(self.gains), "loses": list(self.loses)}

    def __str__(self) -> str:
        who = "everybody else" if self.everybody else ", ".join(self.who)
        parts = [f"can also {_and(self.gains)}"] if self.gains else []
        parts += [f"can no longer {_and(self.loses)}"] if self.loses else []
        return f"{who} {' and '.join(parts)} {self.what}"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


@dataclass
class Outlook:
    """What is told of a plan besides its transitions."""

    changes: list[Shift] = field(default_factory=list)
    escalation: list[str] = field(default_factory=list)
    policy: list[Json] = field(default_factory=list)

    def json(self) -> Json:
        """The form that plans carry."""
        return {
            "changes": [shift.json() | {"text": str(shift)} for shift in self.changes],
            "escalation": self.escalation,
            "policy": self.policy,
        }


def consider(host: Observer, plan: Plan, documents: Iterable[Document], hostname: str) -> Outlook:
    """Everything that a plan changes in who may do what; what a policy forbids is blocked.

    A policy that is broken already, and not by this plan, is told and blocks nothing: mending the host must go on.
    """
    now = Scene(host)
    then = Then(now, plan)
    ways = Becoming(now, hostname)
    ways_then = Becoming(then, hostname, then.users, (ways, then.files))
    found = Outlook()
    for transition in plan.transitions:
        found.changes += shifts(now, then, transition)
    found.changes = list(dict.fromkeys(found.changes))
    found.escalation = list(dict.fromkeys([*escalation(ways, ways_then, plan), *callers(host, plan)]))
    told = [document for document in documents if document.access]
    if told:
        _held_to(told, plan, found, (now, ways), (then, ways_then))
    return found


def _held_to(
    documents: Iterable[Document],
    plan: Plan,
    found: Outlook,
    today: tuple[Scene, Becoming],
    afterwards: tuple[Scene, Becoming],
) -> None:
    """What the policies of documents say of a plan: told, or blocked."""
    from .policy import policy, policy_text  # noqa: PLC0415 - start-up counts

    for document in documents:
        before = policy(document.access, *today)
        known = {(item["path"], item["right"], name) for item in before for name in item["more"]}
        for item in policy(document.access, *afterwards):
            new = {n: why for n, why in item["more"].items() if (item["path"], item["right"], n) not in known}
            if new and plan.transitions:
                text = policy_text({**item, "more": new, "less": []})
                reason = f"the access policy of {document.name} forbids what this plan would bring: {text}"
                source = document.access_source(item["path"])
                plan.blocked.append(Blocked(Address(POLICY, item["path"]), reason, False, source.json()))
            else:
                found.policy.append({"deployment": document.name, **item, "text": policy_text(item)})


RSC = "/etc/rsc"


def callers(host: Observer, plan: Plan) -> Iterator[str]:
    """Callers of the RSCD agent who become an account by its name alone, once the plan has made it."""
    new = [name for t in plan.transitions if t.verb == "create" for name in after(t.prospect).accounts]
    if not new:
        return
    from ..rscd.compare import newcomer  # noqa: PLC0415 - start-up counts
    from ..rscd.resolver import Target as Agent  # noqa: PLC0415
    from ..rscd.text import gathered  # noqa: PLC0415

    files, was = gathered(host.read, RSC), HostAccounts(host)
    for name in new if files else ():
        becomes = Listed((Account(name, -1),))
        for item in newcomer(files, Agent(accounts=was), Agent(accounts=becomes), name):
            if item.after.runs_as == name:
                yield f"through the RSCD agent: {item}"


def shifts(now: Scene, then: Then, transition: Transition) -> Iterator[Shift]:
    """Whose rights to a transition's paths change."""
    address, prospect = transition.address, transition.prospect
    if kinds().single(address):
        yield from compared(address.name, _at(now, address.name), _at(then, address.name), then)
    elif kinds().spans(address) and not isinstance(prospect.after, Absent):
        was, becomes = _at(now, address.name), _at(then, address.name)
        yield from compared(f"the directory {address.name}", was, becomes, then)
        classes = [item for item in prospect.facts.get("classes", ()) if item["type"] == Type.FILE]
        yield from compared(
            f"files in {address.name}",
            _within(now, address.name, [then.told(item["before"], Type.FILE) for item in classes]),
            _within(then, address.name, [then.told(item["after"], Type.FILE) for item in classes]),
            then,
        )


Can = Mapping[str, frozenset[str]]
"""The rights of every account."""


def _at(scene: Scene, path: str) -> Can:
    told = scene.rights(path) or {}
    return {p.name: frozenset(name for name, people in told.items() if p.name in people) for p in scene.persons}


def _within(scene: Scene, top: str, looks: Iterable[Look | None]) -> Can:
    """What accounts can do with files of these looks below a directory."""
    way = scene.way(top)
    if way is None:
        return {}
    inner, listed = [*way.directories, way.last], {look for look in looks if look is not None}
    return {person.name: any_of(person, inner, listed) for person in scene.persons}


def compared(what: str, before: Can, after: Can, then: Scene) -> Iterator[Shift]:
    """The accounts whose rights differ, those with the same difference together."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    none: frozenset[str] = frozenset()
    everyone = [person.name for person in then.persons]
    for name in everyone:
        old, new = before.get(name, none), after.get(name, none)
        gains, loses = (tuple(right for right in BITS if right in some) for some in (new - old, old - new))
        if (gains or loses) and name != "root":
            groups.setdefault((gains, loses), []).append(name)
    named = {name for names in groups.values() for name in names}
    for (gains, loses), names in groups.items():
        rest = [name for name in everyone if name != "root" and (name in names or name not in named)]
        yield Shift(what, tuple(names), gains, loses, everybody=len(names) > 4 and names == rest)


def subjects(plan: Plan) -> set[str]:
    """The accounts that a plan is about: those that it makes, changes, or hands something to."""
    found: set[str] = set()
    for t in plan.transitions:
        found |= after(t.prospect).accounts.keys()
        for item in t.prospect.facts.get("classes", ()):
            found.add(item["after"].partition(":")[0])
        owner = getattr(t.prospect.after, "owner", None)
        found |= {owner} if isinstance(owner, str) else set()
    return found - {"root"}


def escalation(old: Becoming, new: Becoming, plan: Plan) -> Iterator[str]:
    """The ways up that a plan opens for the accounts that it is about, and setuid programs that it makes."""
    who = subjects(plan)
    yield from setuid(plan)
    if not who:
        return
    known = {(edge.who, edge.whom, edge.why) for edge in old.edges}
    for edge in new.edges:
        if edge.who in who and (edge.who, edge.whom, edge.why) not in known:
            yield str(edge)
    for t in plan.transitions:
        for name, person in after(t.prospect).accounts.items():
            had = before(t.prospect).accounts.get(name)
            for group in sorted(ROOT_GROUPS & (person.groups if person else set()) - (had.groups if had else set())):
                yield str(membership(name, group))
    written = {path for t in plan.transitions for path in after(t.prospect).files}
    for grant in new.sudoers.grants:
        if grant.file in written:
            yield from loose(grant)


def loose(grant: Grant) -> Iterator[str]:
    """What is dangerous in one sudoers rule, whoever it is about."""
    words = grant.command.split()
    where = f"{grant.file}:{grant.line}"
    who = ", ".join(grant.users)
    if grant.command.startswith("!"):
        return
    if words[0] == "ALL":
        yield f"{who} may run anything as {', '.join(grant.runas)} ({where})"
    elif any(sign in word for word in words for sign in "*?[") and not words[0].startswith("sudoedit"):
        yield f"{who} may run {grant.command} ({where}); a wildcard fits more than it seems to, blanks and '/' too"
    elif words[0].endswith("/"):
        yield f"{who} may run whatever is in {words[0]} ({where})"
    if grant.setenv:
        yield f"{who} may set the environment of {grant.command} ({where}), LD_PRELOAD too"


def setuid(plan: Plan) -> Iterator[str]:
    """The programs that a plan makes setuid."""
    for t in plan.transitions:
        was = before(t.prospect).files
        for path, entry in after(t.prospect).files.items():
            if entry is not None and entry.mode & SETUID and t.target.wish is not None:
                old = was.get(path)
                if old is None or not (old.mode & SETUID and old.owner == entry.owner):
                    yield f"{path} becomes setuid {entry.owner}"
        if t.target.wish is not None:
            for path, text in sorted(t.target.wish.capable().items()):
                strong = sorted(name for name in POWERS | {"dac_read_search"} if f"cap_{name}" in text.lower())
                if strong and t.prospect.steps:
                    yield f"{path} gets cap_{', cap_'.join(strong)}: for whoever may execute it"
            for item in t.prospect.facts.get("classes", ()):
                had, new = (item[side].split(" ")[0].rpartition(":") for side in ("before", "after"))
                if item["type"] == Type.FILE and _setuid(new[2]) and not (_setuid(had[2]) and had[0] == new[0]):
                    owner = new[0].partition(":")[0]
                    yield f"{item['count']} files in {t.address.name} become setuid {owner}"


def _setuid(mode: str) -> bool:
    return mode.isdigit() and bool(int(mode, 8) & SETUID)
