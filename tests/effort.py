"""How hard tests try: as `make test` does, or as `make test-long` does, with more examples and new seeds."""

from __future__ import annotations

import os

LONG = bool(os.environ.get("RECONCILER_LONG"))


def many(usual: int, long: int | None = None) -> int:
    """How many examples, rounds or boundaries a test tries; six times as many where nothing else is said."""
    return usual if not LONG else usual * 6 if long is None else long
