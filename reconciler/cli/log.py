"""log: the log as evidence, checked, signed, proven, exported, kept elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from ..app.place import Place
from ._common import located, place_of, print_json, shared, write_fresh

if TYPE_CHECKING:
    from ..log.chain import Anchor
    from ..log.note import VerifierKey
    from ..log.store import LogReader


RANK = 220


@click.group()
def log() -> None:
    """The log as evidence."""


def signer(reader: LogReader) -> Any:
    """The host's signing key beside a log."""
    from ..log.note import Signer

    return Signer(reader.directory, reader.stem)


def verifier(reader: LogReader, text: str | None) -> VerifierKey:
    """The key to check with: the given one (itself, or a file that holds it), else the one beside the log."""
    from ..errors import Usage
    from ..log.note import VerifierKey

    if text is None:
        found = signer(reader).verifier()
        assert isinstance(found, VerifierKey)
        return found
    try:
        if os.path.exists(text):
            with open(text, encoding="utf-8") as file:
                text = file.read()
        return VerifierKey.parse(text)
    except (OSError, ValueError) as error:
        raise Usage(f"--key: {error}") from None


def text_of(option: str, path: str) -> str:
    """A file that the user named, as text."""
    from ..errors import Usage

    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise Usage(f"{option} {path}: cannot be read: {getattr(error, 'strerror', error)}") from None


def signed(place: Place) -> tuple[LogReader, str]:
    """The log, once it is found intact, and a checkpoint of it."""
    from ..app.guards import intact
    from ..engine.survey import facts
    from ..log.chain import checkpoint

    reader: LogReader = place.reader()
    intact(reader)
    note: str = signer(reader).sign(checkpoint(reader, origin(facts(place.observer()))))
    return reader, note


def kept(reader: LogReader, path: str, key: str | None) -> Anchor:
    """What was kept elsewhere: a signed checkpoint, or a head as it lies beside the log."""
    from ..errors import ReconcilerError, Usage
    from ..log.chain import head_anchor, note_anchor

    text = text_of("--against", path)
    if text.lstrip().startswith("{"):
        found = head_anchor(path)
        if found is None:
            raise Usage(f"--against {path}: no head and no checkpoint")
        return found
    try:
        return note_anchor(text, verifier(reader, key))
    except ValueError as error:
        raise ReconcilerError(f"--against {path}: {error}") from None


@log.command("verify")
@shared
@click.option("--against", metavar="FILE", help="A checkpoint or head that was kept elsewhere.")
@click.option("--key", metavar="KEY|FILE", help="The verifier key; by default the one beside the log.")
@click.option("--proof", metavar="FILE", help="Check a proof of 'log prove' instead; needs no log, only --key.")
@click.option("--archive", "archive_file", metavar="FILE", help="Check an archive instead; needs no log, only --key.")
@click.pass_context
def log_verify(
    ctx: click.Context,
    root: str | None,
    log_file: str | None,
    style: str,
    against: str | None,
    key: str | None,
    proof: str | None,
    archive_file: str | None,
) -> int:
    """Check that no event was changed, removed, reordered or cut off.

    Example: reconciler log verify --against /mnt/elsewhere/web-1.checkpoint
    """
    from ..engine.survey import ledger_of
    from ..log.chain import verify
    from ..log.vault import Vault

    reader = place_of(ctx, root, log_file).reader()
    if proof is not None:
        return _check_proof(reader, proof, key, style)
    if archive_file is not None:
        return _check_archive(reader, archive_file, key, style)
    verdict = verify(reader, None if against is None else kept(reader, against, key))
    if verdict.ok:
        vault, ledger = Vault(reader.directory), ledger_of(reader)
        verdict.problems += [
            {"seq": seq, "what": what} for seq, name in sorted(ledger.images()) if (what := vault.check(name))
        ]
    if style == "json":
        print_json({"format_version": "1.0", **verdict.json()})
    else:
        for item in verdict.accepted:
            click.echo(f"event {item['seq']}: {item['what']} (somebody decided to go on with that)", err=True)
        for item in verdict.problems:
            click.echo(f"event {item['seq']}: {item['what']}", err=True)
        if verdict.ok:
            click.echo(f"ok: {verdict.events} events, head {verdict.head}")
    return 0 if verdict.ok else 1


