"""A regular file, whole: content, owner, group, mode; attributes and ACL are kept, and come back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace as with_
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WrapValidator
from pydantic import Field as Described

from ..core.kind import SECRET, Context, Proposal, Trial, absence
from ..core.secret import Secret, assigned, either, words
from ..errors import HostError
from ..formats.modes import SPECIAL, apply_mode, check_mode, odd_mode
from ..formats.readers import Placed, unread
from ..formats.text import printable
from ..host.port import Host, Observer, Stat, Type
from ..model import (
    CONTENT,
    EXISTS,
    MARK,
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
from ._file import FileState, WholeFile, digest, new_mode, other_bytes, put, told_of, whole
from ._located import MODE, asked_owners, ownership, owning

SHOWN = 64 * 1024
SUDOERS = re.compile(r"^/etc/sudoers(\.d/.*)?$")


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
        wanted |= asked_owners(self)
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

    def unread(self) -> list[tuple[str, str]]:
        """By its name, mode, owner and last line."""
        mode = apply_mode(self.mode, 0o644, directory=False) if self.mode else 0o644
        text = self.content if isinstance(self.content, str) else None
        return unread(Placed(self.name, mode, text, self.owner in (None, "root", "0")))

    def mistakes(self) -> list[tuple[str, str]]:
        """The file's name in a checker is written in one way."""
        if any("%s" in word for word in self.validate_with) and not any("{}" in word for word in self.validate_with):
            return [("'validate' does not replace '%s'", "write {} where the file belongs, as in 'visudo -cf {}'")]
        return []

    def secrets(self) -> Mapping[Field, Secret]:
        """Its content, where that is one."""
        return {CONTENT: self.content} if isinstance(self.content, Secret) else {}

    def requires(self) -> set[Address]:
        """Its owner and group."""
        return owning(self.owner, self.group)


REPLACED = "holds other bytes than when it was setuid or setgid; it comes back without that"


def private(field: Field, value: Json) -> bool:
    """Whether this is content that is shown to nobody."""
    return field == CONTENT and value is not None and bool(value.get("private"))


def hiding(seen: Seen, told: Iterable[tuple[Field, Json]]) -> Seen:
    """A state with its content secret, where it is told so."""
    if isinstance(seen, FileState) and any(private(field, value) for field, value in told):
        return seen.model_copy(update={"hidden": True})
    return seen


class FileKind(WholeFile[FileState]):
    """Regular files."""

    name = "file"
    elsewhere = ("copy", "template")
    verb = "write"
    rank = 40
    whole = True
    state = FileState
    resource = File
    examples: ClassVar[tuple[str, ...]] = (
        "{file: PATH, content: x}",
        "{file: PATH, content: y, owner: svc, group: svc, mode: '4750'}",
    )
    attributes: ClassVar[frozenset[str]] = WholeFile.attributes | {"content"}

    def read(self, host: Observer, name: str) -> Seen:
        """The file, through safe links."""
        return whole(host, name)

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
        if (absent := absence(state, values)) is not None:
            return absent
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

    def stored_aside(self, field: Field) -> bool:
        """Content is kept beside the log, and so is a digest of it."""
        return field in (CONTENT, MARK)

    def values(self, host: Observer, target: Target, seen: State, context: Context) -> dict[Field, Json]:
        """As for every kind, with owners as the host names them."""
        found = super().values(host, target, seen, context)
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
        return there is None or there.type != Type.DIRECTORY

    def described(self, seen: FileState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Owner, group and mode; its content where everybody may read it."""
        yield from ownership(seen)
        text = seen.data
        public = bool(seen.mode & 0o004) and assigned(text) is None and not trial.secret(CONTENT)
        if public and len(text) <= SHOWN and text.isascii() and "\0" not in text:
            yield "content", text
        else:
            trial.remark("its content is left out: private, large, or no plain text")

    def prospect(self, host: Observer, target: Target, context: Context) -> Proposal:
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
                return Proposal(
                    target, found.before, found.before, blocked=Unknown(f"validator: {error}", unknown=False)
                )
            if result.code != 0:
                lines = [line.strip() for line in (result.err + "\n" + result.out).splitlines() if line.strip()]
                said = "; ".join(printable(line) for line in lines[:3]) or f"exit code {result.code}"
                if after.hidden:
                    said = f"exit code {result.code}; what it said may hold the secret"
                reason = f"{wish.validate_with[0]} refuses the content: {said}"
                return Proposal(target, found.before, found.before, blocked=Unknown(reason, unknown=False))
        return found


KIND = FileKind()
