"""doctor: whether this product can do its work on this host."""

from __future__ import annotations

import click

from ._common import place_of, print_json, shared

RANK = 290


@click.command()
@shared
@click.pass_context
def doctor(ctx: click.Context, root: str | None, log_file: str | None, style: str) -> int:
    """Check the host, the log and the tools that are needed.

    Example: reconciler doctor
    """
    from ..app.doctor import examine
    from ..watching.fanotify import told_by

    place = place_of(ctx, root, log_file)
    checks = examine(place, told_by)
    ok = all(check["ok"] for check in checks)
    if style == "json":
        print_json({"format_version": "1.0", "ok": ok, "checks": checks})
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check['ok'] else 'FAIL'} {check['name']:<12} {check['detail']}")
    return 0 if ok else 1
