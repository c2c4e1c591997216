"""Old shapes of event data to the one that this version reads.  Pure.

Each released change of a shape adds one function here and a golden log under the tests; none is ever removed.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model import Json

CURRENT = 1


def upcast(data: Mapping[str, Json]) -> Mapping[str, Json]:
    """The data of an event in today's shape; ``v`` says in which it was written."""
    if int(data.get("v", CURRENT)) > CURRENT:
        return {**data, "newer": True}
    return data
