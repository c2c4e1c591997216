"""The host as a plan will leave it, for those who ask who may do what: nothing is done, planned states are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from ..core.kind import Effects, Entry, Proposal
from ..core.kind import Person as Account
from ..core.plan import Plan
from ..host.names import Names
from ..host.port import File, Observer, Stat, Type
from ..kinds import kinds
from ..model import Absent, Address, Owner, Resource, inside
from .rights import Look, Person, masked, parse_acl
from .scene import Scene


class Foreseen:
    """A host whose files read as a plan will leave them."""

    def __init__(self, host: Observer, files: Mapping[str, Entry | None]) -> None:
        self._host, self._files = host, files
        self._beside: dict[str, list[str]] = {}
        for path in files:
            self._beside.setdefault(path.rpartition("/")[0], []).append(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def stat(self, path: str) -> Stat | None:
        """The path as it will be."""
        state = self._files.get(path)
        if path not in self._files:
            return self._host.stat(path)
        return None if state is None else Stat(Type.FILE, state.mode, 0, 0, 1, len(state.data or ""), 0, 0, 0)

    def read(self, path: str) -> File | None:
        """The file as it will be."""
        if path not in self._files:
            return self._host.read(path)
        state = self._files[path]
        return None if state is None else File((state.data or "").encode("latin-1"), state.mode, 0, 0)

    def names(self, path: str) -> list[str]:
        """The names that will be in a directory."""
        found = set(self._host.names(path))
        for file in self._beside.get(path.rstrip("/"), ()):
            (found.discard if self._files[file] is None else found.add)(file.rpartition("/")[2])
        return sorted(found)


class Then(Scene):
    """A scene after a plan."""

    def __init__(self, now: Scene, plan: Plan) -> None:
        self.now = now
        self._prospects: dict[Address, Proposal] = {t.address: t.prospect for t in plan.transitions}
        self._effects = [after(prospect) for prospect in self._prospects.values()]
        self.files = {path: entry for each in self._effects for path, entry in each.files.items()}
        foreseen: Any = Foreseen(now.host, self.files)
        super().__init__(foreseen)
        self._names = Names(now.host)
        self._chosen: dict[tuple[str, str], int] = {}

    @cached_property
    def _accounts(self) -> dict[str, Account | None]:
        return {name: person for each in self._effects for name, person in each.accounts.items()}

    @cached_property
    def _groups(self) -> dict[str, Sequence[int] | None]:
        return {name: number for each in self._effects for name, number in each.groups.items()}

    @cached_property
    def users(self) -> dict[str, str]:
        """Whom units will run as, where the plan sets it."""
        return {unit: user for each in self._effects for unit, user in each.users.items()}

    def _number(self, what: str, owner: Owner) -> int:
        """The number of a name; one of our own for a name that will come into being."""
        known = self._names.uid(owner) if what == "user" else self._names.gid(owner)
        person, number = self._accounts.get(str(owner)), self._groups.get(str(owner))
        told = (person.uid if person else None) if what == "user" else number[0] if number else None
        if told is not None or known is not None:
            return int(told if told is not None else known)  # type: ignore[arg-type] # one of them is there
        return self._chosen.setdefault((what, str(owner)), -1000 - len(self._chosen))

    @cached_property
    def persons(self) -> list[Person]:
        """Every account that there will be."""
        planned = self._accounts
        leaving = {
            gid for n, number in self._groups.items() if number is None and (gid := self._names.gid(n)) is not None
        }
        found = [replace(p, gids=p.gids - leaving) for p in self.now.persons if p.name not in planned]
        for name, person in planned.items():
            if person is not None:
                groups = {person.group, *person.groups}
                gids = frozenset(self._number("group", group) for group in groups)
                found.append(Person(name, self._number("user", name), gids))
        return sorted(found, key=lambda person: (person.uid < 0, person.uid))

    @cached_property
    def stronger(self) -> list[Person]:
        """Processes that run now."""
        return self.now.stronger

    @cached_property
    def group_names(self) -> dict[int, str]:
        """The groups that there will be."""
        made = {self._number("group", name): name for name, number in self._groups.items() if number is not None}
        return self.now.group_names | made

    def locked(self, name: str) -> bool:
        """Whether no password will open an account."""
        person = self._accounts.get(name)
        return person.locked if person is not None else self.now.locked(name)

    @cached_property
    def _made(self) -> dict[str, Look]:
        """Directories that the plan makes: on the way to new files, and the tops of new trees."""
        found: dict[str, Look] = {}
        for address, prospect in self._prospects.items():
            if kinds().single(address) and not isinstance(prospect.after, Absent):
                parent = address.name.rpartition("/")[0]
                while parent and self.now.look(parent) is None:
                    found.setdefault(parent, Look(Type.DIRECTORY, 0, 0, 0o755))
                    parent = parent.rpartition("/")[0]
        for path, entry in ((path, entry) for each in self._effects for path, entry in each.directories.items()):
            uid, gid = self._number("user", entry.owner), self._number("group", entry.group)
            found[path] = Look(Type.DIRECTORY, uid, gid, entry.mode)
        return found

    @cached_property
    def _trees(self) -> list[tuple[str, Resource]]:
        """What the plan hands over as a whole, the innermost first."""
        spanning = [(a.name, p.target.wish) for a, p in self._prospects.items() if kinds().spans(a)]
        return sorted(((top, wish) for top, wish in spanning if wish is not None), key=lambda item: -len(item[0]))

    @cached_property
    def _sampled(self) -> dict[str, Any]:
        """What trees that are given back tell of single paths."""
        trees = (p for a, p in self._prospects.items() if kinds().spans(a) and p.target.wish is None)
        return {item["path"]: item["after"] for p in trees for item in p.facts.get("sample", ())}

    def look(self, path: str) -> Look | None:
        """What will decide at a path."""
        if path in self.files:
            state = self.files[path]
            return None if state is None else self.file_look(state)
        now = self.now.look(path)
        if now is None:
            return self._made.get(path)
        if path in self._sampled:
            after = self._sampled[path]
            mode = now.mode if after["mode"] is None else int(after["mode"], 8)
            return self._moved(now, after["owner"], after["group"], mode)
        top = next(((top, wish) for top, wish in self._trees if inside(path, top)), None)
        return now if top is None else self._wished(path, now, *top)

    def _wished(self, path: str, now: Look, top: str, wish: Resource) -> Look:
        """A path as the wish for what it lies in asks for it; what that does not speak of stays."""
        owner, group, mode = wish.asked(path[len(top) :].strip("/"), now.type, now.mode)
        return self._moved(now, owner, group, mode)

    def _moved(self, now: Look, owner: Owner | None, group: Owner | None, mode: int) -> Look:
        uid = now.uid if owner is None else self._number("user", owner)
        gid = now.gid if group is None else self._number("group", group)
        return replace(masked(now, mode) if mode != now.mode else now, uid=uid, gid=gid)

    def file_look(self, entry: Entry) -> Look:
        """What decides at a planned file."""
        return Look(
            Type.FILE, self._number("user", entry.owner), self._number("group", entry.group), entry.mode,
            parse_acl(entry.acl.encode("latin-1") or None),
        )  # fmt: skip

    def told(self, text: str, kind: Type) -> Look | None:
        """The look that a plan's class tells as ``owner:group:mode``; None for a link."""
        owner, _, rest = text.split(" ", maxsplit=1)[0].partition(":")
        group, _, mode = rest.partition(":")
        if not mode or not all(digit in "01234567" for digit in mode):
            return None
        return Look(kind, self._number("user", _owner(owner)), self._number("group", _owner(group)), int(mode, 8))


def after(prospect: Proposal) -> Effects:
    """What a prospect will make true."""
    return kinds()[prospect.target.address.kind].effects(prospect, prospect.after)


def before(prospect: Proposal) -> Effects:
    """What is true of it now."""
    return kinds()[prospect.target.address.kind].effects(prospect, prospect.before)


def _owner(text: str) -> Owner:
    return int(text) if text.isdecimal() else text
