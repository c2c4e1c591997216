"""The one way of a run: survey, show, guard, ask, execute, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from ..engine import Engine, Report
from ..errors import HostError, LogError, Partial, Refused
from ..guards import intact, refused
from ..log.chain import verify
from ..model import Json
from ..plan import Plan, conflict_json
from ..report.preview import Group, one_host
from ..report.text import outcome_lines, plan_lines
from ..survey import Options, facts
from ..targets import Goals
from ..wanted import foresee
from .common import Place, Way, confirm, paint, print_json, started, talk

Prepare = Callable[[Engine], tuple[Goals, Json, Mapping[str, Json]]]
"""Gives the goals, what the plan says of its input, and what the run's first event says besides."""
Examine = Callable[[Engine, Plan], None]
"""What else is said of a plan, or blocked in it, before anybody sees it."""


def warned(log: Any) -> None:
    """Say that what follows comes from a log that was tampered with."""
    if not log.untouched() and (problems := verify(log).problems):
        talk(f"{log.path}: {problems[0]['what']}; look with 'reconciler log verify'")


def accepted(log: Any, place: Place, known: Any, *, accept: bool) -> None:
    """Refuse a log that was tampered with, unless somebody decides to go on; that decision is an event."""
    problems = verify(log).problems if accept and not log.untouched() else []
    if problems:
        start = started("accept", place, known, deployments=[])
        run = Engine(place.host(), log).put_down(start, "checkpoint", {"v": 1, "accepted": problems})
        talk(f"{run}: going on although the log was tampered with: {len(problems)} problems accepted")
    intact(log)


def look(place: Place, prepare: Prepare, options: Options, examine: Examine = foresee) -> Plan:
    """Plan without writing anything."""
    host, log = place.observer(), place.reader()
    intact(log)
    engine = Engine(host, log)
    goals, desired, _ = prepare(engine)
    plan = engine.survey(goals, options, desired, place.identity(facts(host)))
    examine(engine, plan)
    return plan


def show_plan(plan: Plan, style: str, reason: str | None = None) -> None:
    """Print a plan; why it would be refused goes to stderr."""
    if style == "json":
        print_json(plan.json())
    elif style in REPORTS:
        report(style, [one_host(plan)])
    else:
        for line in plan_lines(plan, paint()):
            click.echo(line)
    if reason:
        talk(f"refused: {reason}")


REPORTS = ("markdown", "github", "gitlab", "junit", "sarif", "html")
"""The forms of a plan besides text and JSON: one function each, of the same name, in report/."""


def report(style: str, groups: Sequence[Group], runs: Sequence[Json] = ()) -> None:
    """Print previews in one of the forms; in a GitHub workflow the job's summary gets them as Markdown too."""
    if style == "html":
        from ..report.html import html

        click.echo(html(groups, runs), nl=False)
        return
    render = getattr(import_module(f"..report.{style}", __package__), style)
    click.echo(render(groups), nl=False)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if style == "github" and summary:
        from ..report.markdown import markdown

        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(markdown(groups))
        except OSError as error:
            raise HostError(f"GITHUB_STEP_SUMMARY {summary}: {(error.strerror or '').lower()}") from None


def preview(
    place: Place,
    prepare: Prepare,
    options: Options,
    style: str,
    *,
    detailed: bool = False,
    examine: Examine = foresee,
) -> int:
    """A dry run, and the exit code that the real one would be refused with."""
    plan = look(place, prepare, options, examine)
    reason = refused(plan, options)
    show_plan(plan, style, reason)
    if reason:
        return 3
    return 2 if detailed and plan.transitions else 0


def carry_out(
    way: Way,
    verb: str,
    prepare: Prepare,
    options: Options,
    examine: Examine = foresee,
) -> int:
    """Plan under the lock, ask, and do it."""
    place, style = way.place, way.style
    host = place.host()
    known = facts(host)
    with place.writer(verb, way.patience) as log:
        accepted(log, place, known, accept=way.accept)
        engine = Engine(host, log)
        settled = engine.recover()
        if settled:
            talk(f"an earlier run was cut off; settled: {settled}")
        goals, desired, more = prepare(engine)
        plan = engine.survey(goals, options, desired, place.identity(known))
        examine(engine, plan)
        reason = refused(plan, options)
        if reason:
            if style == "json":
                print_json(result_json(Report(outcome="refused", blocked=plan.blocked), plan))
            else:
                show_plan(plan, style)
            raise Refused(f"nothing was changed: {reason}")
        if style == "text":
            show_plan(plan, style)
        if plan.transitions:
            confirm("Carry this out?", yes=way.yes)
        first = log.seq
        try:
            with progress(plan, style) as tell:
                report = engine.execute(plan, goals, options, started(verb, place, known, **more), tell)
        except LogError as error:
            if log.seq == first:
                raise
            raise Partial(f"{error}; the run stopped half-way, and the next run settles what was under way") from None
    if style == "json":
        print_json(result_json(report, plan))
    else:
        for line in outcome_lines(report, paint()):
            click.echo(line)
    return report.exit_code


def progress(plan: Plan, style: str) -> Any:
    """A progress bar on a terminal, for runs that take a while; silence elsewhere."""
    import sys
    from contextlib import contextmanager

    @contextmanager
    def quiet() -> Any:
        yield lambda transition, outcome: None

    @contextmanager
    def bar() -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            BarColumn(24),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.description}"),
        )
        # Without a thread of its own: a process with threads cannot share a walk out.
        with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as shown:
            task = shown.add_task("", total=len(plan.transitions))

            def tell(transition: Any, outcome: str) -> None:
                if outcome == "started":
                    shown.update(task, description=f"{transition.verb} {transition.address}".replace("[", r"\["))
                else:
                    shown.advance(task)
                shown.refresh()

            yield tell

    return bar() if style == "text" and sys.stderr.isatty() and plan.transitions else quiet()


def result_json(report: Report, plan: Plan) -> Json:
    """What a run prints as JSON."""
    shape: dict[str, Json] = {
        "format_version": "1.0",
        "run": report.run,
        "outcome": report.outcome,
        "transitions": [{**t.json(), "outcome": outcome, "error": error} for t, outcome, error in report.transitions],
        "blocked": [b.json() for b in plan.blocked],
        "conflicts": [conflict_json(c) for c in plan.conflicts],
    }
    if report.skipped:
        shape["skipped"] = [{"path": path, "reason": reason} for path, reason in report.skipped]
    return shape
