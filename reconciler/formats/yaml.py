"""YAML 1.2 text to plain values and their marks, without any of YAML's surprises.

Every scalar stays the text that was written: what it means is decided by the field that it is for, so an
unquoted 0750 is a mode, ``yes`` is a yes where a yes or no is asked, and ``1.10`` is not a number.
Refused by name: duplicate keys, merge keys, tags, tabs, aliases that multiply, documents too deep or too big.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import Mistake

LARGEST = 8 << 20
DEEPEST = 32
MOST, ALIASED = 500_000, 60_000
"""How many values one file may have, and how many of them through aliases."""
CONTROL, BRACKET = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"), re.compile(r"[\[\]{}]")
ODD = re.compile("[\t&*!%\x85\u2028\u2029\ufeff]|^[.][.][.]|[|>][-+0-9]*#|[|>][-+0-9]* *\n+#", re.MULTILINE)
PATIENCE = 50
"""How many mistakes of one file are listed before the rest of it is not read."""
NULLS = {"", "~", "null", "Null", "NULL"}
Path = tuple[str | int, ...]
Place = tuple[int, int]


@dataclass
class Text:
    """One YAML document: its value, and where each part of it stands."""

    file: str
    value: Any
    marks: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    commit: str | None = None
    """The commit that it was read from, if it was."""

    def at(self, path: Path, *, key: bool = False) -> Place:
        """The line and column of a part, or of the nearest part round it."""
        table = self.keys if key else self.marks
        while path and path not in table:
            path, table = path[:-1], self.marks
        return table.get(path, (1, 1))


class _Stop(Exception):
    """The rest of this file cannot be read."""


@dataclass
class _Reader:
    file: str
    events: Iterator[Any]
    mistakes: list[Mistake]
    text: Text
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    nodes: int = 0
    aliased: int = 0

    def mistake(self, mark: Any, message: str, hint: str = "") -> None:
        if len(self.mistakes) >= PATIENCE:
            raise _Stop
        self.mistakes.append(Mistake(self.file, mark.line + 1, mark.column + 1, message, hint))

    def stop(self, mark: Any, message: str, hint: str = "") -> None:
        self.mistake(mark, message, hint)
        raise _Stop

    def node(self, event: Any, path: Path) -> Any:
        mark = event.start_mark
        self.nodes += 1
        if self.nodes > MOST:
            self.stop(mark, f"more than {MOST} values in one file", "split it into several files")
        if len(path) > DEEPEST:
            self.stop(mark, f"nested deeper than {DEEPEST} levels", "nothing in a desired state needs that")
        self.text.marks[path] = (mark.line + 1, mark.column + 1)
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event, mark)
        tag = getattr(event, "tag", None)
        if tag is not None:
            name = str(getattr(tag, "trval", tag))
            if name not in ("!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
                self.mistake(mark, f"the YAML tag {name!r} has no meaning here", "write the plain value")
        before = self.nodes
        if kind == "ScalarEvent":
            plain = event.style is None or event.style == ""
            value: Any = None if plain and event.value in NULLS else event.value
        elif kind == "SequenceStartEvent":
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if event.anchor:
            self.anchors[event.anchor] = (value, self.nodes - before + 1)
        return value

    def _alias(self, event: Any, mark: Any) -> Any:
        known = self.anchors.get(event.anchor)
        if known is None:
            self.stop(mark, f"the alias *{event.anchor} has no anchor above it")
        assert known is not None
        value, size = known
        self.nodes += size
        self.aliased += size
        if self.aliased > ALIASED or self.nodes > MOST:
            self.stop(mark, "aliases multiply into more values than any host has", "write the values out")
        return value

    def _sequence(self, path: Path) -> list[Any]:
        values: list[Any] = []
        for event in self.events:
            if type(event).__name__ == "SequenceEndEvent":
                return values
            values.append(self.node(event, (*path, len(values))))
        return values

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for event in self.events:
            if type(event).__name__ == "MappingEndEvent":
                return values
            mark = event.start_mark
            if type(event).__name__ != "ScalarEvent":
                self.stop(mark, "a key that is itself a list, mapping or alias", "a key is plain text")
            key = event.value
            inner = (*path, key)
            if key == "<<" and event.style in (None, ""):
                self.mistake(mark, "the merge key '<<' is not part of YAML 1.2", "write the keys out")
            if key in lines:
                self.mistake(mark, f"the key {key!r} is given twice", f"the first is in line {lines[key]}; keep one")
            value = self.node(next(self.events), inner)
            self.text.keys[inner] = (mark.line + 1, mark.column + 1)
            if value is None:
                self.text.marks[inner] = self.text.keys[inner]  # an empty value has no place of its own
            if key not in lines and key != "<<":
                values[key] = value
            lines.setdefault(key, mark.line + 1)
        return values


def thorough(text: str) -> Iterator[Any]:
    """The events of a text, by the parser that says what is wrong and where."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - start-up counts

    yield from YAML(typ="safe", pure=True).parse(text)


