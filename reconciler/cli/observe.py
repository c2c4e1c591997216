"""observe: what plans for this host need to know, as a file that can be taken elsewhere."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click

from ..app.place import Place
from ._common import located, place_of, print_json, talk, write_fresh

RANK = 120
NAMESPACE = "reconciler-snapshot"


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

    from ..app.signatures import sign
    from ..errors import Usage

    if key is not None and out is None:
        raise Usage("--sign signs a file; say --out FILE too")
    told = taken(place_of(ctx, root, log_file), paths or (("desired",) if os.path.isdir("desired") else ()))
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
    from ..app.guards import foresee, intact
    from ..engine.execute import Engine
    from ..engine.survey import facts
    from ..host.live import LOCAL_SOURCES
    from ..host.names import sources
    from ..host.recording import Recording
    from ..snapshots.capture import look, redactor_of
    from ..snapshots.snapshot import snapshot_json

    host, log = Recording(place.observer()), place.reader()
    intact(log)
    engine = Engine(host, log)
    known = facts(host)
    documents = _documents(place, paths)
    look(engine, documents, foresee)
    file = host.read("/etc/nsswitch.conf")
    asked = {word for table in ("passwd", "group") for word in sources(file.data if file else b"", table) or ()}
    redactor = redactor_of(engine, documents, engine.vault.key() or os.urandom(32))
    about = {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "host": place.identity(known), "facts": known}
    local = not host.live or asked <= LOCAL_SOURCES
    return snapshot_json(host.record, engine.ledger, engine.vault, redactor, about, local_names=local)


def _documents(place: Place, paths: tuple[str, ...]) -> list[Any]:
    """Every document that can be meant for this host, and what the profiles say by default."""
    from ..app.request import Request
    from ..desired.documents import parse
    from ..errors import Mistakes
    from ..profiles import profiles

    found: list[Any] = []
    if paths:
        found += Request(place.observer(), paths).desired.documents
    for name, profile in profiles().items():
        for mode in profile.modes:
            text = f"deployment: observed\nprofile: {name}\nmode: {mode}\n"
            with suppress(Mistakes):
                found += parse({f"{name}.yaml": text.encode()}, facts={}).documents
    return found
