"""The documents of a desired state: one deployment each, typed, with its resources and their sources."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as Described

from ..core.secret import SECRET_KEY
from ..errors import Mistake, Mistakes, Usage
from ..formats.text import printable
from ..formats.yaml import Path, Text, read
from ..kinds import kinds
from ..model import Resource, Source, clean_path
from .expansion import expand
from .hosts import HOLE, Facts, Filling, Inventory, inventory, inventory_of
from .words import SAID, nearest


class Header(BaseModel):
    """A document beside its resources."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    deployment: Annotated[
        str,
        Described(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
            description="The name of the unit that is applied, rolled back and uninstalled together.",
        ),
    ]
    profile: Annotated[str | None, Described(description="A library of resources for a known agent.")] = None
    mode: Annotated[str | None, Described(description="One of the profile's modes.")] = None
    with_: Annotated[dict[str, Any], Described(alias="with", description="The profile's parameters.")] = {}
    match: Annotated[dict[str, str], Described(description="Hosts that this document is for: fact: pattern.")] = {}
    policy: Annotated[Literal["enforce", "audit"], Described(description="audit: report drift, never write.")] = (
        "enforce"
    )
    resources: Annotated[list[Any], Described(description="Resources; the first key of each names its kind.")] = []
    access: Annotated[
        dict[
            Annotated[str, Described(pattern=r"^/[^\x00]*$")],
            dict[Literal["read", "write", "execute", "become"], list[str]],
        ],
        Described(description="Who may do what with a path, and nobody else: path: {right: [account]}."),
    ] = {}


@dataclass(frozen=True)
class Wished:
    """A resource and the place that asked for it."""

    resource: Resource
    source: Source


@dataclass
class Document:
    """One deployment of the desired state."""

    name: str
    text: Text
    policy: str = "enforce"
    profile: str | None = None
    mode: str | None = None
    match: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    access: Mapping[str, Any] = field(default_factory=dict)
    resources: list[Wished] = field(default_factory=list)
    source: Source = field(default_factory=lambda: Source("", 1, 1))
    refuse_where: Mapping[str, str] | None = None
    """Where the host shows this, and the log holds nothing, the mode cannot be reached in place."""
    procedure: str = ""
    helpers: tuple[str, ...] = ()
    """Programs of the agent that come and go."""
    as_root: tuple[str, ...] = ()
    """Programs of the agent that run as root in every mode."""

    def enforces(self, wished: Wished) -> bool:
        """Whether a wish is brought about, and not only looked at."""
        return (wished.resource.policy or self.policy) != "audit"

    def enforced(self) -> list[Wished]:
        """What is brought about."""
        return [wished for wished in self.resources if self.enforces(wished)]

    def access_source(self, path: str) -> Source:
        """Where the policy on a path was written; the deployment's own line where a profile wrote it."""
        given = self.text.value.get("access") if isinstance(self.text.value, dict) else None
        if not isinstance(given, dict) or path not in given:
            return self.source
        return source_at(self.text, ("access", path), key=True)

    def fits(self, facts: Facts) -> bool | None:
        """Whether this host is meant; None where a fact that decides cannot be read."""
        return fits(self.match, facts)


def fits(match: Mapping[str, str], facts: Facts) -> bool | None:
    """Whether facts have what is asked for; None where one that decides cannot be read.

    >>> fits({"hostname": "web-*"}, {"hostname": "db-1"}), fits({"group": "web,db"}, {"group": ("db", "dmz")})
    (False, True)
    """
    answer: bool | None = True
    for fact, pattern in match.items():
        value = facts.get(fact)
        values = (value,) if isinstance(value, str) else value
        if values is None:
            answer = None
        elif not any(fnmatch.fnmatchcase(each, part.strip()) for each in values for part in pattern.split(",")):
            return False
    return answer


def source_at(text: Text, path: Path, *, key: bool = False) -> Source:
    """The place of a part of a document."""
    return Source(text.file, *text.at(path, key=key), text.commit)


@dataclass(frozen=True)
class Desired:
    """All documents of an input, and the files that they came from."""

    documents: tuple[Document, ...]
    contents: Mapping[str, bytes]
    inventory: Inventory = field(default_factory=Inventory)

    @property
    def files(self) -> dict[str, str]:
        """The digest of every file."""
        return {path: hashlib.sha256(data).hexdigest() for path, data in self.contents.items()}


