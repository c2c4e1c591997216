"""rollback: back to any moment in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import RunOptions, talk, writing

if TYPE_CHECKING:
    pass


RANK = 140


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
    from ._terminal import carry_out, preview

    aim = Rollback(to, deployment, way.options(keep_going=True))
    if way.dry_run or not way.place.reader().exists:
        return preview(way.place, aim, way.style)
    before = way.place.ledger().held_back
    code = carry_out(way, aim)
    for name in way.place.ledger().held_back.keys() - before.keys():
        talk(f"held back: sync and watch skip {name[:19]} until it changes, or until 'reconciler resume'")
    return code
