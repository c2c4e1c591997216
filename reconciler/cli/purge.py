"""purge: the end of what is in quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import RunOptions, place_of, print_json, shared, talk

if TYPE_CHECKING:
    from ..model import Json

RANK = 160


@click.command()
@click.argument("what", metavar="RUN|DEPLOYMENT")
@shared
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would be emptied.")
@click.option("--lock-timeout", type=float, default=0.0, metavar="SECONDS", help="Wait for another run.")
@click.pass_context
def purge(
    ctx: click.Context,
    what: str,
    root: str | None,
    log_file: str | None,
    style: str,
    yes: bool,
    dry_run: bool,
    lock_timeout: float,
) -> int:
    """Empty the quarantine of a run or a deployment, for good.

    Example: reconciler purge r7
    """
    from ..app import run as app
    from ..formats.text import printable
    from ._terminal import Terminal

    way = RunOptions(place_of(ctx, root, log_file), style, yes=yes, patience=lock_timeout)
    stores, gone, run = app.stores(way.place, what), 0, None
    if dry_run:
        for store in stores:
            talk(f"would empty {printable(store)}")
    elif stores:
        run, stores, gone = app.purge(way.place, what, Terminal(way), patience=way.patience)
    if style == "json":
        told = {"format_version": "1.0", "run": run, "outcome": "converged" if run else "unchanged", "purged": stores}
        nothing: dict[str, Json] = {"transitions": [], "blocked": [], "conflicts": []}
        print_json(told | ({"paths": gone} if run else {}) | nothing)
    elif run is not None:
        click.echo(f"{run}: {gone} paths are gone for good")
    elif not stores:
        click.echo("nothing in quarantine")
    return 0
