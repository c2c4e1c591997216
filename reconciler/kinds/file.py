"""A regular file, whole: content, owner, group, mode; attributes and ACL are kept, and come back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as with_
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WrapValidator
from pydantic import Field as Described

from ..errors import HostError
from ..host.names import Names, Owner
from ..host.port import File as Bytes
from ..host.port import Host, Observer, Stat
from ..host.resolve import printable
from ..model import (
    CONTENT,
    EXISTS,
    MARK,
    Absent,
    Address,
    Change,
    Field,
    Hidden,
    Json,
    Resource,
    Seen,
    State,
    Target,
    Unknown,
)
from ..modes import SPECIAL, apply_mode, check_mode, names_special, odd_mode
from ..trees.images import Vault
from .base import SECRET, Context, Effects, Entry, Kind, Prospect, Trial, empty_left, gone, nobody
from .secrets import ASSIGNED, Secret, either, words

MODE: Field = ("mode",)
SHOWN = 64 * 1024
SUDOERS = re.compile(r"^/etc/sudoers(\.d/.*)?$")
SECRET_MODE = 0o600
"""What a file gets that is made to hold a secret."""


class FileState(State):
    """A whole regular file; bytes are held as latin-1 text, which JSON carries without loss."""

    data: str = ""
    owner: Owner = "root"
    group: Owner = "root"
    mode: int = 0o644
    xattrs: Mapping[str, str] = {}
    mtime_ns: int | None = None
    """None: now, whenever it is written."""
    hidden: bool = False
    """Whether its content is secret, whoever may read it."""


class File(Resource):
    """A file that is to be there, with this content."""

    kind = "file"
    name: Annotated[str, Described(pattern=r"^/[^\x00]*[^/\x00]$", description="The absolute path.")]
    content: Annotated[
        Annotated[str | Secret, WrapValidator(either)] | None,
        Described(description="The whole content, or a secret; not given: left as it is."),
    ] = None
    owner: Annotated[str | None, Described(description="The owner; root for a new file.")] = None
    group: Annotated[str | None, Described(description="The group; root for a new file.")] = None
    mode: Annotated[
        str | None, BeforeValidator(lambda v: check_mode(v) if isinstance(v, str) else v),
        Described(description="Octal or symbolic; 0644 for a new file."),
    ] = None  # fmt: skip
    validate_with: Annotated[
        tuple[str, ...], BeforeValidator(words), Described(alias="validate", description="A checker; {} is it."),
    ] = ()  # fmt: skip

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The parts that are named."""
        wanted: dict[Field, Json] = {EXISTS: True}
        if self.content is not None:
            text = self.content.told() if isinstance(self.content, Secret) else self.content
            told = {"data": text.encode("utf-8", "surrogateescape").decode("latin-1")}
            wanted[CONTENT] = told | ({"private": True} if isinstance(text, Hidden) else {})
        wanted |= {(key,): value for key in ("owner", "group") if (value := getattr(self, key)) is not None}
        wanted |= new_mode(self.mode, wanted, before, secret=bool(self.secrets()))
        return wanted

    def lints(self) -> list[tuple[str, str]]:
        """Modes that give too much away, and sudoers that can lock everybody out."""
        found = odd_mode("mode", self.mode)
        if SUDOERS.match(self.name) and self.content is not None:
            if not self.validate_with:
                found.append(("a mistake in it locks everybody out of sudo", "add 'validate: visudo -cf {}'"))
            if "NOPASSWD: ALL" in str(self.content):
                found.append(("NOPASSWD: ALL makes the account root", "name the commands"))
        return found

    def secrets(self) -> Mapping[Field, Secret]:
        """Its content, where that is one."""
        return {CONTENT: self.content} if isinstance(self.content, Secret) else {}

    def requires(self) -> set[Address]:
        """Its owner and group."""
        wanted = {Address("account", self.owner)} if self.owner else set()
        return wanted | ({Address("group", self.group)} if self.group else set())


def new_mode(
    spec: str | None, wanted: Mapping[Field, Json], before: State, *, secret: bool = False
) -> dict[Field, Json]:
    """The mode that a file gets: as asked, and without setuid and setgid where its owner changes unasked.

    A new file that holds a secret is its owner's alone unless asked otherwise.
    """
    usual = before.mode if isinstance(before, FileState) else 0o644
    old = SECRET_MODE if secret and not isinstance(before, FileState) else usual
    mode = old if spec is None else apply_mode(spec, old, directory=False)
    moves = isinstance(before, FileState) and (
        wanted.get(("owner",), before.owner) != before.owner or wanted.get(("group",), before.group) != before.group
    )
    if moves and not names_special(spec):
        mode &= ~SPECIAL
    return {MODE: mode} if spec is not None or mode != usual else {}


