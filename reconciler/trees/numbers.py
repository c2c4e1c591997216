"""Images of trees say whom a path belonged to by name; beside that stands which number a name had then.

A name may have another number by the time when a path is given back: somebody renumbered the account.  What comes
back is the number, under the name that has it today.  A name that the host has no more is left for others to miss.
"""

from __future__ import annotations

from ..host.names import Names
from ..model import Json

PARTS = (("owner", "users"), ("group", "groups"))


def numbered(layer: Json, names: Names) -> Json:
    """What an event says of an image, with the numbers that its names have now."""
    told: dict[str, dict[str, int]] = {"users": {}, "groups": {}}
    for look in (look for pair in layer["classes"] for look in pair if look):
        for part, sort in PARTS:
            number = names.number(part, look[part]) if isinstance(look[part], str) else None
            if number is not None:
                told[sort][look[part]] = number
    return {**layer, "numbers": told}


def of_today(layer: Json, names: Names) -> Json:
    """What an event says of an image, with the names that its numbers have today."""
    told = layer.get("numbers")
    if not told:
        return layer
    classes = [[_renamed(look, told, names) if look else look for look in pair] for pair in layer["classes"]]
    return {**layer, "classes": classes}


def _renamed(look: Json, told: Json, names: Names) -> Json:
    then = {part: told[sort].get(look[part]) if isinstance(look[part], str) else look[part] for part, sort in PARTS}
    return look | {part: names.today(part, look[part], number) for part, number in then.items()}
