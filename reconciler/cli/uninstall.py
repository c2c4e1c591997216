"""uninstall: everything that a deployment took, given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._common import RunOptions, talk, write_fresh, writing

if TYPE_CHECKING:
    pass


RANK = 150


@click.command()
@click.argument("deployment")
@writing
@click.option(
    "--emit-script", "script_file", metavar="FILE",
    help="Change nothing; write a shell script that does it where this tool is gone.",
)  # fmt: skip
@click.option(
    "--destroy-data", is_flag=True, help="Allow trees declared 'on_uninstall: delete' to go, into quarantine."
)
def uninstall(way: RunOptions, deployment: str, script_file: str | None, destroy_data: bool) -> int:
    """Give back everything that a deployment ever took.

    Example: reconciler uninstall managesoft --dry-run
    """
    from ..app.undo import Uninstall, uninstall_script
    from ._terminal import carry_out, preview

    options = way.options(keep_going=True)
    if script_file is not None:
        text = uninstall_script(way.place, deployment, options, destroy=destroy_data)
        write_fresh("--emit-script", script_file, text.encode("utf-8", "surrogateescape"), 0o700)
        talk(f"{script_file}: read it, keep it off this host, and run it as root where reconciler is gone")
        return 0
    aim = Uninstall(deployment, destroy=destroy_data, options=options)
    if way.dry_run or not way.place.reader().exists:
        return preview(way.place, aim, way.style)
    return carry_out(way, aim)
