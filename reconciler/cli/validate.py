"""validate: the YAML alone, on any machine."""

from __future__ import annotations

import click

from .common import anywhere, print_json


@click.command()
@click.argument("paths", nargs=-1)
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    help="How to print data.",
)
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
        elif style == "sarif":
            from ..report.sarif import sarif

            click.echo(sarif([], error.mistakes), nl=False)
        elif style == "github":
            from ..report.github import command

            for m in error.mistakes:
                click.echo(command("error", "desired state", m.text, (m.file, m.line, m.column)))
        else:
            for mistake in error.mistakes:
                click.echo(str(mistake), err=True)
        return 1
    if style == "json":
        print_json({"format_version": "1.0", "ok": True, "problems": []})
    elif style == "sarif":
        from ..report.sarif import sarif

        click.echo(sarif([]), nl=False)
    elif style == "text":
        count = sum(len(d.resources) for d in desired.documents)
        click.echo(f"ok: {len(desired.documents)} deployments, {count} resources, {len(desired.files)} files")
    return 0
