"""mapping: who becomes whom through the RSCD agent, by which line; the table of all; whose rights would change."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from ._common import place_of, print_json, shared, talk

if TYPE_CHECKING:
    from ..app.callers import Question
    from ..model import Json

RANK = 230


@click.group()
def mapping() -> None:
    """Who becomes whom on this host through the RSCD agent, and because of which line.

    Example: reconciler mapping resolve --host app1 --role BLAdmins --user BLAdmin
    """


def described(command: Callable[..., int]) -> Callable[..., int]:
    """The options that say which agent is meant; the command gets them as one `Question`."""
    options = (
        click.option("--dir", "directory", metavar="DIR", help="Where the files are; /etc/rsc, or /Windows/rsc."),
        click.option("--os", "system", type=click.Choice(["unix", "windows"]), default="unix", help="Its system."),
        click.option("--mode", help="The mapping mode; by default what the host's own file says."),
        click.option("--principal", metavar="ACCOUNT", help="Windows: the caller's automation principal."),
        click.option("--domain-controller", is_flag=True, help="Windows: it is a domain controller."),
        click.option("--local-user", "local_users", multiple=True, metavar="NAME", help="Windows: a local user."),
    )  # fmt: skip

    @wraps(command)
    def asking(
        ctx: click.Context,
        *,
        root: str | None,
        log_file: str | None,
        directory: str | None,
        system: Any,
        mode: str | None,
        principal: str | None,
        domain_controller: bool,
        local_users: tuple[str, ...],
        **own: Any,
    ) -> int:
        from ..app.callers import Question

        place = place_of(ctx, root, log_file)
        question = Question(place, directory, system, mode, principal, domain_controller, local_users)
        return command(question, **own)

    found: Callable[..., int] = click.pass_context(asking)
    for option in reversed(options):
        found = option(found)
    return shared(found)


def _text(text: str) -> None:
    from ..formats.text import printable

    click.echo(printable(text))


@mapping.command()
@click.option(
    "--host", "hosts", multiple=True, required=True, metavar="HOST", help="The client; again for its other names."
)
@click.option("--user", required=True, help="The calling user.")
@click.option("--role", help="Its role; without one it is a direct Network Shell.")
@described
def resolve(
    question: Question,
    style: str,
    hosts: tuple[str, ...],
    user: str,
    role: str | None,
) -> int:
    """Say who a caller becomes, with whose privileges, and which line decides.

    Example: reconciler mapping resolve --host app1 --role BLAdmins --user BLAdmin
    """
    from ..app.callers import Asked
    from ..errors import Usage
    from ..rscd.resolver import Caller
    from ..rscd.resolver import resolve as decide

    if not user or role == "" or not all(hosts):
        raise Usage("--host, --user and --role need a name, and got an empty text")
    asked = Asked(question, talk)
    who = Caller(hosts[0], user, role, frozenset(hosts[1:]))
    answer = decide(asked.files, who, asked.target)
    shape = answer.json(asked.directory)
    if style == "json":
        print_json({"format_version": "1.0", **shape, "limits": list(answer.limits)})
        return 0
    if answer.decision == "granted":
        whose = "" if answer.privileges_of == answer.runs_as else f", with the privileges of {answer.privileges_of}"
        limits = f", limited by {', '.join(answer.limits)}" if answer.limits else ""
        _text(f"granted: {who} runs as {answer.runs_as}{whose} ({answer.mechanism}, {answer.permission}{limits})")
    else:
        _text(f"{answer.decision}: {who}")
    if shape["rule"]:
        _text(f"  because of {shape['rule']['file']}:{shape['rule']['line']}: {shape['rule']['text']}")
    for step in answer.steps:
        _text(f"  - {step}")
    return 0


@mapping.command()
@described
def show(
    question: Question,
    style: str,
) -> int:
    """Show the effective table: every sort of caller, who it becomes, by which line; and what is dangerous or dead.

    Example: reconciler mapping show
    """
    from ..app.callers import Asked
    from ..rscd.compare import effective, said
    from ..rscd.lints import lints
    from ..rscd.resolver import AGENT, AGENT_ON_CONTROLLER, SYSTEM, place

    asked = Asked(question, talk)
    rows, findings = effective(asked.files, asked.target), lints(asked.files, asked.target)
    agent = {"unix": "root", "windows": AGENT_ON_CONTROLLER if question.controller else AGENT}[question.system]
    agent = SYSTEM if asked.target.mode == "system-only" else agent
    if style == "json":
        print_json(
            {
                "format_version": "1.0",
                "directory": asked.directory,
                "system": question.system,
                "mode": asked.target.mode,
                "agent": agent,
                "rows": [row.json() for row in rows],
                "findings": [finding.json() for finding in findings],
            }
        )
        return 0
    _text(f"{asked.directory}: {question.system}, {asked.target.mode}; the agent's own identity is {agent}")
    wide = max([len(row.who) for row in rows], default=0)
    for row in rows:
        rule = f"   {place(row.answer.rule)}" if row.answer.rule is not None else ""
        _text(f"  {row.who:<{wide}}  from {', '.join(row.hosts)}: {said(row.answer)}{rule}")
    for finding in findings:
        line = f":{finding.line}" if finding.line else ""
        _text(f"{'danger' if finding.danger else 'look'}: {finding.file}{line}: {finding.message}")
    return 0


@mapping.command()
@click.argument("paths", nargs=-1)
@click.option("--with", "other", metavar="DIR", help="Compare with the files in this directory of this machine.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 where rights differ.")
@described
def diff(
    question: Question,
    style: str,
    paths: tuple[str, ...],
    other: str | None,
    detailed_exitcode: bool,
) -> int:
    """Show whose rights would change: by the desired state in PATHS, or with the files in another directory.

    Example: reconciler mapping diff desired/
    """
    from ..errors import Usage

    found: list[Json] = []
    if other is not None:
        if paths:
            raise Usage("give PATHS, or --with DIR; not both")
        from ..app.callers import compared

        if not os.path.isdir(other):
            raise Usage(f"--with {other}: no such directory")
        found = compared(question, other, talk)
    else:
        from ..app.request import Request
        from ..app.run import look

        plan, _ = look(question.place, Request(question.place.observer(), paths))
        for transition in plan.transitions:
            told = transition.prospect.facts.get("rights", ())
            found += [item for item in told if item not in found]
    if style == "json":
        print_json({"format_version": "1.0", "differences": found})
    else:
        for item in found:
            _text(item["text"])
        if not found:
            _text("nobody's rights change")
    return 2 if detailed_exitcode and found else 0
