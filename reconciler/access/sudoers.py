"""What sudoers files allow: who may run what as whom.  Pure; the files are read by a function that is given.

Understood: aliases, lists with negation, runas users and groups, tags that carry on, digests, includes, quoted and
escaped words, ``Defaults … !authenticate``.  Host lists count for this host's name; what cannot be decided (netgroups,
networks) counts as fitting, since this tells what may be possible.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

ALIAS = re.compile(r"^(User|Runas|Host|Cmnd|Cmd)_Alias\s+(.*)$", re.DOTALL)
TAG = re.compile(r"^(NO)?(PASSWD|EXEC|SETENV|FOLLOW|MAIL|LOG_INPUT|LOG_OUTPUT|INTERCEPT)$")
OPTION = re.compile(r"^(ROLE|TYPE|APPARMOR_PROFILE|PRIVS|LIMITPRIVS|NOTBEFORE|NOTAFTER|TIMEOUT|CWD|CHROOT)$")
NAME = re.compile(r"^[A-Z][A-Z0-9_]*$")
DEEP = 16


@dataclass(frozen=True)
class Grant:
    """One thing that some users may run."""

    users: tuple[str, ...]
    """Words of the user list with aliases replaced; ``!`` before those who are excepted."""
    runas: tuple[str, ...]
    command: str
    """``ALL``, a path with arguments, or ``sudoedit …``."""
    password: bool
    setenv: bool
    noexec: bool
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {', '.join(self.users)} may run {self.command} as {', '.join(self.runas)}"


@dataclass
class Sudoers:
    """Everything that the files say."""

    grants: list[Grant] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    """Users that never need a password."""
    open_as: list[str] = field(default_factory=list)
    """Users as whom things are run without one."""
    open_for: list[str] = field(default_factory=list)
    """Commands that need none."""
    problems: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass
class _Reader:
    read: Callable[[str], bytes | None]
    names: Callable[[str], list[str]]
    host: str
    found: Sudoers = field(default_factory=Sudoers)
    aliases: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    specs: list[tuple[str, int, str]] = field(default_factory=list)
    late: list[tuple[str, list[str]]] = field(default_factory=list)
    setenv: list[tuple[str, list[str]]] = field(default_factory=list)

    def file(self, path: str, depth: int = 0) -> None:
        data = self.read(path)
        if data is None or depth > DEEP:
            return
        for number, text in logical(data.decode("utf-8", "replace")):
            if match := re.match(r"^[#@](include|includedir)\s+(.+)$", text):
                self._include(match[1], match[2].strip().strip('"').replace("\\ ", " "), path, depth)
            elif not text.startswith("#") or re.match(r"^#\d", text):
                self._line(path, number, text)

    def _include(self, what: str, target: str, path: str, depth: int) -> None:
        target = target.replace("%h", self.host.partition(".")[0])
        if not target.startswith("/"):
            target = f"{path.rpartition('/')[0]}/{target}"
        if what == "include":
            self.file(target, depth + 1)
            return
        for name in sorted(self.names(target)):
            # sudo passes these by without a word.
            if "." not in name and not name.endswith("~"):
                self.file(f"{target.rstrip('/')}/{name}", depth + 1)

    def _line(self, path: str, number: int, text: str) -> None:
        if match := ALIAS.match(text):
            kind = match[1].replace("Cmd", "Cmnd") if match[1] == "Cmd" else match[1]
            for part in split_outside(match[2], ":"):
                name, sign, words = part.partition("=")
                if sign and NAME.match(name.strip()):
                    self.aliases[(kind, name.strip())] = [w.strip() for w in split_outside(words, ",")]
            return
        if text.startswith("Defaults"):
            self._defaults(text)
            return
        self.specs.append((path, number, text))

    def _defaults(self, text: str) -> None:
        match = re.match(r"^Defaults(?P<scope>[:@>!]\S+)?\s+(?P<rest>.*)$", text, re.DOTALL)
        if match is None:
            return
        scope = match["scope"] or ""
        words = [word for word in split_outside(scope[1:], ",") if word]
        if re.search(r"(?<![!\w])setenv\b", match["rest"]):
            self.setenv.append((scope[:1], words))
        if not re.search(r"!\s*authenticate\b", match["rest"]):
            return
        self.late.append((scope[:1], words))

    def _open(self) -> None:
        """Who needs no password by Defaults; aliases may stand below them."""
        for sign, words in self.late:
            if sign in ("", "@"):
                self.found.open.append("ALL")
            elif sign == ":":
                self.found.open += self.expand("User", words)
            elif sign == ">":
                self.found.open_as += self.expand("Runas", words)
            else:
                self.found.open_for += self.expand("Cmnd", words)

    def finish(self) -> Sudoers:
        for path, number, text in self.specs:
            try:
                self._spec(path, number, text)
            except (ValueError, IndexError):
                self.found.problems.append((path, number, text))
        self._open()
        return self.found

    def _spec(self, path: str, number: int, text: str) -> None:
        users, rest = user_list(text)
        who = tuple(self.expand("User", users))
        for privilege in split_outside(rest, ":", tags=True):
            hosts, sign, commands = privilege.partition("=")
            if not sign:
                raise ValueError(text)
            if not self._here(self.expand("Host", [h.strip() for h in split_outside(hosts, ",")])):
                continue
            runas: tuple[str, ...] = ("root",)
            password, noexec = True, False
            setenv = any(sign in ("", "@") or (sign == ":" and set(words) & set(who)) for sign, words in self.setenv)
            for item in split_outside(commands, ","):
                word, given, tags = command_of(item)
                if given is not None:
                    runas = tuple(self.expand("Runas", given))
                if "NOPASSWD" in tags or "PASSWD" in tags:
                    password = "NOPASSWD" not in tags
                if "EXEC" in tags or "NOEXEC" in tags:
                    noexec = "NOEXEC" in tags
                if "SETENV" in tags or "NOSETENV" in tags:
                    setenv = "SETENV" in tags
                for command in self.expand("Cmnd", [word]):
                    self.found.grants.append(Grant(who, runas, command, password, setenv, noexec, path, number))

    def _here(self, hosts: Iterable[str]) -> bool:
        fits = False
        for word in hosts:
            name = word.removeprefix("!")
            mine = name in ("ALL", self.host, self.host.partition(".")[0]) or name[:1] in "+%" or name[:1].isdigit()
            if mine:
                fits = not word.startswith("!")
        return fits

    def expand(self, kind: str, words: Iterable[str], depth: int = 0) -> list[str]:
        """The words with aliases of a kind replaced, however deep."""
        out: list[str] = []
        for raw in words:
            word = raw.strip() if kind == "Cmnd" else unquoted(raw.strip())
            sign = "!" if word.startswith("!") else ""
            name = word.lstrip("! ")
            inner = self.aliases.get((kind, name)) if NAME.match(name) else None
            if inner is None or depth > DEEP:
                out += [sign + name] if name else []
                continue
            for item in self.expand(kind, inner, depth + 1):
                turned = item.removeprefix("!") if item.startswith("!") and sign else sign + item
                out.append(turned)
        return out


def sudoers(read: Callable[[str], bytes | None], names: Callable[[str], list[str]], host: str) -> Sudoers:
    """Read /etc/sudoers with all that it includes; ``names`` lists a directory."""
    reader = _Reader(read, names, host)
    reader.file("/etc/sudoers")
    return reader.finish()


def logical(text: str) -> Iterator[tuple[int, str]]:
    """The lines with continuations joined and comments gone, each with the number of its first line."""
    pending, start = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        start = start if pending else number
        if line.endswith("\\") and not line.endswith("\\\\"):
            pending += line[:-1] + " "
            continue
        whole = (pending + line).strip()
        pending = ""
        if not whole.startswith("#"):
            whole = uncommented(whole).strip()
        if whole:
            yield start, whole
    if pending.strip():
        yield start, pending.strip()


def signs(text: str) -> Iterator[tuple[int, str]]:
    """Every character that is neither escaped nor quoted, with its place."""
    index, quoted = 0, False
    while index < len(text):
        char = text[index]
        if char == "\\":
            index += 2
            continue
        quoted = not quoted if char == '"' else quoted
        if not quoted:
            yield index, char
        index += 1


def uncommented(line: str) -> str:
    """A line without its comment; a number sign before a number is a user's."""
    for index, char in signs(line):
        if char == "#":
            before = line[index - 1] if index else " "
            if not (line[index + 1 : index + 2].isdigit() and (before.isspace() or before in ",(!:=%")):
                return line[:index]
    return line


