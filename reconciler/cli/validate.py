"""validate, lint and fmt: the YAML alone, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .common import anywhere, print_json, talk

if TYPE_CHECKING:
    from ..errors import Mistake

STYLES = click.Choice(["text", "json", "github", "sarif"])


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--format", "style", type=STYLES, default="text", help="How to print data.")
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
        return tell(error.mistakes, style)
    count = sum(len(d.resources) for d in desired.documents)
    return tell([], style, f"ok: {len(desired.documents)} deployments, {count} resources, {len(desired.files)} files")


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--format", "style", type=STYLES, default="text", help="How to print data.")
@anywhere
def lint(paths: tuple[str, ...], style: str) -> int:
    """Name what is allowed in desired-state files and seldom meant; exit 1 where there is any.

    Example: reconciler lint desired/
    """
    from ..desired.documents import load
    from ..desired.lints import lints
    from ..errors import Mistakes

    try:
        desired = load(paths or ("desired",))
    except Mistakes as error:
        return tell(error.mistakes, style)
    return tell(lints(desired.documents), style, f"ok: {len(desired.documents)} deployments", level="warning")


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a file would be laid out anew.")
@anywhere
def fmt(paths: tuple[str, ...], check: bool) -> int:
    """Lay desired-state files out in the canonical way; what they mean, and their comments, stay.

    Example: reconciler fmt desired/
    """
    from ..desired.documents import find_files
    from ..desired.layout import laid_out
    from ..errors import Mistakes, Usage
    from ..formats.text import printable

    mistakes: list[Mistake] = []
    others = 0
    for path in find_files(paths or ("desired",), mistakes):
        try:
            with open(path, "rb") as file:
                data = file.read()
            made = laid_out(path, data)
            if made == data:
                continue
            others += 1
            talk(f"{printable(path)}: {'would be laid out anew' if check else 'laid out anew'}")
            if not check:
                # In place, so that owner and mode stay; what it means was proven to be the same.
                with open(path, "r+b") as file:
                    file.write(made)
                    file.truncate()
        except Mistakes as error:
            mistakes += error.mistakes
        except OSError as error:
            raise Usage(f"{printable(path)}: {(error.strerror or '').lower()}") from None
    if mistakes:
        raise Mistakes(mistakes)
    return 1 if check and others else 0


def tell(found: Sequence[Mistake], style: str, fine: str = "", *, level: str = "error") -> int:
    """Print what was found in files; the exit code."""
    from ..report.github import command
    from ..report.sarif import sarif

    if style == "json":
        keys = ("file", "line", "column", "message", "hint")
        problems = [{key: getattr(each, key) for key in keys} for each in found]
        print_json({"format_version": "1.0", "ok": not found, "problems": problems})
    elif style == "sarif":
        click.echo(sarif([], found) if level == "error" else sarif([], (), found), nl=False)
    elif style == "github":
        for each in found:
            click.echo(command(level, "desired state", each.text, (each.file, each.line, each.column)))
    elif found:
        for each in found:
            click.echo(str(each), err=True)
    else:
        click.echo(fine)
    return 1 if found else 0
