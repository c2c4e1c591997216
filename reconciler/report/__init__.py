"""Plans and runs told to people and programs: one file a form, each with a function of its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules


@cache
def forms() -> tuple[str, ...]:
    """The names of all forms in which a preview is printed, besides text and JSON."""
    return tuple(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def renderer(form: str) -> Callable[..., str]:
    """The function that prints previews of hosts in a form."""
    found: Callable[..., str] = getattr(import_module(f"{__name__}.{form}"), form)
    return found
