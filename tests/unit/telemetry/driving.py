"""Telemetry without a wire: what would leave is kept in memory."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from llmrouter.common.telemetry.cardinality import BoundedLabels
from llmrouter.common.telemetry.histograms import Histograms, JoinedReader
from llmrouter.common.telemetry.metering import OtelMeter
from llmrouter.common.telemetry.prometheus_page import PageCollector


class Kept(SpanExporter):
    def __init__(self):
        self.spans = []

    def export(self, spans):
        self.spans += spans
        return SpanExportResult.SUCCESS


class Page:
    """A meter and the page that shows it."""

    def __init__(self, tenants=100):
        histograms, labels = Histograms(), BoundedLabels({"tenant": tenants})
        reader = JoinedReader(histograms, Resource({}))
        provider = MeterProvider([reader], shutdown_on_exit=False)
        self.meter = OtelMeter(provider.get_meter("test"), labels, histograms)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(PageCollector(reader))

    def lines(self):
        return [
            line
            for line in generate_latest(self._registry).decode().splitlines()
            if not line.startswith("# ")
        ]

    def values(self, name):
        """Return the values of one series name by its labels."""
        found = {}
        for line in self.lines():
            series, value = line.split(" # ")[0].rsplit(" ", 1)
            if series.split("{")[0] == name:
                found[series.removeprefix(name)] = float(value)
        return found