def find_files(paths: Iterable[str], problems: list[Mistake]) -> list[str]:
    """The YAML files that the paths stand for; a path that does not exist is wrong usage."""
    found: list[str] = []

    def unreadable(error: OSError) -> None:
        # What cannot be read must not look like what is not there.
        where = printable(str(error.filename))
        problems.append(Mistake(where, 1, 1, f"cannot be read: {(error.strerror or '').lower()}"))

    for path in paths:
        if os.path.isfile(path):
            found.append(path)
        elif os.path.isdir(path):
            for directory, subdirectories, names in os.walk(path, onerror=unreadable):
                subdirectories[:] = sorted(d for d in subdirectories if not d.startswith("."))
                wanted = sorted(n for n in names if n.endswith((".yaml", ".yml")) and not n.startswith("."))
                found += [full for name in wanted if os.path.isfile(full := os.path.join(directory, name))]
        else:
            raise Usage(f"{printable(path)}: no such file or directory")
    return list(dict.fromkeys(found))


def load(paths: Iterable[str], facts: Facts | None = None) -> Desired:
    """Read every file below the paths; raises `Mistakes` with all that is wrong in all of them."""
    mistakes: list[Mistake] = []
    return parse(contents_of(paths, mistakes), mistakes, facts=facts)


def contents_of(paths: Iterable[str], mistakes: list[Mistake]) -> dict[str, bytes]:
    """The bytes of every file below the paths."""
    names = list(paths)
    contents: dict[str, bytes] = {}
    for path in find_files(names, mistakes):
        try:
            with open(path, "rb") as file:
                contents[path] = file.read((1 << 20) + 1)
        except OSError as error:
            mistakes.append(Mistake(printable(path), 1, 1, f"cannot be read: {(error.strerror or '').lower()}"))
    if not contents and not mistakes:
        listed = ", ".join(map(printable, names))
        mistakes.append(Mistake(listed, 1, 1, "no desired state here", "put a .yaml file with a deployment into it"))
    return contents


def parse(
    contents: Mapping[str, bytes],
    mistakes: list[Mistake] | None = None,
    *,
    facts: Facts | None = None,
    commit: str | None = None,
) -> Desired:
    """Read the contents of files; raises `Mistakes` with all that is wrong in all of them.

    ``facts``: of the host that it is for; None: for every host that the files name.
    """
    problems = [] if mistakes is None else mistakes
    texts: list[Text] = []
    stated: list[tuple[str, str, Text]] = []
    for path, data in contents.items():
        name = printable(path)
        found, wrong = read(name, data)
        problems += wrong
        whose = inventory_of(name)
        for text in found:
            text.commit = commit
        if whose is not None:
            stated += [(*whose, text) for text in found]
            continue
        texts += found
        if not found and not wrong:
            problems.append(
                Mistake(
                    name,
                    1,
                    1,
                    "holds no deployment",
                    "an emptied file never means 'remove all'; delete the file, or write 'deployment: NAME'",
                )
            )
    known = inventory(stated, validated, problems)
    asking = any(HOLE.search(contents[path].decode("utf-8", "replace")) for path in contents)
    hosts: list[Facts] = (
        [facts] if facts is not None else [{"hostname": name} for name in known.hosts if asking] or [{}]
    )
    documents: dict[Source, Document] = {}
    for host in hosts:
        built = [made for text in texts if (made := build(text, problems, known, host)) is not None]
        from .checks import check  # noqa: PLC0415 - it looks at documents, as this file makes them

        check(built, problems)
        for document in built:
            documents.setdefault(document.source, document)
    if problems:
        raise Mistakes(problems)
    return Desired(tuple(documents.values()), dict(contents), known)


