"""validate: whether the YAML is right, on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import anywhere

if TYPE_CHECKING:
    pass
from ._mistakes import STYLES, tell

RANK = 10


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
