"""What commands share: options, opening a host and its log, asking, who is acting."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..app.place import Place
from ..errors import Usage
from ..model import Json

if TYPE_CHECKING:
    from ..core.options import Options

F = TypeVar("F", bound=Callable[..., Any])


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


def place_of(ctx: click.Context, root: str | None, log_file: str | None) -> Place:
    """The host and the log that a command line means: what is said at a command counts before what is said above."""
    above = ctx.find_root().obj or {}
    return Place(above.get("root") if root is None else root, above.get("log") if log_file is None else log_file)


@dataclass(frozen=True)
class RunOptions:
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
        from ..core.options import Options

        return Options(force=self.force, skip_conflicts=self.skip_conflicts, all_paths=self.all_paths, **more)


def writing(command: Callable[..., int]) -> Callable[..., int]:
    """The options of every command that changes a host; the command gets them as one `RunOptions`."""

    def gathered(ctx: click.Context, root: str | None, log_file: str | None, lock_timeout: float, **given: Any) -> int:
        own = {key: given.pop(key) for key in [f.name for f in fields(RunOptions)] if key in given}
        return command(RunOptions(place_of(ctx, root, log_file), patience=lock_timeout, **own), **given)

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
    from ..report._text import Paint

    return Paint(sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


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
