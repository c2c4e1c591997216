"""watch: stays, applies edits of the desired files, and repairs drift."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..app.place import Place
from ._common import RunOptions, duration, place_of, shared
from ._repository import OF_REPOSITORY, UNATTENDED, options, source_of

if TYPE_CHECKING:
    from ..gitops.sync import Sync
    from ..model import Json
    from ..watching.notify import Teller
    from ..watching.sources import Follower, Source

RANK = 80


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--once", is_flag=True, help="Look at everything once, repair, and end.")
@click.option(
    "--dry-run", "--check", "--noop", "--what-if", "dry_run", is_flag=True, help="Only tell; nothing is written."
)
@click.option("--full-look", default="30m", callback=duration, metavar="TIME", help="Look at everything so often; 30m.")
@click.option("--because", metavar="TEXT", help="With --once: what happened, as a package manager's hook says it.")
@click.option("--metrics-file", metavar="FILE", help="Write metrics for node_exporter's textfile collector.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve metrics on this port of 127.0.0.1.")
@click.option("--cloudevents", metavar="-|FILE|URL", help="Send every event of the log as a CloudEvent.")
@click.option("--cloudevents-secret", metavar="FILE", help="Sign what goes to a URL with the secret in this file.")
@click.option("--otel", is_flag=True, help="Send traces and logs by OpenTelemetry, as its OTEL_… variables say.")
@click.option("--repo", metavar="URL", help="Follow this git repository as sync does, in place of PATH.")
@click.option("--interval", default="1m", callback=duration, metavar="TIME", help="Look at it so often; 1m by default.")
@options(*OF_REPOSITORY, *UNATTENDED)
@shared
@click.pass_context
def watch(
    ctx: click.Context,
    /,
    root: str | None,
    log_file: str | None,
    style: str,
    paths: tuple[str, ...],
    once: bool,
    dry_run: bool,
    full_look: float,
    because: str | None,
    metrics_file: str | None,
    metrics_port: int | None,
    cloudevents: str | None,
    cloudevents_secret: str | None,
    otel: bool,
    repo: str | None,
    interval: float,
    windows: tuple[str, ...],
    max_changes: int | None,
    max_removals: int | None,
    max_paths: int | None,
    skip_blocked: bool,
    **given: Any,
) -> int:
    """Stay: apply edits of the desired files, and repair drift within a second. Never asks.

    Example: reconciler watch /etc/reconciler/desired
    """
    from ..errors import Usage
    from ..formats.text import printable
    from ..gitops.windows import Window
    from ..watching.event_sources import Eyes
    from ..watching.notify import Manager, StateFile, Voice
    from ..watching.reconcile import Reconciler, Settings
    from ..watching.sources import Files, Kept
    from ..watching.watcher import Watcher

    if because is not None and not once:
        raise Usage("--because says why there is one look; it needs --once")
    if repo is not None and paths:
        raise Usage("--repo takes the desired state from a repository; give no paths beside it")
    if repo is not None and dry_run:
        raise Usage("a repository is applied as its commits say; look first with 'reconciler plan' in its files")
    place = place_of(ctx, root, log_file)
    way = RunOptions(place, style, yes=True, skip_conflicts=True, patience=60.0)
    limits = way.options(
        skip_blocked=skip_blocked, max_changes=max_changes, max_removals=max_removals, max_paths=max_paths
    )
    spans = tuple(map(Window.parse, windows))
    source: Source = Files(paths)
    follow: Follower | None = None
    for path in paths or (("desired",) if repo is None else ()):
        if not os.path.exists(path):
            raise Usage(f"{printable(path)}: there is no such file or directory")
    if repo is not None:
        one, _ = source_of(way, repo, limits, spans, given)
        source, follow = _followed(ctx, one, interval)
    state = os.path.dirname(os.path.abspath(place.log_path()))
    stem = os.path.splitext(os.path.basename(place.log_path()))[0]
    if not dry_run:
        place.state()
    tellers: list[Teller] = [Voice(style)]
    tellers += _tellers(place, os.path.join(state, stem), metrics_file, metrics_port, cloudevents, cloudevents_secret)
    if otel:
        from ..watching.traces import Traces

        tellers.append(Traces(place.observer()))
    if not (dry_run or once):
        tellers.append(StateFile(os.path.join(state, f"{stem}.watch")))
    manager = Manager()

    upgraded = printable(because) if because else ""
    turns = Reconciler(place, Settings(limits, spans, dry_run, upgraded), manager.ping)
    watcher = Watcher(
        turns,
        source,
        Eyes(live=place.root is None),
        tellers=tellers,
        manager=manager,
        kept=None if dry_run else Kept(os.path.join(state, f"{stem}.desired")),
        log_path=os.path.abspath(place.log_path()),
        full=full_look,
        follow=follow,
    )
    if once:
        return watcher.alone()
    if dry_run:
        return watcher.run()
    with alone(f"{os.path.join(state, stem)}.watching"):
        return watcher.run()


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Hold what only one watch of a host and log can hold; the kernel frees it, however that ends."""
    from ..errors import Busy

    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(fd, 20).decode("ascii", "replace")
            who = who if who.isdecimal() else "that cannot be named"
            raise Busy(f"another watch of this host runs: process {who}; 'systemctl stop reconciler-watch'") from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        yield
    finally:
        os.close(fd)


def _followed(ctx: click.Context, one: Sync, interval: float) -> tuple[Source, Follower]:
    """What a repository's last commit that was applied says, and the sync that looks whether there is another one."""
    from ..gitops.verdict import last_of
    from ..watching.sources import STAYING, Applied, Follower

    url = one.repository.url

    def last() -> tuple[Mapping[str, bytes], Json] | None:
        run = last_of(one.place.ledger(), url, one.path)
        if run is None or run.commit is None or run.outcome not in ("converged", "unchanged", "partial"):
            return None
        return one.repository.read(run.commit, one.path), run.origin

    inner = os.path.join(url, ".git") if os.path.isdir(os.path.join(url, ".git")) else url
    refs = ("packed-refs", f"refs/heads/{one.ref}", one.ref)
    paths = tuple(os.path.join(inner, name) for name in refs) if url.startswith("/") else ()
    own = {"once", "dry_run", "full_look", "because", "metrics_file", "metrics_port", "cloudevents", "otel", "interval"}
    own |= {"cloudevents_secret", "paths", "root", "log_file"}
    words = [sys.executable, "-B", "-m", "reconciler", *one.place.words(), "sync", f"{STAYING}{interval:.0f}s"]
    for option in ctx.command.params:
        given = ctx.params.get(str(option.name))
        if option.name in own or not given:
            continue
        for value in given if isinstance(given, tuple) else (given,):
            words += [option.opts[0]] if value is True else [f"{option.opts[0]}={value}"]
    return Applied(last, paths), Follower(words)


def _tellers(
    place: Place, stem: str, file: str | None, port: int | None, events: str | None, secret: str | None
) -> list[Any]:
    """Whoever else wants to be told."""
    found: list[Any] = []
    if file is not None or port is not None:
        from ..watching.metrics import Metrics

        found.append(Metrics(place.reader, file, port))
    if events is not None:
        from ..watching.cloudevents import CloudEvents

        found.append(CloudEvents(place.reader, events, f"{stem}.delivered", place.observer(), secret))
    return found
