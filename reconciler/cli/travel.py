"""state, diff and explain: the log asked about any moment and any value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..app.place import Place
from .common import place_of, print_json, shared

if TYPE_CHECKING:
    from ..engine.survey import Surveyor


def asked(place: Place) -> Surveyor:
    """The host and its log, once that is found intact."""
    from ..app.guards import intact
    from ..engine.survey import Surveyor

    log = place.reader()
    intact(log)
    return Surveyor(place.observer(), log)


@click.command()
@click.option("--at", metavar="TIME|SEQ|RUN|COMMIT", help="Right after this; by default now.")
@shared
@click.pass_context
def state(ctx: click.Context, at: str | None, root: str | None, log_file: str | None, style: str) -> int:
    """Show what was held at a moment: what we left, and what was there before us.

    Example: reconciler state --at r3
    """
    from ..history.blame import state_at
    from ..history.moments import moment
    from ..report.text import state_lines

    surveyor = asked(place_of(ctx, root, log_file))
    seq = surveyor.ledger.seq if at is None else moment(surveyor.log, surveyor.ledger, at, "--at")
    event = next(surveyor.log.events(seq - 1), None) if seq else None
    held = state_at(surveyor.ledger, seq, surveyor.unseal)
    if style == "json":
        when = {"seq": seq, "time": event.at if event else None}
        print_json({"format_version": "1.0", "at": when, "held": held})
        return 0
    click.echo(f"right after event {seq}" + (f", {event.at[:19]}Z, run {event.run}" if event else ": nothing yet"))
    for line in state_lines(held):
        click.echo(line)
    return 0


@click.command()
@click.option("--from", "earlier", required=True, metavar="TIME|SEQ|RUN|COMMIT", help="Right after this …")
@click.option("--to", "later", metavar="TIME|SEQ|RUN|COMMIT", help="… against right after this; by default now.")
@shared
@click.pass_context
def diff(
    ctx: click.Context, earlier: str, later: str | None, root: str | None, log_file: str | None, style: str
) -> int:
    """Compare what was held at two moments, field by field.

    Example: reconciler diff --from r1 --to r4
    """
    from ..history.blame import difference
    from ..history.moments import moment
    from ..report.text import difference_lines

    surveyor = asked(place_of(ctx, root, log_file))
    first = moment(surveyor.log, surveyor.ledger, earlier, "--from")
    last = surveyor.ledger.seq if later is None else moment(surveyor.log, surveyor.ledger, later, "--to")
    changes = difference(surveyor.ledger, first, last, surveyor.unseal)
    if style == "json":
        print_json({"format_version": "1.0", "from": first, "to": last, "changes": changes})
        return 0
    for line in difference_lines(changes):
        click.echo(line)
    if not changes:
        click.echo(f"nothing that is held differs between event {first} and event {last}")
    return 0


@click.command()
@click.argument("what", metavar="ADDRESS|PATH[:FIELD]")
@shared
@click.pass_context
def explain(ctx: click.Context, what: str, root: str | None, log_file: str | None, style: str) -> int:
    """Say who wrote what is there now: event, run, person, YAML line, commit; or that it drifted.

    Example: reconciler explain /etc/managesoft.ini
    """
    from ..history.blame import Blame
    from ..report.text import blame_lines

    surveyor = asked(place_of(ctx, root, log_file))
    found = Blame(surveyor.host, surveyor.log, surveyor.ledger, surveyor.vault, surveyor.unseal).explain(what)
    if style == "json":
        first, *others = found
        shape = {"format_version": "1.0", **first}
        print_json(shape | ({"others": others} if others else {}))
        return 0
    for line in blame_lines(found):
        click.echo(line)
    return 0
