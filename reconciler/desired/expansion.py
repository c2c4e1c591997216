"""A profile's mode, filled in with a site's parameters, as resources of a document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import Mistake
from ..formats.yaml import Text
from ..profiles import Parameter, profiles
from .words import nearest

if TYPE_CHECKING:
    from .documents import Document

HOLE = re.compile(r"\$\{([a-z_]+)\}")
Build = Callable[..., Any]


def expand(document: Document, build: Build, problems: list[Mistake]) -> None:
    """Put the profile's resources before the document's own."""

    def wrong(path: tuple[str, ...], message: str, hint: str, *, key: bool = False) -> None:
        problems.append(Mistake(document.text.file, *document.text.at(path, key=key), message, hint))

    if document.profile is None:
        for name in ("mode", "with"):
            if name in document.text.value:
                wrong((name,), f"{name!r} without a profile", "add 'profile: NAME', or remove it", key=True)
        return
    profile = profiles().get(document.profile)
    if profile is None:
        wrong(("profile",), f"unknown profile {document.profile!r}", nearest(document.profile, profiles()))
        return
    if document.mode is None:
        wrong(("profile",), f"profile {document.profile!r} needs a mode", nearest("", profile.modes))
        return
    mode = profile.modes.get(document.mode)
    if mode is None:
        wrong(
            ("mode",),
            f"{document.profile!r} has no mode {document.mode!r}",
            nearest(document.mode, profile.modes),
        )
        return
    values: dict[str, Any] = {name: _default(p) for name, p in profile.parameters.items()}
    for name, given in document.parameters.items():
        parameter = profile.parameters.get(name)
        if parameter is None:
            wrong(("with", name), f"unknown parameter {name!r}", nearest(name, profile.parameters), key=True)
            continue
        value, hint = _typed(parameter, given)
        if hint:
            wrong(("with", name), f"parameter {name!r} is {given!r}", hint)
        values[name] = value
    line, column = document.text.at(("profile",), key=True)
    source = replace(document.source, line=line, column=column)
    own = document.resources
    document.resources = []
    for item in mode.resources:
        filled = fill(item, values)
        when = filled.pop("when", True)
        if when in (False, "false"):
            continue
        text = Text(document.text.file, filled, {(): (source.line, source.column)})
        wished = build(filled, text, (), problems, source)
        if wished is not None:
            document.resources.append(wished)
    document.resources += own
    if mode.refuse_where is not None:
        document.refuse_where = fill(mode.refuse_where.model_dump(), values)
        document.procedure = mode.procedure
    document.parameters = values
    document.helpers, document.as_root = tuple(profile.helpers), tuple(profile.as_root)
    # What a site says of a path counts in place of what the profile does.
    document.access = {**fill(mode.access, values), **document.access}


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
