"""A tree as it is, in the words of the desired state: its usual owner and modes, and every path that is otherwise."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ..formats.modes import show_capability
from ..host.names import Names
from ..host.port import Observer, Type
from ..host.recording import Dump, Tree, dumped

Wish = dict[str, Any]
MOST = 60
"""How many exceptions of a tree are written before its modes are left out."""


def describe(
    host: Observer,
    base: Wish,
    name: str,
    differing: Callable[[Wish], list[str] | None],
    remark: Callable[[str], None],
) -> Wish | None:
    """The fullest wish that would change nothing; None where the tree is not there, or none does.

    ``differing``: the paths that a wish would change, relative; None where it cannot be planned.
    """
    found = dumped(host.visit(name, lambda: Dump))
    if found is None:
        remark("is not there")
        return None
    names, base = Names(host), dict(base)
    if told := capabilities(found):
        base["capabilities"] = told
    owner, group = _most(found, 2), _most(found, 3)
    whole = {"owner": str(names.user(owner)), "group": str(names.group(group))}
    modes = {"directory_mode": f"{_mode(found, 'directory'):04o}"}
    if any(each[0] == Type.FILE for each in found.facts):
        modes["file_mode"] = symbolic(_mode(found, "file"), _mode(found, "file", runs=True))
    for parts in ({**whole, **modes}, whole, {"owner": whole["owner"]}):
        wish = _excepted({**base, **parts}, found, names, differing)
        if wish is not None:
            return wish
        remark(f"{', '.join(parts)} differ in more than {MOST} places")
    return base if differing(base) == [] else None


def _excepted(wish: Wish, found: Tree, names: Names, differing: Callable[[Wish], list[str] | None]) -> Wish | None:
    """The wish with an exception for every path that is otherwise; None where that are too many."""
    for _ in range(MOST):
        paths = differing(wish)
        if paths is None:
            return None
        if not paths:
            return wish
        known = {**wish.get("except", {})}
        for path in paths:
            look = _look_of(found, path, names, wish)
            if look is None:
                return None
            known[path] = look
        if len(known) > MOST:
            return None
        wish = {**wish, "except": known}
    return None


def _each(found: Tree) -> Iterator[tuple[tuple[Any, ...], int]]:
    """The facts of paths with how many have them."""
    for leaf in found.directories.values():
        yield found.facts[leaf.facts], 1
        for number, names in leaf.groups:
            yield found.facts[number], len(names)


def _most(found: Tree, part: int) -> int:
    counted: Counter[int] = Counter()
    for facts, count in _each(found):
        counted[facts[part]] += count
    return counted.most_common(1)[0][0]


def _mode(found: Tree, what: str, *, runs: bool = False) -> int:
    """The mode that most directories, files or programs have; of programs that of files where there are none."""
    counted: Counter[int] = Counter()
    for facts, count in _each(found):
        if facts[0] == what and (what != Type.FILE or bool(facts[1] & 0o111) == runs):
            counted[facts[1] & (0o777 if what == Type.FILE else 0o7777)] += count
    if counted:
        return counted.most_common(1)[0][0]
    return _mode(found, what, runs=not runs) & (~0o111 if not runs else ~0) if what == Type.FILE else 0o755


def symbolic(plain: int, program: int) -> str:
    """What gives files and programs these modes, in chmod's words.

    >>> symbolic(0o640, 0o750), symbolic(0o644, 0o755)
    ('u=rwX,g=rX,o=', 'u=rwX,g=rX,o=rX')
    """
    told = []
    for who, shift in (("u", 6), ("g", 3), ("o", 0)):
        bits, runs = plain >> shift & 7, program >> shift & 1
        told.append(f"{who}={'r' * (bits >> 2 & 1)}{'w' * (bits >> 1 & 1)}{'X' * runs}")
    return ",".join(told)


def _look_of(found: Tree, path: str, names: Names, wish: Wish) -> Wish | None:
    """What a path of a tree is, as far as the wish speaks of it; None for a name that no text can hold."""
    if path in found.directories:
        facts = found.facts[found.directories[path].facts]
    else:
        leaf = found.directories.get(os.path.dirname(path))
        groups = leaf.groups if leaf is not None else ()
        number = next((n for n, listed in groups if os.path.basename(path) in listed), None)
        if number is None:
            return None
        facts = found.facts[number]
    told: Wish = {"owner": str(names.user(facts[2]))} if "owner" in wish else {}
    told |= {"group": str(names.group(facts[3]))} if "group" in wish else {}
    if facts[0] == Type.DIRECTORY and "directory_mode" in wish:
        told["directory_mode"] = f"{facts[1]:04o}"
    elif facts[0] == Type.FILE and "file_mode" in wish:
        told["mode"] = f"{facts[1]:04o}"
    return told


def capabilities(found: Tree) -> dict[str, str]:
    """The capabilities of files of a tree, by their paths."""
    told = {}
    for path, leaf in found.directories.items():
        for name, xattrs in leaf.xattrs.items():
            text = show_capability(xattrs.get("security.capability"))
            if text:
                told[f"{path}/{name}".lstrip("/")] = text
    return told