def owned_values(
    host: Observer, target: Target, seen: State, context: Context, values: dict[Field, Json]
) -> dict[Field, Json]:
    """Values whose owners exist, by their names; a new file belongs to whom the root directory belongs."""
    names, wish = Names(host), target.wish
    if wish is not None:
        if reason := nobody(host, wish.requires(), context):
            raise HostError(reason)
        top = host.stat("/")
        if isinstance(seen, Absent) and top is not None:
            values.setdefault(("owner",), names.user(top.uid))
            values.setdefault(("group",), names.group(top.gid))
        asked = wish.wishes(seen)
        for field, number in ((("owner",), top.uid), (("group",), top.gid)) if top is not None else ():
            if values.get(field) == "root" and field not in asked:
                values[field] = names.user(number) if field == ("owner",) else names.group(number)
        if getattr(wish, "mode", None) is None and MODE in target.give_back and MODE not in target.keep:
            # The mode goes back, but not its setuid where the file still has another owner than it had.
            moved = any((part,) in asked for part in ("owner", "group"))
            usual = SECRET_MODE if target.made and wish.secrets() else int(target.give_back[MODE])
            values[MODE] = usual & (~SPECIAL if moved else ~0)
    for field, known in ((("owner",), names.known_user), (("group",), names.known_group)):
        if field in values:
            values[field] = known(values[field])
    return values


def returned_look(seen: State, name: str, context: Context) -> State:
    """A file as a tree round it will have left it, where this plan gives that tree back."""
    for address, prospect in context.planned.items():
        look = prospect.facts.get("coming", {}).get(name) if address.name != name else None
        if look is not None and prospect.target.wish is None and not context.fix and isinstance(seen, FileState):
            seen = seen.model_copy(update={"owner": look.owner, "group": look.group, "mode": look.mode})
    return seen


def missing_parents(host: Observer, path: str) -> list[str]:
    """The directories above ``path`` that are not there, the highest first."""
    missing: list[str] = []
    parent = path.rsplit("/", 1)[0]
    while parent and host.stat(parent) is None:
        missing.insert(0, parent)
        parent = parent.rsplit("/", 1)[0]
    return missing


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


def see(host: Observer, path: str) -> Seen | Bytes:
    """The file at a path, or what stands in its place."""
    found = host.read(path)
    if found is not None:
        return found
    there = host.stat(path)
    if there is not None and there.type == "link":
        return Unknown(
            f"{printable(path)} is a symbolic link that leads nowhere; remove it or make its target",
            unknown=False,
        )
    if there is not None:
        return Unknown(f"{printable(path)} is a {there.type}, not a regular file", unknown=False)
    missing = missing_parents(host, path)
    return Absent(around={"missing": missing} if missing else {})


def latin(xattrs: Mapping[str, bytes]) -> dict[str, str]:
    """Attributes in the form that states carry."""
    return {name: value.decode("latin-1") for name, value in sorted(xattrs.items())}


REPLACED = "holds other bytes than when it was setuid or setgid; it comes back without that"


def digest(data: str) -> str:
    """The SHA-256 of a file's bytes, which states hold as latin-1 text."""
    return hashlib.sha256(data.encode("latin-1")).hexdigest()


def other_bytes(target: Target, seen: State, content: Json) -> bool:
    """Whether a mode to give back was that of other bytes, which whoever owned the file meanwhile may have written."""
    known = target.give_back.get(MARK)
    if not known or MODE not in target.give_back or MODE in target.keep or not isinstance(seen, FileState):
        return False
    asked = getattr(target.wish, "mode", None)
    coming = seen.data if content is None else str(content["data"])
    return asked is None and digest(coming) != known["sha256"]


def told_of(target: Target, secret: Json) -> list[tuple[Field, Json]]:
    """What is recorded and given back of a thing, and what is asked for as a secret, with ``secret`` as its value."""
    asked = target.wish.secrets() if target.wish is not None else ()
    return [*target.recorded.items(), *target.give_back.items(), *((field, secret) for field in asked)]


def private(field: Field, value: Json) -> bool:
    """Whether this is content that is shown to nobody."""
    return field == CONTENT and value is not None and bool(value.get("private"))


def hiding(seen: Seen, told: Iterable[tuple[Field, Json]]) -> Seen:
    """A state with its content secret, where it is told so."""
    if isinstance(seen, FileState) and any(private(field, value) for field, value in told):
        return seen.model_copy(update={"hidden": True})
    return seen


