"""apply: the desired state, brought about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ._common import RunOptions, duration, talk, writing

if TYPE_CHECKING:
    from ..app.apply import Apply
from ._addresses import addresses

RANK = 50


@click.command()
@click.argument("paths", nargs=-1)
@writing
@click.option("--atomic", is_flag=True, help="Where one transition fails, undo the others.")
@click.option("--max-changes", type=int, metavar="N", help="Refuse more transitions than this.")
@click.option("--max-removals", type=int, metavar="N", help="Refuse to remove more things than this.")
@click.option("--max-paths", type=int, metavar="N", help="Refuse to change more paths of trees than this.")
@click.option("--only", multiple=True, callback=addresses, metavar="ADDRESS", help="This thing and what it requires.")
@click.option("--prune", is_flag=True, help="Give back deployments that are not in the input any more.")
@click.option("--skip-blocked", is_flag=True, help="Leave out what is blocked, and what depends on it.")
@click.option("--plan", "plan_file", metavar="FILE", help="Carry out exactly this saved plan, at most once.")
@click.option(
    "--confirm-within", "within", metavar="TIME", callback=duration,
    help="Undo the run by itself unless 'reconciler confirm' comes within this time, as in 10m.",
)  # fmt: skip
@click.option("--rehearse", is_flag=True, help="Apply, check, roll back, and prove that all is as it was.")
def apply(
    way: RunOptions,
    paths: tuple[str, ...],
    atomic: bool,
    max_changes: int | None,
    max_removals: int | None,
    max_paths: int | None,
    only: tuple[Any, ...],
    prune: bool,
    skip_blocked: bool,
    plan_file: str | None,
    within: float | None,
    rehearse: bool,
) -> int:
    """Bring the host to the desired state, one logged transition at a time.

    Example: reconciler apply desired/ --yes
    """
    from ..app.apply import Apply
    from ..app.approval import approver, deadline, leave_waiter, waiting
    from ..app.plan_file import read
    from ..errors import Usage
    from ..formats.text import printable
    from ._terminal import carry_out, preview

    saved = None
    if plan_file is not None:
        if paths or only or prune or skip_blocked:
            raise Usage("--plan FILE holds its input; give no paths, --only, --prune or --skip-blocked beside it")
        saved = read(plan_file)
        only, prune, skip_blocked = saved.only, saved.prune, saved.skip_blocked
        way = replace(way, yes=True)
    if rehearse and within is not None:
        raise Usage("--rehearse undoes the run by itself; --confirm-within has no meaning beside it")
    if not way.dry_run and (who := approver(way.place, plan_file)) is not None:
        talk(f"approved by {printable(who)}")
    options = way.options(
        skip_blocked=skip_blocked,
        only=only,
        atomic=atomic,
        max_changes=max_changes,
        max_removals=max_removals,
        max_paths=max_paths,
        strict=saved is not None,
        confirm_by=deadline(within),
    )
    aim = Apply(way.place.observer(), paths, prune=prune, options=options, saved=saved, rehearsing=rehearse)
    if way.dry_run:
        return preview(way.place, aim, way.style)
    code = carry_out(way, aim)
    if rehearse:
        return undone_again(way, aim, code)
    if within is not None and (due := waiting(way.place)):
        leave_waiter(way.place)
        for run, until in due.items():
            talk(f"{run} will be undone at {until[:19]}Z unless you say: reconciler confirm")
    return code


def undone_again(way: RunOptions, aim: Apply, code: int) -> int:
    """The second half of a rehearsal: nothing is left to do; all is given back; all looks as it did."""
    from ..app.rehearsal import unrest
    from ..app.run import look
    from ..app.undo import Rollback
    from ..core.options import Options
    from ._terminal import carry_out

    place, before = way.place, dict(aim.before)
    aim.rehearsing, aim.options = False, Options()
    again, _ = look(place, aim)
    last = place.ledger().last_forward()
    if code not in (0, 5) or last is None or last.verb != "apply":
        return code
    back = carry_out(RunOptions(place, way.style, yes=True, patience=way.patience), Rollback(str(last.first - 1)))
    wrong = unrest(place.observer(), again, before)
    for text in wrong:
        talk(f"rehearsal: {text}")
    if wrong or back:
        return 5
    talk(f"rehearsal: {len(before)} resources applied, checked, rolled back; all are as they were")
    return code
