"""Telemetry of one process, put together from its settings and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from llmrouter.common.telemetry.calls import CallWatch
from llmrouter.common.telemetry.cardinality import BoundedLabels
from llmrouter.common.telemetry.channels import TracedChannel
from llmrouter.common.telemetry.exporting import metric_exporter, span_exporter
from llmrouter.common.telemetry.histograms import Histograms, JoinedReader
from llmrouter.common.telemetry.keeping import SpanKeeper
from llmrouter.common.telemetry.loop_lag import watch_loop
from llmrouter.common.telemetry.metering import OtelMeter, Source
from llmrouter.common.telemetry.metric_sender import MetricSender
from llmrouter.common.telemetry.process import process_readings
from llmrouter.common.telemetry.prometheus_page import MetricsPage
from llmrouter.common.telemetry.settings import TelemetrySettings
from llmrouter.common.telemetry.tracing import Tracer

__all__ = ["QUEUED_SPANS", "SILENT", "Telemetry", "sending"]

QUEUED_SPANS = 4096
"""Spans that wait for the collector at most."""
_BATCH_SPANS = 256
_SPAN_DELAY_MS = 1000.0
_CLOSE_SECONDS = 3.0
_log = structlog.get_logger("llmrouter.telemetry")


@dataclass(slots=True)
class Telemetry:
    """What services measure and trace with; both are None where nobody is told."""

    tracer: Tracer | None = None
    meter: OtelMeter | None = None
    page: MetricsPage | None = None
    """The page of metrics, where there is one."""
    _ends: tuple[Callable[[], object], ...] = ()
    """What ends all of it, in order; may wait for the collector."""
    _lag: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, settings: TelemetrySettings, service: str) -> Telemetry:
        """Return telemetry as the settings ask for it.

        Args:
            settings: The `telemetry` section.
            service: Name of the program, `gateway` or `up`.

        Raises:
            ConfigError: A file that the settings name cannot be used, or a port is in use.
        """
        exports, shows = bool(settings.otlp_endpoint), settings.prometheus.enabled
        if not (exports or shows):
            return cls()
        resource = _resource(service)
        # One reader for page and collector: each of them would take every value in once more.
        histograms = Histograms()
        reader = JoinedReader(histograms, resource)
        provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        labels = BoundedLabels({"tenant": settings.max_tenants})
        telemetry = cls(meter=OtelMeter(provider.get_meter("llmrouter"), labels, histograms))
        if shows:
            page = MetricsPage(reader, settings.prometheus.host, settings.prometheus.port)
            telemetry.page, telemetry._ends = page, (page.close,)
        if exports:
            spans = sending(settings, span_exporter(settings))
            telemetry.tracer = _tracer(settings, spans, resource)
            interval = settings.metrics_interval_seconds
            sender = MetricSender(reader, metric_exporter(settings), interval)
            telemetry._ends = (*telemetry._ends, sender.close, spans.shutdown)
        return telemetry

    def calls(self, service: str) -> CallWatch | None:
        """Return what is to see every call of a service; None where nobody is told."""
        if self.tracer is None and self.meter is None:
            return None
        return CallWatch(service, self.tracer, self.meter)

    def channel(self, channel: Any) -> Any:
        """Return a channel to another service that tells it of the request it is called for."""
        return channel if self.tracer is None else TracedChannel(channel, self.tracer)

    def observe(self, *sources: Source) -> Callable[[], None]:
        """Read `sources` whenever metrics are collected; return what ends that."""
        meter = self.meter
        if meter is None:
            return lambda: None
        ends = [meter.observe(source) for source in sources]

        def end_all() -> None:
            for end in ends:
                end()

        return end_all

    def start(self) -> None:
        """Begin to watch the event loop, and say where the page of metrics is."""
        if self.meter is not None:
            self._lag = asyncio.create_task(watch_loop(self.meter))
            self.observe(process_readings)
        if self.page is not None:
            _log.info("metrics", page=f"http://{self.page.address}/metrics")

    async def close(self) -> None:
        """Send what waits, for a few seconds at most, and end."""
        if not self._ends:
            return
        if self._lag is not None:
            self._lag.cancel()
            await asyncio.gather(self._lag, return_exceptions=True)
        # A thread that may be left behind, so that a collector that is gone holds nothing up.
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            for end in self._ends:
                end()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="telemetry-end", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await ended.wait()


SILENT = Telemetry()
"""Tells nobody anything."""


def sending(settings: TelemetrySettings, exporter: SpanExporter) -> SpanProcessor:
    """Return what sends spans by `exporter` in a thread of its own.

    Past the queue's bound the oldest are dropped: a collector that is slow or gone costs memory up
    to that, and requests nothing.
    """
    return BatchSpanProcessor(
        exporter,
        max_queue_size=QUEUED_SPANS,
        schedule_delay_millis=_SPAN_DELAY_MS,
        max_export_batch_size=_BATCH_SPANS,
        export_timeout_millis=settings.otlp_timeout_seconds * 1000,
    )


def _tracer(settings: TelemetrySettings, spans: SpanProcessor, resource: Resource) -> Tracer:
    keeper = SpanKeeper(spans, resource, settings.always_slower_than_seconds)
    return Tracer(keeper, share=settings.sampled, content=settings.content)


def _resource(service: str) -> Resource:
    return Resource(
        {
            "service.name": f"llmrouter-{service}",
            "service.namespace": "llmrouter",
            "service.version": metadata.version("llmrouter"),
            "service.instance.id": socket.gethostname(),
        }
    )