def described(host: Observer, found: Bytes) -> dict[str, Any]:
    """A file as its state has it, with its owners by name."""
    names = Names(host)
    return {
        "data": found.data.decode("latin-1"), "owner": names.user(found.uid), "group": names.group(found.gid),
        "mode": found.mode, "xattrs": latin(found.xattrs), "mtime_ns": found.mtime_ns,
    }  # fmt: skip


def owned(state: FileState) -> Iterator[tuple[str, str]]:
    """Owner, group and mode in the words of the desired state."""
    yield "owner", str(state.owner)
    yield "group", str(state.group)
    yield "mode", f"{state.mode:04o}"


ACL = "system.posix_acl_access"


def entry(state: FileState) -> Entry:
    """A file as those see it who ask who may do what."""
    return Entry(state.owner, state.group, state.mode, state.data, state.xattrs.get(ACL, ""))


def put(host: Host, name: str, seen: Seen, state: State, **plain: Json) -> None:
    """Put a file in place as a whole, or remove it; ``plain``: what is no part of it, as a host that is read has it."""
    if not isinstance(state, FileState):
        if not isinstance(seen, Absent):
            host.remove(name)
        if isinstance(state, Absent):
            drop_parents(host, state.around)
        return
    wanted = state.model_copy(update=plain)
    if isinstance(seen, FileState) and wanted.mtime_ns is None and wanted.data == seen.data:
        wanted = wanted.model_copy(update={"mtime_ns": seen.mtime_ns})
    if seen == wanted:
        return
    make_parents(host, name)
    names = Names(host)
    xattrs = {key: value.encode("latin-1") for key, value in wanted.xattrs.items()}
    owner, group = names.need_uid(wanted.owner), names.need_gid(wanted.group)
    host.replace(name, Bytes(wanted.data.encode("latin-1"), wanted.mode, owner, group, xattrs, wanted.mtime_ns))


