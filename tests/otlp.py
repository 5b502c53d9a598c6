"""A collector of OpenTelemetry traces on the loopback: what it was sent, decoded."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_S = 60.0


class Collector:
    """Keeps every span, with the name of the service that sent it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.raw = b""
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            self.raw += body
            for resource in request.resource_spans:
                named = {one.key: one.value.string_value for one in resource.resource.attributes}
                self.spans += [
                    (named["service.name"], span) for scope in resource.scope_spans for span in scope.spans
                ]
            self._changed.notify_all()

    def wait_for(self, reached: Callable[[dict[str, Span]], bool]) -> None:
        """Wait until the spans by name, the last of each, are as they should be."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: reached({span.name: span for _, span in self.spans}), PATIENCE_S
            )
        assert found, sorted(span.name for _, span in self.spans)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector for the time of a block."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()


def attributes(span: Span) -> dict[str, object]:
    """What a span says of itself."""
    kinds = {"string_value": str, "int_value": int, "double_value": float, "bool_value": bool}
    told: dict[str, object] = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        told[one.key] = kinds[kind](getattr(one.value, kind))
    return told