def _check_proof(reader: LogReader, path: str, key: str | None, style: str) -> int:
    from ..errors import ReconcilerError
    from ..log.chain import proven
    from ..log.note import Proof
    from ..report._text import event_lines

    text = text_of("--proof", path)
    try:
        event = proven(Proof.parse(text), verifier(reader, key))
    except ValueError as error:
        raise ReconcilerError(f"--proof {path}: proves nothing: {error}") from None
    if style == "json":
        print_json({"format_version": "1.0", "ok": True, "event": event})
    else:
        click.echo("ok: this event is in the log that the checkpoint vouches for")
        for line in event_lines(event):
            click.echo(line)
    return 0


def _check_archive(reader: LogReader, path: str, key: str | None, style: str) -> int:
    from ..errors import ReconcilerError, Usage
    from ..log.archive import check

    try:
        first, last = check(path, verifier(reader, key))
    except OSError as error:
        raise Usage(f"--archive {path}: cannot be read: {(error.strerror or '').lower()}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ReconcilerError(f"--archive {path}: {error}") from None
    if style == "json":
        print_json({"format_version": "1.0", "ok": True, "from": first, "to": last})
    else:
        click.echo(f"ok: events {first} to {last}, signed by {verifier(reader, key).name}")
    return 0


@log.command("checkpoint")
@shared
@click.option("--out", metavar="FILE", help="Where to write it; by default to stdout.")
@click.pass_context
def log_checkpoint(ctx: click.Context, root: str | None, log_file: str | None, style: str, out: str | None) -> int:
    """Sign how long the log is and what is in it; kept elsewhere, this exposes whoever rewrites the log later.

    Example: reconciler log checkpoint --out /mnt/elsewhere/web-1.checkpoint
    """
    reader, note = signed(place_of(ctx, root, log_file))
    if style == "json":
        print_json({"format_version": "1.0", "checkpoint": note, "key": str(signer(reader).verifier())})
    else:
        _write(out, note.encode())
        click.echo(f"signed by {signer(reader).verifier()}", err=True)
    return 0


def origin(facts: dict[str, str | None]) -> str:
    """The name of this host's log in checkpoints; printable, and without what notes use as separators."""
    text = "/".join(["reconciler", facts.get("hostname") or "unknown", (facts.get("machine_id") or "unknown")[:12]])
    return "".join(char if char.isascii() and char.isprintable() and char not in " +" else "-" for char in text)


@log.command("prove")
@click.argument("seq", type=int)
@shared
@click.option("--out", metavar="FILE", help="Where to write it; by default to stdout.")
@click.pass_context
def log_prove(ctx: click.Context, seq: int, root: str | None, log_file: str | None, style: str, out: str | None) -> int:
    """Prove that an event is in the log, to somebody who has only the verifier key.

    Example: reconciler log prove 17 --out event17.tlog-proof
    """
    from ..log.chain import prove

    reader, note = signed(place_of(ctx, root, log_file))
    text = prove(reader, seq, note).text()
    if style == "json":
        print_json({"format_version": "1.0", "proof": text, "key": str(signer(reader).verifier())})
    else:
        _write(out, text.encode())
    return 0


@log.command("export")
@located
@click.option(
    "--format", "style", type=click.Choice(["json", "cloudevents"]), default="json",
    help="JSON Lines of events, or of CloudEvents 1.0.",
)  # fmt: skip
@click.option("--out", metavar="FILE", help="Where to write it; by default to stdout.")
@click.pass_context
def log_export(ctx: click.Context, root: str | None, log_file: str | None, style: str, out: str | None) -> int:
    """Write every event as a line of JSON. Before-images stay on the host.

    Example: reconciler log export --format cloudevents
    """
    from ..core.events import canonical
    from ..engine.survey import facts

    place = place_of(ctx, root, log_file)
    source = "urn:" + origin(facts(place.observer())).replace("/", ":")
    file = sys.stdout.buffer if out is None else _fresh(out)
    for event in place.reader().raw():
        shape = event.json()
        if style == "cloudevents":
            shape = {
                "specversion": "1.0", "id": event.id, "source": source, "type": f"reconciler.{event.type}",
                "time": event.at, "datacontenttype": "application/json",
                **({"subject": event.address} if event.address else {}),
                "data": {key: shape[key] for key in ("seq", "run", "deployment", "data", "prev", "hash")},
            }  # fmt: skip
        file.write(canonical(shape).encode() + b"\n")
    file.flush()
    if out is not None:
        file.close()
    return 0


@log.command("archive")
@shared
@click.option("--upto", required=True, metavar="RUN|TIME|SEQ", help="Archive the runs that had ended by then.")
@click.option("--out", required=True, metavar="FILE", help="The new file that takes the events.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_context
def log_archive(
    ctx: click.Context, root: str | None, log_file: str | None, style: str, upto: str, out: str, yes: bool
) -> int:
    """Move old runs into a signed file. Uninstall still gives everything back; rollback goes no further back.

    Example: reconciler log archive --upto 2025-12-31 --out /root/reconciler-2025.archive
    """
    from ..app.guards import intact
    from ..core.ledger import PARTS
    from ..engine.execute import Engine
    from ..engine.survey import facts
    from ..errors import Refused
    from ..history.moments import moment
    from ..log.archive import archive
    from ._common import confirm, talk

    place = place_of(ctx, root, log_file)
    with place.writer("log archive", 0.0) as writer:
        intact(writer)
        engine = Engine(place.host(), writer)
        last = moment(writer, engine.ledger, upto, "--upto")
        ended = [run for run in engine.ledger.runs() if run.last <= last and run.outcome is not None]
        if not ended or engine.ledger.open is not None or engine.ledger.awaiting:
            raise Refused("nothing to archive: no run had ended by then, or one is still under way")
        known = facts(engine.host)
        confirm(f"Archive {len(ended)} runs, up to {ended[0].id} (event {ended[0].last})?", yes=yes)
        told = engine.ledger.books.at(ended[0].last, *PARTS)
        start = archive(writer, ended[0].last, told, out, signer(writer), origin(known))
        # Said first: the chain vouches for what the log goes on from before the events go.
        decided = {"v": 1, "archived": start.digest(), "upto": start.seq}
        run = engine.record_decision(place.started("archive", known, deployments=[]), "checkpoint", decided)
        writer.archive(start)
    if style == "json":
        print_json({"format_version": "1.0", "run": run, "archived": start.seq, "file": out})
    else:
        talk(f"{run}: events up to {start.seq} are in {out}; 'log verify --archive {out}' checks it")
    return 0


@log.command("backup")
@click.argument("directory")
@shared
@click.pass_context
def log_backup(ctx: click.Context, directory: str, root: str | None, log_file: str | None, style: str) -> int:
    """Copy the log with its before-images and keys, while runs may go on, into a new directory for root alone.

    Example: reconciler log backup /root/reconciler-2026-01-31
    """
    from ..log.backup import backup

    reader = place_of(ctx, root, log_file).reader()
    told = backup(reader, directory)
    if style == "json":
        print_json({"format_version": "1.0", **told})
    else:
        click.echo(f"{told['events']} events and {told['blobs']} before-images in {directory}")
        click.echo("it holds the keys too; give it away to nobody", err=True)
    return 0


def _fresh(path: str) -> Any:
    from ..errors import Usage

    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise Usage(f"--out {path}: cannot be written: {(error.strerror or '').lower()}") from None
    return os.fdopen(fd, "wb")


def _write(path: str | None, data: bytes) -> None:
    if path is None:
        click.echo(data.decode(), nl=False)
    else:
        write_fresh("--out", path, data)
