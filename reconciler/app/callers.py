"""Who a caller of the RSCD agent becomes: the agent and its files, read from a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import HostError, ReconcilerError, Usage
from ..formats.ini import IniFile, shown
from ..host.files import FileObserver
from ..host.live import LOCAL_SOURCES
from ..host.names import sources
from ..host.people import HostAccounts
from ..host.port import Observer
from ..rscd.accounts import Account, Listed
from ..rscd.compare import differences
from ..rscd.declared import DEFAULT, DEFAULT_FILE
from ..rscd.resolver import MODES, Target
from ..rscd.text import gathered
from .place import Place

WHERE = {"unix": "/etc/rsc", "windows": "/Windows/rsc"}


@dataclass(frozen=True)
class Question:
    """The agent that a command line means, and what its files cannot say of it."""

    place: Place
    directory: str | None = None
    system: Any = "unix"
    mode: str | None = None
    principal: str | None = None
    controller: bool = False
    local_users: tuple[str, ...] = ()


class Asked:
    """An agent and its files, read."""

    def __init__(self, question: Question, say: Callable[[str], None] = lambda text: None) -> None:
        """``say`` is told what people have to know of the answer."""
        system, mode = question.system, question.mode
        principal, controller, local_users = question.principal, question.controller, question.local_users
        self.host: Observer = question.place.observer()
        self.directory = (question.directory or WHERE[system]).rstrip("/") or "/"
        if mode is not None and mode not in MODES[system]:
            raise Usage(f"--mode {mode!r} is not one of {system}'s: {', '.join(MODES[system])}")
        if not self.directory.startswith("/"):
            raise Usage(f"--dir {self.directory!r}: write an absolute path, inside the root with --root")
        if self.host.stat(self.directory) is None:
            raise ReconcilerError(f"{self.directory}: no such directory; say where the agent's files are with --dir")
        if system == "unix" and (principal or controller or local_users):
            raise Usage(
                "--principal, --domain-controller and --local-user are facts of a Windows host; add --os windows"
            )
        stored = self._stored()
        if system == "unix" and stored in MODES["windows"]:
            say(f"{self.directory} says that its mode is {stored}; for the rules of Windows add --os windows")
        if system == "windows" and mode is None:
            # A principal is there to be used, but where everybody is SYSTEM.
            mode = "windows-user" if principal and stored != "system-only" else stored
        if system == "unix" and not self.host.live and remote_sources(self.host):
            told = ", ".join(remote_sources(self.host))
            say(f"accounts also come from {told}, which a root directory cannot ask; its files alone are believed")
        self.files = gathered(self.host.read, self.directory)
        people = Listed(tuple(map(Account, local_users)), "" if local_users else "no --local-user was given", fold=True)
        self.target: Target = Target(
            system,
            mode if mode in MODES[system] else MODES[system][0],
            people if system == "windows" else HostAccounts(self.host),
            principal,
            controller,
            Resolving(self.host),
        )

    def _stored(self) -> str | None:
        """The mode in the default file."""
        file = self.host.read(f"{self.directory}/{DEFAULT_FILE}")
        return shown(IniFile(file.data).get(*DEFAULT)) if file is not None else None


def remote_sources(host: Observer) -> list[str]:
    """The sources of accounts besides the local files that a root directory names."""
    file = host.read("/etc/nsswitch.conf")
    return [word for word in sources(file.data if file else b"", "passwd") or () if word not in LOCAL_SOURCES]


class Resolving:
    """Names and addresses of hosts, by the hosts file and, on a running host, its resolver."""

    def __init__(self, host: Observer) -> None:
        self.host = host
        self._known: dict[str, frozenset[str] | None] = {}

    def __call__(self, word: str) -> frozenset[str] | None:
        """Every name and address of a host word; None where none is found."""
        if word not in self._known:
            found = {name for names in self._hosts() if word.casefold() in map(str.casefold, names) for name in names}
            if not found and self.host.live:
                found = set(self._asked(word))
            self._known[word] = frozenset(found) or None
        return self._known[word]

    def _hosts(self) -> Iterator[list[str]]:
        file = self.host.read("/etc/hosts")
        for line in (file.data if file else b"").decode("utf-8", "replace").splitlines():
            if words := line.partition("#")[0].split():
                yield words

    def _asked(self, word: str) -> Iterator[str]:
        try:
            result = self.host.query(["timeout", "5", "getent", "ahosts", "--", word])
        except HostError:
            return
        for line in result.out.splitlines() if result.code == 0 else ():
            words = line.split()
            yield from (words[0], *words[2:])


def compared(question: Question, other: str, say: Callable[[str], None]) -> list[Any]:
    """Whose rights would change with the files in a directory of this machine."""
    asked = Asked(question, say)
    files = gathered(FileObserver(other).read, "")
    return [difference.json() for difference in differences(asked.files, files, asked.target)]
