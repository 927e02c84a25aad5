"""A collector of traces that stands in for a real one: OTLP over HTTP on a real socket, decoded by its own protocol."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Told:
    """A span as it came; numbers in hex, times in nanoseconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    begin: int
    end: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    service: str


@dataclass(slots=True)
class Collector:
    """port; spans: all that came; slow: seconds that each answer takes; status: what it answers."""

    port: int = 0
    spans: list[Told] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    slow: float = 0.0
    status: int = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, wanted: Callable[[list[Told]], Any], seconds: float = 30.0) -> Any:
        """What `wanted` finds among the spans, once it finds something."""
        end = time.monotonic() + seconds
        while not (found := wanted(list(self.spans))):
            assert time.monotonic() < end, [span.name for span in self.spans]
            time.sleep(0.02)
        return found


def value(any_value: Any) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(one) for one in any_value.array_value.values]
    return getattr(any_value, kind)


def spans_of(body: bytes) -> Iterator[Told]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = {one.key: value(one.value) for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Told(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    {one.key: value(one.value) for one in span.attributes},
                    tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    about["service.name"],
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    """The collector, on a free port of this machine."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(collector.slow)
            collector.paths.append(self.path)
            collector.headers.append(dict(self.headers))
            if collector.status == 200:
                collector.spans += spans_of(body)
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield collector
        finally:
            server.shutdown()
