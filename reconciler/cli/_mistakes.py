"""Mistakes in the YAML, in the forms that people and CI read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ._common import print_json

if TYPE_CHECKING:
    from ..errors import Mistake


STYLES = click.Choice(["text", "json", "github", "sarif"])


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