def build(text: Text, problems: list[Mistake], known: Inventory, facts: Facts) -> Document | None:
    """One document, filled in for a host, as far as it can be understood; None where it is not for it."""
    if not isinstance(text.value, dict):
        line, column = text.at(())
        problems.append(Mistake(text.file, line, column, "not a mapping", "a document starts with 'deployment: NAME'"))
        return None
    hostname = facts.get("hostname")
    values = known.values(hostname if isinstance(hostname, str) else None)
    filling = Filling(values)
    value = {
        key: part if key in ("deployment", "match") else filling.fill(part, (key,)) for key, part in text.value.items()
    }
    if filling.missing or filling.wrong:
        match = value.get("match")
        if isinstance(match, dict) and fits({k: str(v) for k, v in match.items()}, known.known(facts)) is False:
            return None
        whose = f"host {hostname}" if hostname else "this host"
        problems += [Mistake(text.file, *text.at(path), message, hint) for path, message, hint in filling.wrong]
        for path, name in filling.missing:
            hint = nearest(name, values) if values else ""
            hint = hint or f"give it in hosts/{hostname or 'NAME'}.yaml, or write ${{values.{name}:-DEFAULT}}"
            problems.append(Mistake(text.file, *text.at(path), f"{whose} has no value {name!r}", hint))
        return None
    text = replace(text, value=value)
    before = len(problems)
    header = validated(Header, text.value, text, (), problems)
    if header is None and len(problems) == before:
        return None
    document = Document(
        str(value.get("deployment") or ""),
        text,
        source=source_at(text, ("deployment",), key=True),
    )
    if header is not None:
        document.policy, document.profile, document.mode = header.policy, header.profile, header.mode
        document.match, document.parameters, document.access = header.match, header.with_, header.access
    listed = value.get("resources")
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        wished = build_resource(item, text, ("resources", index), problems)
        if wished is not None:
            document.resources.append(wished)
    if header is not None:
        expand(document, build_resource, problems)
    _complete(document)
    return document


def _complete(document: Document) -> None:
    """Bring along what resources imply and the document does not name."""
    named = {wished.resource.address for wished in document.resources}
    complete: list[Wished] = []
    for wished in document.resources:
        for kind, data in wished.resource.implies():
            implied = kinds()[kind].resource.model_validate(data)
            if implied.address not in named:
                complete.append(Wished(implied, wished.source))
        complete.append(wished)
    document.resources = complete


def build_resource(
    item: Any, text: Text, path: Path, problems: list[Mistake], source: Source | None = None
) -> Wished | None:
    """One resource; its first key names the kind."""
    place = text.at(path)
    if not isinstance(item, dict) or not item:
        problems.append(
            Mistake(
                text.file,
                *place,
                "not a resource",
                "a resource starts with its kind, as in '- group: flxrasvc'",
            )
        )
        return None
    kind_name = next(iter(item))
    kind = kinds().get(kind_name)
    if kind is None:
        meant = next((name for name, each in kinds().items() if kind_name in each.elsewhere), None)
        hint = SAID.get(kind_name) or (f"did you mean {meant!r}?" if meant else nearest(kind_name, kinds()))
        known = next((name for name in item if name in kinds()), None)
        if known:
            hint = f"the kind comes first: move '{known}:' to the top of this resource"
        problems.append(Mistake(text.file, *text.at((*path, kind_name), key=True), f"unknown kind {kind_name!r}", hint))
        return None
    data = {"name": item[kind_name], **{key: value for key, value in item.items() if key != kind_name}}
    # A field that YAML writes under another name, or not at all, is no key.
    fields = kind.resource.model_fields.items()
    for hidden in {name for name, info in fields if info.alias not in (None, name) or info.exclude} & item.keys():
        problems.append(Mistake(text.file, *text.at((*path, hidden), key=True), f"unknown key {hidden!r}"))
        return None
    if "name" in item:
        problems.append(
            Mistake(
                text.file,
                *text.at((*path, "name"), key=True),
                "unknown key 'name'",
                f"the name is the value of '{kind_name}:'",
            )
        )
        return None
    if isinstance(data["name"], str) and data["name"].startswith("/"):
        if ".." in data["name"].split("/"):
            problems.append(
                Mistake(text.file, *text.at((*path, kind_name)), "a path with '..'", "write the path without it")
            )
            return None
        data["name"] = clean_path(data["name"])
    resource = validated(kind.resource, data, text, path, problems, name_key=kind_name)
    if resource is None:
        return None
    return Wished(resource, source or source_at(text, path))


