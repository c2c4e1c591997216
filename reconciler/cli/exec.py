"""exec: a component of an agent, or any program, as the account that it is to run as."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, Any

import click

from ..app.place import Place
from ._common import located, place_of, talk

if TYPE_CHECKING:
    from ..host.become import Identity
    from ..model import Json

RANK = 250
PATIENCE = 30.0
SECRET = re.compile(r"pass|pwd|secret|token|credential|api[-_]?key|private[-_]?key|auth|bearer|cookie", re.IGNORECASE)


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
    from ..errors import Refused, Usage
    from ..host.become import Launch, die, environment, identity, limits, run

    place = place_of(ctx, root, log_file)
    if place.root is not None:
        raise Usage("exec works on the running host; no program of a root directory is executed")
    if not words:
        raise Usage("name a component, or a program behind --as ACCOUNT -- or --mapped CALLER --")
    if account is not None and mapped is not None:
        raise Usage("give --as or --mapped, not both")
    if not re.fullmatch(r"[0-7]{1,4}", umask):
        raise Usage(f"--umask {umask!r} is no octal number such as 027")
    host = place.observer()
    if trace == "":
        raise Usage("--trace needs a file's name")
    component = words[0] if account is None and mapped is None else None
    if mapped is not None:
        account = whom(place, mapped, directory)
    program, owner = located_component(place, words[0]) if component else (words[0], str(account))
    who = identity(host, owner)
    argv = (program, *words[1:])
    program = safe(host, who, program)
    if only_print:
        equivalent(who, (program, *words[1:]))
        return 0
    if os.geteuid() != 0:
        raise Refused("exec needs root, since nobody else can become another account")
    terminal = os.environ.get("TERM") if os.isatty(0) else None
    try:
        into = None if trace is None else located_trace(host, trace, program)
        env = environment(who, variables(given), terminal)
        launch = Launch(who, program, argv, env, cwd, int(umask, 8), limits(limited), into, rooted(host, into))
    except ValueError as error:
        raise Usage(str(error)) from None
    told = {
        "component": component, "account": who.name, "uid": who.uid, "gid": who.gid, "groups": list(who.groups),
        "argv": hidden((program, *words[1:])), "mapped": mapped, "trace": trace and hidden(("", trace))[1],
    }  # fmt: skip
    name = noted(place, told)
    try:
        ended = run(launch)
    except BaseException as error:
        finished(place, name, {"error": str(error)[:500]})
        raise
    finished(place, name, {"exit": ended.code} if not ended.signal else {"signal": ended.signal})
    if ended.signal:
        return die(ended.signal)
    return ended.code


def located_trace(host: Any, given: str, program: str) -> str:
    """A trace file's name in the directory that is really meant, through every link; only its process is still open."""
    from ..access.scene import Scene
    from ..errors import Refused
    from ..formats.text import printable
    from ..host.become import trace_name

    path = trace_name(os.path.join(os.getcwd(), given), os.path.basename(program))
    directory, _, name = path.rpartition("/")
    way = Scene(host).way(directory or "/")
    if way is None or way.last.type != "directory" or not name or name in (".", ".."):
        raise Refused(f"--trace {printable(path)}: its directory is not there")
    return f"{way.path.rstrip('/')}/{name}"


def rooted(host: Any, trace: str | None) -> bool:
    """Whether nobody but root can change anything in the directory of a trace file."""
    from ..access.scene import Scene

    way = Scene(host).way(os.path.dirname(trace)) if trace is not None else None
    return way is not None and way.last.type == "directory" and way.shut


def variables(given: tuple[str, ...]) -> dict[str, str]:
    """Variables from the command line."""
    found = {}
    for word in given:
        name, sign, value = word.partition("=")
        if not sign or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"--env {word!r}: write NAME=VALUE")
        found[name] = value
    return found


def located_component(place: Place, name: str) -> tuple[str, str]:
    """A component's program, where it is installed, and the account that owns it."""
    from ..access.scene import Scene
    from ..desired.expansion import fill
    from ..desired.words import nearest
    from ..engine.survey import ledger_of
    from ..errors import Refused, Usage
    from ..kinds import kinds
    from ..profiles import profiles

    known = {c: profile for profile in profiles().values() for c in profile.components}
    if name not in known:
        hint = nearest(name, known)
        raise Usage(f"no component {name!r}; {hint}. Any other program: exec --as ACCOUNT -- PROGRAM")
    profile = known[name]
    values = {key: parameter.default for key, parameter in profile.parameters.items()}
    usual = str(fill(profile.components[name].program, values))
    tops = [str(v) for k, v in values.items() if profile.parameters[k].type == "path" and usual.startswith(f"{v}/")]
    held = [a.name for a in ledger_of(place.reader()).holds if kinds().spans(a)]
    candidates = [usual, *(f"{top}{usual.removeprefix(max(tops, key=len))}" for top in held if tops)]
    scene = Scene(place.observer())
    there = [path for path in dict.fromkeys(candidates) if scene.way(path) is not None]
    if not there:
        from ..host.become import MISSING, Failed

        raise Failed(MISSING, f"{name}: not installed at {' or '.join(dict.fromkeys(candidates))}")
    if len(there) > 1:
        raise Refused(f"{name} is installed at {' and '.join(there)}; say which with exec --as ACCOUNT -- PROGRAM")
    owner = scene.owner(there[0])
    return there[0], str(owner)


