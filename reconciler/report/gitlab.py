"""Previews as GitLab's terraform report: three numbers for the merge request.  Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ._preview import Group, totals


def gitlab(groups: Sequence[Group]) -> str:
    """The report as JSON; GitLab's ``update`` is our ``change``."""
    found = totals(groups)
    return json.dumps({"create": found["create"], "update": found["change"], "delete": found["remove"]}) + "\n"
