"""status: what is, against what was applied and what is asked for."""

from __future__ import annotations

import click

from ._common import paint, place_of, print_json, shared, talk

RANK = 110


@click.command()
@click.argument("paths", nargs=-1)
@shared
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where there are differences.")
@click.option("--live", is_flag=True, help="Stay: what is held, what drifted, what is due, the events as they come.")
@click.pass_context
def status(
    ctx: click.Context,
    paths: tuple[str, ...],
    root: str | None,
    log_file: str | None,
    style: str,
    detailed_exitcode: bool,
    live: bool,
) -> int:
    """Show drift: last applied against actual, and actual against desired.

    The two columns: ' ' the same, M changed, A to be added, D gone or to go.

    Example: reconciler status desired/
    """
    from ..app.status import looked
    from ..report._text import status_lines

    place = place_of(ctx, root, log_file)
    if live:
        from ._live import follow

        return follow(place, style)
    found, suspended = looked(place, paths)
    if style == "json":
        print_json({"format_version": "1.0", "deployments": found, "suspended": suspended})
    else:
        for line in status_lines(found, paint()):
            click.echo(line)
        if suspended is not None:
            since, why = suspended["at"][:19], suspended["why"]
            talk(f"unattended runs are suspended since {since}Z: {why}; 'reconciler resume' ends that")
    differs = any(item["state"] in ("drifted", "pending", "blocked") for item in found)
    return 2 if detailed_exitcode and differs else 0
