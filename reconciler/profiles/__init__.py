"""Agents as data: one YAML file an agent, expanded into resources by mode and parameters."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Described

from ..errors import ReconcilerError
from ..formats.yaml import read


class Parameter(BaseModel):
    """One value of a profile that a site may set."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    type: Literal["path", "text", "flag", "list", "choice", "lines"]
    default: Any
    doc: str
    choices: list[str] = []
    confirmed: bool = True
    source: str = ""


class Symptom(BaseModel):
    """What tells that a host is in a mode already: an ini key with a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    file: str
    section: str
    key: str
    value: str


class Mode(BaseModel):
    """One way to run the agent."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    doc: str
    resources: list[Any] = []
    access: Annotated[
        dict[str, dict[str, list[str]]], Described(description="Who may do what with a path, and nobody else.")
    ] = {}
    refuse_where: Symptom | None = None
    procedure: str = ""


class Component(BaseModel):
    """A program of the agent that people start by hand, as its service account."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    program: str
    doc: str


class Profile(BaseModel):
    """What is known of one agent."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    profile: str
    title: str
    doc: str
    parameters: Annotated[dict[str, Parameter], Described(default_factory=dict)]
    modes: dict[str, Mode]
    components: Annotated[
        dict[str, Component], Described(description="Programs of the agent that people start by hand.")
    ] = {}
    helpers: Annotated[list[str], Described(description="Programs that come and go while others run.")] = []
    as_root: Annotated[list[str], Described(description="Programs that need root in every mode.")] = []


@cache
def profiles() -> dict[str, Profile]:
    """Every profile by its name."""
    found = {}
    for entry in sorted(files(__name__).iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".yaml"):
            texts, problems = read(entry.name, entry.read_bytes())
            if problems:
                raise ReconcilerError("\n".join(map(str, problems)))
            profile = Profile.model_validate(texts[0].value)
            found[profile.profile] = profile
    return found
