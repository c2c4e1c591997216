"""log: the log as evidence, checked, signed, proven, exported, kept elsewhere."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ..app.place import Place
from ._common import located, place_of, print_json, shared, write_fresh

RANK = 220


@click.group()
def log() -> None:
    """The log as evidence."""


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
    from ..app.evidence import verdict_of

    place = place_of(ctx, root, log_file)
    if proof is not None:
        return _check_proof(place, proof, key, style)
    if archive_file is not None:
        return _check_archive(place, archive_file, key, style)
    verdict = verdict_of(place, against, key)
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


def _check_proof(place: Place, path: str, key: str | None, style: str) -> int:
    from ..app.evidence import checked_proof
    from ..report._text import event_lines

    event = checked_proof(place, path, key)
    if style == "json":
        print_json({"format_version": "1.0", "ok": True, "event": event})
    else:
        click.echo("ok: this event is in the log that the checkpoint vouches for")
        for line in event_lines(event):
            click.echo(line)
    return 0


def _check_archive(place: Place, path: str, key: str | None, style: str) -> int:
    from ..app.evidence import checked_archive

    first, last, who = checked_archive(place, path, key)
    if style == "json":
        print_json({"format_version": "1.0", "ok": True, "from": first, "to": last})
    else:
        click.echo(f"ok: events {first} to {last}, signed by {who}")
    return 0


@log.command("checkpoint")
@shared
@click.option("--out", metavar="FILE", help="Where to write it; by default to stdout.")
@click.pass_context
def log_checkpoint(ctx: click.Context, root: str | None, log_file: str | None, style: str, out: str | None) -> int:
    """Sign how long the log is and what is in it; kept elsewhere, this exposes whoever rewrites the log later.

    Example: reconciler log checkpoint --out /mnt/elsewhere/web-1.checkpoint
    """
    from ..app.evidence import signed_checkpoint

    note, key = signed_checkpoint(place_of(ctx, root, log_file))
    if style == "json":
        print_json({"format_version": "1.0", "checkpoint": note, "key": key})
    else:
        _write(out, note.encode())
        click.echo(f"signed by {key}", err=True)
    return 0


@log.command("prove")
@click.argument("seq", type=int)
@shared
@click.option("--out", metavar="FILE", help="Where to write it; by default to stdout.")
@click.pass_context
def log_prove(ctx: click.Context, seq: int, root: str | None, log_file: str | None, style: str, out: str | None) -> int:
    """Prove that an event is in the log, to somebody who has only the verifier key.

    Example: reconciler log prove 17 --out event17.tlog-proof
    """
    from ..app.evidence import proof_of

    text, key = proof_of(place_of(ctx, root, log_file), seq)
    if style == "json":
        print_json({"format_version": "1.0", "proof": text, "key": key})
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
    from ..app.evidence import exported

    file = sys.stdout.buffer if out is None else _fresh(out)
    for line in exported(place_of(ctx, root, log_file), style):
        file.write(line)
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
    from ..app.evidence import archive
    from ._common import confirm, talk

    place = place_of(ctx, root, log_file)
    run, last = archive(place, upto, out, lambda question: confirm(question, yes=yes))
    if style == "json":
        print_json({"format_version": "1.0", "run": run, "archived": last, "file": out})
    else:
        talk(f"{run}: events up to {last} are in {out}; 'log verify --archive {out}' checks it")
    return 0


@log.command("backup")
@click.argument("directory")
@shared
@click.pass_context
def log_backup(ctx: click.Context, directory: str, root: str | None, log_file: str | None, style: str) -> int:
    """Copy the log with its before-images and keys, while runs may go on, into a new directory for root alone.

    Example: reconciler log backup /root/reconciler-2026-01-31
    """
    from ..app.evidence import backup

    told = backup(place_of(ctx, root, log_file), directory)
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
