"""OpenTelemetry: every run as a trace, every line as a log record; where they go stands in the OTEL_… variables."""

from __future__ import annotations

import threading
import time
from typing import Any

from .. import __version__
from ..engine.survey import facts
from ..errors import Usage
from ..host.port import Observer
from ..model import Json
from .notify import ERROR, NOTICE, WARNING, Line, Teller

LAST = 0.4
"""Seconds for what is left to be sent, of spans and of records."""


class Traces(Teller):
    """Sends spans and records in batches, from threads of the library's own."""

    def __init__(self, host: Observer) -> None:
        try:
            from opentelemetry._logs import SeverityNumber  # noqa: PLC0415 - an extra
            from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
            from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError:
            raise Usage("--otel needs the extra: pip install 'host-reconciler[otel]'") from None
        known = facts(host)
        resource = Resource.create(
            {
                "service.name": "reconciler",
                "service.version": __version__,
                "host.name": known["hostname"] or "unknown",
                "host.id": known["machine_id"] or "unknown",
            }
        )
        self._spans, self._records = (
            TracerProvider(resource=resource, shutdown_on_exit=False),
            LoggerProvider(resource=resource, shutdown_on_exit=False),
        )
        self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._records.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        self._tracer: Any = self._spans.get_tracer("reconciler.watch", __version__)
        self._logger: Any = self._records.get_logger("reconciler.watch", __version__)
        self._levels: dict[int, Any] = {
            ERROR: SeverityNumber.ERROR, WARNING: SeverityNumber.WARN, NOTICE: SeverityNumber.INFO2,
        }  # fmt: skip
        self._info = SeverityNumber.INFO

    def tell(self, line: Line) -> None:
        """A record for every line; a span for what took time."""
        told = {f"reconciler.{key}": _plain(value) for key, value in line.fields.items() if value is not None}
        now = time.time_ns()
        if "seconds" in line.fields:
            begin = now - int(float(line.fields["seconds"]) * 1e9)
            name = "repair" if "address" in line.fields else "run"
            span = self._tracer.start_span(name, start_time=begin, attributes=told)
            span.end(end_time=now)
        self._logger.emit(
            timestamp=now,
            severity_number=self._levels.get(line.priority, self._info),
            body=line.text,
            attributes={"reconciler.event": line.what, **told},
        )

    def close(self) -> None:
        """Send what is left, as far as that goes quickly: a collector that is away keeps nobody from ending."""
        for provider in (self._spans, self._records):
            thread = threading.Thread(target=provider.shutdown, daemon=True)
            thread.start()
            thread.join(LAST)


def _plain(value: Json) -> Json:
    """A value that an attribute can carry."""
    return value if isinstance(value, str | bool | int | float) else str(value)
