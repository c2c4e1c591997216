"""The host as a plan will leave it, for those who ask who may do what: nothing is done, planned states are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from ..host.names import Names, Owner
from ..host.port import File, Observer, Stat
from ..kinds.account import AccountState
from ..kinds.base import Prospect
from ..kinds.daemon import DaemonState
from ..kinds.file import FileState
from ..kinds.group import GroupState
from ..kinds.tree import Tree
from ..model import Absent, Address, inside
from ..modes import apply_mode
from ..plan import Plan
from .rights import ACL, Look, Person, masked, parse_acl
from .scene import Scene


class Foreseen:
    """A host whose files read as a plan will leave them."""

    def __init__(self, host: Observer, files: Mapping[str, FileState | None]) -> None:
        self._host, self._files = host, files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def stat(self, path: str) -> Stat | None:
        """The path as it will be."""
        state = self._files.get(path)
        if path not in self._files:
            return self._host.stat(path)
        return None if state is None else Stat("file", state.mode, 0, 0, 1, len(state.data), 0, 0, 0)

    def read(self, path: str) -> File | None:
        """The file as it will be."""
        if path not in self._files:
            return self._host.read(path)
        state = self._files[path]
        return None if state is None else File(state.data.encode("latin-1"), state.mode, 0, 0)

    def names(self, path: str) -> list[str]:
        """The names that will be in a directory."""
        found = set(self._host.names(path))
        for file, state in self._files.items():
            directory, _, name = file.rpartition("/")
            if directory == path.rstrip("/"):
                (found.discard if state is None else found.add)(name)
        return sorted(found)


class Then(Scene):
    """A scene after a plan."""

    def __init__(self, now: Scene, plan: Plan) -> None:
        self.now = now
        self._prospects: dict[Address, Prospect] = {t.address: t.prospect for t in plan.transitions}
        self.files = dict(self._planned_files())
        foreseen: Any = Foreseen(now.host, self.files)
        super().__init__(foreseen)
        self._names = Names(now.host)
        self._chosen: dict[tuple[str, str], int] = {}

    @cached_property
    def _planned(self) -> dict[str, dict[str, Any]]:
        """The states after the plan, by kind and name."""
        found: dict[str, dict[str, Any]] = {}
        for address, prospect in self._prospects.items():
            found.setdefault(address.kind, {})[address.name] = prospect.after
        return found

    def _after(self, kind: str) -> Mapping[str, Any]:
        return self._planned.get(kind, {})

    def _planned_files(self) -> Iterator[tuple[str, FileState | None]]:
        for kind in ("file", "ini"):
            yield from ((n, state if isinstance(state, FileState) else None) for n, state in self._after(kind).items())

    @cached_property
    def users(self) -> dict[str, str]:
        """Whom units will run as, where the plan sets it."""
        return {
            n: s.effective.get("User") or "root" for n, s in self._after("daemon").items() if isinstance(s, DaemonState)
        }

    def _number(self, what: str, owner: Owner) -> int:
        """The number of a name; one of our own for a name that will come into being."""
        known = self._names.uid(owner) if what == "user" else self._names.gid(owner)
        planned = self._after("account" if what == "user" else "group").get(str(owner))
        told = getattr(planned, "uid" if what == "user" else "gid", None)
        if told is not None or known is not None:
            return int(told if told is not None else known)  # type: ignore[arg-type] # one of them is there
        return self._chosen.setdefault((what, str(owner)), -1000 - len(self._chosen))

    @cached_property
    def persons(self) -> list[Person]:
        """Every account that there will be."""
        planned = self._after("account")
        leaving = {
            gid
            for n, s in self._after("group").items()
            if isinstance(s, Absent) and (gid := self._names.gid(n)) is not None
        }
        found = [replace(p, gids=p.gids - leaving) for p in self.now.persons if p.name not in planned]
        for name, state in planned.items():
            if isinstance(state, AccountState) and not state.remote:
                groups = {state.group, *state.groups}
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
        made = {self._number("group", n): n for n, s in self._after("group").items() if isinstance(s, GroupState)}
        return self.now.group_names | made

    def locked(self, name: str) -> bool:
        """Whether no password will open an account."""
        state = self._after("account").get(name)
        return state.password[:1] in ("!", "*") if isinstance(state, AccountState) else self.now.locked(name)

    @cached_property
    def _made(self) -> dict[str, Look]:
        """Directories that the plan makes: on the way to new files, and the tops of new trees."""
        found: dict[str, Look] = {}
        for address, prospect in self._prospects.items():
            if address.kind in ("file", "ini") and not isinstance(prospect.after, Absent):
                parent = address.name.rpartition("/")[0]
                while parent and self.now.look(parent) is None:
                    found.setdefault(parent, Look("directory", 0, 0, 0o755))
                    parent = parent.rpartition("/")[0]
        for address, prospect in self._prospects.items():
            wish = prospect.target.wish
            if (
                isinstance(wish, Tree)
                and isinstance(prospect.before, Absent)
                and not isinstance(prospect.after, Absent)
            ):
                mode = apply_mode(wish.directory_mode, 0o755, directory=True) if wish.directory_mode else 0o755
                uid, gid = self._number("user", wish.owner or "root"), self._number("group", wish.group or "root")
                found[address.name] = Look("directory", uid, gid, mode)
        return found

    @cached_property
    def _trees(self) -> list[tuple[str, Tree]]:
        """The trees that the plan hands over, the innermost first."""
        found = [(a.name, p.target.wish) for a, p in self._prospects.items() if isinstance(p.target.wish, Tree)]
        return sorted(found, key=lambda item: -len(item[0]))

    @cached_property
    def _sampled(self) -> dict[str, Any]:
        """What trees that are given back tell of single paths."""
        trees = (p for a, p in self._prospects.items() if a.kind == "tree" and p.target.wish is None)
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

    def _wished(self, path: str, now: Look, top: str, wish: Tree) -> Look:
        """A path as the rule of a tree asks for it; what the rule does not speak of stays."""
        relative = path[len(top) :].strip("/")
        part = next((p for p in sorted(wish.except_, key=len, reverse=True) if inside("/" + relative, "/" + p)), None)
        rule: Any = wish if part is None else wish.except_[part]
        spec = rule.directory_mode if now.type == "directory" else rule.file_mode
        if part is not None and relative == part and rule.mode is not None:
            spec = rule.mode
        mode = (
            apply_mode(spec, now.mode, directory=now.type == "directory") if spec and now.type != "link" else now.mode
        )
        return self._moved(now, rule.owner, rule.group, mode)

    def _moved(self, now: Look, owner: Owner | None, group: Owner | None, mode: int) -> Look:
        uid = now.uid if owner is None else self._number("user", owner)
        gid = now.gid if group is None else self._number("group", group)
        return replace(masked(now, mode) if mode != now.mode else now, uid=uid, gid=gid)

    def file_look(self, state: FileState) -> Look:
        """What decides at a planned file."""
        acl = state.xattrs.get(ACL)
        return Look(
            "file", self._number("user", state.owner), self._number("group", state.group), state.mode,
            parse_acl(acl.encode("latin-1") if acl else None),
        )  # fmt: skip

    def told(self, text: str, kind: str) -> Look | None:
        """The look that a plan's class tells as ``owner:group:mode``; None for a link."""
        owner, _, rest = text.split(" ", maxsplit=1)[0].partition(":")
        group, _, mode = rest.partition(":")
        if not mode or not all(digit in "01234567" for digit in mode):
            return None
        return Look(kind, self._number("user", _owner(owner)), self._number("group", _owner(group)), int(mode, 8))


def _owner(text: str) -> Owner:
    return int(text) if text.isdecimal() else text