def quick(text: str) -> Iterator[Any] | None:
    """The events of a plain text, by the compiled parser; None where that is not here, or is not to decide.

    The two parsers disagree about tabs, odd line ends, ends of documents, comments at once behind a block's sign, and
    what anchors, tags and directives may look like.
    """
    if ODD.search(text):
        return None
    try:
        from _ruamel_yaml import CParser  # noqa: PLC0415 - not everywhere
        from ruamel.yaml.error import YAMLError  # noqa: PLC0415
    except ImportError:
        return None

    def events() -> Iterator[Any]:
        parser = CParser(text)
        while parser.check_event():
            yield parser.get_event()

    try:
        # Twice, since nothing is to be kept of a text that the other one has to explain.
        whole = all(number < 3 * MOST for number, _ in enumerate(events()))
    except (YAMLError, ValueError):
        return None
    return events() if whole else None


def read(file: str, data: bytes) -> tuple[list[Text], list[Mistake]]:
    """The documents of one file, and what is wrong with its YAML."""
    mistakes: list[Mistake] = []
    documents: list[Text] = []
    text = _decode(file, data, mistakes)
    if text is None:
        return documents, mistakes
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415 - start-up counts

    try:
        nodes = aliased = 0
        events = iter(quick(text) or thorough(text))
        for event in events:
            kind = type(event).__name__
            if kind in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"):
                continue
            if kind == "DocumentStartEvent":
                if event.version is not None and tuple(event.version) != (1, 2):
                    line = text.count("\n", 0, text.find("%YAML")) + 1
                    mistakes.append(Mistake(file, line, 1, "not YAML 1.2", "remove the %YAML line"))
                continue
            document = Text(file, None)
            reader = _Reader(file, events, mistakes, document, nodes=nodes, aliased=aliased)
            document.value = reader.node(event, ())
            nodes, aliased = reader.nodes, reader.aliased
            if document.value is not None:
                documents.append(document)
    except _Stop:
        pass
    except MarkedYAMLError as error:
        mistakes.append(_explain(file, text, error))
    except YAMLError as error:
        mistakes.append(Mistake(file, 1, 1, f"not YAML: {str(error).splitlines()[0]}"))
    except (AssertionError, RecursionError, ValueError, IndexError, KeyError, AttributeError, TypeError):
        mistakes.append(Mistake(file, 1, 1, "not YAML that can be read", "look for unbalanced brackets or quotes"))
    return documents, mistakes


def _decode(file: str, data: bytes, mistakes: list[Mistake]) -> str | None:
    if len(data) > LARGEST:
        mistakes.append(Mistake(file, 1, 1, f"larger than {LARGEST >> 10} KiB", "split it into several files"))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        mistakes.append(Mistake(file, line, 1, "not UTF-8 text", "save the file as UTF-8"))
        return None
    if found := CONTROL.search(text):
        index = found.start()
        line = text.count("\n", 0, index) + 1
        column = index - text.rfind("\n", 0, index)
        mistakes.append(Mistake(file, line, column, f"a control character (0x{ord(found[0]):02x})", "remove it"))
        return None
    depth = deepest = 0
    for char in BRACKET.findall(text):
        depth += 1 if char in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > 200:
        mistakes.append(Mistake(file, 1, 1, "brackets nested hundreds deep", "nothing in a desired state needs that"))
        return None
    return text


def _explain(file: str, text: str, error: Any) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = str(error.problem or error.context or "not YAML").replace("\n", " ")
    lines = text.split("\n")
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())] or "'\\t'" in problem:
        return Mistake(file, line, column, "a tab where YAML wants spaces", "indent with spaces")
    if "mapping values are not allowed" in problem:
        return Mistake(
            file,
            line,
            column,
            "a second ':' in one line",
            "quote the value, or put the key on a line of its own",
        )
    if "%" in here[:1]:
        return Mistake(file, line, column, f"not YAML: {problem}", "a line may not start with %")
    return Mistake(
        file, line, column, f"not YAML: {problem}", "check indentation, quotes and brackets above this place"
    )
