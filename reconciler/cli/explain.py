"""explain: which line is to blame for a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import place_of, print_json, shared

if TYPE_CHECKING:
    pass

RANK = 190


@click.command()
@click.argument("what", metavar="ADDRESS|PATH[:FIELD]")
@shared
@click.pass_context
def explain(ctx: click.Context, what: str, root: str | None, log_file: str | None, style: str) -> int:
    """Say who wrote what is there now: event, run, person, YAML line, commit; or that it drifted.

    Example: reconciler explain /etc/managesoft.ini
    """
    from ..history.blame import Blame
    from ..report._text import blame_lines

    surveyor = place_of(ctx, root, log_file).surveyor()
    found = Blame(surveyor.host, surveyor.log, surveyor.ledger, surveyor.vault, surveyor.unseal).explain(what)
    if style == "json":
        first, *others = found
        shape = {"format_version": "1.0", **first}
        print_json(shape | ({"others": others} if others else {}))
        return 0
    for line in blame_lines(found):
        click.echo(line)
    return 0
