"""Lines of the three files as the desired state writes them, and what in them cannot be meant.  Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic import Field as Described

from .edit import Ask
from .text import EXPORTS, FILES, FLAGS, KNOWN, NOUSER, USERS, Entry, address, network, unreached

DEFAULT_FILE, DEFAULT = "mapping.ini", ("RSCD", "UserMapping")
ONLY_EXPORTS = {"user", "anon", "allowed", "validusers", "root"}
ONLY_USERS = {"map", "hosts", "validuser"}
INSTEAD = {"user": "map=", "map": "user=", "hosts": "the list 'hosts:'", "anon": "it in exports, or 'fallback:'"}
YES_NO = {"yes", "no", "on", "off", "true", "false"}


def word(text: str) -> str:
    """A word that the files can hold; ValueError for what would end it or begin another."""
    if not text:
        raise ValueError("is empty")
    if any(char.isspace() or char in ",#" or not char.isprintable() for char in text):
        what = f"{text!r} has a blank, a comma, '#' or an invisible character"
        raise ValueError(f"{what}; write one word each, as in [rw, map=root]")
    return text


Word = Annotated[str, AfterValidator(word)]


def listed(value: Any) -> Any:
    """One word as a list; a line of options split at its commas."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Line(BaseModel):
    """What every line has."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    options: Annotated[
        tuple[Word, ...],
        BeforeValidator(listed),
        Described(description="rw, ro, and name=value; values joined by ':'."),
    ] = ()


class ExportLine(Line):
    """Hosts that may connect, and how."""

    hosts: Annotated[tuple[Word, ...], BeforeValidator(listed)]

    def ask(self) -> Ask:
        """As the editor takes it."""
        return Ask(self.hosts, self.options)

    @model_validator(mode="after")
    def _meant(self) -> ExportLine:
        if not self.hosts:
            raise ValueError("'hosts' is empty; name hosts, or write '*' for all")
        entry = self.ask().entry(EXPORTS)
        _told([*map(_host, self.hosts), *_options(entry, ONLY_USERS)])
        return self


class UserLine(Line):
    """A caller, and who it becomes."""

    who: Annotated[Word, Described(description="ROLE:USER, ROLE:*, USER for a direct Network Shell, or nouser.")]

    def ask(self) -> Ask:
        """As the editor takes it."""
        return Ask((self.who,), self.options)

    @model_validator(mode="after")
    def _meant(self) -> UserLine:
        if self.who == NOUSER and self.options:
            raise ValueError("'nouser' stands alone; it has no options")
        if not all(self.who.split(":")) or self.who.count(":") > 1:
            raise ValueError(f"{self.who!r} is no caller; write ROLE:USER, ROLE:*, or USER")
        entry = self.ask().entry(USERS)
        _told([*map(_host, entry.hosts), *_options(entry, ONLY_EXPORTS)])
        return self


class ModeIn(BaseModel):
    """Where the agent's mapping mode is kept; no vendor's page says, so it is yours to say."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    file: Annotated[str, Described(description="A path; relative to the directory of the three files.")] = DEFAULT_FILE
    section: str = DEFAULT[0]
    key: str = DEFAULT[1]

    @model_validator(mode="after")
    def _meant(self) -> ModeIn:
        if not self.file or ".." in self.file.split("/") or self.file.rpartition("/")[2] in (*FILES, "", "."):
            raise ValueError(f"file {self.file!r} cannot hold the mode; name an ini file of its own, without '..'")
        if re.search(r"[\]\r\n\0]", self.section) or self.section != self.section.strip():
            raise ValueError(f"{self.section!r} cannot be the name of a section")
        if not re.fullmatch(r"[^\s=:#;\[\r\n\0]([^=:\r\n\0]*[^\s=:\r\n\0])?", self.key):
            raise ValueError(f"{self.key!r} cannot be the name of a key")
        return self


def _told(problems: Sequence[str]) -> None:
    if found := [problem for problem in problems if problem]:
        raise ValueError("; ".join(found))


def _host(text: str) -> str:
    """What is wrong with a host word that looks like an address; empty where nothing is."""
    if re.fullmatch(r"[\d./:*]*\d[\d./:*]*", text) and network(text) is None and address(text) is None:
        return f"{text!r} is neither an address nor a subnet"
    return ""


def _options(entry: Entry, foreign: set[str]) -> Iterator[str]:
    """What cannot be meant in the options of one line."""
    names = [option.name for option in entry.options]
    if "ro" in names and "rw" in names:
        yield f"the line for {entry.key!r} says both ro and rw"
    yield from (f"{name}= stands twice" for name in dict.fromkeys(names) if names.count(name) > 1)
    for option in entry.options:
        name = option.name
        if name in foreign:
            instead = f"; write {INSTEAD[name]}" if name in INSTEAD else ""
            yield f"{name}= has no meaning in {entry.file}{instead}"
        elif name not in KNOWN:
            close = difflib.get_close_matches(name.casefold(), KNOWN, 1, 0.75)
            if name.casefold() in YES_NO or close or name.casefold() in KNOWN:
                yield f"unknown option {name!r}" + (f"; did you mean {close[0]!r}?" if close else "; write rw or ro")
        elif name in FLAGS and not option.bare:
            yield f"option {str(option)!r} has a value; write {name}"
        elif name not in FLAGS and not option.values:
            yield f"option {str(option)!r} lacks its value"
        elif name == "map" and option.values == ("-1",):
            yield "map=-1 is nobody; to refuse a caller leave it out and list nouser"


def unreachable(asks: Mapping[str, Sequence[Ask]]) -> str:
    """Which declared line no caller could reach, and why; empty where each can be."""
    users = [ask.entry(USERS) for name in ("users.local", USERS) for ask in asks.get(name, ())]
    hosts = [ask.entry(EXPORTS) for ask in asks.get(EXPORTS, ())]
    for lines in (users, hosts):
        for number, entry in enumerate(lines):
            same = next((other for other in lines[:number] if other.key == entry.key), None)
            if same is not None or not unreached(entry, lines[:number]):
                above = same or next((o for o in lines[:number] if o.covers(entry)), lines[0])
                return f"the line for {entry.key!r} can never decide: {above.key!r} fits first"
    named = [one for entry in hosts for one in entry.words]
    doubled = next((one for one in named if named.count(one) > 1), None)
    return f"host {doubled!r} is named by two lines; one host has one line" if doubled else ""
