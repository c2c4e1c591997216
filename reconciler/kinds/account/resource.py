"""What the desired state says of an account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field as Described

from ...model import EXISTS, Absent, Address, Field, Json, Number, Resource, State
from .._numbered import NAME
from .state import AccountState, lock


class Account(Resource):
    """A user account that is to be there."""

    kind = "account"
    name: Annotated[str, Described(pattern=NAME, description="The account's name.")]
    system: Annotated[bool, Described(description="Take a number from the system range.")] = True
    uid: Annotated[
        Number | None, Described(ge=0, le=4294967294, description="The number; free to choose if not given.")
    ] = None
    comment: Annotated[str | None, Described(pattern=r"^[^:\n]*$", description="The comment (GECOS) field.")] = None
    group: Annotated[
        str | None, Described(pattern=NAME, description="The primary group; by default one of the same name.")
    ] = None
    groups: Annotated[
        tuple[Annotated[str, Described(pattern=NAME.removesuffix("$") + r"\??$")], ...],
        Described(description="Supplementary groups to be in, at least; 'name?' only where that group exists."),
    ] = ()
    password: Annotated[
        Literal["locked", "unmanaged"] | None,
        Described(description="locked: no password opens it. A new account is locked in any case."),
    ] = None
    shell: Annotated[
        str | None,
        Described(pattern=r"^/[^:\n]*$", description="The login shell; /bin/sh for a new account."),
    ] = None
    home: Annotated[
        str | None,
        Described(pattern=r"^/[^:\n]*$", description="The home directory; it is not made. / for a new account."),
    ] = None

    def numbers(self) -> Mapping[str, int]:
        """Its number."""
        return {} if self.uid is None else {"uid": self.uid}

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The fields that are named, and those that a new account must have."""
        wanted: dict[Field, Json] = {EXISTS: True}
        new = isinstance(before, Absent)
        if isinstance(before, AccountState) and before.remote:
            return wanted
        given = {
            "uid": self.uid,
            "comment": self.comment,
            "group": self.group,
            "shell": self.shell,
            "home": self.home,
        }
        wanted.update({(key,): value for key, value in given.items() if value is not None})
        if new:
            wanted[("system",)] = self.system
            wanted.setdefault(("group",), self.name)
        elif self.password == "locked" and isinstance(before, AccountState):  # noqa: S105 - a word of ours
            wanted[("password",)] = lock(before.password)
        wanted.update({("groups", name): {} for name in self.groups if not name.endswith("?")})
        return wanted

    def implies(self) -> list[tuple[str, dict[str, Any]]]:
        """A primary group of its own name where it names none, as useradd makes it."""
        if self.group is not None:
            return []
        return [("group", {"name": self.name, "system": self.system, "implied_by": self.name})]

    def subjects(self) -> set[str]:
        """Itself."""
        return {self.name}

    def requires(self) -> set[Address]:
        """Its groups."""
        names = [self.group or self.name, *(name.rstrip("?") for name in self.groups)]
        return {Address("group", name) for name in names}
