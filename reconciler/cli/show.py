"""show: one run or one event in full."""

from __future__ import annotations

import click

from ._common import place_of, print_json, shared

RANK = 180


@click.command()
@click.argument("what", metavar="RUN|SEQ")
@shared
@click.pass_context
def show(ctx: click.Context, what: str, root: str | None, log_file: str | None, style: str) -> int:
    """Show one run, or one event, in full.

    Example: reconciler show r3
    """
    from itertools import islice

    from ..errors import ReconcilerError
    from ..report._text import event_lines

    log = place_of(ctx, root, log_file).reader()
    if what.isascii() and what.isdecimal() and len(what) < 19:
        found = [event for event in islice(log.events(int(what) - 1), 1) if event.seq == int(what)]
    else:
        found = list(log.events(run=what))
    if not found:
        raise ReconcilerError(f"the log has no run or event {what!r}; see 'reconciler history'")
    if style == "json":
        print_json({"format_version": "1.0", "events": [event.json() for event in found]})
    else:
        for event in found:
            for line in event_lines(event.json()):
                click.echo(line)
    return 0
