"""A regular file as a whole, as every kind that writes one sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from ..core.kind import Context, Effects, Entry, Proposal
from ..formats.modes import SPECIAL, apply_mode, names_special
from ..formats.text import printable
from ..host.names import Names
from ..host.port import ACL, Host, Observer, Type
from ..host.port import File as Bytes
from ..model import MARK, Absent, Field, Json, Seen, State, Target, Unknown
from ._located import GROUP, MODE, OWNER, Located, LocatedKind, drop_parents, make_parents, missing_around

SECRET_MODE = 0o600
"""What a file gets that is made to hold a secret."""


class FileState(Located):
    """A whole regular file; bytes are held as latin-1 text, which JSON carries without loss."""

    data: str = ""
    mode: int = 0o644
    xattrs: Mapping[str, str] = {}
    mtime_ns: int | None = None
    """None: now, whenever it is written."""
    hidden: bool = False
    """Whether its content is secret, whoever may read it."""


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


def see(host: Observer, path: str) -> Seen | Bytes:
    """The file at a path, or what stands in its place."""
    found = host.read(path)
    if found is not None:
        return found
    there = host.stat(path)
    if there is not None and there.type == Type.LINK:
        return Unknown(
            f"{printable(path)} is a symbolic link that leads nowhere; remove it or make its target",
            unknown=False,
        )
    if there is not None:
        return Unknown(f"{printable(path)} is a {there.type}, not a regular file", unknown=False)
    return missing_around(host, path)


def latin(xattrs: Mapping[str, bytes]) -> dict[str, str]:
    """Attributes in the form that states carry."""
    return {name: value.decode("latin-1") for name, value in sorted(xattrs.items())}


def raw(xattrs: Mapping[str, str]) -> dict[str, bytes]:
    """Attributes in the form that the port takes."""
    return {name: value.encode("latin-1") for name, value in xattrs.items()}


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


def described(host: Observer, found: Bytes) -> dict[str, Any]:
    """A file as its state has it, with its owners by name."""
    names = Names(host)
    return {
        "data": found.data.decode("latin-1"), "owner": names.user(found.uid), "group": names.group(found.gid),
        "mode": found.mode, "xattrs": latin(found.xattrs), "mtime_ns": found.mtime_ns,
    }  # fmt: skip


def entry(state: FileState) -> Entry:
    """A file as those see it who ask who may do what."""
    return Entry(state.owner, state.group, state.mode, state.data, state.xattrs.get(ACL, ""))


def whole(host: Observer, path: str) -> Seen:
    """The file at a path as a state, or what stands in its place."""
    found = see(host, path)
    return FileState.model_validate(described(host, found)) if isinstance(found, Bytes) else found


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
    owner, group = names.need_uid(wanted.owner), names.need_gid(wanted.group)
    host.replace(
        name, Bytes(wanted.data.encode("latin-1"), wanted.mode, owner, group, raw(wanted.xattrs), wanted.mtime_ns)
    )


F = TypeVar("F", bound=FileState)


class WholeFile(LocatedKind[F]):
    """The part that is the same for every kind that writes one file of its name."""

    attributes: ClassVar[frozenset[str]] = LocatedKind.attributes | {"mode"}
    defaults: ClassVar[Mapping[Field, Json]] = {**LocatedKind.defaults, MODE: 0o644}

    def owned(
        self, host: Observer, target: Target, seen: State, context: Context, values: dict[Field, Json]
    ) -> dict[Field, Json]:
        """With the mode that goes back: without its setuid where the file still has another owner than it had."""
        values, wish = super().owned(host, target, seen, context, values), target.wish
        if wish is not None and getattr(wish, "mode", None) is None:
            if MODE in target.give_back and MODE not in target.keep:
                moved = any(part in wish.wishes(seen) for part in (OWNER, GROUP))
                usual = SECRET_MODE if target.made and wish.secrets() else int(target.give_back[MODE])
                values[MODE] = usual & (~SPECIAL if moved else ~0)
        return values

    def effects(self, found: Proposal, state: State) -> Effects:
        """The file."""
        here = {found.target.address.name: entry(state)} if isinstance(state, FileState) else None
        return super().effects(found, state) if here is None else Effects(files=here)
