"""What an apply may promise: a saved plan and nothing else, an approver's signature, a confirmation, a rehearsal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ..errors import Refused, Usage
from ..guards import APPROVERS, nothing_awaited
from ..host.resolve import printable
from .common import Place, Way, print_json, shared, started, talk

if TYPE_CHECKING:
    from ..engine import Engine
    from ..model import Json
    from ..plan import Plan
    from ..saved import Saved
    from ..wanted import Wanted


def approved(place: Place, plan_file: str | None) -> None:
    """Refuse to apply what no approver signed, where this host asks for that."""
    from ..saved import NAMESPACE
    from ..signatures import signer_of

    host = place.observer()
    if host.read(APPROVERS) is None:
        return
    how = f"ssh-keygen -Y sign -n {NAMESPACE} -f KEY FILE"
    if plan_file is None:
        raise Refused(f"{APPROVERS}: this host applies saved plans that an approver signed; 'plan --out FILE', '{how}'")
    approvers = os.path.join(host.where, APPROVERS.lstrip("/"))
    signature = f"{plan_file}.sig"
    if not os.path.exists(signature):
        raise Refused(f"{signature}: there is no signature of an approver; {how}")
    who = signer_of(plan_file, approvers, NAMESPACE)
    if who is not None:
        talk(f"approved by {printable(who)}")
        return
    raise Refused(f"{signature}: is no signature of this plan by anybody in {APPROVERS}; {how}")


class Guard:
    """The desired state of an apply, and what must be true before its first event."""

    def __init__(self, wanted: Wanted, saved: Saved | None, *, rehearsing: bool = False) -> None:
        self.wanted, self.saved, self.rehearsing = wanted, saved, rehearsing
        self.before: dict[str, str] = {}

    def prepare(self, engine: Engine) -> tuple[Any, Json, Mapping[str, Json]]:
        """As the documents say; the first event names the saved plan."""
        goals, desired, more = self.wanted.prepare(engine)
        return goals, desired, {**more, **({"saved_plan": self.saved.digest} if self.saved else {})}

    def examine(self, engine: Engine, plan: Plan) -> None:
        """Refuse a plan that is stale or was applied, and any run while another waits to be confirmed."""
        self.wanted.examine(engine, plan)
        nothing_awaited(engine)
        if self.saved is not None:
            for run in engine.ledger.runs():
                if run.plan == self.saved.digest:
                    raise Refused(f"this plan was applied already, by {run.id} at {run.at[:19]}Z; make a new one")
            moved = self.saved.moved(plan)
            if moved:
                listed = "".join(f"\n  {line}" for line in moved)
                raise Refused(f"the plan is stale, nothing was changed; make a new one. What moved:{listed}")
        if self.rehearsing:
            from ..rehearsal import looks

            self.before = looks(engine.host, plan)


def deadline(within: float | None) -> str | None:
    """The time until which somebody has to confirm."""
    from ..log.store import timestamp

    return None if within is None else timestamp(datetime.now(UTC) + timedelta(seconds=within))


def undone_again(way: Way, guard: Guard, code: int) -> int:
    """The second half of a rehearsal: nothing is left to do; all is given back; all looks as it did."""
    from ..engine import Engine
    from ..rehearsal import looks
    from ..survey import Options
    from .runs import carry_out, look
    from .undo import Moment

    place = way.place
    again = look(place, guard.prepare, Options())
    engine = Engine(place.observer(), place.reader())
    last = engine.ledger.last_forward()
    if code not in (0, 5) or last is None or last.verb != "apply":
        return code
    sure = Way(place, way.style, yes=True, patience=way.patience)
    back = carry_out(sure, "rollback", Moment(str(last.first - 1), None).prepare, Options(keep_going=True))
    after = looks(place.observer(), list(guard.before))
    differ = sorted(address for address, text in guard.before.items() if after.get(address) != text)
    for transition in again.transitions:
        talk(f"rehearsal: a second apply would {transition.verb} {transition.address}; it never comes to rest")
    for address in differ:
        talk(f"rehearsal: {address} is not as it was before")
    if differ or again.transitions or back:
        return 5
    talk(f"rehearsal: {len(guard.before)} resources applied, checked, rolled back; all are as they were")
    return code


def watch(place: Place) -> None:
    """Leave a process behind that undoes what nobody confirms; after a reboot the unit in contrib/systemd does it."""
    from ..survey import ledger_of

    waiting = ledger_of(place.reader()).awaiting
    if not waiting:
        return
    words = [sys.executable, "-m", "reconciler", "confirm", "--expire", "--wait", *place.words()]
    subprocess.Popen(
        words, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/",
    )  # fmt: skip
    for run, until in waiting.items():
        talk(f"{run} will be undone at {until[:19]}Z unless you say: reconciler confirm")


@click.command()
@click.argument("run", required=False)
@shared
@click.option("--expire", is_flag=True, help="Undo every run whose time is over instead.")
@click.option("--wait", is_flag=True, help="With --expire: stay until no run waits any more.")
@click.pass_context
def confirm(
    ctx: click.Context, run: str | None, root: str | None, log_file: str | None, style: str, expire: bool, wait: bool
) -> int:
    """Keep a run of 'apply --confirm-within', which is undone otherwise.

    Example: reconciler confirm
    """
    from ..engine import Engine
    from ..guards import intact
    from ..survey import facts, ledger_of

    place = Place(ctx, root, log_file)
    if expire:
        return _expire(place, style, wait=wait)
    waiting = ledger_of(place.reader()).awaiting
    if run is not None and run not in waiting:
        raise Usage(f"{run} waits for no confirmation" + (f"; {', '.join(waiting)} does" if waiting else ""))
    confirmed = [run] if run is not None else list(waiting)
    if confirmed:
        with place.writer("confirm", 10.0) as log:
            intact(log)
            engine = Engine(place.host(), log)
            engine.put_down(started("confirm", place, facts(engine.host), deployments=[], confirms=confirmed))
    if style == "json":
        print_json({"format_version": "1.0", "confirmed": confirmed})
    else:
        click.echo(f"confirmed: {', '.join(confirmed)}" if confirmed else "no run waits for a confirmation")
    return 0


def _expire(place: Place, style: str, *, wait: bool) -> int:
    from ..log.store import now
    from ..survey import ledger_of
    from .runs import carry_out
    from .undo import Moment

    while True:
        ledger = ledger_of(place.reader())
        for name, until in ledger.awaiting.items():
            found = ledger.run(name)
            if found is not None and until <= now():
                talk(f"{name} was not confirmed until {until[:19]}Z; it is undone")
                moment = Moment(str(found.first - 1), None)
                way = Way(place, style, yes=True, skip_conflicts=True, patience=600.0)
                return carry_out(way, "rollback", moment.prepare, way.options(keep_going=True))
        if not wait or not ledger.awaiting:
            return 0
        time.sleep(0.5)
