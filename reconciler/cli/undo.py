"""rollback, uninstall and purge: the ways back, and the end of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .common import RunOptions, place_of, print_json, shared, talk, write_fresh, writing

if TYPE_CHECKING:
    from ..model import Json


@click.command()
@writing
@click.option(
    "--to",
    metavar="RUN|SEQ|TIME|COMMIT",
    help="To the state right after this; by default to before the last run.",
)
@click.option("--deployment", metavar="NAME", help="Only what this deployment changed.")
def rollback(way: RunOptions, to: str | None, deployment: str | None) -> int:
    """Undo the last run, or go to any moment in the log.

    Example: reconciler rollback --dry-run
    """
    from ..app.undo import Rollback
    from ..engine.survey import ledger_of
    from .runs import carry_out, preview

    aim = Rollback(to, deployment, way.options(keep_going=True))
    if way.dry_run or not way.place.reader().exists:
        return preview(way.place, aim, way.style)
    before = ledger_of(way.place.reader()).held_back
    code = carry_out(way, aim)
    for name in ledger_of(way.place.reader()).held_back.keys() - before.keys():
        talk(f"held back: sync and watch skip {name[:19]} until it changes, or until 'reconciler resume'")
    return code


@click.command()
@click.argument("deployment")
@writing
@click.option(
    "--emit-script", "script_file", metavar="FILE",
    help="Change nothing; write a shell script that does it where this tool is gone.",
)  # fmt: skip
@click.option(
    "--destroy-data", is_flag=True, help="Allow trees declared 'on_uninstall: delete' to go, into quarantine."
)
def uninstall(way: RunOptions, deployment: str, script_file: str | None, destroy_data: bool) -> int:
    """Give back everything that a deployment ever took.

    Example: reconciler uninstall managesoft --dry-run
    """
    from ..app.undo import Uninstall, uninstall_script
    from .runs import carry_out, preview

    options = way.options(keep_going=True)
    if script_file is not None:
        text = uninstall_script(way.place, deployment, options, destroy=destroy_data)
        write_fresh("--emit-script", script_file, text.encode("utf-8", "surrogateescape"), 0o700)
        talk(f"{script_file}: read it, keep it off this host, and run it as root where reconciler is gone")
        return 0
    aim = Uninstall(deployment, destroy=destroy_data, options=options)
    if way.dry_run or not way.place.reader().exists:
        return preview(way.place, aim, way.style)
    return carry_out(way, aim)


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
    from .runs import Terminal

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
