"""Addresses on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    pass


def addresses(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Any, ...]:  # noqa: ARG001
    """Addresses on the command line."""
    from ..kinds import kinds

    for value in values:
        if ":" not in value:
            raise click.BadParameter(f"{value!r} is no address; write kind:name, as in ini:/etc/managesoft.ini")
    return tuple(kinds().address(value) for value in values)
