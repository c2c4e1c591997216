"""The desired state that describes what is there now; every word is tried, so that planning it finds nothing to do."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .desired.documents import parse
from .errors import HostError, ReconcilerError
from .host.names import Names
from .host.port import Observer
from .host.recording import Dump, Tree, dumped
from .host.resolve import printable
from .inifile import IniFile, shown
from .kinds import kinds
from .kinds.account import AccountState
from .kinds.daemon import DaemonState
from .kinds.file import FileState
from .kinds.group import GroupState
from .kinds.ini import SECRET_KEY
from .kinds.mapping import MappingState
from .kinds.secrets import marked
from .model import Address, Field, Unknown
from .modes import show_capability
from .plan import Plan
from .redaction import ASSIGNED
from .rscd.text import EXPORTS, USERS_LOCAL
from .survey import Options, Surveyor
from .targets import from_desired

Wish = dict[str, Any]
MOST = 60
"""How many exceptions of a tree are written before its modes are left out."""
TEXT = 64 * 1024
"""The largest content that is written, in bytes."""
PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.+-]*( [A-Za-z0-9/_.+-]+)*")


class Adopter:
    """Describes things of one host."""

    def __init__(self, surveyor: Surveyor, deployment: str) -> None:
        self.surveyor, self.host, self.deployment = surveyor, surveyor.host, deployment
        self.remarks: list[str] = []
        """What could not be described, and why."""

    def document(self, addresses: Iterable[Address], keys: Mapping[str, Sequence[tuple[str, str]]]) -> str:
        """The YAML of one deployment; ``keys``: those of ini files that are asked for (by path), else all."""
        wishes: list[Wish] = []
        for address in sorted(set(addresses), key=lambda a: (kinds()[a.kind].rank, a.name)):
            described = self._described(address, keys.get(address.name))
            if described is not None:
                wishes.append(described)
        # Together, for one may have to do with another, as a tree with a file in it.
        while wishes and (wrong := self._wrong(wishes)):
            left = [wish for wish in wishes if str(_address(wish)) not in wrong]
            for name in sorted(wrong):
                self.remarks.append(f"{name}: is not described, since with the others it would be changed")
            if len(left) == len(wishes):
                break
            wishes = left
        return yaml_of(self.deployment, wishes)

    def _described(self, address: Address, keys: Sequence[tuple[str, str]] | None) -> Wish | None:
        try:
            if address.kind == "tree":
                return self._tree(address)
            seen = kinds()[address.kind].read(self.host, address.name)
        except HostError as error:
            self.remarks.append(f"{address}: {error}")
            return None
        if isinstance(seen, Unknown):
            self.remarks.append(f"{address}: {seen.reason}")
            return None
        made: dict[type, Callable[[Any], Iterator[tuple[str, Any]]]] = {
            AccountState: self._account,
            GroupState: self._group,
            DaemonState: self._daemon,
            MappingState: self._mapping,
        }
        base: Wish = {address.kind: address.name.removesuffix(".service")}
        if address.kind == "ini" and isinstance(seen, FileState):
            return self._kept(base, self._ini(address, seen, keys))
        if address.kind == "file" and isinstance(seen, FileState):
            return self._kept(base, self._file(address, seen))
        if type(seen) not in made or (isinstance(seen, DaemonState) and not seen.found):
            self.remarks.append(f"{address}: is not there")
            return None
        return self._kept(base, made[type(seen)](seen))

    def _kept(self, base: Wish, parts: Iterable[tuple[str, Any]]) -> Wish | None:
        """The wish with every part that is so already; parts of one name come together."""
        wish, left = dict(base), []
        for name, value in parts:
            tried = {**wish, name: joined(wish.get(name), value)}
            if self._so(tried):
                wish = tried
            else:
                left.append(f"{_address(base)}: {name} {printable(json.dumps(value))[:80]} cannot be described")
        if wish == base and not self._so(wish):
            self.remarks.append(f"{_address(base)}: cannot be described")
            return None
        self.remarks += left
        return wish

    def _so(self, wish: Wish) -> bool:
        """Whether nothing has to be done for a wish."""
        return not self._wrong([wish])

    def _planned(self, wishes: Sequence[Wish], options: Options) -> Plan:
        """What would be done for some wishes."""
        documents = parse({"adopted.yaml": yaml_of(self.deployment, wishes).encode()}, facts={}).documents
        return self.surveyor.survey(from_desired(documents, self.surveyor.ledger, self.surveyor.unseal), options)

    def _wrong(self, wishes: Sequence[Wish]) -> set[str]:
        """The addresses for which something would be done."""
        try:
            plan = self._planned(wishes, Options())
        except ReconcilerError:
            return {str(_address(wish)) for wish in wishes}
        return {str(t.address) for t in plan.transitions} | {str(b.address) for b in plan.blocked}

    def _account(self, seen: AccountState) -> Iterator[tuple[str, Any]]:
        yield "uid", str(seen.uid)
        yield "group", str(seen.group)
        groups = sorted(seen.groups)
        if groups:
            yield "groups", groups
        if seen.comment:
            yield "comment", seen.comment
        yield "shell", seen.shell
        yield "home", seen.home
        if seen.password.startswith("!"):
            yield "password", "locked"

    @staticmethod
    def _group(seen: GroupState) -> Iterator[tuple[str, Any]]:
        yield "gid", str(seen.gid)

    @staticmethod
    def _daemon(seen: DaemonState) -> Iterator[tuple[str, Any]]:
        told = seen.effective
        if told.get("User"):
            yield "run_as", {"user": told["User"], **({"group": told["Group"]} if told.get("Group") else {})}
        if told.get("SupplementaryGroups"):
            yield "supplementary_groups", told["SupplementaryGroups"].split()
        if told.get("AmbientCapabilities"):
            yield "ambient_capabilities", told["AmbientCapabilities"].lower().split()
        if seen.installable:
            yield "enabled", "true" if seen.links else "false"
        if seen.running is not None:
            yield "running", "true" if seen.running else "false"

    @staticmethod
    def _mapping(seen: MappingState) -> Iterator[tuple[str, Any]]:
        for entry in seen.file(EXPORTS).entries:
            yield "exports", [{"hosts": list(entry.names), "options": list(map(str, entry.options))}]
        for entry in seen.file(USERS_LOCAL).entries:
            options = {"options": list(map(str, entry.options))} if entry.options else {}
            yield "users_local", [{"who": entry.who, **options}]

    def _ini(
        self, address: Address, seen: FileState, keys: Sequence[tuple[str, str]] | None
    ) -> Iterator[tuple[str, Any]]:
        file = IniFile(seen.data.encode("latin-1"))
        for section, key in file.pairs() if keys is None else keys:
            value = shown(file.get(section, key))
            where = f"{address}: [{section}] {key}"
            if not seen.mode & 0o004 and keys is None:
                self.remarks.append(f"{where} is left out: not everybody may read the file; ask for it with --key")
            elif not isinstance(value, str):
                self.remarks.append(
                    f"{where} is not there" if value is None else f"{where} stands there more than once"
                )
            elif SECRET_KEY.search(key) or ASSIGNED.search(value) or self._secret(address, (section, key)):
                self.remarks.append(f"{where} is a secret; write {{secret: true, from: {{file: …}}}}")
            else:
                yield "set", {section: {key: value}}
        yield from self._look(seen)

    def _file(self, address: Address, seen: FileState) -> Iterator[tuple[str, Any]]:
        yield from self._look(seen)
        text = seen.data
        public = bool(seen.mode & 0o004) and not ASSIGNED.search(text) and not self._secret(address, ("content",))
        if public and len(text) <= TEXT and text.isascii() and "\0" not in text:
            yield "content", text
        else:
            self.remarks.append(f"{address}: its content is left out: private, large, or no plain text")

    def _secret(self, address: Address, field: Field) -> bool:
        """Whether the log says that a field is a secret."""
        hold = self.surveyor.ledger.holds.get(address, {}).get(field)
        values = (hold.origin, hold.current) if hold is not None else ()
        return any(marked(self.surveyor.unseal(value)) for value in values)

    @staticmethod
    def _look(seen: FileState) -> Iterator[tuple[str, Any]]:
        yield "owner", str(seen.owner)
        yield "group", str(seen.group)
        yield "mode", f"{seen.mode:04o}"

    def _tree(self, address: Address) -> Wish | None:
        found = dumped(self.host.visit(address.name, lambda: Dump))
        if found is None:
            self.remarks.append(f"{address}: is not there")
            return None
        names = Names(self.host)
        base: Wish = {"tree": address.name}
        if told := capabilities(found):
            base["capabilities"] = told
        owner, group = _most(found, 2), _most(found, 3)
        whole = {"owner": str(names.user(owner)), "group": str(names.group(group))}
        modes = {"directory_mode": f"{_mode(found, 'directory'):04o}"}
        if any(each[0] == "file" for each in found.facts):
            modes["file_mode"] = symbolic(_mode(found, "file"), _mode(found, "file", runs=True))
        for parts in ({**whole, **modes}, whole, {"owner": whole["owner"]}):
            wish = self._excepted({**base, **parts}, found, names)
            if wish is not None:
                return wish
            self.remarks.append(f"{address}: {', '.join(parts)} differ in more than {MOST} places")
        return base if self._so(base) else None

    def _excepted(self, wish: Wish, found: Tree, names: Names) -> Wish | None:
        """The wish with an exception for every path that is otherwise; None where that are too many."""
        for _ in range(MOST):
            paths = self._differing(wish)
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

    def _differing(self, wish: Wish) -> list[str] | None:
        """The paths of a tree that a wish would change, relative; None where it cannot be planned."""
        try:
            plan = self._planned([wish], Options(all_paths=True))
        except ReconcilerError:
            return None
        if plan.blocked or plan.skipped:
            return None
        steps = [t for t in plan.transitions if t.address.kind == "tree"]
        top = wish["tree"].rstrip("/") + "/"
        found = [item["path"] for t in steps for item in t.prospect.facts.get("paths", ())]
        if steps and not found:
            return None
        return [path[len(top) :] for path in found if path.startswith(top)] if wish["tree"] not in found else None


def _address(wish: Wish) -> Address:
    kind = next(iter(wish))
    return Address.parse(f"{kind}:{wish[kind]}")


def joined(first: Any, second: Any) -> Any:
    """Two parts of one name: lists and mappings come together.

    >>> joined({"S": {"a": "1"}}, {"S": {"b": "2"}}), joined([1], [2]), joined(None, "x")
    ({'S': {'a': '1', 'b': '2'}}, [1, 2], 'x')
    """
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *second]
    if isinstance(first, dict) and isinstance(second, dict):
        return {
            key: joined(first.get(key), second[key]) if key in second else first[key] for key in {**first, **second}
        }
    return second


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
        if facts[0] == what and (what != "file" or bool(facts[1] & 0o111) == runs):
            counted[facts[1] & (0o777 if what == "file" else 0o7777)] += count
    if counted:
        return counted.most_common(1)[0][0]
    return _mode(found, what, runs=not runs) & (~0o111 if not runs else ~0) if what == "file" else 0o755


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
    if facts[0] == "directory" and "directory_mode" in wish:
        told["directory_mode"] = f"{facts[1]:04o}"
    elif facts[0] == "file" and "file_mode" in wish:
        told["mode"] = f"{facts[1]:04o}"
    return told


def yaml_of(deployment: str, wishes: Sequence[Wish]) -> str:
    """One document."""
    lines = [f"deployment: {scalar(deployment)}", "resources:" + ("" if wishes else " []")]
    for wish in wishes:
        for number, (key, value) in enumerate(wish.items()):
            lines += _lines(key, value, "  - " if number == 0 else "    ", 4)
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any, lead: str, indent: int) -> Iterator[str]:
    blanks = " " * indent
    if isinstance(value, dict):
        yield f"{lead}{scalar(key)}:"
        for inner, part in value.items():
            yield from _lines(inner, part, blanks + "  ", indent + 2)
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        yield f"{lead}{scalar(key)}:"
        for part in value:
            yield f"{blanks}  - {_flow(part)}"
    else:
        yield f"{lead}{scalar(key)}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(str(value))


def scalar(text: str) -> str:
    """A text as YAML has it, quoted where it could be read as something else.

    >>> scalar("ann"), scalar("0750"), scalar("yes: no"), scalar("")
    ('ann', '"0750"', '"yes: no"', '""')
    """
    if PLAIN.fullmatch(text) and text.lower() != "null":
        return text
    # As JSON has it, but for what JSON writes as two halves.
    return "".join(f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else json.dumps(char)[1:-1] for char in text).join('""')


def capabilities(found: Tree) -> dict[str, str]:
    """The capabilities of files of a tree, by their paths."""
    told = {}
    for path, leaf in found.directories.items():
        for name, xattrs in leaf.xattrs.items():
            text = show_capability(xattrs.get("security.capability"))
            if text:
                told[f"{path}/{name}".lstrip("/")] = text
    return told


def things(host: Observer, words: Iterable[str]) -> list[Address]:
    """The addresses that words on a command line mean: ``kind:name``, or a path by what is there."""
    found = []
    for word in words:
        if not word.startswith("/"):
            found.append(Address.parse(word))
            continue
        path = Address.parse(f"file:{word}").name
        there = host.stat(path)
        if there is not None and there.type == "directory":
            agent = host.stat(f"{path}/exports") is not None and host.stat(f"{path}/users.local") is not None
            found.append(Address("mapping" if agent else "tree", path))
        else:
            found.append(Address("ini" if path.endswith(".ini") else "file", path))
    return found
