"""What the desired state says of a directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator
from pydantic import Field as Described

from ...formats.modes import apply_mode, check_mode, odd_mode
from ...model import EXISTS, Address, Field, Json, Resource, State
from .._inside import PROTECTED
from .._located import MODE, asked_owners, owning
from .state import DirectoryState


class Directory(Resource):
    """A directory that is to be there; what is in it is left as it is."""

    kind = "directory"
    name: Annotated[str, Described(pattern=r"^/[^\x00]*[^/\x00]$", description="The absolute path.")]
    owner: Annotated[str | None, Described(description="The owner; root for a new directory.")] = None
    group: Annotated[str | None, Described(description="The group; root for a new directory.")] = None
    mode: Annotated[
        str | None, BeforeValidator(lambda v: check_mode(v) if isinstance(v, str) else v),
        Described(description="Octal or symbolic; 0755 for a new directory."),
    ] = None  # fmt: skip
    skel: Annotated[
        str | None,
        Described(pattern=r"^/[^\x00]+$", description="A directory whose contents a new directory gets copies of."),
    ] = None

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The parts that are named."""
        wanted: dict[Field, Json] = {EXISTS: True}
        wanted |= asked_owners(self)
        usual = before.mode if isinstance(before, DirectoryState) else 0o755
        return wanted | ({MODE: apply_mode(self.mode, usual, directory=True)} if self.mode is not None else {})

    def mistakes(self) -> list[tuple[str, str]]:
        """Directories of the system are nobody's to hand out."""
        if self.name not in PROTECTED:
            return []
        return [(f"{self.name} belongs to the system", "name a directory below it")]

    def lints(self) -> list[tuple[str, str]]:
        """Modes that give too much away."""
        return odd_mode("mode", self.mode)

    def subjects(self) -> set[str]:
        """Its owner."""
        return {self.owner} if self.owner else set()

    def requires(self) -> set[Address]:
        """Its owner and group."""
        return owning(self.owner, self.group)
