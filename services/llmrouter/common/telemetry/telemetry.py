"""Telemetry of one process, put together from its settings and ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from importlib import metadata
from typing import Any

import structlog
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from llmrouter.common.telemetry.calls import CallWatch
from llmrouter.common.telemetry.cardinality import BoundedLabels
from llmrouter.common.telemetry.channels import TracedChannel
from llmrouter.common.telemetry.exporting import metric_exporter, span_exporter
from llmrouter.common.telemetry.keeping import KeepingProcessor, RecordingSampler
from llmrouter.common.telemetry.loop_lag import watch_loop
from llmrouter.common.telemetry.metering import OtelMeter, Source
from llmrouter.common.telemetry.process import process_readings
from llmrouter.common.telemetry.prometheus_page import MetricsPage
from llmrouter.common.telemetry.settings import TelemetrySettings
from llmrouter.common.telemetry.tracing import Tracer

__all__ = ["QUEUED_SPANS", "SILENT", "Telemetry", "tracer_provider"]

QUEUED_SPANS = 4096
"""Spans that wait for the collector at most."""
_BATCH_SPANS = 256
_SPAN_DELAY_MS = 1000.0
_CLOSE_SECONDS = 3.0
_MOST_CHARACTERS = 64 << 10
_log = structlog.get_logger("llmrouter.telemetry")


class Telemetry:
    """What services measure and trace with; both are None where nobody is told.

    Args:
        tracer_provider: Where spans go.
        meter_provider: Where metrics go.
        settings: How much is told.
        page: The page of metrics, where there is one.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        settings: TelemetrySettings | None = None,
        page: MetricsPage | None = None,
    ) -> None:
        settings = settings or TelemetrySettings()
        self._tracers, self._meters, self.page = tracer_provider, meter_provider, page
        self.tracer: Tracer | None = None
        self.meter: OtelMeter | None = None
        if tracer_provider is not None:
            api_tracer = tracer_provider.get_tracer("llmrouter")
            self.tracer = Tracer(api_tracer, content=settings.content)
        if meter_provider is not None:
            labels = BoundedLabels({"tenant": settings.max_tenants})
            self.meter = OtelMeter(meter_provider.get_meter("llmrouter"), labels)
        self._lag: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, settings: TelemetrySettings, service: str) -> Telemetry:
        """Return telemetry as the settings ask for it.

        Args:
            settings: The `telemetry` section.
            service: Name of the program, `gateway` or `up`.

        Raises:
            ConfigError: A file that the settings name cannot be used, or a port is in use.
        """
        resource = _resource(service)
        tracers = None
        readers: list[Any] = []
        if settings.otlp_endpoint:
            tracers = tracer_provider(settings, resource, span_exporter(settings))
            readers.append(
                PeriodicExportingMetricReader(
                    metric_exporter(settings),
                    settings.metrics_interval_seconds * 1000,
                    settings.otlp_timeout_seconds * 1000,
                )
            )
        page = None
        if settings.prometheus.enabled:
            shown = InMemoryMetricReader()
            readers.append(shown)
            page = MetricsPage(shown, settings.prometheus.host, settings.prometheus.port)
        meters = None
        if readers:
            meters = MeterProvider(readers, resource, TraceBasedExemplarFilter(), False)
        return cls(tracers, meters, settings, page)

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
        if self._tracers is None and self._meters is None:
            return
        if self._lag is not None:
            self._lag.cancel()
            await asyncio.gather(self._lag, return_exceptions=True)
        # A thread that may be left behind, so that a collector that is gone holds nothing up.
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            self._shut_down()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="telemetry-end", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await ended.wait()

    def _shut_down(self) -> None:
        if self.page is not None:
            self.page.close()
        if self._tracers is not None:
            self._tracers.shutdown()
        if self._meters is not None:
            self._meters.shutdown(_CLOSE_SECONDS * 1000)


SILENT = Telemetry()
"""Tells nobody anything."""


def tracer_provider(
    settings: TelemetrySettings, resource: Resource, exporter: SpanExporter
) -> TracerProvider:
    """Return what makes spans, and sends those that are drawn or notable by `exporter`."""
    provider = TracerProvider(
        RecordingSampler(settings.sampled),
        resource,
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_span_attribute_length=_MOST_CHARACTERS),
    )
    # Past the queue's bound the oldest are dropped: a collector that is slow or gone costs memory
    # up to that, and requests nothing.
    sending = BatchSpanProcessor(
        exporter,
        max_queue_size=QUEUED_SPANS,
        schedule_delay_millis=_SPAN_DELAY_MS,
        max_export_batch_size=_BATCH_SPANS,
        export_timeout_millis=settings.otlp_timeout_seconds * 1000,
    )
    provider.add_span_processor(
        KeepingProcessor(sending, settings.always_slower_than_seconds)
    )  # fmt: skip
    return provider


def _resource(service: str) -> Resource:
    return Resource(
        {
            "service.name": f"llmrouter-{service}",
            "service.namespace": "llmrouter",
            "service.version": metadata.version("llmrouter"),
            "service.instance.id": socket.gethostname(),
        }
    )
