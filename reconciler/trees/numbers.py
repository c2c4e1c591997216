"""Images of trees say whom a path belonged to by name; beside that stands which number a name had then.

A name may have another number by the time when a path is given back: somebody renumbered the account.  What comes
back is the number, under the name that has it today.  A name that the host has no more is left for others to miss.
"""

from __future__ import annotations

from typing import Protocol

from ..model import Json, Owner

PARTS = (("owner", "users"), ("group", "groups"))


class Numbers(Protocol):
    """The users and groups of a host."""

    def user(self, uid: int) -> Owner: ...
    def group(self, gid: int) -> Owner: ...
    def uid(self, owner: Owner) -> int | None: ...
    def gid(self, owner: Owner) -> int | None: ...


def numbered(layer: Json, names: Numbers) -> Json:
    """What an event says of an image, with the numbers that its names have now."""
    told: dict[str, dict[str, int]] = {"users": {}, "groups": {}}
    for look in (look for pair in layer["classes"] for look in pair if look):
        for part, sort in PARTS:
            number = _number(names, part, look[part]) if isinstance(look[part], str) else None
            if number is not None:
                told[sort][look[part]] = number
    return {**layer, "numbers": told}


def of_today(layer: Json, names: Numbers) -> Json:
    """What an event says of an image, with the names that its numbers have today."""
    told = layer.get("numbers")
    if not told:
        return layer
    classes = [[_renamed(look, told, names) if look else look for look in pair] for pair in layer["classes"]]
    return {**layer, "classes": classes}


def owner_of_today(name: Owner, number: int | None, part: str, names: Numbers) -> Owner:
    """Who has a number today that somebody had under a name; the name, where that still means the same or nobody."""
    if number is None or (isinstance(name, str) and _number(names, part, name) in (None, number)):
        return name
    return names.user(number) if part == "owner" else names.group(number)


def _renamed(look: Json, told: Json, names: Numbers) -> Json:
    then = {part: told[sort].get(look[part]) if isinstance(look[part], str) else look[part] for part, sort in PARTS}
    return look | {part: owner_of_today(look[part], number, part, names) for part, number in then.items()}


def _number(names: Numbers, part: str, owner: Owner) -> int | None:
    return names.uid(owner) if part == "owner" else names.gid(owner)
