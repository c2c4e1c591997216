"""history, show and log: the log, read and checked."""

from __future__ import annotations

import json

import click

from .common import Place, paint, print_json, shared


@click.command()
@click.argument("address", required=False)
@shared
@click.option("--limit", type=int, default=20, help="How many of the last runs.")
@click.option("--all", "everything", is_flag=True, help="Every run.")
@click.option("--deployment", metavar="NAME", help="Only this deployment.")
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
) -> int:
    """Show the runs, or every event of one thing.

    Example: reconciler history account:flxrasvc
    """
    from itertools import islice

    from ..model import Address
    from ..report.text import event_lines, run_lines
    from ..survey import ledger_of

    log = Place(ctx, root, log_file).reader()
    wanted = str(Address.parse(address)) if address else None

    def fits(event: object) -> bool:
        return (wanted is None or getattr(event, "address", None) == wanted) and (
            deployment is None or getattr(event, "deployment", None) == deployment
        )

    if style == "json":
        click.echo('{"format_version": "1.0", "events": [', nl=False)
        first = True
        for event in log.raw(address=wanted):
            if fits(event):
                click.echo(("" if first else ",") + "\n" + json.dumps(event.json()), nl=False)
                first = False
        click.echo("]}")
        return 0
    if wanted is not None:
        for event in log.events(address=wanted):
            if fits(event):
                for line in event_lines(event.json()):
                    click.echo(line)
        return 0
    runs = (run for run in ledger_of(log).runs() if deployment is None or deployment in run.deployments)
    shown = list(runs if everything else islice(runs, limit))
    for line in run_lines([vars(run) for run in reversed(shown)], paint()):
        click.echo(line)
    if not shown:
        click.echo("no run yet")
    elif next(runs, None) is not None:
        click.echo("(there are earlier runs; --all shows them)", err=True)
    return 0


@click.command()
@click.argument("what", metavar="RUN|SEQ")
@shared
@click.pass_context
def show(ctx: click.Context, what: str, root: str | None, log_file: str | None, style: str) -> int:
    """Show one run, or one event, in full.

    Example: reconciler show r3
    """
    from itertools import islice

    from ..errors import ReconcilerError
    from ..report.text import event_lines

    log = Place(ctx, root, log_file).reader()
    if what.isascii() and what.isdecimal():
        found = [event for event in islice(log.events(int(what) - 1), 1) if event.seq == int(what)]
    else:
        found = list(log.events(run=what))
    if not found:
        raise ReconcilerError(f"the log has no run or event {what!r}; see 'reconciler history'")
    if style == "json":
        print_json({"format_version": "1.0", "events": [event.json() for event in found]})
    else:
        for event in found:
            for line in event_lines(event.json()):
                click.echo(line)
    return 0


@click.group()
def log() -> None:
    """The log as evidence."""


@log.command("verify")
@shared
@click.option("--against", metavar="FILE", help="A head that was kept elsewhere.")
@click.pass_context
def log_verify(ctx: click.Context, root: str | None, log_file: str | None, style: str, against: str | None) -> int:
    """Check that no event was changed, removed, reordered or cut off.

    Example: reconciler log verify
    """
    from ..errors import Usage
    from ..log.chain import anchor, verify
    from ..log.vault import Vault
    from ..survey import ledger_of

    reader = Place(ctx, root, log_file).reader()
    if against is not None and anchor(against) is None:
        raise Usage(f"--against {against}: no head that was kept can be read there")
    verdict = verify(reader, against)
    if verdict.ok:
        vault, ledger = Vault(reader.directory), ledger_of(reader)
        needed = {
            (hold.seq, hold.origin["$sealed"])
            for fields in ledger.holds.values()
            for hold in fields.values()
            if isinstance(hold.origin, dict) and "$sealed" in hold.origin
        }
        needed |= {
            (hold.seq, layer["image"])
            for fields in ledger.holds.values()
            for hold in fields.values()
            if isinstance(hold.origin, dict)
            for layer in hold.origin.get("layers", ())
        }
        verdict.problems += [{"seq": seq, "what": what} for seq, name in sorted(needed) if (what := vault.check(name))]
    if style == "json":
        print_json({"format_version": "1.0", **verdict.json()})
    elif verdict.ok:
        click.echo(f"ok: {verdict.events} events, head {verdict.head}")
    else:
        for problem in verdict.problems:
            click.echo(f"event {problem['seq']}: {problem['what']}", err=True)
    return 0 if verdict.ok else 1
