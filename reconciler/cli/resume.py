"""resume: unattended runs go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import RunOptions, place_of, print_json, shared

if TYPE_CHECKING:
    pass


RANK = 100


@click.command()
@shared
@click.pass_context
def resume(ctx: click.Context, root: str | None, log_file: str | None, style: str) -> int:
    """Let unattended runs go on, with what was held back after a rollback too.

    Example: reconciler resume
    """
    from ..app.run import record

    way = RunOptions(place_of(ctx, root, log_file), style)
    ledger = way.place.ledger()
    back = sorted(ledger.held_back)
    run = record(way.place, "resume", {}, "resumed", {"v": 1, "input": back}) if ledger.suspended or back else None
    if style == "json":
        print_json({"format_version": "1.0", "run": run, "resumed": back})
    elif run is None:
        click.echo("nothing is suspended or held back")
    else:
        listed = f"; not held back any more: {', '.join(name[:19] for name in back)}" if back else ""
        click.echo(f"{run}: unattended runs go on{listed}")
    return 0
