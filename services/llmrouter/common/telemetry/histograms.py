"""Histograms added up here and read with all other metrics: a tenth of what the SDK's cost."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from llmrouter.common.telemetry.names import INSTRUMENTS, Kind, Name
from llmrouter.common.telemetry.spans import CURRENT

__all__ = ["Histograms", "JoinedReader"]

_SCOPE = InstrumentationScope("llmrouter")
_Labels = tuple[tuple[str, str], ...]


class _Series:
    """One histogram with one set of labels."""

    __slots__ = ("counts", "exemplars", "high", "low", "total")

    def __init__(self, bounds: int) -> None:
        self.counts = [0] * (bounds + 1)
        self.total = 0.0
        self.low, self.high = float("inf"), float("-inf")
        self.exemplars: dict[int, Exemplar] = {}
        """The last value of each bucket that a drawn trace leads to."""


class Histograms:
    """All histograms of a process, since its start. Values may come from any thread."""

    def __init__(self) -> None:
        self._began = time.time_ns()
        self._lock = threading.Lock()
        self._bounds = {
            name: one.buckets for name, one in INSTRUMENTS.items() if one.kind is Kind.HISTOGRAM
        }
        self._series: dict[Name, dict[_Labels, _Series]] = {name: {} for name in self._bounds}

    def record(self, name: Name, value: float, labels: _Labels) -> None:
        """Take a value in; the same labels always come in the same order."""
        bounds = self._bounds[name]
        place = bisect_left(bounds, value)
        span = CURRENT.get()
        with self._lock:
            series = self._series[name].get(labels)
            if series is None:
                series = self._series[name][labels] = _Series(len(bounds))
            series.counts[place] += 1
            series.total += value
            series.low, series.high = min(series.low, value), max(series.high, value)
            if span is not None and span.drawn:
                ids = span.span_id, span.trace_id
                series.exemplars[place] = Exemplar({}, value, time.time_ns(), *ids)

    def metrics(self) -> Iterator[Metric]:
        """Give those that have values, as exporters take them."""
        now = time.time_ns()
        for name, series in self._series.items():
            with self._lock:
                points = [self._point(name, labels, one, now) for labels, one in series.items()]
            if points:
                about = INSTRUMENTS[name]
                data = Histogram(points, AggregationTemporality.CUMULATIVE)
                yield Metric(name, about.description, about.unit, data)

    def _point(self, name: Name, labels: _Labels, series: _Series, now: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=self._began,
            time_unix_nano=now,
            count=sum(series.counts),
            sum=series.total,
            bucket_counts=tuple(series.counts),
            explicit_bounds=self._bounds[name],
            min=series.low,
            max=series.high,
            exemplars=list(series.exemplars.values()),
        )


class JoinedReader(InMemoryMetricReader):
    """Reads the SDK's instruments, and these histograms with them.

    Args:
        histograms: What is added up here.
        resource: What process it comes from.
    """

    def __init__(self, histograms: Histograms, resource: Resource) -> None:
        super().__init__()
        self._histograms, self._resource = histograms, resource

    def get_metrics_data(self) -> MetricsData | None:
        """Return all values of this moment; None where there are none."""
        sdk, own = super().get_metrics_data(), list(self._histograms.metrics())
        if not own:
            return sdk
        if sdk is None:
            return MetricsData(
                [ResourceMetrics(self._resource, [ScopeMetrics(_SCOPE, own, "")], "")]
            )
        # In one scope: exporters take the last of several for the whole of a process.
        [resource] = sdk.resource_metrics
        [scope] = resource.scope_metrics
        joined = replace(scope, metrics=[*scope.metrics, *own])
        return MetricsData([replace(resource, scope_metrics=[joined])])
