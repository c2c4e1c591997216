"""A program as the account that it is to run as: which, as whom, and whether it is safe to start.

What is decided here is decided before anything runs; `host.become` does it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..access.rights import Person, rights
from ..access.scene import Scene
from ..desired.expansion import fill
from ..desired.words import nearest
from ..errors import ReconcilerError, Refused, Usage
from ..formats.text import printable
from ..host.become import (
    CANNOT,
    MISSING,
    PATH,
    ROOTS_PATH,
    Failed,
    Identity,
    Launch,
    die,
    environment,
    find,
    identity,
    limits,
    run,
    trace_name,
)
from ..host.port import Type
from ..kinds import kinds
from ..model import Json
from ..profiles import profiles
from ..rscd.resolver import question, resolve
from .callers import Asked, Question
from .place import Place
from .run import begin, end

PATIENCE = 30.0
SECRET = re.compile(r"pass|pwd|secret|token|credential|api[-_]?key|private[-_]?key|auth|bearer|cookie", re.IGNORECASE)


@dataclass(frozen=True)
class Start:
    """What is to be started, as whom, and how."""

    words: tuple[str, ...]
    account: str | None = None
    """As whom any program is started; else the first word is a component, which tells."""
    mapped: str | None = None
    """The caller who is mapped to the account, as the RSCD agent's files say."""
    directory: str | None = None
    trace: str | None = None
    cwd: str | None = None
    umask: str = "027"
    limited: tuple[str, ...] = ()
    given: tuple[str, ...] = ()

    @property
    def component(self) -> str | None:
        """The component that is asked for, where it is one."""
        return self.words[0] if self.account is None and self.mapped is None else None


def checked(place: Place, asked: Start) -> tuple[Identity, str, str]:
    """The account, the program as it is called, and where it is.

    A `Usage` or `Refused` error where it cannot be started so, or where that is not safe.
    """
    if place.root is not None:
        raise Usage("exec works on the running host; no program of a root directory is executed")
    if not asked.words:
        raise Usage("name a component, or a program behind --as ACCOUNT -- or --mapped CALLER --")
    if asked.account is not None and asked.mapped is not None:
        raise Usage("give --as or --mapped, not both")
    if not re.fullmatch(r"[0-7]{1,4}", asked.umask):
        raise Usage(f"--umask {asked.umask!r} is no octal number such as 027")
    if asked.trace == "":
        raise Usage("--trace needs a file's name")
    host = place.observer()
    if asked.component is not None:
        program, owner = located_component(place, asked.component)
    else:
        mapped = asked.mapped
        program, owner = asked.words[0], str(asked.account if mapped is None else whom(place, mapped, asked.directory))
    who = identity(host, owner)
    return who, program, safe(host, who, program)


def launch(place: Place, asked: Start, who: Identity, called: str, program: str, say: Callable[[str], None]) -> int:
    """Start it, and say so in the log before and after; answers with its exit code, or ends as it did."""
    if os.geteuid() != 0:
        raise Refused("exec needs root, since nobody else can become another account")
    host, terminal = place.observer(), os.environ.get("TERM") if os.isatty(0) else None
    try:
        into = None if asked.trace is None else located_trace(host, asked.trace, program)
        env = environment(who, variables(asked.given), terminal)
        argv = (called, *asked.words[1:])
        bounds = limits(asked.limited)
        prepared = Launch(who, program, argv, env, asked.cwd, int(asked.umask, 8), bounds, into, rooted(host, into))
    except ValueError as error:
        raise Usage(str(error)) from None
    told = {
        "component": asked.component, "account": who.name, "uid": who.uid, "gid": who.gid, "groups": list(who.groups),
        "argv": hidden((program, *asked.words[1:])), "mapped": asked.mapped,
        "trace": asked.trace and hidden(("", asked.trace))[1],
    }  # fmt: skip
    name = noted(place, told)
    try:
        ended = run(prepared)
    except BaseException as error:
        finished(place, name, {"error": str(error)[:500]}, say)
        raise
    finished(place, name, {"exit": ended.code} if not ended.signal else {"signal": ended.signal}, say)
    return die(ended.signal) if ended.signal else ended.code


def located_trace(host: Any, given: str, program: str) -> str:
    """A trace file's name in the directory that is really meant, through every link; only its process is still open."""
    path = trace_name(os.path.join(os.getcwd(), given), os.path.basename(program))
    directory, _, name = path.rpartition("/")
    way = Scene(host).way(directory or "/")
    if way is None or way.last.type != Type.DIRECTORY or not name or name in (".", ".."):
        raise Refused(f"--trace {printable(path)}: its directory is not there")
    return f"{way.path.rstrip('/')}/{name}"


def rooted(host: Any, trace: str | None) -> bool:
    """Whether nobody but root can change anything in the directory of a trace file."""
    way = Scene(host).way(os.path.dirname(trace)) if trace is not None else None
    return way is not None and way.last.type == Type.DIRECTORY and way.shut


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
    known = {c: profile for profile in profiles().values() for c in profile.components}
    if name not in known:
        hint = nearest(name, known)
        raise Usage(f"no component {name!r}; {hint}. Any other program: exec --as ACCOUNT -- PROGRAM")
    profile = known[name]
    values = {key: parameter.default for key, parameter in profile.parameters.items()}
    usual = str(fill(profile.components[name].program, values))
    tops = [str(v) for k, v in values.items() if profile.parameters[k].type == "path" and usual.startswith(f"{v}/")]
    held = [a.name for a in place.ledger().holds if kinds().spans(a)]
    candidates = [usual, *(f"{top}{usual.removeprefix(max(tops, key=len))}" for top in held if tops)]
    scene = Scene(place.observer())
    there = [path for path in dict.fromkeys(candidates) if scene.way(path) is not None]
    if not there:
        raise Failed(MISSING, f"{name}: not installed at {' or '.join(dict.fromkeys(candidates))}")
    if len(there) > 1:
        raise Refused(f"{name} is installed at {' and '.join(there)}; say which with exec --as ACCOUNT -- PROGRAM")
    owner = scene.owner(there[0])
    return there[0], str(owner)


def safe(host: Any, who: Identity, word: str) -> str:
    """The program, if the account may start it and nobody but root and the account decides what it is."""
    program = find(word, ROOTS_PATH if who.uid == 0 else PATH)
    if program is None:
        raise Failed(MISSING, f"{printable(word)}: no such program on {PATH}")
    scene = Scene(host)
    way = scene.way(os.path.join(os.getcwd(), program))
    if way is None:
        raise Failed(MISSING, f"{printable(program)}: no such file")
    if way.last.type != Type.FILE:
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


def hidden(argv: tuple[str, ...]) -> list[str]:
    """A command line as the log may keep it: what is called secret, and whatever stands behind that, is left out."""
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
    return begin(place, "exec", {"exec": told, "command": ["exec"]}, patience=PATIENCE)


def finished(place: Place, name: str, how: Json, say: Callable[[str], None]) -> None:
    """Say in the log how it ended."""
    try:
        end(place, "exec", name, how, patience=PATIENCE)
    except ReconcilerError as error:
        say(f"reconciler: how it ended could not be logged: {error}")
