"""Puts the HTTP API and its server together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from llmrouter.common.generation import Generator
from llmrouter.common.guard import Gate
from llmrouter.gateway.callers import TextEmbedder
from llmrouter.gateway.http.app import HttpApi
from llmrouter.gateway.http.door import HttpDoor
from llmrouter.gateway.http.live import add_live_page
from llmrouter.gateway.identity.authentication import Identity
from llmrouter.gateway.listing import Listing
from llmrouter.gateway.live.live_page import LivePage
from llmrouter.gateway.record import RequestObserver
from llmrouter.gateway.settings import GatewaySettings

__all__ = ["http_door"]


def http_door(
    pipeline: Generator,
    embedder: TextEmbedder,
    list_models: Callable[[frozenset[str]], Awaitable[Listing]],
    identity: Identity,
    settings: GatewaySettings,
    observers: Sequence[RequestObserver] = (),
    trouble: Callable[[], str] = str,
    page: LivePage | None = None,
) -> Callable[[Gate], HttpDoor] | None:
    """Return what makes the door; None where the settings close it.

    Arguments as of `HttpApi`, and the page to show at `/`; None has none there.
    """
    if settings.http_port is None:
        return None

    def door(gate: Gate) -> HttpDoor:
        api = HttpApi(pipeline, embedder, list_models, identity, settings, gate, observers, trouble)
        if page is not None:
            add_live_page(api, page)
        return HttpDoor(api.app, settings)

    return door
