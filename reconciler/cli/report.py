"""report: a plan, and what happened before, as one page."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from ._common import located, place_of, talk, write_fresh

if TYPE_CHECKING:
    pass

RANK = 280
SHOWN = 50


@click.command()
@click.argument("paths", nargs=-1)
@located
@click.option("--out", metavar="FILE", help="Write the page there instead of to stdout.")
@click.pass_context
def report(ctx: click.Context, paths: tuple[str, ...], root: str | None, log_file: str | None, out: str | None) -> int:
    """Write an HTML page that needs nothing else: what would change, in which order, who could do what after it, and
    what happened before.

    Example: reconciler report desired/ --out report.html
    """
    from dataclasses import asdict

    from ..app.request import Request
    from ..app.run import look
    from ..report._preview import one_host
    from ..report.html import html

    place = place_of(ctx, root, log_file)
    plan, _ = look(place, Request(place.observer(), paths))
    runs = [asdict(run) for run in islice(place.ledger().runs(), SHOWN)]
    group = one_host(plan)
    text = html([group], runs, f"reconciler on {group.hosts[0]}")
    if out is None:
        click.echo(text, nl=False)
        return 0
    write_fresh("--out", out, text.encode())
    talk(f"written: {out}")
    return 0
