"""plan: what apply would do, in order."""

from __future__ import annotations

from typing import Any

import click

from ..report import forms
from ._addresses import addresses
from ._common import located, place_of, write_fresh

RANK = 40


@click.command()
@click.argument("paths", nargs=-1)
@located
@click.option(
    "--format", "style", default="text", help="How to print it; sarif and github name the YAML's lines.",
    type=click.Choice(["text", "json", *forms()]),
)  # fmt: skip
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where there are differences.")
@click.option("--all-paths", is_flag=True, help="List every path of a tree that differs.")
@click.option("--only", multiple=True, callback=addresses, metavar="ADDRESS", help="This thing and what it requires.")
@click.option("--skip-blocked", is_flag=True, help="Leave out what is blocked, and what depends on it.")
@click.option("--prune", is_flag=True, help="Give back deployments that are not in the input any more.")
@click.option("--snapshot", "snapshots", multiple=True, metavar="FILE…", help="Plan for the hosts that these tell of.")
@click.option("--snapshot-signers", "signers", metavar="FILE", help="Take only snapshots that somebody in it signed.")
@click.option("--for-host", metavar="NAME", help="Take the host by this name: its documents, groups and values.")
@click.option("--out", metavar="FILE", help="Save the plan, for 'apply --plan FILE' to carry out exactly this.")
@click.pass_context
def plan(
    ctx: click.Context,
    paths: tuple[str, ...],
    root: str | None,
    log_file: str | None,
    style: str,
    detailed_exitcode: bool,
    all_paths: bool,
    only: tuple[Any, ...],
    skip_blocked: bool,
    prune: bool,
    snapshots: tuple[str, ...],
    signers: str | None,
    for_host: str | None,
    out: str | None,
) -> int:
    """Show what apply would do, in order. Nothing is written on the host.

    Example: reconciler plan desired/
    """
    from ..app.request import Request
    from ..app.run import look
    from ..core.options import Options
    from ..errors import Usage
    from ._terminal import shown

    place = place_of(ctx, root, log_file)
    options = Options(all_paths=all_paths, only=only, skip_blocked=skip_blocked)
    if snapshots:
        from . import _snapshots

        if out is not None or root is not None or log_file is not None:
            raise Usage("--snapshot plans for hosts that are not here; leave --out, --root and --log away")
        # As a shell writes it: --snapshot DIR/*.json
        files = [*snapshots, *(path for path in paths if path.endswith(".json"))]
        paths = tuple(path for path in paths if not path.endswith(".json"))
        _snapshots.checked(files, signers)
        plans = _snapshots.plans(files, paths, options, prune=prune, for_host=for_host)
        return _snapshots.show(plans, style, detailed=detailed_exitcode)
    if for_host is not None and out is not None:
        raise Usage("--out saves a plan for this host alone; leave --for-host away")
    request = Request(place.observer(), paths, prune=prune, for_host=for_host, options=options)
    found, reason = look(place, request)
    if out is not None:
        from ..app.plan_file import save

        text = save(found, request.desired.contents, only=only, skip_blocked=skip_blocked, prune=prune)
        write_fresh("--out", out, text.encode(), 0o600)
    return shown(found, reason, style, detailed=detailed_exitcode)
