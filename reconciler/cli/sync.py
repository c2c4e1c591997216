"""sync: the desired state from a git repository, each commit once; suspend and resume."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .common import F, Place, Way, duration, print_json, shared, started, talk

if TYPE_CHECKING:
    from ..engine import Engine
    from ..gitops.repository import Commit, Repository, Trust
    from ..gitops.telling import Listeners
    from ..gitops.windows import Window
    from ..model import Json
    from ..survey import Options

LONGEST = 3600.0
"""The longest wait between two tries at a repository that cannot be reached, in seconds."""


@dataclass(frozen=True)
class Turn:
    """What came of one look at the repository."""

    state: str
    """ok, waiting or failed."""
    message: str
    code: int
    commit: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class Sync:
    """One repository and what it may do to this host."""

    way: Way
    repository: Repository
    ref: str
    path: str
    trust: Trust
    windows: tuple[Window, ...]
    options: Options
    allow_empty: bool
    allow_rewind: bool
    prune: bool

    def turn(self) -> Turn:
        """Look once; apply what is new."""
        from ..errors import ReconcilerError
        from ..gitops.repository import Commit, SourceError

        commit: Commit | None = None
        try:
            if (why := self._paused()) is not None:
                return Turn("waiting", why, 0)
            with self.repository.held():
                commit = Commit(self.repository.url, self.ref, self.repository.fetch(self.ref), None)
                return self._decided(commit)
        except SourceError as error:
            with suppress(ReconcilerError):  # where another run holds the log, the next look tells it
                self._failed(str(error))
            return Turn("failed", f"{error}; what was applied last stays in force", error.exit_code)
        except ReconcilerError as error:
            return Turn("failed", str(error), error.exit_code, commit.id if commit else None)

    def _paused(self) -> str | None:
        from ..gitops.verdict import paused
        from ..survey import ledger_of

        return paused(ledger_of(self.way.place.reader()))

    def _decided(self, commit: Commit) -> Turn:
        from ..gitops.verdict import last_of, refuse_rewind, skipped
        from ..gitops.windows import opens
        from ..survey import ledger_of

        ledger = ledger_of(self.way.place.reader())
        if self.repository.url in ledger.failing:
            put_down(self.way, "sync", {"reached": [self.repository.url]})
        if (why := skipped(ledger, commit, self.path)) is not None:
            last = last_of(ledger, commit.repository, self.path)
            well = last is not None and last.outcome in ("converged", "unchanged")
            state = "waiting" if commit.id in ledger.held_back else "ok" if well else "failed"
            return Turn(state, why, 0, commit.id)
        refuse_rewind(ledger, commit, self.path, self.repository.follows, allowed=self.allow_rewind)
        commit = replace(commit, signer=self.repository.signer(self.ref, commit.id, self.trust))
        opening = opens(self.windows, datetime.now(UTC))
        if opening is not None:
            when = opening.astimezone().strftime("%a %Y-%m-%d %H:%M %Z")
            return Turn("waiting", f"commit {commit.id[:12]} waits for the maintenance window: {when}", 0, commit.id)
        return self._applied(commit)

    def _applied(self, commit: Commit) -> Turn:
        from ..errors import Refused
        from ..gitops.verdict import last_of, paused, skipped
        from ..guards import nothing_awaited
        from ..survey import ledger_of
        from ..wanted import Wanted
        from .promise import approved
        from .runs import carry_out

        approved(self.way.place, None)
        contents = self.repository.read(commit.id, self.path)
        if not contents and not self.allow_empty:
            where = self.path or "the repository"
            raise Refused(
                f"{self.repository.url}: {where} holds no .yaml file at {commit.id[:12]}; --allow-empty takes that"
            )
        wanted = Wanted(
            self.way.place.observer(), (), prune=self.prune, contents=contents, origin=commit.origin(self.path)
        )

        def prepare(engine: Engine) -> tuple[Any, Json, Mapping[str, Json]]:
            # Once more under the lock: another run may have been quicker.
            if (why := paused(engine.ledger) or skipped(engine.ledger, commit, self.path)) is not None:
                raise Refused(why)
            nothing_awaited(engine)
            found = wanted.prepare(engine)
            if not wanted.documents and not wanted.unknown and engine.ledger.deployments() and not self.allow_empty:
                held = ", ".join(engine.ledger.deployments())
                raise Refused(f"nothing in commit {commit.id[:12]} is for this host, which holds {held}; --allow-empty")
            return found

        signed = f"signed by {commit.signer}" if commit.signer else "not signed"
        talk(f"sync: commit {commit.id[:12]} of {commit.ref}, {signed}")
        code = carry_out(self.way, "sync", prepare, self.options, wanted.examine)
        run = last_of(ledger_of(self.way.place.reader()), self.repository.url, self.path)
        outcome = run.outcome if run else None
        name = run.id if run else None
        return Turn("ok" if code == 0 else "failed", f"{name}: {outcome}", code, commit.id, name)

    def _failed(self, why: str) -> None:
        """Say in the log, once, that the repository cannot be read."""
        from ..survey import ledger_of

        if self.repository.url not in ledger_of(self.way.place.reader()).failing:
            told = {"v": 1, "repository": self.repository.url, "ref": self.ref, "error": why}
            put_down(self.way, "sync", {}, "source.failed", told)


def put_down(way: Way, verb: str, more: Mapping[str, Json], type_: str | None = None, data: Json = None) -> str:
    """A run for the log alone."""
    from ..engine import Engine
    from ..guards import intact
    from ..survey import facts

    with way.place.writer(verb, max(way.patience, 10.0)) as log:
        intact(log)
        engine = Engine(way.place.host(), log)
        return engine.put_down(started(verb, way.place, facts(engine.host), deployments=[], **more), type_, data)


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
    way: Way, repo: str, limits: Options, windows: tuple[Window, ...], given: Mapping[str, Any]
) -> tuple[Sync, Listeners]:
    """The repository that a command line means, and who is told of its commits."""
    from ..errors import Usage
    from ..gitops.repository import Repository, Trust, checked_path, checked_ref, checked_url
    from ..gitops.telling import Listeners
    from ..log.writer import make_directory

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
    return Sync(way, source, checked_ref(ref), checked_path(inside), trust, windows, limits, **allowed), listeners


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

    way = Way(Place(ctx, root, log_file), style, yes=True, skip_conflicts=True, patience=lock_timeout)
    limits = way.options(
        skip_blocked=skip_blocked, max_changes=max_changes, max_removals=max_removals, max_paths=max_paths
    )
    one, listeners = source_of(way, repo, limits, tuple(map(Window.parse, windows)), given)
    if interval is None:
        turn = one.turn()
        say(one, listeners, turn)
        return turn.code
    return _stay(one, listeners, interval)


def say(one: Sync, listeners: Listeners, turn: Turn, *, quiet: bool = False) -> None:
    """Tell whoever runs this (unless ``quiet``), and everybody who listens, what came of a turn."""
    from ..gitops.telling import tell, write_status
    from ..survey import facts

    if quiet:
        pass
    elif one.way.style == "json" and turn.run is None:
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
        "host": facts(one.way.place.observer())["hostname"] or "unknown",
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


def _stay(one: Sync, listeners: Listeners, interval: float) -> int:
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
        say(one, listeners, turn, quiet=turn.message == last)
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
    from ..errors import Usage
    from ..host.resolve import printable

    if not why.strip():
        raise Usage("--why needs a reason that others understand")
    way = Way(Place(ctx, root, log_file), style)
    run = put_down(way, "suspend", {}, "suspended", {"v": 1, "why": printable(why.strip())})
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
    from ..survey import ledger_of

    way = Way(Place(ctx, root, log_file), style)
    ledger = ledger_of(way.place.reader())
    back = sorted(ledger.held_back)
    run = put_down(way, "resume", {}, "resumed", {"v": 1, "input": back}) if ledger.suspended or back else None
    if style == "json":
        print_json({"format_version": "1.0", "run": run, "resumed": back})
    elif run is None:
        click.echo("nothing is suspended or held back")
    else:
        listed = f"; not held back any more: {', '.join(name[:19] for name in back)}" if back else ""
        click.echo(f"{run}: unattended runs go on{listed}")
    return 0
