"""confirm: keep a run that would be undone otherwise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from ._common import RunOptions, place_of, print_json, shared, talk

if TYPE_CHECKING:
    from ..app.place import Place

RANK = 60


@click.command()
@click.argument("run", required=False)
@shared
@click.option("--expire", is_flag=True, help="Undo every run whose time is over instead.")
@click.option("--wait", is_flag=True, help="With --expire: stay until no run waits any more.")
@click.pass_context
def confirm(
    ctx: click.Context, run: str | None, root: str | None, log_file: str | None, style: str, expire: bool, wait: bool
) -> int:
    """Keep a run of 'apply --confirm-within', which is undone otherwise.

    Example: reconciler confirm
    """
    from ..app import approval

    place = place_of(ctx, root, log_file)
    if expire:
        return _expire(place, style, wait=wait)
    confirmed = approval.confirm(place, run)
    if style == "json":
        print_json({"format_version": "1.0", "confirmed": confirmed})
    else:
        click.echo(f"confirmed: {', '.join(confirmed)}" if confirmed else "no run waits for a confirmation")
    return 0


def _expire(place: Place, style: str, *, wait: bool) -> int:
    from ..app.approval import expired, waiting
    from ._terminal import carry_out

    while True:
        if (found := expired(place)) is not None:
            name, until, aim = found
            talk(f"{name} was not confirmed until {until[:19]}Z; it is undone")
            return carry_out(RunOptions(place, style, yes=True, patience=600.0), aim)
        if not wait or not waiting(place):
            return 0
        time.sleep(0.5)