def split_outside(text: str, sign: str, *, tags: bool = False) -> list[str]:
    """The parts between signs that are neither escaped, quoted nor in brackets; with ``tags`` a colon behind a tag
    or a digest's name belongs to it."""
    parts, start, depth = [], 0, 0
    for index, char in signs(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == sign and depth <= 0 and not (tags and _tagged(text[start:index])):
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def _tagged(part: str) -> bool:
    last = re.search(r"([A-Za-z0-9_]+)\s*$", part)
    return last is not None and bool(TAG.match(last[1]) or re.match(r"^sha\d+$", last[1]))


def user_list(text: str) -> tuple[list[str], str]:
    """The users at the beginning of a line, and the rest of it."""
    for index, char in signs(text):
        if char.isspace():
            before, after = text[:index].rstrip(), text[index:].lstrip()
            if not before.endswith((",", "!")) and not after.startswith(","):
                return [part for part in split_outside(before, ",") if part.strip()], after
    raise ValueError(text)


def command_of(item: str) -> tuple[str, list[str] | None, set[str]]:
    """The command of an item, its runas users if it names some, and its tags."""
    rest, runas, tags = item.strip(), None, set[str]()
    if rest.startswith("("):
        inner, _, rest = rest[1:].partition(")")
        users = inner.partition(":")[0]
        runas = [word.strip() for word in split_outside(users, ",") if word.strip()]
        rest = rest.strip()
    while True:
        match = re.match(r"^([A-Z_]+)\s*(:|=)\s*", rest)
        if match is None:
            break
        if match[2] == ":" and TAG.match(match[1]):
            tags.add(match[1])
            rest = rest[match.end() :]
        elif match[2] == "=" and OPTION.match(match[1]):
            rest = re.sub(r'^("[^"]*"|\S+)\s*', "", rest[match.end() :])
        else:
            break
    rest = re.sub(r"^(sha(224|256|384|512):\S+\s*,?\s*)+", "", rest)
    if not rest:
        raise ValueError(item)
    return rest, runas, tags


def unquoted(word: str) -> str:
    """A name without its quotes and escapes."""
    return re.sub(r"\\(.)", r"\1", re.sub(r'"([^"]*)"', r"\1", word))


def names_person(words: Iterable[str], name: str, uid: int, groups: Mapping[int, str] | Iterable[str]) -> bool:
    """Whether a user list means a person; the last word that fits counts."""
    numbers = set(groups) if isinstance(groups, Mapping) else set()
    called = set(groups.values()) if isinstance(groups, Mapping) else set(groups)
    fits = False
    for word in words:
        plain = word.removeprefix("!")
        mine = plain in ("ALL", name, f"#{uid}") or plain[:1] == "+"
        if plain.startswith("%#"):
            mine = plain[2:].isdecimal() and int(plain[2:]) in numbers
        elif plain.startswith("%"):
            mine = plain[1:].removeprefix(":") in called
        if mine:
            fits = not word.startswith("!")
    return fits
