"""The commands by name, and how errors leave the program."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import click

from .. import __version__
from ..errors import Mistakes, ReconcilerError


@cache
def commands() -> tuple[str, ...]:
    """The names of all commands: one file each, found by looking in this folder."""
    import reconciler.cli as here

    found = (module.name for module in iter_modules(here.__path__))
    return tuple(name.replace("_", "-") for name in found if not name.startswith("_"))


def module_of(name: str) -> Any:
    """The file of a command; its ``RANK`` says where the command stands in the help."""
    return import_module(f"{__package__}.{name.replace('-', '_')}")


class Lazy(click.Group):
    """A group that imports a command's file when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of a first day's work."""
        return sorted(commands(), key=lambda name: int(module_of(name).RANK))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in commands():
            return None
        word = cmd_name.replace("-", "_")
        found = getattr(module_of(cmd_name), f"{word}_" if word in dir(builtins) else word)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """As click does, with the nearest known word for a misspelt one."""
        if args and args[0] not in commands() and not args[0].startswith("-"):
            from ..desired.words import nearest

            raise click.UsageError(f"no command {args[0]!r}; {nearest(args[0], commands())}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="reconciler")
@click.option("--root", metavar="DIR", help="Work on an unpacked or mounted file system instead of this host.")
@click.option("--log", "log_file", metavar="FILE", help="The event log; /var/lib/reconciler/events.db by default.")
@click.option("--debug", is_flag=True, help="Show where in the program an unexpected error came from.")
@click.pass_context
def cli(ctx: click.Context, root: str | None, log_file: str | None, debug: bool) -> None:
    """Least privilege for other people's agents: plan, apply, prove and undo.

    Start with: reconciler plan desired/
    """
    ctx.obj = {"root": root, "log": log_file, "debug": debug}


def run(arguments: Sequence[str]) -> int:
    """Run a command line and answer its exit code; no traceback reaches the user without --debug."""
    place = _exec_at(arguments)
    # What stands behind exec belongs to the program that it starts.
    ours, its = (arguments, ()) if place is None else (arguments[: place + 1], arguments[place + 1 :])
    words, debug = [*(word for word in ours if word != "--debug"), *its], "--debug" in ours
    return _run(words, debug=debug, trouble=_as_env if place is not None else lambda code: code)


def _exec_at(arguments: Sequence[str]) -> int | None:
    """Where the command exec stands, if that is the command."""
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        index += 2 if arguments[index] in ("--root", "--log") else 1
    return index if index < len(arguments) and arguments[index] == "exec" else None


def _as_env(code: int) -> int:
    """Our own trouble as env(1) tells it, so that it is not taken for the program's exit code."""
    return code if code in (125, 126, 127) else 125


def _run(words: list[str], *, debug: bool, trouble: Callable[[int], int]) -> int:
    try:
        code = cli.main(words, prog_name="reconciler", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return trouble(64)
    except click.Abort:
        click.echo("stopped; nothing was changed", err=True)
        return trouble(1)
    except click.ClickException as error:
        error.show()
        return trouble(64)
    except ReconcilerError as error:
        if debug:
            raise
        click.echo(str(error) if isinstance(error, Mistakes) else f"reconciler: {error}", err=True)
        return trouble(error.exit_code)
    except KeyboardInterrupt:
        click.echo("reconciler: interrupted; the next run settles what was under way", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if debug:
            raise
        text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        click.echo(
            f"reconciler: unexpected: {text.encode('unicode_escape').decode()}; run again with --debug and report it",
            err=True,
        )
        return trouble(1)
    return code if isinstance(code, int) else 0
