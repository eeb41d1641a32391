"""A collector for tests: OpenTelemetry's own services over real gRPC and HTTP."""

import asyncio
import contextlib
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from grpc import aio
from opentelemetry.proto.collector.metrics.v1 import (
    metrics_service_pb2,
    metrics_service_pb2_grpc,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class Received:
    """What came in, both signals."""

    def __init__(self):
        self.traces = []
        self.metrics = []
        self.headers = []

    def spans(self):
        """Yield every span with the name of its service."""
        for request in self.traces:
            for one in request.resource_spans:
                named = {pair.key: pair.value.string_value for pair in one.resource.attributes}
                for scope in one.scope_spans:
                    for span in scope.spans:
                        yield named["service.name"], span

    def by_trace(self):
        found = defaultdict(list)
        for service, span in self.spans():
            found[span.trace_id.hex()].append((service, span))
        return found

    def metric_names(self):
        return {
            metric.name
            for request in self.metrics
            for one in request.resource_metrics
            for scope in one.scope_metrics
            for metric in scope.metrics
        }

    async def wait_for(self, holds, seconds=20):
        """Wait until `holds` says so of what has come in."""
        async with asyncio.timeout(seconds):
            while not holds(self):  # noqa: ASYNC110 - it is told by other threads too
                await asyncio.sleep(0.1)


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, received):
        self.received = received

    async def Export(self, request, context):  # noqa: N802
        self.received.headers.append(dict(context.invocation_metadata()))
        self.received.traces.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, received):
        self.received = received

    async def Export(self, request, context):  # noqa: N802
        self.received.metrics.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


@contextlib.asynccontextmanager
async def receiving_grpc():
    """Yield what is received and the endpoint to send it to."""
    received, server = Received(), aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(received), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(received), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield received, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0)


@contextlib.contextmanager
def receiving_http():
    """Do the same over HTTP."""
    received = Received()
    kinds = {
        "/v1/traces": (trace_service_pb2.ExportTraceServiceRequest, received.traces),
        "/v1/metrics": (metrics_service_pb2.ExportMetricsServiceRequest, received.metrics),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            kind, taken = kinds[self.path]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            taken.append(kind.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
