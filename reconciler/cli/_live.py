"""status --live: the log and the watch, as they go on."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from ..app.place import Place
from ._common import paint

if TYPE_CHECKING:
    from ..report._live import View

PERIOD = 0.5
LAST = 15


def follow(place: Place, style: str) -> int:
    """Show it until somebody interrupts: as a view on a terminal, else events as lines."""
    from ..core.events import Event
    from ..report._live import QUIET, event_line, live_lines

    log, colours = place.reader(), paint()
    events: deque[Event] = deque(maxlen=LAST)
    seq = max(0, log.tail()[0] - 10 * LAST)
    terminal = sys.stdout.isatty() and style == "text"
    shown: Any = None
    if terminal:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        shown = Live(console=Console(), auto_refresh=False, screen=True)
        shown.start()
    try:
        first = True
        while True:
            for event in list(log.events(seq)):
                seq = event.seq
                if event.type in QUIET:
                    continue
                events.append(event)
                if not terminal and not first:
                    click.echo(json.dumps(event.json()) if style == "json" else event_line(event, colours))
            view = _view(place, list(events))
            if terminal:
                shown.update(Text.from_ansi("\n".join(live_lines(view, colours))), refresh=True)
            elif first and style == "text":
                for line in live_lines(view, colours):
                    click.echo(line)
            first = False
            sys.stdout.flush()
            time.sleep(PERIOD)
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    finally:
        if shown is not None:
            shown.stop()


def _view(place: Place, events: list[Any]) -> View:
    from ..report._live import View

    ledger = place.ledger()
    held = {name: len(addresses) for name, addresses in ledger.deployments().items()}
    return View(held, watching(place), ledger.suspended, events)


def watching(place: Place) -> Any:
    """What the watch of this host and log says of itself; None where none runs."""
    stem = os.path.splitext(os.path.abspath(place.log_path()))[0]
    with suppress(OSError, ValueError, KeyError, TypeError):
        with open(f"{stem}.watch", encoding="utf-8") as file:
            told = json.load(file)
        with open(f"/proc/{int(told['pid'])}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        return told if told["state"] != "ended" and b"watch" in words else None
    return None
