"""Editing the three files line by line: asked lines stand where they decide, and every line can come back.  Pure.

The first fitting line wins, so a line that is asked for must stand above every other line that could take its callers
away.  A line that does so already is changed in place; the rest goes together, in the order in which it was asked for,
above the first line that is in its way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..model import Json
from .text import REMARK, Entry, RscFile, compose, parse_line


@dataclass(frozen=True)
class Ask:
    """One line that is to be there."""

    names: tuple[str, ...]
    options: tuple[str, ...] = ()
    settled: bool = False
    """Whether it only changes the options of a line that is there, wherever that stands."""

    def entry(self, file: str) -> Entry:
        """The line as an entry of a file."""
        found = parse_line(file, 0, compose(self.names, self.options))
        assert found is not None
        return found


def same_options(entry: Entry, asked: Entry) -> bool:
    """Whether two lines give the same; the order of options does not count."""
    return sorted(map(str, entry.options)) == sorted(map(str, asked.options))


def decides(file: RscFile, entry: Entry, order: Sequence[str]) -> bool:
    """Whether no line above takes callers away from this one, but those that are asked for before it."""
    ours = set(order[: order.index(entry.key)]) if entry.key in order else set()
    return not any(
        other.number < entry.number and other.key not in ours and other.meets(entry)
        for other in file.entries
        if other.key != entry.key
    )


def arrange(file: RscFile, asks: Sequence[Ask]) -> set[str]:
    """Bring every asked line about, touching no other line; answers which lines that were there changed their place."""
    wanted = [(ask, ask.entry(file.name)) for ask in asks]
    order = [entry.key for ask, entry in wanted if not ask.settled]
    for ask, entry in wanted:
        there = file.first(entry.key)
        # A line whose form says less than it seems to would say more if it were written anew.
        if there is not None and not same_options(there, entry) and not (ask.settled and there.odd):
            _reword(file, there, entry)
    apart = {e.key for ask, e in wanted if not ask.settled and not _stands(file, e, order)}
    if not apart:
        return set()
    while True:
        spot = _spot(file, wanted, apart, order)
        # What is asked for before a line that moves up must not stay below it.
        late = {
            earlier.key
            for n, (_, entry) in enumerate(wanted)
            if entry.key in apart
            for ask, earlier in wanted[:n]
            if earlier.key not in apart and not ask.settled and earlier.meets(entry)
            if (there := file.first(earlier.key)) is not None and there.number - 1 >= spot
        }
        if not late:
            break
        apart |= late
    block, moved = [], set()
    for ask, entry in wanted:
        if entry.key in apart and not ask.settled:
            there = file.first(entry.key)
            if there is not None:
                moved.add(entry.key)
                block.append(file.lines[there.number - 1].rstrip("\r\n"))
                spot -= there.number - 1 < spot
                file.cut(there.number - 1)
            else:
                block.append(compose(ask.names, ask.options, _gap(file)))
    for offset, text in enumerate(block):
        file.insert(spot + offset, text)
    return moved


def _stands(file: RscFile, entry: Entry, order: Sequence[str]) -> bool:
    there = file.first(entry.key)
    return there is not None and (entry.nouser or decides(file, there, order))


def _spot(file: RscFile, wanted: Sequence[tuple[Ask, Entry]], apart: set[str], order: Sequence[str]) -> int:
    """Where the lines that have no place yet go: above all that is in the way of one of them, else to the end."""
    spots = [len(file.lines)]
    for entry in (e for _, e in wanted if e.key in apart):
        before = set(order[: order.index(entry.key)])
        spots += [other.number - 1 for other in file.entries if other.key not in before | apart and other.meets(entry)][
            :1
        ]
    return min(spots)


def _gap(file: RscFile) -> str:
    """What stands between the two fields in this file."""
    for entry in file.entries:
        match = re.match(r"\S+(\s+)\S", entry.text.strip())
        if match:
            return match[1]
    return " "


def _reword(file: RscFile, there: Entry, asked: Entry) -> None:
    """Give a line other options; its names, its gap and its remark stay."""
    text = there.text
    remark = REMARK.search(text)
    tail = remark[0] if remark else ""
    body = text[: len(text) - len(tail)]
    head = re.match(r"\s*\S+", body)
    assert head is not None
    gap = re.match(r"\s+", body[head.end() :])
    options = ",".join(map(str, asked.options))
    wanted = head[0] + ((gap[0] if gap else " ") + options if options else "") + tail
    file.reword(there.number - 1, wanted)


# What a line was, and how it comes back.


def told(file: RscFile, key: str, order: Sequence[str]) -> Json:
    """The lossless value of a line: its text and place, or where it is not, what the end of the file is like."""
    there = file.first(key)
    if there is None:
        return {
            "absent": {"bare_end": bool(file.lines) and not file.lines[-1].endswith("\n"), "lines": len(file.lines)}
        }
    index = there.number - 1
    return {
        "options": ",".join(map(str, there.options)),
        "decides": (there.nouser or decides(file, there, order)) if key in order else None,
        "raw": file.lines[index],
        "index": index,
        "above": file.lines[index - 1] if index else None,
    }


def put_back(file: RscFile, key: str, value: Json) -> None:
    """Bring a line back to what `told` told."""
    there = file.first(key)
    if "absent" in value:
        if there is not None:
            file.cut(there.number - 1)
        around = value["absent"]
        if around["bare_end"] and len(file.lines) == around["lines"] and file.lines:
            file.end_bare()
        return
    raw, anchor = value["raw"].rstrip("\r\n"), value["above"]
    above = [file.lines[n - 1] if n else None for n in range(len(file.lines) + 1)]
    same = None if anchor is None else anchor.rstrip("\r\n")
    # The very line first; several may be about the same caller.
    fits = [n for n, line in enumerate(above) if (line if line is None else line.rstrip("\r\n")) == same]
    fits = fits or [n for n, line in enumerate(above) if _alike(file, line, anchor)]
    if there is not None:
        spot = there.number - 1
        if spot in fits or not fits:
            file.reword(spot, raw)
            return
        file.cut(spot)
        fits = [n - (n > spot) for n in fits]
    file.insert(
        min(fits or [min(int(value["index"]), len(file.lines))], key=lambda n: abs(n - int(value["index"]))), raw
    )


def _alike(file: RscFile, line: str | None, other: str | None) -> bool:
    """Whether a line is the one that stood there, be it with other options by now."""
    if line is None or other is None or line.rstrip("\r\n") == other.rstrip("\r\n"):
        return (line is None) == (other is None)
    one, two = (parse_line(file.name, 0, text) for text in (line, other))
    return one is not None and two is not None and one.key == two.key


def undone(now: bytes, then: bytes, back: Mapping[str, Json], name: str) -> bytes | None:
    """The file ``then``, where it and the file ``now`` differ in nothing but these lines; else None."""
    old = RscFile(name, then)
    if any(("absent" in value) != (old.first(key) is None) for key, value in back.items()):
        return None
    return None if asked_of(now, then, list(back), name) is None else then


def asked_of(now: bytes, then: bytes, keys: Sequence[str], name: str) -> list[Ask] | None:
    """What was asked of the file ``then`` to make the file ``now``, where that is nothing but these lines; else None.

    Proof by replay: ask of the old file for the lines as they are now, and the file of now must come out.
    """
    current, old = RscFile(name, now), RscFile(name, then)
    lines = [current.first(key) for key in keys]
    if any(line is None for line in lines):
        return None
    ordered = sorted((line for line in lines if line is not None), key=lambda line: line.number)
    present = {key for key in keys if old.first(key) is not None}
    for settled in ((), present):
        replay = RscFile(name, then)
        asks = [Ask(line.names, tuple(map(str, line.options)), line.key in settled) for line in ordered]
        arrange(replay, asks)
        if replay.render() == now:
            return asks
    return None