class FileKind(Kind[FileState]):
    """Regular files."""

    name = "file"
    verb = "write"
    rank = 40
    located = whole = True
    state = FileState
    resource = File
    attributes: ClassVar[frozenset[str]] = frozenset({"content", "owner", "group", "mode"})
    defaults: ClassVar[Mapping[Field, Json]] = {("owner",): "root", ("group",): "root", MODE: 0o644}

    def read(self, host: Observer, name: str) -> Seen:
        """The file, through safe links."""
        found = see(host, name)
        return FileState.model_validate(described(host, found)) if isinstance(found, Bytes) else found

    def see(self, host: Observer, name: str, told: Iterable[tuple[Field, Json]]) -> Seen:
        """With content kept secret that is told so."""
        listed = list(told)
        return hiding(super().see(host, name, listed), listed)

    def look(self, host: Observer, target: Target, context: Context) -> Seen:
        """With content kept secret that was told so, or is asked for as a secret."""
        return hiding(super().look(host, target, context), told_of(target, {"private": True}))

    def write(self, host: Host, name: str, state: State) -> None:
        """Put the file in place, atomically and durably, or remove it."""
        put(host, name, self.read(host, name), state, hidden=False)

    def fields(self, state: State) -> dict[Field, Json]:
        """Content with its time, owner, group, mode."""
        if not isinstance(state, FileState):
            return {}
        content = {"data": state.data, "mtime": state.mtime_ns, "private": state.hidden or not state.mode & 0o004}
        found: dict[Field, Json] = {EXISTS: True, CONTENT: content}
        if state.mode & SPECIAL:
            # Known by its bytes, so that no others get those bits back.
            found[MARK] = {"sha256": digest(state.data)}
        return found | {("owner",): state.owner, ("group",): state.group, MODE: state.mode}

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """Given-back content brings its time along."""
        exists = values.get(EXISTS, not isinstance(state, Absent))
        if gone(exists):
            return Absent(around=exists["absent"]) if isinstance(exists, dict) else Absent()
        update: dict[str, Any] = {f[0]: v for f, v in values.items() if f in (("owner",), ("group",), MODE)}
        content = values.get(CONTENT)
        base = state if isinstance(state, FileState) else FileState()
        if content is not None and content.get("private"):
            update["hidden"] = True
        if content is not None and content["data"] != base.data:
            update |= {"data": content["data"], "mtime_ns": content.get("mtime")}
        elif content is not None and content.get("mtime"):
            update["mtime_ns"] = content["mtime"]
        return base.model_copy(update=update)

    def show(self, field: Field, value: Json) -> Json:
        """Octal modes; content as text."""
        if field == MODE and isinstance(value, int):
            return f"{value:04o}"
        if field == CONTENT and value is not None:
            text = value["data"].encode("latin-1")
            try:
                return text.decode() if len(text) <= SHOWN else f"({len(text)} bytes)"
            except UnicodeDecodeError:
                return f"({len(text)} bytes)"
        return super().show(field, value)

    def display(self, field: Field, value: Json) -> Json:
        """Content that is secret, or that not everybody may read, is not shown."""
        return SECRET if private(field, value) else super().display(field, value)

    def same(self, field: Field, a: Json, b: Json) -> bool:
        """Content is the same byte by byte."""
        if field == CONTENT and a is not None and b is not None:
            return bool(a["data"] == b["data"])
        return super().same(field, a, b)

    def change(self, field: Field, old: Json, new: Json) -> Change:
        """Content of a file that not everybody may read, or will not, is not shown to anybody."""
        change = super().change(field, old, new)
        if private(field, old) or private(field, new):
            return with_(change, shown=(None if old is None else SECRET, None if new is None else SECRET))
        return change

    def bulky(self, field: Field) -> bool:
        """Content is kept beside the log, and so is a digest of it."""
        return field in (CONTENT, MARK)

    def needs(self, name: str, state: State) -> set[Address]:
        """Its owner and group."""
        if not isinstance(state, FileState):
            return set()
        return {Address("account", str(state.owner)), Address("group", str(state.group))}

    def edits(self, name: str) -> tuple[str, ...]:
        """The file itself."""
        return (name,)

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """As for every kind, with owners as the host names them."""
        found = owned_values(host, target, seen, context, super().values(host, target, seen, context))
        origin, asked = target.give_back.get(CONTENT), found.get(CONTENT)
        if host.recorded and isinstance(seen, FileState) and target.wish is not None and target.wish.secrets():
            del found[CONTENT]  # whether a secret is as it is to be, its host alone can tell
            return found
        if origin and asked and origin["data"] == asked["data"]:
            found[CONTENT] = origin  # the content of before us comes back with its time, whoever asks for it
        if MODE in found and other_bytes(target, seen, found.get(CONTENT)):
            found[MODE] = int(found[MODE]) & ~SPECIAL
        return found

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """Whatever is no directory."""
        return there is None or there.type != "directory"

    def described(self, seen: FileState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Owner, group and mode; its content where everybody may read it."""
        yield from owned(seen)
        text = seen.data
        public = bool(seen.mode & 0o004) and not ASSIGNED.search(text) and not trial.secret(CONTENT)
        if public and len(text) <= SHOWN and text.isascii() and "\0" not in text:
            yield "content", text
        else:
            trial.remark("its content is left out: private, large, or no plain text")

    def effects(self, found: Prospect, state: State) -> Effects:
        """The file."""
        here = {found.target.address.name: entry(state)} if isinstance(state, FileState) else None
        return super().effects(found, state) if here is None else Effects(files=here)

    def foreseen(self, seen: State, name: str, context: Context) -> State:
        """With the owner, group and mode that a tree gives back to it first."""
        return returned_look(seen, name, context)

    def reached(self, host: Observer, name: str, changes: Sequence[Change], vault: Vault) -> str:
        """As for every kind; with a file that goes, so do the directories that were made for it."""
        problem = super().reached(host, name, changes, vault)
        return problem or empty_left(host, [c.after for c in changes if c.field == EXISTS and gone(c.after)])

    def prospect(self, host: Observer, target: Target, context: Context) -> Prospect:
        """As for every kind, and the checker is asked before anything is planned."""
        found = super().prospect(host, target, context)
        wish, after = target.wish, found.after
        if isinstance(after, FileState) and other_bytes(target, found.before, {"data": after.data}):
            found = with_(found, skipped=(*found.skipped, (printable(target.address.name), REPLACED)))
        content = [c for s in found.steps for c in s.changes if c.field in (EXISTS, CONTENT)]
        if isinstance(wish, File) and wish.validate_with and content and isinstance(after, FileState):
            try:
                result = host.validate(wish.validate_with, after.data.encode("latin-1"))
            except HostError as error:
                return Prospect(
                    target, found.before, found.before, blocked=Unknown(f"validator: {error}", unknown=False)
                )
            if result.code != 0:
                lines = [line.strip() for line in (result.err + "\n" + result.out).splitlines() if line.strip()]
                said = "; ".join(printable(line) for line in lines[:3]) or f"exit code {result.code}"
                if after.hidden:
                    said = f"exit code {result.code}; what it said may hold the secret"
                reason = f"{wish.validate_with[0]} refuses the content: {said}"
                return Prospect(target, found.before, found.before, blocked=Unknown(reason, unknown=False))
        return found


KIND = FileKind()
