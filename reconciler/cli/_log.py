"""The log, once it is found intact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..app.place import Place

if TYPE_CHECKING:
    from ..engine.survey import Surveyor


def asked(place: Place) -> Surveyor:
    """The host and its log, once that is found intact."""
    from ..app.guards import intact
    from ..engine.survey import Surveyor

    log = place.reader()
    intact(log)
    return Surveyor(place.observer(), log)
