"""observe: what plans for this host need to know, as a file that can be taken elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .common import Place, located, print_json, talk, write_fresh

if TYPE_CHECKING:
    from ..engine import Engine
    from ..host.port import Observer
    from ..model import Field
    from ..redaction import Redactor
    from ..targets import Goals

NAMESPACE = "reconciler-snapshot"
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


@click.command()
@click.argument("paths", nargs=-1)
@located
@click.option("--out", metavar="FILE", help="Write it there; by default to stdout.")
@click.option("--sign", "key", metavar="KEY", help="Sign it with this SSH key; the signature is FILE.sig.")
@click.pass_context
def observe(
    ctx: click.Context, paths: tuple[str, ...], root: str | None, log_file: str | None, out: str | None, key: str | None
) -> int:
    """Write a snapshot of this host, without secrets, for 'plan --snapshot' elsewhere. Nothing is changed.

    It has what the documents in PATHS, the log and the profiles speak of, and all accounts, groups and units.

    Example: reconciler observe desired/ --out web-1.json
    """
    import json

    from ..errors import Usage
    from ..signatures import sign

    if key is not None and out is None:
        raise Usage("--sign signs a file; say --out FILE too")
    told = taken(Place(ctx, root, log_file), paths or (("desired",) if os.path.isdir("desired") else ()))
    if out is None:
        print_json(told)
        return 0
    write_fresh("--out", out, (json.dumps(told, ensure_ascii=True) + "\n").encode(), 0o600)
    if key is not None:
        talk(f"signed: {sign(out, key, NAMESPACE)}")
    talk(f"written: {out}")
    return 0


def taken(place: Place, paths: tuple[str, ...]) -> Any:
    """A snapshot of the host at a place."""
    from ..engine import Engine
    from ..host.live import LOCAL_SOURCES
    from ..host.recording import Recording
    from ..snapshot import snapshot_json
    from ..survey import facts
    from .runs import intact

    host, log = Recording(place.observer()), place.reader()
    intact(log)
    engine = Engine(host, log)
    known = facts(host)
    documents = _documents(place, paths)
    look(engine, documents)
    file = host.read("/etc/nsswitch.conf")
    sources = set(_sources(file.data.decode("utf-8", "replace") if file else ""))
    redactor = redactor_of(engine, documents, engine.vault.key() or os.urandom(32))
    about = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "host": place.identity(known), "facts": known}
    local = not host.live or sources <= LOCAL_SOURCES
    return snapshot_json(host.record, engine.ledger, engine.vault, redactor, about, local_names=local)


def _sources(text: str) -> Iterator[str]:
    for line in text.splitlines():
        database, _, value = line.partition("#")[0].partition(":")
        if database.strip() in ("passwd", "group"):
            yield from (word for word in value.split() if not word.startswith("[") and not word.endswith("]"))


def _documents(place: Place, paths: tuple[str, ...]) -> list[Any]:
    """Every document that can be meant for this host, and what the profiles say by default."""
    from ..desired.documents import parse
    from ..errors import Mistakes
    from ..profiles import profiles
    from .apply import Wanted

    found: list[Any] = []
    if paths:
        found += Wanted(place, paths).desired.documents
    for name, profile in profiles().items():
        for mode in profile.modes:
            text = f"deployment: observed\nprofile: {name}\nmode: {mode}\n"
            with suppress(Mistakes):
                found += parse({f"{name}.yaml": text.encode()}, facts={}).documents
    return found


def look(engine: Engine, documents: Iterable[Any]) -> None:
    """Ask everything that a plan of these documents, or of their end, would ask."""
    from ..desired.secrets import conceal
    from ..errors import ReconcilerError
    from ..host.recording import Recording
    from ..model import PATHS
    from ..survey import Options, refusal
    from ..targets import from_desired, from_uninstall
    from .runs import foresee

    host = engine.host
    assert isinstance(host, Recording)
    for address, fields in engine.ledger.holds.items():
        layers = fields[PATHS].origin.get("layers", ()) if PATHS in fields else ()
        if any(look.get("digest") for layer in layers for pair in layer["classes"] for look in pair if look):
            host.digested.add(address.name)
    for path in LISTED:
        _listed(host, path)
    _units(host)
    host.processes()
    listed = list(documents)
    conceal(listed)

    def survey(goals: Goals) -> None:
        with suppress(ReconcilerError):
            plan = engine.survey(goals, Options())
            foresee(engine, plan)

    for document in listed:
        survey(from_desired([document], engine.ledger, engine.unseal))
        with suppress(ReconcilerError):
            refusal(host, document, engine.ledger)
        for wished in document.resources:
            if wished.resource.name.startswith("/"):
                _listed(host, os.path.dirname(wished.resource.name))
    for name in engine.ledger.deployments():
        survey(from_uninstall(engine.ledger, name, engine.unseal, run=engine.next_run(), destroy=False))


def _listed(host: Observer, directory: str) -> None:
    """A directory, with what is in it and above it."""
    from ..errors import HostError

    with suppress(HostError):
        for name in host.names(directory):
            host.stat(f"{directory.rstrip('/')}/{name}")
    while directory not in ("", "/"):
        with suppress(HostError):
            host.stat(directory)
            host.canonical(directory)
        directory = os.path.dirname(directory)


def _units(host: Observer) -> None:
    """Every service of the host."""
    from ..errors import HostError
    from ..kinds import kinds
    from ..kinds.units import PLACES

    names: set[str] = set()
    for place in PLACES:
        with suppress(HostError):
            names |= {name for name in host.names(place) if name.endswith(".service") and "@" not in name}
    for name in sorted(names):
        with suppress(HostError):
            kinds()["daemon"].read(host, name)


def redactor_of(engine: Engine, documents: Iterable[Any], key: bytes) -> Redactor:
    """Takes out what is secret though no name says so: by the documents, by the log, by the mode of a file."""
    from ..errors import HostError, LogError
    from ..kinds import kinds
    from ..kinds.file import CONTENT
    from ..model import Absent
    from ..redaction import Redactor

    secrets: dict[str, set[Field]] = {}
    asked: dict[str, set[Field]] = {}
    clear: set[str] = set()
    whole = {address.name for address in engine.ledger.holds if address.kind == "file"}
    for document in documents:
        for wished in document.resources:
            resource = wished.resource
            secrets.setdefault(resource.name, set()).update(resource.secrets())
            for path in kinds()[resource.kind].edits(resource.name):
                secrets.setdefault(path, set())
            if resource.kind == "file":
                whole.add(resource.name)
                content = getattr(resource, "content", None)
                clear |= {content.encode().decode("latin-1")} if isinstance(content, str) else set()
            elif resource.kind == "ini":
                asked.setdefault(resource.name, set()).update(f for f in resource.wishes(Absent()) if len(f) == 2)
    for address, fields in engine.ledger.holds.items():
        for path in (address.name, *kinds()[address.kind].edits(address.name)) if address.kind in kinds() else ():
            secrets.setdefault(path, set())
        for field, hold in fields.items():
            if address.kind == "ini" and len(field) == 2:
                asked.setdefault(address.name, set()).add(field)
            for value in (hold.origin, hold.current):
                with suppress(LogError):
                    told = engine.unseal(value)
                    if isinstance(told, dict) and (told.get("secret") or told.get("private")):
                        secrets.setdefault(address.name, set()).add(field)
    private = set()
    for path in [*whole, *asked]:
        with suppress(HostError):
            there = engine.host.read(path)
            if there is not None and not there.mode & 0o004:
                private.add(path)
                if path in whole:
                    secrets.setdefault(path, set()).add(CONTENT)
    return Redactor(key, _frozen(secrets), clear, _frozen(asked), private)


def _frozen(found: dict[str, set[Field]]) -> dict[str, frozenset[Field]]:
    return {name: frozenset(fields) for name, fields in found.items()}
