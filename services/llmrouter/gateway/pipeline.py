"""The one file that knows the order of the links."""

from __future__ import annotations

from typing import Any

from llmrouter.common.dialling import Dialler
from llmrouter.common.generation import Generator
from llmrouter.gateway.accounting import Accounting
from llmrouter.gateway.admission import Admission
from llmrouter.gateway.caching import Caching
from llmrouter.gateway.cascade import CascadePolicy
from llmrouter.gateway.clients import CacheClient, SelectorClient
from llmrouter.gateway.deadline import Deadline
from llmrouter.gateway.embedding import Embedding
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.planning import Planning
from llmrouter.gateway.reporting import BackgroundReporter
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.gateway.shadowing import Shadowing
from llmrouter.gateway.upstream import Upstream

__all__ = ["build_embedding", "build_pipeline"]


def build_pipeline(
    settings: GatewaySettings, selector_channel: Any, cache_channel: Any, dialler: Dialler
) -> Generator:
    """Return the chain that answers one request after another.

    Args:
        settings: The gateway's settings.
        selector_channel: A channel to the selector.
        cache_channel: A channel to the cache.
        dialler: Gives channels to the inference services that plans name.
    """
    selector = SelectorClient(
        selector_channel, settings.selector_timeout_seconds, features=settings.prompt_features
    )
    cache = CacheClient(cache_channel, settings.cache_timeout_seconds)
    upstream, reporter = Upstream(dialler), BackgroundReporter(selector)
    cascade = CascadePolicy(**settings.cascade.model_dump())
    execution = Execution(upstream, reporter, selector, cascade)
    shadowing = Shadowing(upstream, reporter, execution)
    caching = Caching(cache, shadowing, settings.cache_timeout_seconds)
    return Accounting(Deadline(Admission(Planning(selector, caching))))


def build_embedding(
    settings: GatewaySettings, selector_channel: Any, dialler: Dialler
) -> Embedding:
    """Return what turns texts into vectors; arguments as those of `build_pipeline`."""
    selector = SelectorClient(selector_channel, settings.selector_timeout_seconds)
    return Embedding(selector, Upstream(dialler), BackgroundReporter(selector))
