"""The one file that knows the order of the links."""

from __future__ import annotations

from typing import Any

from llmrouter.common.dialling import Dialler
from llmrouter.common.generation import Generator
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.accounting import Accounting
from llmrouter.gateway.admission import Admission
from llmrouter.gateway.attempts import AttemptObserver
from llmrouter.gateway.caching import Caching
from llmrouter.gateway.clients import CacheClient, SelectorClient
from llmrouter.gateway.deadline import Deadline
from llmrouter.gateway.embedding import Embedding
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.measuring import MeasuredRequests
from llmrouter.gateway.planning import Planning
from llmrouter.gateway.record import RequestObserver
from llmrouter.gateway.reporting import BackgroundReporter
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.gateway.shadowing import Shadowing
from llmrouter.gateway.upstream import Upstream

__all__ = ["build_embedding", "build_pipeline", "observers_of"]


def build_pipeline(
    settings: GatewaySettings,
    selector_channel: Any,
    cache_channel: Any,
    dialler: Dialler,
    telemetry: Telemetry = SILENT,
) -> Generator:
    """Return the chain that answers one request after another.

    Args:
        settings: The gateway's settings.
        selector_channel: A channel to the selector.
        cache_channel: A channel to the cache.
        dialler: Gives channels to the inference services that plans name.
        telemetry: What requests are measured and traced with.
    """
    selector = SelectorClient(selector_channel, settings.selector_timeout_seconds)
    cache = CacheClient(cache_channel, settings.cache_timeout_seconds)
    upstream, reporter = _upstream(dialler, telemetry), BackgroundReporter(selector)
    execution = Execution(upstream, reporter, selector)
    shadowing = Shadowing(upstream, reporter, execution)
    caching = Caching(cache, shadowing, settings.cache_timeout_seconds)
    admission = Admission(Planning(selector, caching), telemetry.tracer)
    return Accounting(Deadline(admission), observers_of(telemetry))


def build_embedding(
    settings: GatewaySettings,
    selector_channel: Any,
    dialler: Dialler,
    telemetry: Telemetry = SILENT,
) -> Embedding:
    """Return what turns texts into vectors; arguments as those of `build_pipeline`."""
    selector = SelectorClient(selector_channel, settings.selector_timeout_seconds)
    upstream, reporter = _upstream(dialler, telemetry), BackgroundReporter(selector)
    return Embedding(selector, upstream, reporter, observers_of(telemetry))


def observers_of(telemetry: Telemetry) -> tuple[RequestObserver, ...]:
    """Return who is told of requests, beside the log."""
    if telemetry.tracer is None and telemetry.meter is None:
        return ()
    return (MeasuredRequests(telemetry.meter),)


def _upstream(dialler: Dialler, telemetry: Telemetry) -> Upstream:
    return Upstream(dialler, AttemptObserver(telemetry.tracer, telemetry.meter))
