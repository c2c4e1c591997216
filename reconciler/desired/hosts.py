"""What the desired state says of hosts: ``hosts/NAME.yaml`` and ``groups/NAME.yaml`` hold groups and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Described

from ..errors import Mistake
from ..formats.yaml import Path, Text
from .words import nearest

HOLE = re.compile(r"\$\{values\.([A-Za-z_][A-Za-z0-9_-]*)(?::-([^}]*))?\}")
"""Where a value of the host stands in a document; what follows ``:-`` counts where the host has none."""
Facts = Mapping[str, str | tuple[str, ...] | None]
Name = Annotated[str, Described(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")]


class Values(BaseModel):
    """A file of a group."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    values: Annotated[dict[Name, Any], Described(description="What documents may ask for as ${values.NAME}.")] = {}


class HostValues(Values):
    """A file of a host."""

    groups: Annotated[list[str], Described(description="The groups of the host; what later ones say counts.")] = []


@dataclass
class Inventory:
    """The hosts and groups that the desired state knows."""

    hosts: dict[str, HostValues] = field(default_factory=dict)
    groups: dict[str, Values] = field(default_factory=dict)

    def called(self, hostname: str | None) -> HostValues:
        """What is said of a host: by its whole name, or by the part before the first dot."""
        name = hostname or ""
        return self.hosts.get(name) or self.hosts.get(name.partition(".")[0]) or HostValues()

    def values(self, hostname: str | None) -> dict[str, Any]:
        """The values of a host: its groups' in their order, then its own."""
        host = self.called(hostname)
        found: dict[str, Any] = {}
        for name in host.groups:
            found |= self.groups[name].values if name in self.groups else {}
        return found | host.values

    def known(self, facts: Facts) -> Facts:
        """The facts of a host with the groups that it is in; unknown where its name is."""
        name = facts.get("hostname")
        return {**facts, "group": tuple(self.called(name).groups) if isinstance(name, str) else None}


def inventory_of(path: str) -> tuple[str, str] | None:
    """The table and name of the host or group that a file speaks of; None for one of deployments.

    >>> inventory_of("desired/hosts/web-1.example.org.yaml"), inventory_of("desired/web.yaml")
    (('hosts', 'web-1.example.org'), None)
    """
    parts = path.split("/")
    if len(parts) < 2 or parts[-2] not in ("hosts", "groups"):
        return None
    return parts[-2], parts[-1].rpartition(".")[0]


def inventory(
    files: Iterable[tuple[str, str, Text]], validated: Callable[..., Any], problems: list[Mistake]
) -> Inventory:
    """Read the files of hosts and groups: each with whose it is."""
    found = Inventory()
    places: dict[str, Text] = {}
    for table, name, text in files:
        if isinstance(text.value, dict) and "deployment" in text.value:
            where = text.at(("deployment",), key=True)
            hint = f"a file in {table}/ holds values; put the deployment elsewhere"
            problems.append(Mistake(text.file, *where, "a deployment among hosts and groups", hint))
            continue
        if f"{table}/{name}" in places:
            problems.append(Mistake(text.file, *text.at(()), f"{table}/{name} is there twice", "keep one of them"))
        places[f"{table}/{name}"] = text
        model = HostValues if table == "hosts" else Values
        made = validated(model, text.value if isinstance(text.value, dict) else {"": text.value}, text, (), problems)
        if made is not None:
            (found.hosts if table == "hosts" else found.groups)[name] = made
    for name, host in found.hosts.items():
        for index, group in enumerate(host.groups):
            if group not in found.groups and found.groups:
                text = places[f"hosts/{name}"]
                message = f"no group {group!r}; there is no groups/{group}.yaml"
                problems.append(Mistake(text.file, *text.at(("groups", index)), message, nearest(group, found.groups)))
    return found


@dataclass
class Filling:
    """The filling of one document's holes."""

    values: Mapping[str, Any]
    missing: list[tuple[Path, str]] = field(default_factory=list)
    """Values that the host does not have: where, and which."""
    wrong: list[tuple[Path, str, str]] = field(default_factory=list)
    """What cannot be meant: where, what, and what would be right."""

    def fill(self, item: Any, path: Path = ()) -> Any:
        """The item with every hole replaced; a text that is one hole alone becomes the value itself."""
        if isinstance(item, dict):
            found: dict[Any, Any] = {}
            for key, value in item.items():
                name = self.text(key, path) if isinstance(key, str) else key
                if name in found:
                    self.wrong.append(((*path, key), f"{name!r} is there twice for this host", "keep one of them"))
                found[name] = self.fill(value, (*path, key))
            return found
        if isinstance(item, list):
            return [self.fill(value, (*path, index)) for index, value in enumerate(item)]
        if not isinstance(item, str) or "${values." not in item:
            return item
        whole = HOLE.fullmatch(item)
        return self._one(whole, path) if whole else self.text(item, path)

    def text(self, item: str, path: Path) -> str:
        """A text with holes in it."""
        if "${values." in HOLE.sub("", item):
            hint = "write ${values.NAME}, NAME of letters, digits, '_' and '-'"
            self.wrong.append((path, "a hole that is none", hint))

        def one(match: re.Match[str]) -> str:
            value = self._one(match, path)
            if not isinstance(value, str):
                what = "a list" if isinstance(value, list) else "a mapping"
                self.wrong.append((path, f"value {match[1]!r} is {what}, in the middle of a text", "give it a text"))
                return ""
            return value

        return HOLE.sub(one, item)

    def _one(self, match: re.Match[str], path: Path) -> Any:
        name, other = match[1], match[2]
        if other is not None and "${" in other:
            self.wrong.append((path, "a hole in the default of a hole", "write a plain text behind ':-'"))
        if name in self.values:
            return self.values[name]
        if other is None:
            self.missing.append((path, name))
        return other or ""
