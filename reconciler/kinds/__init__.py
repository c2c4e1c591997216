"""The kinds of thing that a deployment can speak of: one file each, found by looking in this folder."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from ..core.kind import Kind
from ..core.kinds import Kinds


@cache
def kinds() -> Kinds:
    """Every kind by its name, which is that of its file or folder here."""
    return Kinds((module.name for module in iter_modules(__path__) if not module.name.startswith("_")), _load)


def _load(name: str) -> Kind[Any]:
    kind: Kind[Any] = import_module(f"{__name__}.{name}").KIND
    return kind
