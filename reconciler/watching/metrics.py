"""Prometheus metrics: a file for node_exporter's textfile collector, and a port on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from ..errors import HostError, ReconcilerError, Usage
from ..formats.text import printable
from ..log.store import LogReader
from ..model import Json
from .notify import Line, Teller

SECONDS = 5
"""So long a client may keep us waiting."""
STATES = ("starting", "converged", "done", "drifted", "waiting", "refused", "failed", "ended")
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, float("inf"))


class Metrics(Teller):
    """Counts what is told, and keeps what holds."""

    def __init__(self, reader: Callable[[], LogReader], file: str | None, port: int | None) -> None:
        try:
            import prometheus_client as client  # noqa: PLC0415 - an extra
        except ImportError:
            raise Usage("metrics need the extra: pip install 'host-reconciler[metrics]'") from None
        self._client, self._reader, self.file = client, reader, file
        registry = self._registry = client.CollectorRegistry()

        def made(kind: Any, name: str, text: str, *labels: str, **more: Any) -> Any:
            return kind(f"reconciler_{name}", text, labels, registry=registry, **more)

        self.drift = made(client.Counter, "drift", "Drift that was found.", "deployment", "kind", "cause", "policy")
        self.runs = made(client.Counter, "runs", "Runs of this watch.", "outcome")
        self.fights = made(client.Counter, "fights", "Flapping that were given up for a while.", "address")
        self.lost = made(client.Counter, "lost_events", "Times that events were lost and everything was looked at.")
        self.seconds = made(
            client.Histogram, "repair_seconds", "From the event to the repair.", buckets=BUCKETS
        )  # fmt: skip
        self.state = made(client.Gauge, "state", "1 for the state that holds.", "state")
        self.fighting = made(client.Gauge, "fights_now", "Fields that are left alone because of a fight.")
        self.audited = made(client.Gauge, "drift_now", "Things that drifted and are left as they are.")
        self.mistaken = made(client.Gauge, "desired_broken", "1 while the desired state cannot be used.")
        self.looked_after = made(client.Gauge, "watched", "Directories and trees, by what tells of them.", "by")
        self.blind = made(client.Gauge, "watched_blind", "Places of which no events come.")
        self.seq = made(client.Gauge, "log_events", "The number of the log's last event.")
        self.beat = made(client.Gauge, "last_turn_timestamp_seconds", "When something was last looked at.")
        for state in STATES:
            self.state.labels(state)
        if port is not None:
            try:
                self._serve(client.make_wsgi_app(registry), port)
            except OSError as error:
                raise Usage(f"--metrics-port {port}: {(error.strerror or str(error)).lower()}") from None
        if file is not None:
            try:
                client.write_to_textfile(file, registry)
            except OSError as error:
                raise Usage(f"--metrics-file {printable(file)}: {(error.strerror or '').lower()}") from None

    def _serve(self, app: Any, port: int) -> None:
        """One thread that answers one after the other: whoever opens many connections waits, and we do not."""

        class Quiet(WSGIRequestHandler):
            timeout = SECONDS

            def log_message(self, *args: Any) -> None:
                """Nobody wants to know."""

        self.server = make_server("127.0.0.1", port, app, handler_class=Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True, name="metrics").start()

    def tell(self, line: Line) -> None:
        """Count it."""
        told = line.fields
        if line.what in ("done", "drift") and "cause_kind" in told:
            kind = str(told["address"]).partition(":")[0]
            self.drift.labels(told["deployment"], kind, told["cause_kind"], told["policy"]).inc()
            if line.what == "done":
                self.seconds.observe(told["seconds"])
        elif "outcome" in told:
            self.runs.labels(told["outcome"]).inc()
        elif line.what == "fight":
            self.fights.labels(told["address"]).inc()
        elif line.what == "lost":
            self.lost.inc()

    def figures(self, state: Mapping[str, Json]) -> None:
        """What holds now; into the file, where one is asked for."""
        for each in STATES:
            self.state.labels(each).set(each == state["state"])
        self.fighting.set(len(state["fights"]))
        self.audited.set(len(state["drift"]))
        self.mistaken.set("cannot be used" in state["message"])
        self.looked_after.clear()
        for name, count in state["by"].items():
            self.looked_after.labels(name).set(count)
        self.blind.set(len(state["blind"]))
        self.beat.set_to_current_time()
        try:
            self.seq.set(self._reader().tail()[0])
            if self.file is not None:
                self._client.write_to_textfile(self.file, self._registry)
        except ReconcilerError:
            pass  # the log says so itself, at the next run
        except OSError as error:
            raise HostError(f"--metrics-file {printable(self.file or '')}: {(error.strerror or '').lower()}") from None
