"""history: runs and events, the last first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from ._common import paint, place_of, shared, talk

if TYPE_CHECKING:
    from ..core.events import Event
    from ..core.ledger import Ledger, Run

RANK = 170


@click.command()
@click.argument("address", required=False)
@shared
@click.option("--limit", type=click.IntRange(min=1), default=20, help="How many of the last runs.")
@click.option("--all", "everything", is_flag=True, help="Every run.")
@click.option("--deployment", metavar="NAME", help="Only this deployment.")
@click.option("--run", "of_run", metavar="RUN", help="Only this run.")
@click.option("--since", metavar="TIME", help="Not before this.")
@click.option("--until", metavar="TIME", help="Not after this.")
@click.option("--actor", metavar="NAME|UID", help="Only what this person started.")
@click.option("--commit", metavar="COMMIT", help="Only what this commit of the desired state asked for.")
@click.pass_context
def history(
    ctx: click.Context,
    address: str | None,
    root: str | None,
    log_file: str | None,
    style: str,
    limit: int,
    everything: bool,
    deployment: str | None,
    of_run: str | None,
    since: str | None,
    until: str | None,
    actor: str | None,
    commit: str | None,
) -> int:
    """Show the runs, or every event of one thing.

    Example: reconciler history account:flxrasvc
    """
    from itertools import islice

    from ..app.guards import trouble
    from ..errors import ReconcilerError, Usage
    from ..history.moments import time_of
    from ..kinds import kinds
    from ..report._text import event_lines, run_lines

    log = place_of(ctx, root, log_file).reader()
    if (what := trouble(log)) is not None:
        talk(f"{log.path}: {what}; look with 'reconciler log verify'")
    ledger = place_of(ctx, root, log_file).ledger()
    if commit is not None and not re.fullmatch("[0-9a-f]{7,64}", commit):
        raise Usage(f"--commit {commit}: a commit has at least 7 hex digits")
    if of_run is not None and ledger.run(of_run) is None:
        raise ReconcilerError(f"--run {of_run}: the log has no such run; see 'reconciler history --all'")
    if address is not None and ":" not in address:
        raise Usage(f"{address!r} is no address; write kind:name, or ask 'reconciler explain {address}'")
    wanted = str(kinds().address(address)) if address else None
    first, last = (time_of(t, o) if t is not None else None for t, o in ((since, "--since"), (until, "--until")))
    asked = _Asked(actor, commit, deployment, of_run, first, last)
    if style == "json" or wanted is not None:
        found = (event for event in log.events(address=wanted, run=of_run) if asked.event(event, ledger))
        return _stream(found) if style == "json" else _print(line for e in found for line in event_lines(e.json()))
    runs = filter(asked.run, ledger.runs())
    shown = list(runs if everything else islice(runs, limit))
    _print(run_lines([vars(run) for run in reversed(shown)], paint()))
    if not shown:
        click.echo("no run" + (" yet" if not ledger.count else " fits"))
    elif next(runs, None) is not None:
        click.echo("(there are earlier runs; --all shows them)", err=True)
    return 0


@dataclass
class _Asked:
    """Which runs and events are asked for; None leaves that open."""

    actor: str | None
    commit: str | None
    deployment: str | None
    name: str | None
    first: str | None
    last: str | None
    known: dict[str, bool] = field(default_factory=dict)

    def _started(self, run: Run | None) -> bool:
        """By whom a run was started, and of which commit."""
        if run is None:
            return self.actor is None and self.commit is None
        who = run.actor or {}
        people = {str(who.get(key)) for key in ("uid", "login_uid", "sudo_user") if who.get(key) is not None}
        people |= {f"uid {who.get('uid')}", *(["root"] if who.get("uid") == 0 else [])}
        of_commit = self.commit is None or (run.commit or "").startswith(self.commit)
        return of_commit and (self.actor is None or self.actor in people)

    def _then(self, at: str) -> bool:
        return (self.first is None or at >= self.first) and (self.last is None or at <= self.last)

    def event(self, event: Event, ledger: Ledger) -> bool:
        """Whether an event is asked for."""
        if event.run not in self.known:
            self.known[event.run] = self._started(ledger.run(event.run))
        return self.known[event.run] and self.deployment in (None, event.deployment) and self._then(event.at)

    def run(self, run: Run) -> bool:
        """Whether a run is asked for."""
        theirs = self.deployment is None or self.deployment in run.deployments
        return self._started(run) and self.name in (None, run.id) and theirs and self._then(run.at)


def _print(lines: Iterable[str]) -> int:
    for line in lines:
        click.echo(line)
    return 0


def _stream(events: Iterable[Any]) -> int:
    """Events as one JSON document, one at a time."""
    click.echo('{"format_version": "1.0", "events": [', nl=False)
    for number, event in enumerate(events):
        click.echo(("," if number else "") + "\n" + json.dumps(event.json()), nl=False)
    click.echo("]}")
    return 0
