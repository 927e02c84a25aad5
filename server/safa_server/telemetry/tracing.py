"""Traces as OpenTelemetry has them, sent by OTLP over HTTP: what `serve --trace` sets up. Nothing of it is global.

Names of OTEL_* variables count as the SDK reads them: the exporter's endpoint, headers, timeout and certificates, the
sampler, the batches' sizes, the service's name and the resource's attributes. What `serve` is told goes before them.
"""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit

from safa_server.telemetry.observer import Observer
from safa_stream.errors import UsageError

#: Instead of a URL: where OTEL_* variables say.
BY_VARIABLES = "otel"
INSTALL = "traces need OpenTelemetry: pip install 'safa-stream[telemetry]'"
#: What is left at the end may take so long.
FLUSH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """url: of a collector's OTLP/HTTP port, with or without /v1/traces, or BY_VARIABLES; ratio: of the traces that
    begin here so many are recorded, by the variables where None. What a client records already is recorded."""

    url: str
    ratio: float | None = None

    def __post_init__(self) -> None:
        if self.url != BY_VARIABLES:
            try:
                parts = urlsplit(self.url)
                sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                sound = False
            if not sound:
                good = f"a URL such as http://127.0.0.1:4318, or {BY_VARIABLES!r}"
                raise UsageError(f"setting 'trace' must be {good}, not {self.url!r}")
        if self.ratio is not None and not 0 <= self.ratio <= 1:
            raise UsageError(f"setting 'trace_ratio' must be from 0 to 1, not {self.ratio:g}")

    @property
    def endpoint(self) -> str | None:
        """The exporter's, None where variables say."""
        if self.url == BY_VARIABLES:
            return None
        return self.url if urlsplit(self.url).path.strip("/") else f"{self.url.rstrip('/')}/v1/traces"


class Tracing:
    """Traces on their way to a collector. observer: whom to tell what happens."""

    def __init__(self, settings: TraceSettings) -> None:
        """Raises UsageError where OpenTelemetry is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError as error:
            raise UsageError(f"{INSTALL} ({error})") from None
        from safa_server.telemetry.journeys import Journeys
        from safa_server.telemetry.recorder import Recorder
        from safa_server.telemetry.sending import Sending

        # It has a line for every try of every batch; what an operator has to know is told here, once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        sampler = None if settings.ratio is None else ParentBased(TraceIdRatioBased(settings.ratio))
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "safa-stream"}))
        where = settings.endpoint or "the collector that OTEL_* variables name"
        self._sending = Sending(OTLPSpanExporter(endpoint=settings.endpoint), where)
        self._processor = BatchSpanProcessor(self._sending)
        provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        tracer = provider.get_tracer("safa_server", importlib.metadata.version("safa-stream"))
        self._recorder = Recorder(Journeys(tracer).take)
        self._recorder.start()
        self._sending.observer = self._recorder

    @property
    def observer(self) -> Observer:
        """Whom to tell."""
        return self._recorder

    def close(self) -> None:
        """Send what is left, for FLUSH_SECONDS at most: a collector that is away keeps no server from ending."""
        self._recorder.stop()
        # The processor has no limit of its own for what it still sends.
        flushing = threading.Thread(target=self._processor.shutdown, name="safa-traces-flush", daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
        if flushing.is_alive():
            self._sending.shutdown()
