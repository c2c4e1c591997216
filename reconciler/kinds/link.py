"""A symbolic link itself: where it points, its owner and group; it is never followed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field as Described

from ..core.kind import Trial, absence
from ..formats.readers import Placed, unread
from ..formats.text import printable
from ..host.names import Names
from ..host.port import Host, Link, Observer, Stat, Type
from ..model import EXISTS, Absent, Address, Field, Json, Resource, Seen, State, Unknown
from ._file import latin, raw
from ._located import (
    GROUP,
    OWNER,
    Located,
    LocatedKind,
    asked_owners,
    drop_parents,
    make_parents,
    missing_around,
    ownership,
    owning,
)

TARGET: Field = ("target",)
LONGEST = 4095
"""The longest target that Linux takes, in bytes."""


class LinkState(Located):
    """A whole symbolic link."""

    target: str = ""
    xattrs: Mapping[str, str] = {}
    mtime_ns: int | None = None
    """None: now, whenever it is written."""


class SymbolicLink(Resource):
    """A symbolic link that is to be there; a file or directory in its place is not replaced."""

    kind = "link"
    name: Annotated[str, Described(pattern=r"^/[^\x00]*[^/\x00]$", description="The absolute path of the link.")]
    target: Annotated[
        str,
        Described(pattern=r"^[^\x00]+$", max_length=LONGEST, description="Where it points, as it is to be written."),
    ]
    owner: Annotated[str | None, Described(description="The owner; root for a new link.")] = None
    group: Annotated[str | None, Described(description="The group; root for a new link.")] = None

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The parts that are named."""
        wanted: dict[Field, Json] = {EXISTS: True, TARGET: {"text": self.target}}
        return wanted | asked_owners(self)

    def unread(self) -> list[tuple[str, str]]:
        """By its name."""
        return unread(Placed(self.name))

    def mistakes(self) -> list[tuple[str, str]]:
        """A link to itself leads nowhere, and of a target only so much can be written."""
        if (size := len(os.fsencode(self.target))) > LONGEST:
            return [(f"the target has {size} bytes, and Linux takes {LONGEST}", "write a shorter path in 'target:'")]
        if self.target != self.name:
            return []
        return [(f"{self.name} would point to itself", "write where it is to lead in 'target:'")]

    def requires(self) -> set[Address]:
        """Its owner and group."""
        return owning(self.owner, self.group)


class LinkKind(LocatedKind[LinkState]):
    """Symbolic links."""

    name = "link"
    elsewhere = ("symlink",)
    rank = 43
    sealed = False
    state = LinkState
    resource = SymbolicLink
    attributes: ClassVar[frozenset[str]] = LocatedKind.attributes | {"target"}
    examples: ClassVar[tuple[str, ...]] = (
        "{link: PATH, target: ../agent/current}",
        "{link: PATH, target: /nowhere, owner: svc, group: svc}",
    )

    def read(self, host: Observer, name: str) -> Seen:
        """The link itself."""
        there = host.stat(name)
        if there is None:
            return missing_around(host, name)
        if there.type != Type.LINK:
            reason = f"{printable(name)} is a {there.type}, not a symbolic link; move it away"
            return Unknown(reason, unknown=False)
        names = Names(host)
        return LinkState(
            target=host.readlink(name), owner=names.user(there.uid), group=names.group(there.gid),
            mtime_ns=there.mtime_ns, xattrs=latin(host.traits(name).xattrs),
        )  # fmt: skip

    def write(self, host: Host, name: str, state: State) -> None:
        """Put the link in place, atomically, or remove it."""
        seen = self.read(host, name)
        if not isinstance(state, LinkState):
            if isinstance(seen, LinkState):
                host.remove(name)
            if isinstance(state, Absent):
                drop_parents(host, state.around)
            return
        wanted = state
        if isinstance(seen, LinkState) and wanted.mtime_ns is None and wanted.target == seen.target:
            wanted = wanted.model_copy(update={"mtime_ns": seen.mtime_ns})
        if wanted == seen:
            return
        make_parents(host, name)
        names = Names(host)
        owner, group = names.need_uid(wanted.owner), names.need_gid(wanted.group)
        host.symlink(name, Link(wanted.target, owner, group, wanted.mtime_ns, raw(wanted.xattrs)))

    def fields(self, state: State) -> dict[Field, Json]:
        """Where it points with its time, owner, group."""
        if not isinstance(state, LinkState):
            return {}
        target = {"text": state.target, "mtime": state.mtime_ns}
        return {EXISTS: True, TARGET: target, OWNER: state.owner, GROUP: state.group}

    def patch(self, state: State, values: Mapping[Field, Json]) -> State:
        """A given-back target brings its time along."""
        if (absent := absence(state, values)) is not None:
            return absent
        base = state if isinstance(state, LinkState) else LinkState()
        update: dict[str, Any] = {f[0]: v for f, v in values.items() if f in (OWNER, GROUP)}
        target = values.get(TARGET)
        if target is not None and (target["text"] != base.target or target.get("mtime")):
            update |= {"target": target["text"], "mtime_ns": target.get("mtime")}
        return base.model_copy(update=update)

    def show(self, field: Field, value: Json) -> Json:
        """Where it points, as text."""
        return value["text"] if field == TARGET and value is not None else super().show(field, value)

    def place(self, host: Observer, name: str) -> str:
        """Beside whatever it leads to: only the way to it is followed."""
        parent, _, last = name.rpartition("/")
        return f"{host.canonical(parent or '/').rstrip('/')}/{last}"

    def recognises(self, host: Observer, path: str, there: Stat | None) -> bool:
        """A symbolic link."""
        return there is not None and there.type == Type.LINK

    def described(self, seen: LinkState, trial: Trial) -> Iterator[tuple[str, Any]]:
        """Where it points, owner and group."""
        yield "target", seen.target
        yield from ownership(seen)


KIND = LinkKind()
