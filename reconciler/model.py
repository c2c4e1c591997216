"""The nouns: address, state, resource, change.  Pure data; nothing here touches a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic import Field as Described

Json = Any
"""A value that JSON can carry."""
Owner = str | int
"""A user or group: by its name, or by its number where the host has no name for it."""


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

CONTENT: Field = ("content",)
"""The bytes of a file as a whole."""

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
        """Read ``kind:name`` as it is written in logs and plans; what people write is read by `Kinds.address`.

        >>> str(Address.parse("file:/etc//agent.conf"))
        'file:/etc/agent.conf'
        """
        kind, _, name = text.partition(":")
        return cls(kind, clean_path(name) if name.startswith("/") else name)


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


def above(path: str) -> list[str]:
    """The directories above a path, the innermost first.

    >>> above("/opt/a/b"), above("/opt"), above("/")
    (['/opt/a', '/opt', '/'], ['/'], [])
    """
    parts = path.split("/") if path != "/" else []
    return ["/".join(parts[:n]) or "/" for n in range(len(parts) - 1, 0, -1)]


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

    @cached_property
    def address(self) -> Address:
        """The thing that this is a wish about."""
        return Address(self.kind, self.canonical(self.name))

    @classmethod
    def canonical(cls, name: str) -> str:
        """The one way to write a name: two names never mean one thing."""
        return clean_path(name) if name.startswith("/") else name

    @property
    def implied(self) -> bool:
        """Whether another resource brought this one along, so that what is said elsewhere counts in its place."""
        return False

    def implies(self) -> list[tuple[str, dict[str, Any]]]:
        """Resources that come with this one where the document does not name them: kind and keys."""
        return []

    def terms(self) -> Json:
        """What an uninstall, which has no desired state, has to know of it; None where that is nothing."""
        return None

    def named(self) -> Mapping[str, tuple[str, ...]]:
        """The addresses that it names, by key; the deployment must have them."""
        return {"after": self.after}

    def mistakes(self) -> list[tuple[str, str]]:
        """What is wrong with it beside its types: each with what would be right."""
        return []

    def lints(self) -> list[tuple[str, str]]:
        """What is allowed and seldom meant: each with what to do about it."""
        return []

    def numbers(self) -> Mapping[str, int]:
        """The numbers that no other thing of its kind may have, by key."""
        return {}

    def unread(self) -> list[tuple[str, str]]:
        """Why a program that should read it skips it, each with what to do about it."""
        return []

    def spoken(self) -> dict[tuple[str, ...], Any]:
        """What it says, flat: two deployments contradict each other where one of these differs."""
        return flattened(self.model_dump(exclude_unset=True, exclude={"name", "after", "policy", "implied_by"}))

    def contradicts(self, other: Any) -> str:
        """Why one host cannot have both, where no single field tells it; empty where it can."""
        return ""

    def joined(self, other: Any) -> Any:
        """This wish and that of another deployment for the same thing, as one; where both speak, this one counts."""
        mine, theirs = self._given(), other._given()
        both = {**theirs, **mine}
        for name in ADDING:
            a, b = mine.get(name), theirs.get(name)
            if isinstance(a, tuple | list) and isinstance(b, tuple | list):
                both[name] = [*a, *(item for item in b if item not in a)]
            elif isinstance(a, dict) and isinstance(b, dict):
                both[name] = {
                    k: {**b.get(k, {}), **a.get(k, {})} if isinstance(a.get(k, b.get(k)), dict) else a.get(k, b.get(k))
                    for k in (*a, *b)
                }
        aliases = {f: info.alias for f, info in type(self).model_fields.items() if info.alias}
        return type(self).model_validate({aliases.get(k, k): v for k, v in both.items()})

    def _given(self) -> dict[str, Json]:
        """What it gives, as data; secrets as they are, with what was read of them."""
        plain = self.model_dump(exclude_unset=True)
        return plain | {name: getattr(self, name) for name in ("set", "content") if name in plain}

    def subjects(self) -> set[str]:
        """The accounts that it is about."""
        return set()

    def may_run(self) -> set[str]:
        """The accounts that may run what belongs to it."""
        return set()

    def asked(self, path: str, kind: str, mode: int) -> tuple[str | None, str | None, int]:
        """Owner, group and mode that it asks for at a path inside it, of a type (`kind`) and mode; None: left."""
        return None, None, mode

    def capable(self) -> dict[str, str]:
        """The programs to which it gives capabilities, by path."""
        return {}

    def rooted(self) -> set[str]:
        """The paths in it that are left to root."""
        return set()

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The fields this resource speaks of, each with the value it asks for."""
        raise NotImplementedError(f"{self.kind} must say what it wishes of {before!r}")

    def secrets(self) -> Mapping[Field, Any]:
        """The fields whose values are named and not written down, each with the `Secret` that names it."""
        return {}

    def requires(self) -> set[Address]:
        """What has to be there first, by the meaning of this wish."""
        return set()


ADDING = ("groups", "set", "unset", "except_", "capabilities", "restart_on")
"""Keys whose values add up where two deployments give them."""


def flattened(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value with the keys that lead to it; a secret is one value.

    >>> flattened({"set": {"S": {"k": "v"}}, "mode": "0644"})
    {('set', 'S', 'k'): 'v', ('mode',): '0644'}
    """
    if not isinstance(value, dict) or value.get("secret") is True:
        return {path: value}
    found: dict[tuple[str, ...], Any] = {}
    for key, inner in value.items():
        found |= flattened(inner, (*path, str(key)))
    return found


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
    first: Json = None
    """What the file as a whole was before anything of it was held, where its kind replays."""
    held: Mapping[Field, Json] = field(default_factory=dict)
    """How we left every field that anybody holds, in the order in which they came, where its kind replays."""
    left: Json = None
    """For a moment in the log: what the file as a whole was when we last left it, where its kind replays."""
    source: Source | None = None
    requires: frozenset[Address] = frozenset()
    peers: frozenset[str] = frozenset()
    """More specific addresses round which a tree must step: absolute paths."""
    options: Mapping[str, Json] = field(default_factory=dict)
