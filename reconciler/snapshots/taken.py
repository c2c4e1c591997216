"""A snapshot of a host: what plans for it need to know."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ..app.guards import foresee, intact
from ..app.place import Place
from ..app.request import Request
from ..desired.documents import parse
from ..engine.survey import Surveyor, facts
from ..errors import Mistakes
from ..host.live import LOCAL_SOURCES
from ..host.names import sources
from ..host.recording import Recording
from ..profiles import profiles
from .capture import look, redactor_of
from .snapshot import snapshot_json


def taken(place: Place, paths: tuple[str, ...]) -> Any:
    """A snapshot of the host at a place."""
    host, log = Recording(place.observer()), place.reader()
    intact(log)
    surveyor = Surveyor(host, log)
    known = facts(host)
    documents = _documents(place, paths)
    look(surveyor, documents, foresee)
    file = host.read("/etc/nsswitch.conf")
    asked = {word for table in ("passwd", "group") for word in sources(file.data if file else b"", table) or ()}
    redactor = redactor_of(surveyor, documents, surveyor.vault.key() or os.urandom(32))
    about = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "host": place.identity(known), "facts": known}
    local = not host.live or asked <= LOCAL_SOURCES
    return snapshot_json(host.record, surveyor.ledger, surveyor.vault, redactor, about, local_names=local)


def _documents(place: Place, paths: tuple[str, ...]) -> list[Any]:
    """Every document that can be meant for this host, and what the profiles say by default."""
    found: list[Any] = []
    if paths:
        found += Request(place.observer(), paths).desired.documents
    for name, profile in profiles().items():
        for mode in profile.modes:
            text = f"deployment: observed\nprofile: {name}\nmode: {mode}\n"
            with suppress(Mistakes):
                found += parse({f"{name}.yaml": text.encode()}, facts={}).documents
    return found
