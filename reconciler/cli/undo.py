"""rollback, uninstall and purge: the ways back, and the end of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .common import Place, Way, confirm, shared, started, talk, write_fresh, writing

if TYPE_CHECKING:
    from ..engine import Engine
    from ..model import Json
    from ..plan import Plan
    from ..survey import Options


class Moment:
    """The moment to which a rollback goes."""

    def __init__(self, to: str | None, deployment: str | None) -> None:
        self.to, self.deployment = to, deployment

    def prepare(self, engine: Engine) -> tuple[Any, Json, Mapping[str, Json]]:
        """The goals: every thing as it was then."""
        from ..errors import Refused
        from ..moments import moment
        from ..past import rewind
        from ..targets import Goals, from_past

        ledger = engine.ledger
        if self.to is None:
            last = ledger.last_forward()
            if last is None:
                if ledger.holds and engine.log.archived().seq:
                    raise Refused("the runs that could be rolled back were archived; 'uninstall' still gives all back")
                return Goals(), None, {}
            seq = last.first - 1
        else:
            seq = moment(engine.log, ledger, self.to)
        goals = from_past(rewind(engine.log.events(), seq, self.deployment), ledger, engine.unseal)
        names = sorted({target.deployment for target in goals.targets.values()})
        return goals, None, {"to": seq, "only": self.deployment, "deployments": names}


@click.command()
@writing
@click.option(
    "--to",
    metavar="RUN|SEQ|TIME|COMMIT",
    help="To the state right after this; by default to before the last run.",
)
@click.option("--deployment", metavar="NAME", help="Only what this deployment changed.")
def rollback(way: Way, to: str | None, deployment: str | None) -> int:
    """Undo the last run, or go to any moment in the log.

    Example: reconciler rollback --dry-run
    """
    from ..survey import ledger_of
    from .runs import carry_out, preview

    moment, options = Moment(to, deployment), way.options(keep_going=True)
    if way.dry_run or not way.place.reader().exists:
        return preview(way.place, moment.prepare, options, way.style)
    before = ledger_of(way.place.reader()).held_back
    code = carry_out(way, "rollback", moment.prepare, options)
    for name in ledger_of(way.place.reader()).held_back.keys() - before.keys():
        talk(f"held back: sync and watch skip {name[:19]} until it changes, or until 'reconciler resume'")
    return code


class Leaving:
    """The deployment that an uninstall ends."""

    def __init__(self, deployment: str, *, destroy: bool) -> None:
        self.deployment, self.destroy = deployment, destroy

    def prepare(self, engine: Engine) -> tuple[Any, Json, Mapping[str, Json]]:
        """The goals: everything that it holds, given back."""
        from ..desired.words import nearest
        from ..errors import ReconcilerError, Refused
        from ..targets import destroys, from_uninstall

        known = set(engine.ledger.names)
        if self.deployment not in known:
            hint = nearest(self.deployment, known) or "it has none yet"
            raise ReconcilerError(f"the log knows no deployment {self.deployment!r}; {hint}")
        doomed = destroys(engine.ledger, self.deployment)
        if doomed and not self.destroy:
            listed = ", ".join(map(str, doomed))
            raise Refused(
                f"{listed}: 'on_uninstall: delete' would take its data; say --destroy-data, or change the declaration"
            )
        goals = from_uninstall(
            engine.ledger, self.deployment, engine.unseal, run=engine.next_run(), destroy=self.destroy
        )
        return goals, None, {"deployments": [self.deployment]}


def emit_script(place: Place, leaving: Leaving, options: Options, path: str) -> int:
    """Plan the uninstall and write it as a shell script; nothing is changed."""
    from .. import __version__
    from ..emit import script
    from ..errors import Refused
    from ..guards import refused
    from ..survey import facts
    from .runs import look

    made: list[str] = []

    def write(engine: Engine, plan: Plan) -> None:
        host = place.identity(facts(engine.host))
        title = f"Gives back everything that the deployment {leaving.deployment} took."
        about = {
            "title": title,
            "version": __version__,
            "host": f"{host['name']} ({host['id']})",
            "seq": engine.ledger.seq,
        }
        if reason := refused(plan, options):
            raise Refused(f"no script is written: {reason}")
        sealed = {
            address: ", ".join(
                sorted(
                    {
                        h.origin["$sealed"]
                        for h in fields.values()
                        if isinstance(h.origin, dict) and "$sealed" in h.origin
                    }
                )
            )
            for address, fields in engine.ledger.holds.items()
        }
        made.append(script(engine.host, plan, engine.vault, about, sealed))

    look(place, leaving.prepare, options, write)
    write_fresh("--emit-script", path, made[0].encode("utf-8", "surrogateescape"), 0o700)
    talk(f"{path}: read it, keep it off this host, and run it as root where reconciler is gone")
    return 0


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
def uninstall(way: Way, deployment: str, script_file: str | None, destroy_data: bool) -> int:
    """Give back everything that a deployment ever took.

    Example: reconciler uninstall managesoft --dry-run
    """
    from .runs import carry_out, preview

    leaving, options = Leaving(deployment, destroy=destroy_data), way.options(keep_going=True)
    if script_file is not None:
        return emit_script(way.place, leaving, options, script_file)
    if way.dry_run or not way.place.reader().exists:
        return preview(way.place, leaving.prepare, options, way.style)
    return carry_out(way, "uninstall", leaving.prepare, options)


@click.command()
@click.argument("what", metavar="RUN|DEPLOYMENT")
@shared
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would be emptied.")
@click.option("--lock-timeout", type=float, default=0.0, metavar="SECONDS", help="Wait for another run.")
@click.pass_context
def purge(
    ctx: click.Context,
    what: str,
    root: str | None,
    log_file: str | None,
    style: str,
    yes: bool,
    dry_run: bool,
    lock_timeout: float,
) -> int:
    """Empty the quarantine of a run or a deployment, for good.

    Example: reconciler purge r7
    """
    from ..engine import Engine
    from ..errors import ReconcilerError
    from ..guards import intact
    from ..host.resolve import printable
    from ..survey import facts
    from .common import print_json

    place = Place(ctx, root, log_file)
    engine = Engine(place.observer(), place.reader())
    ledger = engine.ledger
    if ledger.run(what) is None and what not in ledger.names:
        raise ReconcilerError(f"the log knows no run or deployment {what!r}; see 'reconciler history'")
    stores = [store for store, (run, deployment, _) in ledger.stored.items() if what in (run, deployment)]
    stores += [store for store, names in ledger.doomed.items() if what in names]
    for store in stores:
        talk(f"{'would empty' if dry_run else 'emptying'} {printable(store)}")
    if dry_run or not stores:
        if style == "json":
            print_json(
                {
                    "format_version": "1.0",
                    "run": None,
                    "outcome": "unchanged",
                    "purged": stores,
                    "transitions": [],
                    "blocked": [],
                    "conflicts": [],
                }
            )
        elif not stores:
            click.echo("nothing in quarantine")
        return 0
    confirm("This cannot be undone. Empty it for good?", yes=yes)
    host = place.host()
    with place.writer("purge", lock_timeout) as log:
        intact(log)
        engine = Engine(host, log)
        engine.recover()
        run = engine.next_run()
        engine.say(run, "run.started", started("purge", place, facts(host), deployments=[], purging=stores))
        gone = 0
        for store in stores:
            gone += host.erase(store)
            made = store.rsplit("/", 1)[0]
            if host.rmdir(made):
                host.rmdir(made.rsplit("/", 1)[0])
        engine.say(run, "run.finished", {"outcome": "converged", "complete": True, "purged": stores, "paths": gone})
        log.keep_head()
    if style == "json":
        print_json(
            {
                "format_version": "1.0",
                "run": run,
                "outcome": "converged",
                "purged": stores,
                "paths": gone,
                "transitions": [],
                "blocked": [],
                "conflicts": [],
            }
        )
    else:
        click.echo(f"{run}: {gone} paths are gone for good")
    return 0
