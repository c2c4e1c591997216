"""schema: the shape of what is read and printed."""

from __future__ import annotations

import click

from ._common import anywhere, print_json

RANK = 270


@click.command()
@click.argument("name", type=click.Choice(["desired", "plan", "event", "snapshot"]))
@anywhere
def schema(name: str) -> int:
    """Print a JSON Schema: of the desired state, a plan, an event, or a snapshot.

    Example: reconciler schema plan
    """
    from ..app.schemas import schema as made

    print_json(made(name))
    return 0
