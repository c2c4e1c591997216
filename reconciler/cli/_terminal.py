"""A run on the terminal: what is shown of it, and how it is asked about."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..app import run as app
from ..core.plan import conflict_json
from ..errors import HostError, Refused
from ..formats.text import printable
from ..model import Json
from ..report import forms, renderer
from ..report._preview import Group, one_host
from ..report._text import outcome_lines, plan_lines
from ._common import RunOptions, confirm, paint, print_json, talk

if TYPE_CHECKING:
    from ..app.place import Place
    from ..core.plan import Plan


class Terminal(app.View):
    """Shows a run as it goes, and asks."""

    def __init__(self, way: RunOptions) -> None:
        self.way = way

    def said(self, text: str) -> None:
        """On stderr."""
        talk(text)

    def planned(self, plan: Plan) -> None:
        """The plan, for people."""
        if self.way.style == "text":
            show_plan(plan, self.way.style)

    def refused(self, plan: Plan, reason: str) -> None:
        """What would have been done; the reason is told by the error."""
        if self.way.style == "json":
            print_json(result_json(None, plan))
        else:
            show_plan(plan, self.way.style)

    def ask(self, plan: Plan) -> None:
        """Unless --yes was said."""
        confirm("Carry this out?", yes=self.way.yes)

    def emptying(self, stores: Sequence[str]) -> None:
        """Every quarantine by name."""
        for store in stores:
            talk(f"emptying {printable(store)}")
        confirm("This cannot be undone. Empty it for good?", yes=self.way.yes)

    @contextmanager
    def progress(self, plan: Plan) -> Iterator[Any]:
        """A bar on a terminal, for runs that take a while; silence elsewhere."""
        if not (self.way.style == "text" and sys.stderr.isatty() and plan.transitions):
            yield lambda transition, outcome: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (BarColumn(24), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"))
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


def show_plan(plan: Plan, style: str, reason: str | None = None) -> None:
    """Print a plan; why it would be refused goes to stderr."""
    if style == "json":
        print_json(plan.json())
    elif style in forms():
        report(style, [one_host(plan)])
    else:
        for line in plan_lines(plan, paint()):
            click.echo(line)
    if reason:
        talk(f"refused: {reason}")


def report(style: str, groups: Sequence[Group]) -> None:
    """Print previews in one of the forms; in a GitHub workflow the job's summary gets them as Markdown too."""
    click.echo(renderer(style)(groups), nl=False)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if style == "github" and summary:
        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(renderer("markdown")(groups))
        except OSError as error:
            raise HostError(f"GITHUB_STEP_SUMMARY {summary}: {(error.strerror or '').lower()}") from None


def preview(place: Place, aim: app.Aim, style: str, *, detailed: bool = False) -> int:
    """A dry run, and the exit code that the real one would be refused with."""
    return shown(*app.look(place, aim), style, detailed=detailed)


def shown(plan: Plan, reason: str | None, style: str, *, detailed: bool = False) -> int:
    """Print a plan, and why it would be refused; the exit code."""
    show_plan(plan, style, reason)
    if reason:
        return 3
    return 2 if detailed and plan.transitions else 0


def carry_out(way: RunOptions, aim: app.Aim) -> int:
    """Carry an aim out, and print what came of it."""
    ended = app.carry_out(way.place, aim, Terminal(way), patience=way.patience, accept=way.accept)
    if ended.reason is not None:
        raise Refused(f"nothing was changed: {ended.reason}")
    show_ended(ended, way.style)
    return ended.report.exit_code


def show_ended(ended: app.Ended, style: str) -> None:
    """Print what came of a run."""
    if style == "json":
        print_json(result_json(ended, ended.plan))
    else:
        for line in outcome_lines(ended.report, paint()):
            click.echo(line)


def result_json(ended: app.Ended | None, plan: Plan) -> Json:
    """What a run prints as JSON; None: it was refused."""
    report = ended.report if ended is not None else None
    shape: dict[str, Json] = {
        "format_version": "1.0",
        "run": report.run if report else None,
        "outcome": report.outcome if report else "refused",
        "transitions": [
            {**t.json(), "outcome": outcome, "error": error}
            for t, outcome, error in (report.transitions if report else ())
        ],
        "blocked": [b.json() for b in plan.blocked],
        "conflicts": [conflict_json(c) for c in plan.conflicts],
    }
    if report is not None and report.skipped:
        shape["skipped"] = [{"path": path, "reason": reason} for path, reason in report.skipped]
    return shape
