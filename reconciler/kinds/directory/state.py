"""All that is seen of a directory."""

from __future__ import annotations

from collections.abc import Mapping

from ...model import Field, Json
from .._located import Located

MODE: Field = ("mode",)


class DirectoryState(Located):
    """A directory; of what is in it those paths alone that were copied from a skeleton."""

    mode: int = 0o755
    skel: Mapping[str, Json] = {}
