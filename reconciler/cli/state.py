"""state: what was held at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import place_of, print_json, shared

if TYPE_CHECKING:
    pass

RANK = 200


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
    from ..report._text import state_lines

    surveyor = place_of(ctx, root, log_file).surveyor()
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
