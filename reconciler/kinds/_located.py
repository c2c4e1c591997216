"""What stands at a path: its owner and group, and the directories that are made for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace as with_
from typing import Any, ClassVar, TypeVar

from ..core.kind import Context, Kind, Proposal, Step, gone
from ..core.vault import Vault
from ..errors import HostError
from ..formats.text import printable
from ..host.names import Names, absent
from ..host.port import Host, Observer, Type
from ..model import EXISTS, Absent, Address, Change, Field, Json, Owner, State, Target

OWNER, GROUP, MODE = ("owner",), ("group",), ("mode",)


class Located(State):
    """What every thing at a path has."""

    owner: Owner = "root"
    group: Owner = "root"


L = TypeVar("L", bound=Located)


class LocatedKind(Kind[L]):
    """The part that is the same for every kind whose name is a path at which one thing stands."""

    located = True
    together = True
    attributes: ClassVar[frozenset[str]] = frozenset({"owner", "group"})
    defaults: ClassVar[Mapping[Field, Json]] = {OWNER: "root", GROUP: "root"}

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """As for every kind, with owners as the host names them; where nothing can be made, nothing is planned."""
        if isinstance(seen, Absent) and target.wish is not None:
            reachable(host, target.address.name)
        return self.owned(host, target, seen, context, super().values(host, target, seen, context))

    def owned(
        self, host: Observer, target: Target, seen: State, context: Context, values: dict[Field, Json]
    ) -> dict[Field, Json]:
        """The values with owners as the host names them; nobody is an owner who neither exists nor will."""
        return owners(host, target, seen, context, values)

    def needs(self, name: str, state: State) -> set[Address]:
        """Its owner and group."""
        if not isinstance(state, Located):
            return set()
        return owning(str(state.owner), str(state.group))

    def show(self, field: Field, value: Json) -> Json:
        """Octal modes; owners by name."""
        if field in (OWNER, GROUP) and _is_numbered(value):
            return value["name"]
        return f"{value:04o}" if field == MODE and isinstance(value, int) else super().show(field, value)

    def same(self, field: Field, a: Json, b: Json) -> bool:
        """Owners are the same by number where both are known with it, else by any name that they go by."""
        if field not in (OWNER, GROUP):
            return super().same(field, a, b)
        if _is_numbered(a) and _is_numbered(b):
            return bool(a["number"] == b["number"])
        return not _called(a).isdisjoint(_called(b))

    def record(self, host: Observer, found: Proposal, step: Step, vault: Vault) -> tuple[tuple[Change, ...], Json]:
        """With the numbers that owners have now, since a name may have another one when it comes back."""
        changes, image = super().record(host, found, step, vault)
        names = Names(host)
        return tuple(_numbered(change, names) for change in changes), image

    def put_back(self, host: Host, name: str, changes: Sequence[Change], image: Json, vault: Vault) -> str:
        """As for every kind, with owners by name."""
        plain = [with_(c, before=c.before["name"]) if _is_numbered(c.before) else c for c in changes]
        return super().put_back(host, name, plain, image, vault)

    def edits(self, name: str) -> tuple[str, ...]:
        """The path itself."""
        return (name,)

    def predicted(self, host: Observer, seen: State, name: str, context: Context) -> State:
        """With the owner, group and mode that a tree round it gives back to it first; with what it lies in, or gone."""
        for address, told in context.planned.foretold.get(name, {}).items() if not context.fix else ():
            if address.name == name or isinstance(seen, Absent) != told.anew:
                continue
            if told.parts is None:
                return Absent()
            parts = {part: value for part, value in told.parts.items() if part in self.state.model_fields}
            seen = self.state.model_validate(parts) if told.anew else seen.model_copy(update=parts)
        return seen

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """As for every kind; with a thing that goes, so do the directories that were made for it."""
        problem = super().reached(host, name, changes, vault)
        return problem or empty_left(host, [c.after for c in changes if c.field == EXISTS and gone(c.after)])


def owning(owner: str | None, group: str | None) -> set[Address]:
    """The account and the group of these names, where they are given."""
    return {Address(kind, name) for kind, name in (("account", owner), ("group", group)) if name}


def asked_owners(wish: Any) -> dict[Field, Json]:
    """The owner and group that a wish names."""
    given = ((OWNER, wish.owner), (GROUP, wish.group))
    return {field: name for field, name in given if name is not None}


def owners(
    host: Observer, target: Target, seen: State, context: Context, values: dict[Field, Json]
) -> dict[Field, Json]:
    """Values whose owners exist, by their names; a new thing belongs to whom the root directory belongs."""
    names, wish = Names(host), target.wish
    if wish is not None:
        if reason := nobody(host, wish.requires(), context):
            raise HostError(reason)
        top = host.stat("/")
        if isinstance(seen, Absent) and top is not None:
            values.setdefault(OWNER, names.user(top.uid))
            values.setdefault(GROUP, names.group(top.gid))
        asked = wish.wishes(seen)
        for field, number in ((OWNER, top.uid), (GROUP, top.gid)) if top is not None else ():
            if values.get(field) == "root" and field not in asked:
                values[field] = names.user(number) if field == OWNER else names.group(number)
    for field, known in ((OWNER, names.known_user), (GROUP, names.known_group)):
        if _is_numbered(values.get(field)):
            told = values[field]
            values[field] = names.today(field[0], told["name"], told["number"])
        elif field in values:
            values[field] = known(values[field])
    return values


def _is_numbered(value: Json) -> bool:
    return isinstance(value, dict) and value.keys() == {"name", "number"}


def _called(value: Json) -> set[Json]:
    """What an owner goes by."""
    return set(value.values()) if _is_numbered(value) else {value}


def _numbered(change: Change, names: Names) -> Change:
    """A change with the number beside the name of an owner."""
    if change.field not in (OWNER, GROUP):
        return change

    def told(owner: Json) -> Json:
        number = None if owner is None else names.number(change.field[0], owner)
        return owner if number is None else {"name": owner, "number": number}

    return with_(change, before=told(change.before), after=told(change.after))


def missing_around(host: Observer, path: str) -> Absent:
    """Nothing at a path, with the directories that would have to be made for it."""
    missing = missing_parents(host, path)
    return Absent(around={"missing": missing} if missing else {})


def ownership(state: Located) -> Iterable[tuple[str, Any]]:
    """Owner and group, and the mode where it has one, in the words of the desired state."""
    yield "owner", str(state.owner)
    yield "group", str(state.group)
    mode = getattr(state, "mode", None)
    if mode is not None:
        yield "mode", f"{mode:04o}"


def missing_parents(host: Observer, path: str) -> list[str]:
    """The directories above ``path`` that are not there, the highest first."""
    missing: list[str] = []
    parent = path.rsplit("/", 1)[0]
    while parent and host.stat(parent) is None:
        missing.insert(0, parent)
        parent = parent.rsplit("/", 1)[0]
    return missing


def reachable(host: Observer, path: str) -> None:
    """Raise `HostError` where what is there on the way to a path is not a directory, so that nothing can be made."""
    parent = path.rpartition("/")[0] or "/"
    while parent != "/" and host.stat(parent) is None:
        parent = parent.rpartition("/")[0] or "/"
    there = host.stat(parent)
    if there is not None and there.type == Type.LINK:
        there = host.stat(host.canonical(parent))
        if there is None or there.type == Type.LINK:
            raise HostError(f"{printable(parent)} is a symbolic link that leads nowhere; remove it or make its target")
    if there is not None and there.type != Type.DIRECTORY:
        raise HostError(f"{printable(parent)} is a {there.type}, not a directory; move it away")


def make_parents(host: Host, path: str) -> None:
    """Make what is missing above ``path``, root:root 0755 (on a host that is not ours to chown: our own)."""
    top = host.stat("/")
    for directory in missing_parents(host, path):
        host.mkdir(directory, 0o755, top.uid if top else 0, top.gid if top else 0)


def drop_parents(host: Host, around: Mapping[str, Json]) -> None:
    """Remove the directories that a file's making had made, if nothing else is in them now."""
    for directory in reversed(around.get("missing", [])):
        if not host.rmdir(directory):
            return


def empty_left(host: Observer, values: Iterable[Json]) -> str:
    """A directory that was to go with what made it and stands there empty; empty text where there is none."""
    for value in values:
        told = value.get("absent", value) if isinstance(value, dict) else {}
        for directory in reversed(told.get("missing", ()) if isinstance(told, dict) else ()):
            there = host.stat(directory)
            if there is not None and there.type == Type.DIRECTORY and not host.names(directory):
                return f"{printable(directory)} is left, and empty"
    return ""


def nobody(host: Observer, owners: Iterable[Address], context: Context) -> str:
    """Which of the accounts and groups is neither on the host nor made by this plan; empty where none is."""
    names = Names(host)
    for address in sorted(owners):
        comes = context.comes(address)
        number = names.uid(address.name) if address.kind == "account" else names.gid(address.name)
        if address.kind in ("account", "group") and not (number is not None if comes is None else comes):
            return absent(address.kind, address.name)
    return ""
