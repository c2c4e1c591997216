"""A profile's mode, filled in with a site's parameters, as resources of a document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import Mistake
from ..formats.yaml import Text
from .words import nearest

if TYPE_CHECKING:
    from ..profiles import Mode, Parameter, Profile
    from .documents import Document

HOLE = re.compile(r"\$\{([a-z_]+)\}")
Build = Callable[..., Any]


def expand(document: Document, build: Build, problems: list[Mistake]) -> None:
    """Put the profile's resources before the document's own."""
    found = _chosen(document, problems)
    if found is None:
        return
    profile, mode = found
    values = _parameters(document, profile, problems)
    line, column = document.text.at(("profile",), key=True)
    source = replace(document.source, line=line, column=column)
    implied = []
    for item in mode.resources:
        filled = fill(item, values)
        when = filled.pop("when", True)
        if when in (False, "false"):
            continue
        text = Text(document.text.file, filled, {(): (source.line, source.column)})
        wished = build(filled, text, (), problems, source)
        if wished is not None:
            implied.append(wished)
    document.resources = [*implied, *document.resources]
    if mode.refuse_where is not None:
        document.refuse_where = fill(mode.refuse_where.model_dump(), values)
        document.procedure = mode.procedure
    document.parameters = values
    document.helpers, document.as_root = tuple(profile.helpers), tuple(profile.as_root)
    # What a site says of a path counts in place of what the profile does.
    document.access = {**fill(mode.access, values), **document.access}


def _wrong(
    document: Document, problems: list[Mistake], path: tuple[str, ...], message: str, hint: str, *, key: bool = False
) -> None:
    problems.append(Mistake(document.text.file, *document.text.at(path, key=key), message, hint))


def _chosen(document: Document, problems: list[Mistake]) -> tuple[Profile, Mode] | None:
    """The profile and the mode that a document names; None, with the mistake noted, where there is no such thing."""
    name, asked = document.profile, document.mode
    if name is None:
        for word in ("mode", "with"):
            if word in document.text.value:
                what, hint = f"{word!r} without a profile", "add 'profile: NAME', or remove it"
                _wrong(document, problems, (word,), what, hint, key=True)
        return None
    from ..profiles import profiles  # noqa: PLC0415 - start-up counts

    profile = profiles().get(name)
    if profile is None:
        _wrong(document, problems, ("profile",), f"unknown profile {name!r}", nearest(name, profiles()))
        return None
    if asked is None:
        what, hint = f"profile {name!r} needs a mode", nearest("", profile.modes)
        _wrong(document, problems, ("profile",), what, hint)
        return None
    mode = profile.modes.get(asked)
    if mode is None:
        _wrong(document, problems, ("mode",), f"{name!r} has no mode {asked!r}", nearest(asked, profile.modes))
        return None
    return profile, mode


def _parameters(document: Document, profile: Profile, problems: list[Mistake]) -> dict[str, Any]:
    """The values that fill the profile: as given, else by default."""
    values = {name: _default(p) for name, p in profile.parameters.items()}
    for name, given in document.parameters.items():
        parameter = profile.parameters.get(name)
        if parameter is None:
            hint = nearest(name, profile.parameters)
            _wrong(document, problems, ("with", name), f"unknown parameter {name!r}", hint, key=True)
            continue
        value, hint = _typed(parameter, given)
        if hint:
            _wrong(document, problems, ("with", name), f"parameter {name!r} is {given!r}", hint)
        values[name] = value
    return values


def _default(parameter: Parameter) -> Any:
    return _typed(parameter, parameter.default)[0]


def _typed(parameter: Parameter, given: Any) -> tuple[Any, str]:
    """The value in its type, or what would be right."""
    if parameter.type == "list":
        plain = isinstance(given, list) and all(isinstance(item, str) for item in given)
        return (given, "") if plain else ([], "write a list of texts")
    if parameter.type == "lines":
        plain = isinstance(given, list) and all(isinstance(item, dict) for item in given)
        return (given, "") if plain else ([], "write a list of mappings, as the resource takes them")
    if not isinstance(given, str):
        return parameter.default, "write one value"
    if parameter.type == "flag":
        known = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        return (known[given.lower()], "") if given.lower() in known else (False, "write true or false")
    if parameter.type == "path" and (not given.startswith("/") or ".." in given.split("/")):
        return parameter.default, "write an absolute path"
    if parameter.type == "choice" and given not in parameter.choices:
        return parameter.default, f"one of: {', '.join(parameter.choices)}"
    return given, ""


def fill(item: Any, values: Mapping[str, Any]) -> Any:
    """The item with every ``${name}`` replaced; a text that is one hole alone becomes the value itself."""
    if isinstance(item, dict):
        return {fill(key, values): fill(value, values) for key, value in item.items()}
    if isinstance(item, list):
        return [fill(value, values) for value in item]
    if isinstance(item, str):
        whole = HOLE.fullmatch(item)
        if whole:
            return values[whole[1]]
        return HOLE.sub(lambda match: _text(values[match[1]]), item)
    return item


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
