"""The page that Prometheus scrapes: what OpenTelemetry has collected, exemplars included.

OpenTelemetry's own exporter for Prometheus leaves exemplars out, so the page is put together here
and written by `prometheus_client`, which also speaks HTTP and chooses the format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics.export import (
    Histogram,
    InMemoryMetricReader,
    Metric,
    Sum,
)
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from llmrouter.common.settings import ConfigError

__all__ = ["MetricsPage", "PageCollector", "page_name"]

_UNITS = {"s": "seconds", "By": "bytes"}
_NO_NAME = re.compile(r"[^a-zA-Z0-9_:]")

_Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class PageCollector(Collector):
    """Turns what a reader collects into Prometheus' families."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def describe(self) -> Iterable[_Family]:
        """Say nothing: names are known once there are values."""
        return ()

    def collect(self) -> Iterator[_Family]:
        """Yield one family per instrument that has values."""
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                yield from (_family(metric) for metric in scope.metrics)


class MetricsPage:
    """Serves the page on a port of its own, in a thread of its own."""

    def __init__(self, reader: InMemoryMetricReader, host: str, port: int) -> None:
        """Listen.

        Raises:
            ConfigError: The port is in use, or the address is none of this machine.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(PageCollector(reader))
        try:
            served: tuple[WSGIServer, Thread] = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(
                f"the metrics page cannot listen on {host}:{port}: {error.strerror or error}; set "
                "telemetry.prometheus.port"
            ) from None
        self._server, self._thread = served
        self.address = f"{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening; blocks for half a second at most."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def page_name(name: str, unit: str) -> str:
    """Return what an instrument is called on the page, but for what kinds append."""
    written, told = _NO_NAME.sub("_", name), _UNITS.get(unit, "")
    return f"{written}_{told}" if told else written


def _family(metric: Metric) -> _Family:
    """Return a metric with all its series; labels that one of them lacks are empty there."""
    name = page_name(metric.name, metric.unit or "")
    points: Sequence[Any] = metric.data.data_points
    keys = sorted({key for point in points for key in point.attributes or {}})
    labels = [_NO_NAME.sub("_", key) for key in keys]
    rows = [([str((one.attributes or {}).get(key, "")) for key in keys], one) for one in points]
    about = metric.description or ""
    if isinstance(metric.data, Histogram):
        histogram = HistogramMetricFamily(name, about, labels=labels)
        for values, point in rows:
            histogram.add_metric(values, _buckets(point), point.sum)
        return histogram
    if isinstance(metric.data, Sum) and metric.data.is_monotonic:
        counter = CounterMetricFamily(name, about, labels=labels)
        for values, point in rows:
            counter.add_metric(values, point.value)
        return counter
    gauge = GaugeMetricFamily(name, about, labels=labels)
    for values, point in rows:
        gauge.add_metric(values, point.value)
    return gauge


def _buckets(point: Any) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    bounds: Sequence[float] = (*point.explicit_bounds, float("inf"))
    exemplars = _by_bucket(point.exemplars, bounds)
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    total = 0
    for place, (bound, count) in enumerate(zip(bounds, point.bucket_counts, strict=True)):
        total += count
        written = "+Inf" if bound == float("inf") else repr(float(bound))
        found = exemplars.get(place)
        buckets.append((written, total) if found is None else (written, total, found))
    return buckets


def _by_bucket(found: Iterable[SdkExemplar], bounds: Sequence[float]) -> Mapping[int, Exemplar]:
    """Return the exemplar of each bucket that has one with a trace."""
    placed: dict[int, Exemplar] = {}
    for one in found:
        if not one.trace_id or not one.span_id:
            continue
        place = next(index for index, bound in enumerate(bounds) if one.value <= bound)
        told = {"trace_id": f"{one.trace_id:032x}", "span_id": f"{one.span_id:016x}"}
        placed[place] = Exemplar(told, float(one.value), one.time_unix_nano / 1e9)
    return placed
