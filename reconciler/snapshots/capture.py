"""Looking at a host for a snapshot: what is asked, and what of the answers is secret."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from ..core.goals import Goals, from_desired, from_uninstall
from ..core.holds import Hold
from ..core.options import Options
from ..core.plan import Plan
from ..core.secret import marked
from ..desired.documents import Document
from ..desired.secrets import conceal
from ..engine.survey import Surveyor, refusal
from ..errors import HostError, LogError, ReconcilerError
from ..host.port import Observer
from ..host.recording import Recording
from ..kinds import kinds
from ..model import CONTENT, PATHS, Absent, Address, Field, Resource
from .redaction import Redactor

LISTED = (
    "/",
    "/etc",
    "/etc/sudoers.d",
    "/etc/systemd/system",
    "/etc/cron.d",
    "/opt",
    "/srv",
    "/usr/local/bin",
    "/var/opt",
)
"""Directories in which new things are often asked for."""


def look(surveyor: Surveyor, documents: Iterable[Document], foresee: Callable[[Surveyor, Plan], None]) -> None:
    """Ask everything that a plan of these documents, or of their end, would ask; the host keeps the answers."""
    host = surveyor.host
    assert isinstance(host, Recording)
    for address, fields in surveyor.ledger.holds.items():
        layers = fields[PATHS].origin.get("layers", ()) if PATHS in fields else ()
        if any(look.get("digest") for layer in layers for pair in layer["classes"] for look in pair if look):
            host.digested.add(address.name)
    for path in LISTED:
        _listed(host, path)
    for kind in kinds().values():
        for name in kind.every(host):
            with suppress(HostError):
                kind.read(host, name)
    host.processes()
    listed = list(documents)
    conceal(listed)

    def survey(goals: Goals) -> None:
        with suppress(ReconcilerError):
            plan = surveyor.survey(goals, Options())
            foresee(surveyor, plan)

    for document in listed:
        survey(from_desired([document], surveyor.ledger, surveyor.unseal))
        with suppress(ReconcilerError):
            refusal(host, document, surveyor.ledger)
        for wished in document.resources:
            if wished.resource.name.startswith("/"):
                _listed(host, os.path.dirname(wished.resource.name))
    for name in surveyor.ledger.deployments():
        survey(from_uninstall(surveyor.ledger, name, surveyor.unseal, run=surveyor.next_run(), destroy=False))


def _listed(host: Observer, directory: str) -> None:
    """A directory, with what is in it and above it."""
    with suppress(HostError):
        for name in host.names(directory):
            host.stat(f"{directory.rstrip('/')}/{name}")
    while directory not in ("", "/"):
        with suppress(HostError):
            host.stat(directory)
            host.canonical(directory)
        directory = os.path.dirname(directory)


def redactor_of(surveyor: Surveyor, documents: Iterable[Document], key: bytes) -> Redactor:
    """Takes out what is secret though no name says so: by the documents, by the log, by the mode of a file."""
    found = _Secrets({a.name for a in surveyor.ledger.holds if a.kind in kinds() and kinds()[a.kind].whole})
    for document in documents:
        for wished in document.resources:
            found.wished(wished.resource)
    for address, fields in surveyor.ledger.holds.items():
        found.held(surveyor, address, fields)
    found.read(surveyor.host)
    return Redactor(key, _frozen(found.secrets), found.clear, _frozen(found.asked), found.private)


class _Secrets:
    """What is known to be secret, path by path."""

    def __init__(self, whole: set[str]) -> None:
        self.whole = whole
        """Files that somebody has as a whole."""
        self.secrets: dict[str, set[Field]] = {}
        self.asked: dict[str, set[Field]] = {}
        self.clear: set[str] = set()
        """Contents that a document gives in clear."""
        self.private: set[str] = set()

    def wished(self, resource: Resource) -> None:
        """What a document says is secret, and what it gives in clear."""
        kind = kinds()[resource.kind]
        self.secrets.setdefault(resource.name, set()).update(resource.secrets())
        for path in kind.edits(resource.name):
            self.secrets.setdefault(path, set())
        if kind.whole:
            self.whole.add(resource.name)
            content = getattr(resource, "content", None)
            self.clear |= {content.encode().decode("latin-1")} if isinstance(content, str) else set()
        if keys := kind.keys(resource.wishes(Absent())):
            self.asked.setdefault(resource.name, set()).update(keys)

    def held(self, surveyor: Surveyor, address: Address, fields: Mapping[Field, Hold]) -> None:
        """What the log keeps as a secret."""
        kind = kinds().get(address.kind)
        for path in (address.name, *kind.edits(address.name)) if kind is not None else ():
            self.secrets.setdefault(path, set())
        for field, hold in fields.items():
            if kind is not None and kind.keys([field]):
                self.asked.setdefault(address.name, set()).add(field)
            for value in (hold.origin, hold.current):
                with suppress(LogError):
                    if marked(surveyor.unseal(value)):
                        self.secrets.setdefault(address.name, set()).add(field)

    def read(self, host: Observer) -> None:
        """What not everybody may read."""
        for path in [*self.whole, *self.asked]:
            with suppress(HostError):
                there = host.read(path)
                if there is not None and not there.mode & 0o004:
                    self.private.add(path)
                    if path in self.whole:
                        self.secrets.setdefault(path, set()).add(CONTENT)


def _frozen(found: dict[str, set[Field]]) -> dict[str, frozenset[Field]]:
    return {name: frozenset(fields) for name, fields in found.items()}
