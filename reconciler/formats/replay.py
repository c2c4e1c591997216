"""An ini file worked out from what it was before us, and from what is asked of it: undo is a replay with less.  Pure.

What stands is ``base`` with every key that is held, set in the order in which they came.  If the replay shows just
that, then what is to come is the replay of what will be held, and with nothing held it is the bytes that were there
first.  What somebody else changed meanwhile is the difference between the replay and what stands; it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from .dialects import Dialect
from .ini import IniFile, Text
from .merge import merged

Name = tuple[str, str]
Keys = Mapping[Name, Text]
"""Section and key, with the value; None where it is not to be there."""


def replayed(
    base: bytes, now: bytes, left: bytes | None, held: Keys, coming: Keys, *, fold: bool, dialect: Dialect
) -> bytes | None:
    """The file with the keys ``coming`` in place of those ``held``; None where no replay shows what stands.

    ``base``: the bytes before any of these keys was held.  ``left``: the file as we left it, where that is known;
    else it is the replay.  Keys are in the order in which they came.
    """
    stands = IniFile(now, fold=fold, dialect=dialect)
    then = IniFile(left, fold=fold, dialect=dialect) if left is not None else _with(base, held, fold, dialect)
    for name in held:  # what somebody made of a key of ours is not kept
        stands.put(*name, then.text(*name))
    next_ = _with(base, coming, fold, dialect)
    if then.render() == stands.render():
        return next_.render()
    lines = merged(then.lines, stands.lines, next_.lines)
    if lines is None or (then.bom, then.encoding) != (stands.bom, stands.encoding):
        return None
    made = IniFile(next_.bom + "".join(lines).encode(next_.encoding, next_.errors), fold=fold, dialect=dialect)
    return made.render() if all(made.agrees(*name, value) for name, value in coming.items()) else None


def _with(data: bytes, keys: Keys, fold: bool, dialect: Dialect) -> IniFile:
    file = IniFile(data, fold=fold, dialect=dialect)
    for name, value in keys.items():
        file.put(*name, value)
    return file
