"""lint: what is allowed in the YAML and seldom meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import anywhere

if TYPE_CHECKING:
    pass
from ._mistakes import STYLES, tell

RANK = 20


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