def safe(host: Any, who: Identity, word: str) -> str:
    """The program, if the account may start it and nobody but root and the account decides what it is."""
    from ..access.rights import Person, rights
    from ..access.scene import Scene
    from ..errors import Refused
    from ..formats.text import printable
    from ..host.become import CANNOT, MISSING, PATH, ROOTS_PATH, Failed, find

    program = find(word, ROOTS_PATH if who.uid == 0 else PATH)
    if program is None:
        raise Failed(MISSING, f"{printable(word)}: no such program on {PATH}")
    scene = Scene(host)
    way = scene.way(os.path.join(os.getcwd(), program))
    if way is None:
        raise Failed(MISSING, f"{printable(program)}: no such file")
    if way.last.type != "file":
        raise Failed(CANNOT, f"{printable(program)}: a {way.last.type}, not a program")
    person = Person(who.name, who.uid, frozenset(who.groups))
    if "execute" not in rights(person, way.directories, way.last):
        raise Failed(CANNOT, f"{printable(program)}: {who.name} may not execute it")
    for path in (os.path.join(os.getcwd(), program), *interpreters(way.path)):
        others = {name: why for name, why in scene.changers(path).items() if name != who.name}
        if others:
            name, why = next(iter(others.items()))
            more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
            raise Refused(
                f"{printable(path)}: {name}{more} {why}, so it could be anything; it is not started as {who.name}. "
                "Make it and its directories writable by root or that account alone"
            )
    return way.path


def interpreters(program: str) -> list[str]:
    """The programs that a script is run by: what its first line names, and what that is told to look for."""
    from ..host.become import find

    found: list[str] = []
    for _ in range(4):
        try:
            with open(program, "rb") as file:
                head = file.read(256)
        except OSError:
            return found
        if not head.startswith(b"#!"):
            return found
        words = os.fsdecode(head[2:].split(b"\n")[0]).split()
        if not words:
            return found
        if os.path.basename(words[0]) == "env":
            found.append(words[0])
            words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        inner = find(words[0]) if words else None
        if inner is None:
            return found
        found.append(inner)
        program = inner
    return found


def whom(place: Place, text: str, directory: str | None) -> str:
    """The account that the RSCD agent's files map a caller to, if a plain process can stand for that."""
    from ..access.scene import Scene
    from ..errors import Refused, Usage
    from ..rscd.resolver import question, resolve
    from .mapping import Asked, Question

    try:
        caller = question(text)
    except ValueError as error:
        raise Usage(f"--mapped {error}") from None
    asked = Asked(Question(place, directory))
    scene = Scene(asked.host)
    for path in (asked.directory, *(f"{asked.directory}/{name}" for name in asked.files)):
        for name, why in scene.changers(path).items():
            raise Refused(f"{path}: {name} {why}, so that he would decide who the caller becomes; nothing is started")
    answer = resolve(asked.files, caller, asked.target)
    if answer.decision != "granted" or answer.runs_as is None:
        raise Refused(f"{caller} is {answer.decision}: {answer.steps[-1]}; see 'reconciler mapping resolve'")
    if answer.permission != "rw" or answer.limits:
        what = ", ".join(answer.limits) or "ro"
        raise Refused(
            f"{caller} is limited by {what}, which the agent enforces and a plain process would not; nothing is started"
        )
    return answer.runs_as


def equivalent(who: Identity, argv: tuple[str, ...]) -> None:
    """The lines that do about the same by other means."""
    from ..errors import Refused
    from ..formats.text import printable

    if any(printable(word) != word for word in argv):
        raise Refused(
            "an argument holds control characters or bytes that are no text; no line of shell shows it safely"
        )
    line = shlex.join(argv)
    click.echo(f"sudo -u {shlex.quote(who.name)} {line}")
    click.echo(f"su - {shlex.quote(who.name)} -c {shlex.quote(line)}")
    if os.path.basename(who.shell) in ("nologin", "false"):
        talk(f"the su line will fail: the shell of {who.name} is {printable(who.shell)}")


def hidden(argv: tuple[str, ...]) -> list[str]:
    """A command line as the log may keep it: what is called secret, and whatever stands behind that, is left out."""
    from ..formats.text import printable

    out: list[str] = []
    behind = False
    for number, word in enumerate(argv):
        name, sign, _ = word.partition("=")
        if behind and number:
            out.append("(secret)")
        elif number and SECRET.search(word):
            plain = bool(sign) and not re.search(r"\s", name)
            out.append(f"{name}=(secret)" if plain else word if re.fullmatch(r"-{1,2}[\w-]+", word) else "(secret)")
        else:
            out.append(printable(re.sub(r"(\w+://)[^/@\s]+@", r"\1(secret)@", word)))
        behind = bool(number) and re.fullmatch(r"-{1,2}[\w-]+", word) is not None and bool(SECRET.search(word))
    return out


def noted(place: Place, told: Json) -> str:
    """Say in the log what is started, before it is."""
    from ..app.run import begin

    return begin(place, "exec", {"exec": told, "command": ["exec"]}, patience=PATIENCE)


def finished(place: Place, name: str, how: Json) -> None:
    """Say in the log how it ended."""
    from ..app.run import end
    from ..errors import ReconcilerError

    try:
        end(place, "exec", name, how, patience=PATIENCE)
    except ReconcilerError as error:
        talk(f"reconciler: how it ended could not be logged: {error}")
