"""sync: the desired state from a git repository, each commit once."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ._common import RunOptions, duration, place_of, print_json, shared, talk

if TYPE_CHECKING:
    from ..gitops.notify import Listeners
    from ..gitops.sync import Sync, Turn
    from ..model import Json
from ._repository import OF_REPOSITORY, UNATTENDED, options, source_of

RANK = 70
LONGEST = 3600.0
"""The longest wait between two tries at a repository that cannot be reached, in seconds."""


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
    from ..gitops.notify import tell, write_status
    from ._terminal import show_ended

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
        "host": one.place.facts()["hostname"] or "unknown",
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
