"""Jaeger, a receiver of traces that is not ours: fed over OTLP, asked through its query API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.ports import free_ports
from tests.support.programs import program
from tests.support.waiting import until

JAEGER = Path(__file__).resolve().parents[3] / "build/gobin/jaeger"
needs_jaeger = pytest.mark.skipif(
    not JAEGER.exists(), reason="Jaeger is not built; `make trace-tools` does it"
)


class Ports(NamedTuple):
    """Where Jaeger listens on this machine."""

    grpc: int
    http: int
    query: int
    query_grpc: int
    metrics: int


class Span(NamedTuple):
    """One span as Jaeger tells it, at its place in the tree."""

    service: str
    name: str
    above: str | None
    """Name of the span that it is below; None for the root."""
    tags: dict
    events: list


class Jaeger:
    """One place for traces, which may come and go.

    Args:
        folder: Where its configuration and what it says are written.
    """

    def __init__(self, folder):
        self.ports = Ports(*free_ports(len(Ports._fields)))
        self._folder = folder
        self._configuration = folder / "jaeger.json"
        self._configuration.write_text(json.dumps(_configuration(self.ports)))

    @contextlib.asynccontextmanager
    async def running(self):
        """Run it; what it has received goes with it."""
        command = str(JAEGER), "--config", str(self._configuration)
        with (self._folder / "jaeger.log").open("ab") as log:
            async with program(*command, seconds=20, said=log):
                await self._eventually(lambda: self._ask("services") is not None)
                yield self

    async def trace(self, trace_id, complete):
        """Return the spans of a trace once it holds what `complete` wants of their number."""
        found = []

        def there():
            found[:] = self._spans(trace_id)
            return complete(len(found))

        await self._eventually(there)
        return list(found)

    async def traces(self, service):
        """Return the ids of the traces that a service has a part in, 100 at most."""
        return await asyncio.to_thread(self._traces, service)

    async def first_traces(self, service):
        """Return the same once there are any."""
        found = set()

        def there():
            found.update(self._traces(service))
            return found

        await self._eventually(there)
        return found

    async def wait_for_metrics(self, wanted):
        """Wait until metrics of such names have come in."""
        url = f"http://127.0.0.1:{self.ports.metrics}/metrics"

        def there():
            lines = _read(url).splitlines()
            return wanted <= {one.split(" ")[2] for one in lines if one.startswith("# TYPE ")}

        await self._eventually(there)

    def _traces(self, service):
        return {one["traceID"] for one in self._ask(f"traces?service={service}&limit=100")}

    def _spans(self, trace_id):
        told = self._ask(f"traces/{trace_id}")
        if not told:
            return []
        [trace] = told
        names = {one["spanID"]: one["operationName"] for one in trace["spans"]}
        return [_span(one, names, trace["processes"]) for one in trace["spans"]]

    def _ask(self, path):
        """Return what an answer lists; nothing of what it does not know."""
        try:
            answer = _read(f"http://127.0.0.1:{self.ports.query}/api/{path}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return []
            raise
        return json.loads(answer)["data"] or []

    @staticmethod
    async def _eventually(holds):
        async def look():
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(holds)

        await until(look, pause=0.1)


def _span(one, names, processes):
    above = [at["spanID"] for at in one["references"] if at["refType"] == "CHILD_OF"]
    return Span(
        processes[one["processID"]]["serviceName"],
        one["operationName"],
        names.get(above[0], "unknown") if above else None,
        {tag["key"]: tag["value"] for tag in one["tags"]},
        [{tag["key"]: tag["value"] for tag in event["fields"]} for event in one["logs"]],
    )


def _read(url):
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        return answer.read().decode()


def _configuration(ports):
    def at(port):
        return {"endpoint": f"127.0.0.1:{port}"}

    query = {"storage": {"traces": "kept"}, "enable_tracing": False}
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]},
                "metrics": {"receivers": ["otlp"], "exporters": ["prometheus"]},
            },
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
        },
        "extensions": {
            "jaeger_query": query | {"http": at(ports.query), "grpc": at(ports.query_grpc)},
            "jaeger_storage": {"backends": {"kept": {"memory": {"max_traces": 1000}}}},
        },
        "receivers": {"otlp": {"protocols": {"grpc": at(ports.grpc), "http": at(ports.http)}}},
        "exporters": {
            "jaeger_storage_exporter": {"trace_storage": "kept"},
            "prometheus": at(ports.metrics),
        },
    }
