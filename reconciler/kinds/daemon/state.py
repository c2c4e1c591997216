"""All that is seen of a daemon."""

from __future__ import annotations

from collections.abc import Mapping

from ...model import Field, Json, State

RUNNING: Field = ("running",)


ENABLED: Field = ("enabled",)


SUFFIX = ".service"


class DaemonState(State):
    """A service as its files and its process tell it."""

    found: bool = True
    masked: bool = False
    strange: bool = False
    """Whether our drop-in holds what we did not write."""
    mtime: int | None = None
    """When our drop-in was written; None: now, whenever that is."""
    installable: bool = True
    ours: Mapping[str, str] = {}
    """What our drop-in sets."""
    effective: Mapping[str, str] = {}
    """What counts, by all files together."""
    below: Mapping[str, str] = {}
    """What would count without our drop-in."""
    winner: Mapping[str, str] = {}
    """Drop-ins that come after ours and win, by setting."""
    links: Mapping[str, str] = {}
    missing: tuple[str, ...] = ()
    """Directories that our drop-in would need and that are not there."""
    bare: tuple[str, ...] = ()
    """Directories that enabling would need and that are not there."""
    running: bool | None = None
    """None in a root directory, where nothing runs."""
    up: bool = True
    """False while it is still starting."""
    process: Mapping[str, Json] | None = None
    misfit: str = ""
    """How the live process differs from what its unit says; empty where it does not."""
    stale: bool = False
    systemd: bool = True
