"""validate: the YAML alone, on any machine."""

from __future__ import annotations

import click

from .common import anywhere, print_json


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="How to print data.")
@anywhere
def validate(paths: tuple[str, ...], style: str) -> int:
    """Check desired-state files without looking at any host.

    Example: reconciler validate desired/
    """
    from ..desired.documents import load
    from ..errors import Mistakes

    try:
        desired = load(paths or ("desired",))
    except Mistakes as error:
        if style == "json":
            problems = [
                {"file": m.file, "line": m.line, "column": m.column, "message": m.message, "hint": m.hint}
                for m in error.mistakes
            ]
            print_json({"format_version": "1.0", "ok": False, "problems": problems})
        else:
            for mistake in error.mistakes:
                click.echo(str(mistake), err=True)
        return 1
    if style == "json":
        print_json({"format_version": "1.0", "ok": True, "problems": []})
    else:
        count = sum(len(d.resources) for d in desired.documents)
        click.echo(f"ok: {len(desired.documents)} deployments, {count} resources, {len(desired.files)} files")
    return 0
