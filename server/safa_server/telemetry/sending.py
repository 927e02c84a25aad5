"""An exporter of spans whose trouble is told once, and once more when it is over; what it loses is counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from safa_server.telemetry.observer import Observer

log = logging.getLogger("safa_server.telemetry")


class Sending(SpanExporter):
    """Hands batches on to `exporter`. where: what it sends to, in the log; observer: whose `lost` counts."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter, self._where, self._away = exporter, where, False
        self.observer: Observer | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """On the SDK's own thread, one batch after the other."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and self.observer is not None:
            self.observer.lost += len(spans)
        if failed and not self._away:
            log.warning("%s takes no traces; they are lost until it does", self._where)
        elif self._away and not failed:
            log.info("%s takes traces again", self._where)
        self._away = failed
        return result

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return True
