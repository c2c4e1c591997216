"""exec: a component of an agent, or any program, as the account that it is to run as."""

from __future__ import annotations

import os
import shlex

import click

from ._common import located, place_of, talk

RANK = 250


class Words(click.Command):
    """Everything behind the component belongs to the component."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, remembering whether ``--`` was there."""
        ctx.allow_interspersed_args = False
        return super().parse_args(ctx, args)


@click.command("exec", cls=Words)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@located
@click.option("--as", "account", metavar="ACCOUNT", help="Run any program as this account: exec --as A -- PROGRAM.")
@click.option("--mapped", metavar="ROLE:USER@HOST", help="Run it as whom the RSCD agent's files map this caller to.")
@click.option("--dir", "directory", metavar="DIR", help="With --mapped: where the agent's files are.")
@click.option("--trace", metavar="FILE", help="Receives what it prints; %p is its process, %n its name.")
@click.option("--print", "only_print", is_flag=True, help="Only print the equivalent sudo and su lines.")
@click.option("--cwd", metavar="DIR", help="Start there; by default at home, or in /.")
@click.option("--umask", default="027", metavar="OCTAL", help="The umask; 027 by default.")
@click.option("--limit", "limited", multiple=True, metavar="NAME=N", help="A resource limit, as in nofile=1024.")
@click.option(
    "--env", "given", multiple=True, metavar="NAME=VALUE", help="One more variable; nothing of yours gets through."
)
@click.pass_context
def exec_(
    ctx: click.Context,
    words: tuple[str, ...],
    root: str | None,
    log_file: str | None,
    account: str | None,
    mapped: str | None,
    directory: str | None,
    trace: str | None,
    only_print: bool,
    cwd: str | None,
    umask: str,
    limited: tuple[str, ...],
    given: tuple[str, ...],
) -> int:
    """Start a component of an agent as its service account, with nothing of root left.

    Groups, user, capabilities, environment, keyring, terminal: all are the account's.  The exit code is the
    component's; 125 is ours, 126 and 127 as with env.

    Example: reconciler exec ndtrack -t machine
    """
    from ..app.exec import Start, checked, launch

    place = place_of(ctx, root, log_file)
    asked = Start(words, account, mapped, directory, trace, cwd, umask, limited, given)
    who, called, program = checked(place, asked)
    if only_print:
        equivalent(who.name, who.shell, (program, *words[1:]))
        return 0
    return launch(place, asked, who, called, program, talk)


def equivalent(name: str, shell: str, argv: tuple[str, ...]) -> None:
    """The lines that do about the same by other means."""
    from ..errors import Refused
    from ..formats.text import printable

    if any(printable(word) != word for word in argv):
        raise Refused(
            "an argument holds control characters or bytes that are no text; no line of shell shows it safely"
        )
    line = shlex.join(argv)
    click.echo(f"sudo -u {shlex.quote(name)} {line}")
    click.echo(f"su - {shlex.quote(name)} -c {shlex.quote(line)}")
    if os.path.basename(shell) in ("nologin", "false"):
        talk(f"the su line will fail: the shell of {name} is {printable(shell)}")
