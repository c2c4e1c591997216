"""All that is seen of a directory."""

from __future__ import annotations

from collections.abc import Mapping

from ...model import Json
from .._located import Located


class DirectoryState(Located):
    """A directory; of what is in it those paths alone that were copied from a skeleton."""

    mode: int = 0o755
    skel: Mapping[str, Json] = {}
