"""Sends metrics to a collector from time to time."""

from __future__ import annotations

import threading

from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter

__all__ = ["MetricSender"]


class MetricSender:
    """Sends what a reader collects, every so often and once at the end.

    OpenTelemetry's own periodic reader cannot share what it collects with a page.

    Args:
        reader: Collects.
        exporter: Sends; its own timeout bounds each time.
        interval: Seconds between two times.
    """

    def __init__(
        self, reader: InMemoryMetricReader, exporter: MetricExporter, interval: float
    ) -> None:
        self._reader, self._exporter, self._interval = reader, exporter, interval
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send once more and end; waits for the collector as long as one export may."""
        self._ending.set()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(self._interval)
            data = self._reader.get_metrics_data()
            if data is not None:
                self._exporter.export(data)
