"""What the desired state says of a tree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, field_validator
from pydantic import Field as Described

from ...formats.modes import apply_mode, check_mode, odd_mode, pack_capability
from ...host.port import Type
from ...model import (
    EXISTS,
    PATHS,
    Address,
    Field,
    Json,
    Resource,
    State,
    inside,
)
from ...trees.rules import Exemption, Wish
from .._inside import (
    PROTECTED,
    relative,
)

ALMIGHTY = re.compile(r"cap_(sys_admin|setuid|setgid|dac_override|sys_ptrace|sys_module)")
"""Capabilities from which there is a way to root."""


Mode = Annotated[str, BeforeValidator(lambda v: check_mode(v) if isinstance(v, str) else v)]


def inner_path(value: str) -> str:
    """A path below the top, written plainly."""
    parts = value.rstrip("/").split("/")
    if not value or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{value!r} is no path below the tree; write it like 'bin/tool'")
    return "/".join(parts)


Relative = Annotated[str, AfterValidator(inner_path)]


class Except(BaseModel):
    """A part of the tree with an owner or modes of its own; the rest is as in the tree. An empty one is left alone."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    owner: str | None = None
    group: str | None = None
    mode: Mode | None = None
    directory_mode: Mode | None = None
    file_mode: Mode | None = None


class Tree(Resource):
    """A directory and all below it, with owner and modes."""

    kind = "tree"
    name: Annotated[str, Described(pattern=r"^/[^\x00]*$", description="The absolute path of the top.")]
    owner: Annotated[str | None, Described(description="The owner of every path; not given: left.")] = None
    group: Annotated[str | None, Described(description="The group of every path; not given: left.")] = None
    directory_mode: Annotated[Mode | None, Described(description="The mode of directories.")] = None
    file_mode: Annotated[Mode | None, Described(description="The mode of files; X as in chmod.")] = None
    except_: Annotated[
        dict[Relative, Except],
        Described(alias="except", description="relative path: {owner, group, mode}; {} leaves it alone."),
    ] = {}
    capabilities: Annotated[dict[Relative, str], Described(description="relative path: file capabilities.")] = {}
    on_uninstall: Annotated[
        Literal["restore", "delete", "keep"], Described(description="What uninstall does with the tree.")
    ] = "restore"
    create: Annotated[bool, Described(description="Make the directory where it is missing.")] = False
    allow_protected: Annotated[bool, Described(description="Allow a path like /etc or /var as the top.")] = False

    @field_validator("capabilities")
    @classmethod
    def _capabilities(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            pack_capability(text)
        return value

    def wishes(self, before: State) -> dict[Field, Json]:
        """That it is there, and its paths as a whole."""
        return {EXISTS: True, PATHS: None}

    def terms(self) -> Json:
        """What becomes of it."""
        return {"on_uninstall": self.on_uninstall}

    def mistakes(self) -> list[tuple[str, str]]:
        """Directories of the system are meant only where somebody says so."""
        if self.name not in PROTECTED or self.allow_protected:
            return []
        return [(f"{self.name} belongs to the system", "name a directory below it, or say 'allow_protected: true'")]

    def lints(self) -> list[tuple[str, str]]:
        """Modes and capabilities that give too much away, and protected paths."""
        found = [*odd_mode("file_mode", self.file_mode), *odd_mode("directory_mode", self.directory_mode)]
        found += [
            (f"{text} on {path} is as much as root", "take a smaller capability")
            for path, text in self.capabilities.items()
            if ALMIGHTY.search(text)
        ]
        protected = ("is a protected path", "name the agent's own directory")
        return [*found, protected] if self.allow_protected else found

    def subjects(self) -> set[str]:
        """Its owner."""
        return {self.owner} if self.owner else set()

    def may_run(self) -> set[str]:
        """Its owner."""
        return self.subjects()

    def asked(self, path: str, kind: str, mode: int) -> tuple[str | None, str | None, int]:
        """Owner, group and mode that it asks for at a path below it; the most specific exception counts."""
        parts = sorted(self.except_, key=len, reverse=True)
        part = next((p for p in parts if inside("/" + path, "/" + p)), None)
        directory = kind == Type.DIRECTORY
        owner, group, spec = self.owner, self.group, self.directory_mode if directory else self.file_mode
        if part is not None:
            rule = self.except_[part]
            if rule == Except():
                return None, None, mode
            owner, group = rule.owner or owner, rule.group or group
            own = rule.mode if path == part else None
            spec = own or (rule.directory_mode if directory else rule.file_mode) or spec
        return owner, group, apply_mode(spec, mode, directory=directory) if spec and kind != Type.LINK else mode

    def capable(self) -> dict[str, str]:
        """The capabilities of files in it, by their paths."""
        return {f"{self.name}/{path}": text for path, text in self.capabilities.items()}

    def rooted(self) -> set[str]:
        """The exceptions that root owns."""
        return {f"{self.name}/{path}" for path, part in self.except_.items() if part.owner == "root"}

    def requires(self) -> set[Address]:
        """Every owner and group that it names."""
        owners = {self.owner, *(e.owner for e in self.except_.values())} - {None}
        groups = {self.group, *(e.group for e in self.except_.values())} - {None}
        return {Address("account", str(o)) for o in owners} | {Address("group", str(g)) for g in groups}

    def rule(self, around: Iterable[str], nested: Iterable[str]) -> Wish:
        """The rule for a walk, with the more specific addresses it has to step round."""
        return Wish(
            self.owner,
            self.group,
            self.directory_mode,
            self.file_mode,
            {
                path.strip("/").encode("utf-8", "surrogateescape"): Exemption(**e.model_dump())
                for path, e in self.except_.items()
            },
            {path.encode("utf-8", "surrogateescape"): text for path, text in self.capabilities.items()},
            relative(self.name, around),
            tuple(relative(self.name, nested)),
        )


def _words(wish: Tree) -> str:
    return ":".join(part or "" for part in (wish.owner, wish.group, wish.directory_mode))
