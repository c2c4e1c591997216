"""The kinds of thing that a deployment can speak of: one file each, found by looking in this folder."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from ..core.kind import Kinds


@cache
def kinds() -> Kinds:
    """Every kind by its name, in the order in which a plan works through them."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    found = [module.KIND for module in modules if hasattr(module, "KIND")]
    return Kinds({kind.name: kind for kind in sorted(found, key=lambda kind: kind.rank)})
