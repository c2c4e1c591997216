"""diff: two moments of the log compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import place_of, print_json, shared

if TYPE_CHECKING:
    pass

RANK = 210


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
    from ..report._text import difference_lines

    surveyor = place_of(ctx, root, log_file).surveyor()
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
