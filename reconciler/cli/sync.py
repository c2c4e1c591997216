"""sync: the desired state from a git repository, each commit once; suspend and resume."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .common import F, RunOptions, duration, place_of, print_json, shared, talk

if TYPE_CHECKING:
    from ..engine.survey import Options
    from ..gitops.notify import Listeners
    from ..gitops.sync import Sync, Turn
    from ..gitops.windows import Window
    from ..model import Json

LONGEST = 3600.0
"""The longest wait between two tries at a repository that cannot be reached, in seconds."""


OF_REPOSITORY = (
    click.option("--ref", default="main", metavar="REF", help="A branch, refs/tags/NAME, or a commit; main."),
    click.option("--path", "inside", default="desired", metavar="DIR", help="Where in it; desired by default."),
    click.option("--allowed-signers", metavar="FILE", help="Whose SSH signatures count, as for ssh-keygen."),
    click.option("--gpg-home", metavar="DIR", help="Whose OpenPGP signatures count: all keys in this GnuPG home."),
    click.option("--allow-unsigned", is_flag=True, help="Apply commits that nobody signed."),
    click.option("--allow-empty", is_flag=True, help="Apply a commit that has nothing for this host; leaves orphans."),
    click.option("--allow-rewind", is_flag=True, help="Apply a commit that does not follow the last one."),
    click.option("--prune", is_flag=True, help="Give back deployments that are not in the commit any more."),
    click.option("--credentials", metavar="FILE", help="For https: a file as git's credential store keeps it."),
    click.option("--ssh-key", metavar="FILE", help="For ssh: the key to use."),
    click.option("--status-file", metavar="FILE", help="Write what came of a commit, as JSON."),
    click.option("--webhook", metavar="URL", help="Send the same there."),
    click.option("--webhook-secret", metavar="FILE", help="Sign what is sent with the secret in this file."),
    click.option("--github", metavar="OWNER/NAME", help="Set the commit's status there."),
    click.option("--github-api", default="https://api.github.com", metavar="URL", help="The API of GitHub Enterprise."),
    click.option("--gitlab", metavar="URL", help="Set the commit's status in this project."),
    click.option("--token-file", metavar="FILE", help="The token for commit statuses."),
)
UNATTENDED = (
    click.option("--max-changes", type=int, metavar="N", help="Refuse more transitions than this."),
    click.option("--max-removals", type=int, metavar="N", help="Refuse to remove more things than this."),
    click.option("--max-paths", type=int, metavar="N", help="Refuse to change more paths of trees than this."),
    click.option("--window", "windows", multiple=True, metavar="SPAN", help="Change only then: 'Sat,Sun 02:00-04:00'."),
    click.option("--skip-blocked", is_flag=True, help="Leave out what is blocked, and what depends on it."),
)


def options(*listed: Callable[[F], F]) -> Callable[[F], F]:
    """Several options in the order in which help shows them."""

    def added(command: F) -> F:
        for option in reversed(listed):
            command = option(command)
        return command

    return added


def source_of(
    way: RunOptions, repo: str, limits: Options, windows: tuple[Window, ...], given: Mapping[str, Any]
) -> tuple[Sync, Listeners]:
    """The repository that a command line means, and who is told of its commits."""
    from ..errors import Usage
    from ..gitops.notify import Listeners
    from ..gitops.repository import Repository, Trust, checked_path, checked_ref, checked_url
    from ..gitops.sync import Sync
    from ..log.writer import make_directory
    from .runs import Terminal

    own = dict(given)
    signers, home, unsigned = (own.pop(key) for key in ("allowed_signers", "gpg_home", "allow_unsigned"))
    if not (signers or home or unsigned):
        raise Usage("say whose commits count: --allowed-signers FILE or --gpg-home DIR; or --allow-unsigned")
    ref, inside, credentials, key = (own.pop(name) for name in ("ref", "inside", "credentials", "ssh_key"))
    allowed = {name: own.pop(name) for name in ("allow_empty", "allow_rewind", "prune")}
    listeners = Listeners(**own)
    listeners.check()
    state = os.path.dirname(os.path.abspath(way.place.log_path()))
    make_directory(state)
    directory = os.path.join(state, "git")
    make_directory(directory)
    source = Repository(directory, checked_url(repo), credentials=credentials, ssh_key=key)
    trust = Trust(signers, home, unsigned)
    one = Sync(
        way.place, Terminal(way), source, checked_ref(ref), checked_path(inside), trust, windows, limits,
        **allowed, patience=way.patience,
    )  # fmt: skip
    return one, listeners


@click.command()
@click.option("--repo", required=True, metavar="URL", help="https://, ssh://, user@host:path, or an absolute path.")
@options(*OF_REPOSITORY, *UNATTENDED)
@click.option("--interval", metavar="TIME", callback=duration, help="Stay, and look again after this time, as in 5m.")
@click.option("--lock-timeout", type=float, default=60.0, metavar="SECONDS", help="Wait for another run.")
@shared
@click.pass_context
def sync(
    ctx: click.Context,
    /,
    root: str | None,
    log_file: str | None,
    style: str,
    repo: str,
    interval: float | None,
    lock_timeout: float,
    windows: tuple[str, ...],
    max_changes: int | None,
    max_removals: int | None,
    max_paths: int | None,
    skip_blocked: bool,
    **given: Any,
) -> int:
    """Apply what a git repository asks for, each commit once. Never asks.

    Example: reconciler sync --repo https://git.example.org/ops/hosts.git --allowed-signers /etc/reconciler/signers
    """
    from ..gitops.windows import Window

    way = RunOptions(place_of(ctx, root, log_file), style, yes=True, skip_conflicts=True, patience=lock_timeout)
    limits = way.options(
        skip_blocked=skip_blocked, max_changes=max_changes, max_removals=max_removals, max_paths=max_paths
    )
    one, listeners = source_of(way, repo, limits, tuple(map(Window.parse, windows)), given)
    if interval is None:
        turn = one.turn()
        say(one, style, listeners, turn)
        return turn.code
    return _stay(one, style, listeners, interval)


def say(one: Sync, style: str, listeners: Listeners, turn: Turn, *, quiet: bool = False) -> None:
    """Tell whoever runs this (unless ``quiet``), and everybody who listens, what came of a turn."""
    from ..engine.survey import facts
    from ..gitops.notify import tell, write_status
    from .runs import show_ended

    if turn.ended is not None:
        show_ended(turn.ended, style)
    if quiet:
        pass
    elif style == "json" and turn.run is None:
        shape = {"state": turn.state, "message": turn.message, "commit": turn.commit, "run": turn.run}
        print_json({"format_version": "1.0", **shape})
    else:
        talk(f"sync: {turn.message}")
    outcome = {
        "format_version": "1.0",
        "state": turn.state,
        "message": turn.message,
        "repository": one.repository.url,
        "ref": one.ref,
        "commit": turn.commit,
        "run": turn.run,
        "host": facts(one.place.observer())["hostname"] or "unknown",
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    # A status of a commit is set once, and not at every look.
    news = _news(one, listeners, outcome)
    others = listeners if news is not None else replace(listeners, webhook=None, github=None, gitlab=None)
    problems = tell(others, outcome)
    for problem in problems if not quiet else ():
        talk(f"sync: could not be told: {problem}")
    if news is not None and not problems:
        write_status(*news)


def _news(one: Sync, listeners: Listeners, outcome: Json) -> tuple[str, Json] | None:
    """Where to keep what is told now, and that, unless it was told before."""
    who = hashlib.sha256(repr((one.path, one.ref, listeners)).encode()).hexdigest()[:12]
    path = f"{one.repository.place}.{who}.told"
    same = {key: outcome[key] for key in ("state", "commit")}
    if outcome["commit"] is None:
        same["message"] = outcome["message"]
    with suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        if json.load(file) == same:
            return None
    return path, same


class _Stop(Exception):
    """Somebody wants this to end, or to look at once."""


def _stay(one: Sync, style: str, listeners: Listeners, interval: float) -> int:
    """Look again and again; a repository that cannot be reached is tried less and less often."""
    state = {"stop": False, "waiting": False, "again": False}

    def end(number: int, frame: Any) -> None:  # noqa: ARG001 - a handler gets both
        state["stop"] = True
        if state["waiting"]:
            raise _Stop

    def again(number: int, frame: Any) -> None:  # noqa: ARG001
        state["again"] = True
        if state["waiting"]:
            raise _Stop

    signal.signal(signal.SIGHUP, again)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    last, failures = "", 0
    while not state["stop"]:
        turn = one.turn()
        failures = failures + 1 if turn.code else 0
        say(one, style, listeners, turn, quiet=turn.message == last)
        last = turn.message
        wait = interval if not failures else max(interval, min(interval * 2 ** (failures - 1), LONGEST))
        try:
            state["waiting"] = True
            if not state["stop"] and not state["again"]:
                time.sleep(wait)
        except _Stop:
            pass
        finally:
            state["again"] = False
            state["waiting"] = False
    return 0


@click.command()
@click.option("--why", required=True, metavar="TEXT", help="The reason; it is an event, and shown to everybody.")
@shared
@click.pass_context
def suspend(ctx: click.Context, root: str | None, log_file: str | None, style: str, why: str) -> int:
    """Stop unattended runs (sync, watch) on this host until 'reconciler resume'.

    Example: reconciler suspend --why 'migration, ticket 4711'
    """
    from ..app.run import record
    from ..errors import Usage
    from ..formats.text import printable

    if not why.strip():
        raise Usage("--why needs a reason that others understand")
    way = RunOptions(place_of(ctx, root, log_file), style)
    run = record(way.place, "suspend", {}, "suspended", {"v": 1, "why": printable(why.strip())})
    if style == "json":
        print_json({"format_version": "1.0", "run": run, "suspended": printable(why.strip())})
    else:
        click.echo(f"{run}: unattended runs are suspended until 'reconciler resume'")
    return 0


@click.command()
@shared
@click.pass_context
def resume(ctx: click.Context, root: str | None, log_file: str | None, style: str) -> int:
    """Let unattended runs go on, with what was held back after a rollback too.

    Example: reconciler resume
    """
    from ..app.run import record
    from ..engine.survey import ledger_of

    way = RunOptions(place_of(ctx, root, log_file), style)
    ledger = ledger_of(way.place.reader())
    back = sorted(ledger.held_back)
    run = record(way.place, "resume", {}, "resumed", {"v": 1, "input": back}) if ledger.suspended or back else None
    if style == "json":
        print_json({"format_version": "1.0", "run": run, "resumed": back})
    elif run is None:
        click.echo("nothing is suspended or held back")
    else:
        listed = f"; not held back any more: {', '.join(name[:19] for name in back)}" if back else ""
        click.echo(f"{run}: unattended runs go on{listed}")
    return 0