def validated(
    model: type[Any], data: Any, text: Text, path: Path, problems: list[Mistake], *, name_key: str = ""
) -> Any:
    """The model made of the data, or None with every mistake placed at its line."""
    try:
        made = model.model_validate(data)
        empty = list(nothings({k: v for k, v in data.items() if k != "resources"}, ()))
        for where in empty:
            message = f"{str(where[-1])!r} has no value"
            problems.append(Mistake(text.file, *text.at((*path, *where)), message, "give it one, or remove the line"))
        return None if empty else made
    except ValidationError as error:
        seen = set()
        for item in error.errors(include_url=False):
            loc: list[str | int] = []
            value: Any = data
            for part in item["loc"]:
                # Pydantic puts names of union members and "[key]" into the path; keep what the data has.
                listed = isinstance(value, list) and isinstance(part, int) and part < len(value)
                if listed or (isinstance(value, dict) and part in value):
                    value = value[part]
                elif item["type"] != "missing" or part is not item["loc"][-1]:
                    continue
                loc.append(name_key if part == "name" and not loc and name_key else part)
            message, hint, on_key = explain(item, model, name_key)
            spot = text.at((*path, *loc), key=on_key)
            if (spot, message) not in seen:
                seen.add((spot, message))
                problems.append(Mistake(text.file, *spot, message, hint))
        return None


def nothings(value: Any, path: Path) -> Iterator[Path]:
    """Where a value is left out; nothing in a desired state means nothing."""
    if value is None:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from nothings(inner, (*path, key))


def explain(  # noqa: PLR0911 - one answer for each sort of mistake that pydantic knows
    item: Any, model: type[BaseModel], name_key: str
) -> tuple[str, str, bool]:
    """A pydantic error in our words: the message, what would be right, and whether the key is meant."""
    kind, loc, given, more = item["type"], item["loc"], item["input"], item.get("ctx", {})
    last = next((str(part) for part in reversed(loc) if not isinstance(part, int)), str(loc[-1]) if loc else "")
    what = name_key if last == "name" and name_key else last
    if kind == "extra_forbidden":
        known = {
            f.alias or name for name, f in deep_fields(model, loc[:-1]).items() if name not in ("name", "implied_by")
        }
        return f"unknown key {last!r}", SAID.get(last) or nearest(last, known), True
    if kind == "missing":
        return f"{what!r} is missing", f"add '{what}: …'", False
    if given is None:
        return f"{what!r} has no value", "give it one, or remove the line", False
    hidden = any(SECRET_KEY.search(str(part)) for part in loc)
    shown = (
        "(secret)"
        if hidden
        else f"{given[:60]!r}"
        if isinstance(given, str)
        else "a mapping"
        if isinstance(given, dict)
        else "a list"
    )
    if kind == "literal_error":
        expected = str(more.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        return f"{what!r} is {shown}", nearest(str(given), expected), False
    if kind.startswith("bool"):
        return f"{what!r} is {shown}, not a yes or no", "write true or false", False
    if kind.startswith("int") or kind in ("greater_than_equal", "less_than_equal"):
        return f"{what!r} is {shown}, not a number from 0 to 4294967294", "write the plain number", False
    if kind == "string_type":
        return f"{what!r} is {shown}, not text", "write one value", False
    if kind in ("list_type", "tuple_type"):
        return f"{what!r} is {shown}, not a list", "write [a, b], or one '- item' a line", False
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{what!r} is {shown}, not a mapping", "write 'key: value' lines below it", False
    if kind == "string_pattern_mismatch":
        pattern = str(more.get("pattern", ""))
        names = "letters, digits, '_', '-' and '.', starting with a letter, 32 at most"
        hint = (
            "write an absolute path" if pattern.startswith("^/") else names if "A-Z" in pattern else "one line of text"
        )
        return f"{what!r} is {shown}, which cannot be", hint, False
    text = str(more.get("error", item["msg"]))
    return f"{what!r}: {text}" if what else text, "", False


def deep_fields(model: type[BaseModel], loc: tuple[Any, ...]) -> dict[str, Any]:
    """The fields of the model that an error's path leads to."""
    import typing  # noqa: PLC0415 - only for a mistake

    current: Any = model
    for part in loc:
        fields = getattr(current, "model_fields", {})
        by_alias = {f.alias or name: f for name, f in fields.items()}
        annotation = by_alias[part].annotation if part in by_alias else current
        pending, found = [annotation], current
        while pending:
            candidate = pending.pop()
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                found = candidate
            pending += typing.get_args(candidate)
        current = found
    return dict(getattr(current, "model_fields", {}))
