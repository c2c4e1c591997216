"""The kinds of thing that a deployment can speak of: one file each, found by looking in this folder."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from .base import Kind


@cache
def kinds() -> dict[str, Kind[Any]]:
    """Every kind by its name, in the order in which a plan works through them."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.rank)}
