"""mapping: who becomes whom through the RSCD agent, by which line; the table of all; whose rights would change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from ..app.place import Place
from ._common import place_of, print_json, shared, talk

if TYPE_CHECKING:
    from ..host.port import Observer
    from ..model import Json
    from ..rscd.resolver import Target

RANK = 230
WHERE = {"unix": "/etc/rsc", "windows": "/Windows/rsc"}


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
        place = place_of(ctx, root, log_file)
        question = Question(place, directory, system, mode, principal, domain_controller, local_users)
        return command(question, **own)

    found: Callable[..., int] = click.pass_context(asking)
    for option in reversed(options):
        found = option(found)
    return shared(found)


@dataclass(frozen=True)
class Question:
    """The agent that a command line means, and what its files cannot say of it."""

    place: Place
    directory: str | None = None
    system: Any = "unix"
    mode: str | None = None
    principal: str | None = None
    controller: bool = False
    local_users: tuple[str, ...] = ()


class Asked:
    """An agent and its files, read."""

    def __init__(self, question: Question) -> None:
        from ..errors import ReconcilerError, Usage
        from ..host.people import HostAccounts
        from ..rscd.resolver import MODES, Account, Listed, Target
        from ..rscd.text import gathered

        system, mode = question.system, question.mode
        principal, controller, local_users = question.principal, question.controller, question.local_users
        self.host: Observer = question.place.observer()
        self.directory = (question.directory or WHERE[system]).rstrip("/") or "/"
        if mode is not None and mode not in MODES[system]:
            raise Usage(f"--mode {mode!r} is not one of {system}'s: {', '.join(MODES[system])}")
        if not self.directory.startswith("/"):
            raise Usage(f"--dir {self.directory!r}: write an absolute path, inside the root with --root")
        if self.host.stat(self.directory) is None:
            raise ReconcilerError(f"{self.directory}: no such directory; say where the agent's files are with --dir")
        if system == "unix" and (principal or controller or local_users):
            raise Usage(
                "--principal, --domain-controller and --local-user are facts of a Windows host; add --os windows"
            )
        stored = self._stored()
        if system == "unix" and stored in MODES["windows"]:
            talk(f"{self.directory} says that its mode is {stored}; for the rules of Windows add --os windows")
        if system == "windows" and mode is None:
            # A principal is there to be used, but where everybody is SYSTEM.
            mode = "windows-user" if principal and stored != "system-only" else stored
        if system == "unix" and not self.host.live and remote_sources(self.host):
            told = ", ".join(remote_sources(self.host))
            talk(f"accounts also come from {told}, which a root directory cannot ask; its files alone are believed")
        self.files = gathered(self.host.read, self.directory)
        people = Listed(tuple(map(Account, local_users)), "" if local_users else "no --local-user was given", fold=True)
        self.target: Target = Target(
            system,
            mode if mode in MODES[system] else MODES[system][0],
            people if system == "windows" else HostAccounts(self.host),
            principal,
            controller,
            Resolving(self.host),
        )

    def _stored(self) -> str | None:
        """The mode in the default file."""
        from ..formats.ini import IniFile, shown
        from ..rscd.declared import DEFAULT, DEFAULT_FILE

        file = self.host.read(f"{self.directory}/{DEFAULT_FILE}")
        return shown(IniFile(file.data).get(*DEFAULT)) if file is not None else None


def remote_sources(host: Observer) -> list[str]:
    """The sources of accounts besides the local files that a root directory names."""
    from ..host.live import LOCAL_SOURCES
    from ..host.names import sources

    file = host.read("/etc/nsswitch.conf")
    return [word for word in sources(file.data if file else b"", "passwd") or () if word not in LOCAL_SOURCES]


class Resolving:
    """Names and addresses of hosts, by the hosts file and, on a running host, its resolver."""

    def __init__(self, host: Observer) -> None:
        self.host = host
        self._known: dict[str, frozenset[str] | None] = {}

    def __call__(self, word: str) -> frozenset[str] | None:
        """Every name and address of a host word; None where none is found."""
        if word not in self._known:
            found = {name for names in self._hosts() if word.casefold() in map(str.casefold, names) for name in names}
            if not found and self.host.live:
                found = set(self._asked(word))
            self._known[word] = frozenset(found) or None
        return self._known[word]

    def _hosts(self) -> Iterator[list[str]]:
        file = self.host.read("/etc/hosts")
        for line in (file.data if file else b"").decode("utf-8", "replace").splitlines():
            if words := line.partition("#")[0].split():
                yield words

    def _asked(self, word: str) -> Iterator[str]:
        from ..errors import HostError

        try:
            result = self.host.query(["timeout", "5", "getent", "ahosts", "--", word])
        except HostError:
            return
        for line in result.out.splitlines() if result.code == 0 else ():
            words = line.split()
            yield from (words[0], *words[2:])


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
    from ..errors import Usage
    from ..rscd.resolver import Caller
    from ..rscd.resolver import resolve as decide

    if not user or role == "" or not all(hosts):
        raise Usage("--host, --user and --role need a name, and got an empty text")
    asked = Asked(question)
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
    from ..rscd.compare import effective, said
    from ..rscd.lints import lints
    from ..rscd.resolver import AGENT, AGENT_ON_CONTROLLER, SYSTEM, place

    asked = Asked(question)
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
        from ..host.files import FileObserver
        from ..rscd.compare import differences
        from ..rscd.text import gathered

        if not os.path.isdir(other):
            raise Usage(f"--with {other}: no such directory")
        asked = Asked(question)
        files = gathered(FileObserver(other).read, "")
        found = [d.json() for d in differences(asked.files, files, asked.target)]
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
