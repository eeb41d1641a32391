"""The services that the gateway asks, each by one client that every link shares."""

from __future__ import annotations

from dataclasses import dataclass

from llmrouter.common.dialling import Dialler
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.attempts import AttemptObserver
from llmrouter.gateway.cache_client import CacheClient
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.reporting import BackgroundReporter
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.gateway.upstream import Upstream

__all__ = ["Neighbours", "neighbours_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Selector, cache and inference as the links see them."""

    selector: SelectorClient
    cache: CacheClient
    upstream: Upstream
    """The inference services that plans name."""
    reporter: BackgroundReporter
    """Tells the selector of attempts of every request, embeddings too; the pipeline closes it."""


def neighbours_of(
    settings: GatewaySettings, dialler: Dialler, telemetry: Telemetry = SILENT
) -> Neighbours:
    """Return the clients of the other services.

    Args:
        settings: The gateway's settings: addresses and timeouts, and whether the selector is told
            what prompts are like.
        dialler: Gives channels to them, and to the inference services that plans name.
        telemetry: What attempts are measured and traced with.
    """
    selector = SelectorClient(
        dialler.channel(settings.selector_address),
        settings.selector_timeout_seconds,
        features=settings.prompt_features,
    )
    cache = CacheClient(dialler.channel(settings.cache_address), settings.cache_timeout_seconds)
    return Neighbours(
        selector=selector,
        cache=cache,
        upstream=Upstream(dialler, AttemptObserver(telemetry.tracer, telemetry.meter)),
        reporter=BackgroundReporter(selector),
    )
