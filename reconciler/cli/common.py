"""What commands share: options, opening a host and its log, asking, who is acting."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .. import __version__
from ..errors import HostError, Usage
from ..model import Json

if TYPE_CHECKING:
    from ..survey import Options

F = TypeVar("F", bound=Callable[..., Any])
STATE = "/var/lib/reconciler/events.db"


def located(command: F) -> F:
    """--root and --log: accepted before and after the command."""
    command = click.option("--root", metavar="DIR", help="Work on a file system below DIR.")(command)
    return click.option("--log", "log_file", metavar="FILE", help="The event log.")(command)


def shared(command: F) -> F:
    """--root, --log and --format."""
    return click.option(
        "--format", "style", type=click.Choice(["text", "json"]), default="text", help="How to print data."
    )(located(command))


def anywhere(command: F) -> F:
    """--root and --log where no host is looked at: accepted, so that one habit fits every command."""
    command = click.option("--root", expose_value=False, hidden=True)(command)
    return click.option("--log", expose_value=False, hidden=True)(command)


class Place:
    """The host and the log that a command line means."""

    def __init__(self, ctx: click.Context, root: str | None, log_file: str | None) -> None:
        above = ctx.find_root().obj or {}
        self.root: str | None = above.get("root") if root is None else root
        self.given_log: str | None = above.get("log") if log_file is None else log_file
        if self.root == "" or self.given_log == "":
            raise Usage("--root and --log need a path, and got an empty text")
        if self.root is not None and os.path.realpath(self.root) == "/":
            self.root = None

    def observer(self) -> Any:
        """The read-only half of the host."""
        if self.root is None:
            from ..host.live import LiveObserver

            return LiveObserver()
        from ..host.files import FileObserver

        return FileObserver(self.root)

    def host(self) -> Any:
        """The whole host."""
        if self.root is None:
            from ..host.live import LiveHost

            return LiveHost()
        from ..host.files import FileHost

        return FileHost(self.root)

    def log_path(self) -> str:
        """The event log's path; in a root directory no link leads out of it."""
        if self.given_log:
            return self.given_log
        if self.root is None:
            return STATE
        inner = self.observer().canonical(os.path.dirname(STATE))
        place = os.path.abspath(self.root)
        for part in inner.strip("/").split("/"):
            place = os.path.join(place, part)
            if os.path.islink(place):
                raise HostError(
                    f"{place}: a link that leads nowhere inside the root; make its target, or name the log with --log"
                )
        return os.path.join(place, os.path.basename(STATE))

    def reader(self) -> Any:
        """The log, to be read."""
        from ..log.store import LogReader

        return LogReader(self.log_path())

    @contextmanager
    def writer(self, doing: str, patience: float) -> Iterator[Any]:
        """The log under its lock."""
        from ..log.writer import LogWriter

        log = LogWriter(self.log_path(), doing, patience)
        try:
            yield log
        finally:
            log.close()

    def words(self) -> list[str]:
        """The options that lead another process to the same host and log."""
        root = ["--root", os.path.abspath(self.root)] if self.root else []
        return root + (["--log", os.path.abspath(self.given_log)] if self.given_log else [])

    def identity(self, facts: dict[str, str | None]) -> Json:
        """The host as plans and events name it."""
        return {"name": facts.get("hostname") or "unknown", "id": facts.get("machine_id") or "unknown"}


@dataclass(frozen=True)
class Way:
    """How a run that changes a host is to go, as the command line says."""

    place: Place
    style: str
    dry_run: bool = False
    yes: bool = False
    force: bool = False
    skip_conflicts: bool = False
    all_paths: bool = False
    accept: bool = False
    patience: float = 0.0

    def options(self, **more: Any) -> Options:
        """What the survey and the engine have to know of it, and ``more``."""
        from ..survey import Options

        return Options(force=self.force, skip_conflicts=self.skip_conflicts, all_paths=self.all_paths, **more)


def writing(command: Callable[..., int]) -> Callable[..., int]:
    """The options of every command that changes a host; the command gets them as one `Way`."""

    def gathered(ctx: click.Context, root: str | None, log_file: str | None, lock_timeout: float, **given: Any) -> int:
        own = {key: given.pop(key) for key in [f.name for f in fields(Way)] if key in given}
        return command(Way(Place(ctx, root, log_file), patience=lock_timeout, **own), **given)

    options = (
        click.option(
            "--dry-run", "--check", "--noop", "--what-if", "dry_run", is_flag=True,
            help="Only show what would be done.",
        ),
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--force", is_flag=True, help="Take conflicts: what others changed is recorded and replaced."),
        click.option("--skip-conflicts", is_flag=True, help="Leave what others changed; exit 5."),
        click.option("--all-paths", is_flag=True, help="List every path of a tree that differs."),
        click.option(
            "--accept-tampered-log", "accept", is_flag=True,
            help="Go on although 'log verify' finds problems; the decision becomes an event.",
        ),
        click.option("--lock-timeout", type=float, default=0.0, metavar="SECONDS", help="Wait for another run."),
    )  # fmt: skip
    functools.update_wrapper(gathered, command)
    found: Callable[..., int] = click.pass_context(gathered)
    for option in options:
        found = option(found)
    return shared(found)


def paint() -> Any:
    """Colours on a terminal, unless NO_COLOR says otherwise."""
    from ..report.text import Paint

    return Paint(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def actor() -> Json:
    """Who runs this: user, login user, the user behind sudo, terminal."""
    login = None
    with suppress(OSError, ValueError), open("/proc/self/loginuid", encoding="ascii") as file:
        number = int(file.read())
        login = None if number == 0xFFFFFFFF else number
    terminal = None
    with suppress(OSError):
        terminal = os.ttyname(0)
    return {
        "uid": os.getuid(),
        "login_uid": login,
        "sudo_user": os.environ.get("SUDO_USER"),
        "terminal": terminal,
    }


def started(verb: str, place: Place, facts: dict[str, str | None], **more: Json) -> dict[str, Json]:
    """What the first event of a run says."""
    return {
        "v": 1,
        "verb": verb,
        "actor": actor(),
        "command": [word.encode("utf-8", "backslashreplace").decode() for word in sys.argv[1:]],
        "version": __version__,
        "host": place.identity(facts),
        "commit": None,
        **more,
    }


def confirm(question: str, *, yes: bool) -> None:
    """Ask on a terminal; elsewhere --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Usage("there is no terminal to ask on; say --yes, or look first with --dry-run")
    if not click.confirm(question, default=False, err=True):
        raise click.Abort


def duration(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:  # noqa: ARG001
    """A time span on the command line, in seconds: 90s, 10m, 2h, 1d."""
    if value is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = value[:-1], value[-1:]
    plain = unit in units and number.isascii() and number.isdecimal() and len(number) < 9
    seconds = int(number) * units[unit] if plain else 0
    if not 0 < seconds <= 366 * 86400:
        raise click.BadParameter(f"{value!r} is no time span of at most a year; write it like 90s, 10m or 2h")
    return float(seconds)


def write_fresh(option: str, path: str, data: bytes, mode: int = 0o644) -> None:
    """Write a file that the user named; an existing one is replaced, and no link is followed."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError as error:
        raise Usage(f"{option} {path}: cannot be written: {(error.strerror or '').lower()}") from None


def print_json(value: Json) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def talk(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(text, err=True)
