"""suspend: no unattended run until resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import RunOptions, place_of, print_json, shared

if TYPE_CHECKING:
    pass


RANK = 90


@click.command()
@click.option("--why", required=True, metavar="TEXT", help="The reason; it is an event, and shown to everybody.")
@shared
@click.pass_context
def suspend(ctx: click.Context, root: str | None, log_file: str | None, style: str, why: str) -> int:
    """Stop unattended runs (sync, watch) on this host until 'reconciler resume'.

    Example: reconciler suspend --why 'migration, ticket 4711'
    """
    from ..app.run import record
    from ..errors import Usage
    from ..formats.text import printable

    if not why.strip():
        raise Usage("--why needs a reason that others understand")
    way = RunOptions(place_of(ctx, root, log_file), style)
    run = record(way.place, "suspend", {}, "suspended", {"v": 1, "why": printable(why.strip())})
    if style == "json":
        print_json({"format_version": "1.0", "run": run, "suspended": printable(why.strip())})
    else:
        click.echo(f"{run}: unattended runs are suspended until 'reconciler resume'")
    return 0
