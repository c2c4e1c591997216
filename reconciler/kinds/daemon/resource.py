"""What the desired state says of a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic import Field as Described

from ...formats.modes import CAPABILITIES
from ...model import Address, Field, Json, Resource, State
from .. import kinds
from .state import ENABLED, RUNNING, SUFFIX, DaemonState


class RunAs(BaseModel):
    """Whom a daemon runs as."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    user: str
    group: str | None = None


class Daemon(Resource):
    """A service and how it is to run."""

    kind = "daemon"
    name: Annotated[
        str, Described(pattern=r"^[A-Za-z0-9_.@:\\-]+$", description="The unit; without a suffix .service.")
    ]
    run_as: Annotated[RunAs | None, Described(description="The user and group that it runs as.")] = None
    supplementary_groups: Annotated[
        tuple[str, ...] | None, Described(description="Further groups, beside the account's own.")
    ] = None
    ambient_capabilities: Annotated[
        tuple[str, ...] | None, Described(description="Capabilities such as CAP_NET_RAW.")
    ] = None
    enabled: Annotated[bool | None, Described(description="Whether it starts at boot; not given: left.")] = None
    running: Annotated[bool | None, Described(description="Whether it runs; not given: left.")] = None
    restart_on: Annotated[tuple[str, ...], Described(description="Addresses whose change calls for a restart.")] = ()
    optional: Annotated[bool, Described(description="Nothing to do where the host has no such service.")] = False

    @field_validator("ambient_capabilities")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if name.lower().removeprefix("cap_") not in CAPABILITIES:
                raise ValueError(f"{name!r} is no capability that Linux knows")
        return value

    def settings(self) -> dict[Field, str]:
        """The drop-in settings that it asks for."""
        found: dict[Field, str] = {}
        if self.run_as:
            found[("run_as", "user")] = self.run_as.user
            if self.run_as.group:
                found[("run_as", "group")] = self.run_as.group
        if self.supplementary_groups is not None:
            found[("supplementary_groups",)] = " ".join(self.supplementary_groups)
        if self.ambient_capabilities is not None:
            found[("ambient_capabilities",)] = " ".join(name.upper() for name in self.ambient_capabilities)
        return found

    def wishes(self, before: State) -> Mapping[Field, Json]:
        """The settings, and enablement and running where they are named."""
        wanted: dict[Field, Json] = dict(self.settings())
        if self.enabled is not None:
            wanted[ENABLED] = self.enabled
        live = isinstance(before, DaemonState) and before.running is not None
        if self.running is not None and live:
            wanted[RUNNING] = self.running
        return wanted

    @classmethod
    def canonical(cls, name: str) -> str:
        """Without a suffix it is a service."""
        return name if "." in name else f"{name}{SUFFIX}"

    def terms(self) -> Json:
        """What it restarts on."""
        return {"restart_on": list(self.restart_on)} if self.restart_on else None

    def named(self) -> Mapping[str, tuple[str, ...]]:
        """What it comes after, and what it restarts on."""
        return {**super().named(), "restart_on": self.restart_on}

    def may_run(self) -> set[str]:
        """Whom it runs as."""
        return {self.run_as.user} if self.run_as else set()

    def requires(self) -> set[Address]:
        """Its account and groups, and what it restarts on."""
        wanted = set(map(kinds().address, self.restart_on))
        if self.run_as:
            wanted.add(Address("account", self.run_as.user))
            wanted |= {Address("group", self.run_as.group)} if self.run_as.group else set()
        return wanted | {Address("group", name) for name in self.supplementary_groups or ()}
