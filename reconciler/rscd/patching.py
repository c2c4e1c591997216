"""One of the three files with lines given back, and with lines asked for.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..model import Json
from .edit import Ask, arrange, asked_of, put_back, same_options, undone
from .text import RscFile


class Whole(NamedTuple):
    """A file's bytes, and when they were written; None: whenever they are."""

    data: bytes = b""
    mtime: int | None = None


def patched(
    part: str,
    file: Whole | None,
    lines: Mapping[str, Json],
    there: Json,
    mark: Json,
    held: Sequence[str],
    untouched: bool,
) -> tuple[Whole | None, set[str]]:
    """One file with lines given back, then with lines asked for.

    Where nobody else touched it since, what we hold is asked of the file of before us anew: so no line of ours leaves a
    trace, whatever came in between.
    """
    base = file or Whole()
    data, mtime = base
    asked = [(key, v) for key, v in lines.items() if v is not None and "ask" in v]
    asked.sort(key=lambda item: item[1]["order"].index(item[0]) if item[0] in item[1]["order"] else len(lines))
    current, moved = RscFile(part, data), set[str]()
    asks = [_as_written(current, key, v) for key, v in asked]
    gone = isinstance(there, dict) and not there["there"]
    origin = mark["data"].encode("latin-1") if mark and "data" in mark else b"" if gone else None
    done = asked_of(data, origin, held, part) if origin is not None and held else None
    back = {key: v for key, v in lines.items() if v is not None and "ask" not in v}
    if not asks and untouched and origin is not None and _same_but(data, origin, set(held) - set(back), part):
        made = origin
    elif done is not None and origin is not None and set(held) >= set(back) and _as_in(origin, back, part):
        kept = [ask for ask in done if ask.entry(part).key not in lines]
        edited = RscFile(part, origin)
        moved = arrange(edited, [*asks, *kept]) & {ask.entry(part).key for ask in asks} - set(held)
        made = edited.render()
        mtime = mtime if made == data else None
    else:
        data_, mtime = _given_back(part, base, back)
        edited = RscFile(part, data_)
        moved = arrange(edited, asks)
        made = edited.render()
        mtime = mtime if made == data_ else None
    wanted = file is not None or bool(made) if there is None else there if isinstance(there, bool) else there["there"]
    if not wanted:
        return None, set()
    return Whole(made, mtime), moved


def _as_written(file: RscFile, key: str, value: Json) -> Ask:
    """A line that is asked for; where it is there with the same options, in the order in which they stand."""
    ask = Ask(tuple(value["names"]), tuple(value["ask"].split(",")) if value["ask"] else (), "settled" in value)
    there = file.first(key)
    if there is not None and same_options(there, ask.entry(file.name)):
        return replace(ask, options=tuple(map(str, there.options)))
    return ask


def _same_but(now: bytes, then: bytes, keys: Iterable[str], part: str) -> bool:
    """Whether these lines, which are not given back, are the same in both files."""
    one, other = RscFile(part, now), RscFile(part, then)
    lines = [(one.first(key), other.first(key)) for key in keys]
    return all(a is not None and b is not None and a.text == b.text for a, b in lines)


def _as_in(origin: bytes, back: Mapping[str, Json], part: str) -> bool:
    """Whether what is given back are the lines of this file."""
    file = RscFile(part, origin)
    for key, value in back.items():
        there = file.first(key)
        if there is None or "absent" in value:
            if there is not None or "absent" not in value:
                return False
        elif value["raw"].rstrip("\r\n") != there.text:
            return False
    return True


def _given_back(part: str, base: Whole, back: Mapping[str, Json]) -> Whole:
    """The file's bytes with these lines as they were, and its time if that makes it the file it was."""
    data = base.data
    if not back:
        return base
    for value in {v["whole"]: v for v in back.values()}.values():
        then = undone(data, value["whole"].encode("latin-1"), back, part)
        if then is not None:
            return Whole(then, value["mtime"] if then != data else base.mtime)
    edited = RscFile(part, data)
    for key, value in back.items():
        if "absent" in value:
            put_back(edited, key, value)
    present = [(key, value) for key, value in back.items() if "absent" not in value]
    for key, value in sorted(present, key=lambda item: int(item[1]["index"])):
        put_back(edited, key, value)
    made = edited.render()
    known = next((v["mtime"] for v in back.values() if v["whole"].encode("latin-1") == made), None)
    return Whole(made, base.mtime if made == data else known)
