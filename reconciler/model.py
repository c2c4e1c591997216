"""The nouns: address, state, resource, change.  Pure data; nothing here touches a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic import Field as Described

Json = Any
"""A value that JSON can carry."""


def _plain(value: Any) -> Any:
    """Refuse what YAML readers disagree about, such as 0750 or 1_000."""
    if isinstance(value, str) and not (value.isdigit() and value.isascii() and (value == "0" or value[0] != "0")):
        raise ValueError(f"{value!r} is no plain decimal number")
    return value


Number = Annotated[int, BeforeValidator(_plain)]
"""A number written plainly: no leading zero, no sign, no underscore."""


class Hidden(str):
    """A text that is compared and written, and shown to nobody."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "(secret)"


Field = tuple[str, ...]
"""The path of names that leads to one value inside a thing."""

EXISTS: Field = ("exists",)
"""The field that says whether the thing is there at all."""

PATHS: Field = ("paths",)
"""The paths of a tree as a whole: owners, groups, modes."""

MARK: Field = ("file",)
"""What is known of a file's bytes as a whole; it is shown to nobody, and lives as long as something else is held."""


class Address(NamedTuple):
    """The identity of one thing on a host, written ``kind:name``."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``kind:name``; a daemon without a suffix is a service.

        >>> str(Address.parse("daemon:ndtask"))
        'daemon:ndtask.service'
        """
        kind, _, name = text.partition(":")
        if kind == "daemon" and "." not in name:
            name += ".service"
        if name.startswith("/"):
            name = clean_path(name)
        return cls(kind, name)


def clean_path(path: str) -> str:
    """The path without doubled, trailing or dot components.

    >>> clean_path("/opt//managesoft/./")
    '/opt/managesoft'
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


def inside(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or lies below it.

    >>> inside("/opt/a/b", "/opt/a"), inside("/opt/ab", "/opt/a")
    (True, False)
    """
    return path == top or top == "/" or path.startswith(top + "/")


class State(BaseModel):
    """All that a kind can see of a thing, and so can restore."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Absent(State):
    """The thing is not there; ``around`` is what a removal has to leave as it was."""

    around: Mapping[str, Json] = {}


@dataclass(frozen=True)
class Unknown:
    """The thing could not be seen; blocks creating it and removing it alike."""

    reason: str
    unknown: bool = True
    """False where the reason is a fact about the host and not a gap in what could be seen."""


Seen = State | Unknown


@dataclass(frozen=True)
class Source:
    """The place in the desired state that asked for something."""

    file: str
    line: int
    column: int
    commit: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def json(self) -> Json:
        """The form that plans and events carry."""
        return {"file": self.file, "line": self.line, "column": self.column, "commit": self.commit}


@dataclass(frozen=True)
class Change:
    """One field with its lossless value before and after, and how both are shown."""

    field: Field
    before: Json
    after: Json
    shown: tuple[Json, Json] = (None, None)
    sealed: bool = False

    @property
    def inverse(self) -> Change:
        """The same change with before and after swapped."""
        return Change(self.field, self.after, self.before, (self.shown[1], self.shown[0]), self.sealed)


class Resource(BaseModel):
    """A wish about one thing, as the desired state writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    kind: ClassVar[str]
    name: str
    after: tuple[str, ...] = ()
    policy: Annotated[
        Literal["enforce", "audit"] | None,
        Described(description="audit: report drift of this one, never write; not given: as the deployment."),
    ] = None

    @property
    def address(self) -> Address:
        """The thing that this is a wish about."""
        return Address.parse(f"{self.kind}:{self.name}")

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The fields this resource speaks of, each with the value it asks for."""
        raise NotImplementedError(f"{self.kind} must say what it wishes of {before!r}")

    def secrets(self) -> Mapping[Field, Any]:
        """The fields whose values are named and not written down, each with the `Secret` that names it."""
        return {}

    def requires(self) -> set[Address]:
        """What has to be there first, by the meaning of this wish."""
        return set()


@dataclass(frozen=True)
class Target:
    """What one thing is to become: a wish, values to give back, or both."""

    address: Address
    deployment: str
    wish: Resource | None = None
    give_back: Mapping[Field, Json] = field(default_factory=dict)
    recorded: Mapping[Field, Json] = field(default_factory=dict)
    """What the log says we left in the fields to give back; anything else found there is a conflict."""
    made: bool = False
    """Whether the thing came into being by us, so that what nobody asks for any more is as in a new one."""
    keep: frozenset[Field] = frozenset()
    """Fields to leave as they are although they would be given back."""
    source: Source | None = None
    requires: frozenset[Address] = frozenset()
    peers: frozenset[str] = frozenset()
    """More specific addresses round which a tree must step: absolute paths."""
    options: Mapping[str, Json] = field(default_factory=dict)
