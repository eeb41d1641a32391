"""Gathers what the page shows: the suite as `top` sees it, and what this gateway answered."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.json_format import MessageToDict
from grpc import aio
from pydantic_core import to_json

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.overview import Overview, Reach, look, places_in, rates_between
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.gateway.limits.opening import Limits
from llmrouter.gateway.live.feed import LiveFeed
from llmrouter.gateway.live.frame import MAX_CHOICES, MAX_NODES, frame_of
from llmrouter.gateway.live.recent import RecentRequests
from llmrouter.gateway.live.troubles import troubles_in
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1 import selector_pb2
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub

__all__ = ["LivePage"]

_SECONDS = 2.0
"""What a service may take to answer; the page shows the others meanwhile."""
_LONGEST_ID = 64


class LivePage:
    """What the page shows; `feed` gives it to all who watch, and `recent` observes requests.

    Args:
        settings: The gateway's settings.
        dialler: Reaches the services.
        limits: Say how full they are, and what is wrong with them.
    """

    def __init__(self, settings: GatewaySettings, dialler: Dialler, limits: Limits) -> None:
        self._settings, self._dialler, self._limits = settings, dialler, limits
        page = settings.page
        self.recent = RecentRequests()
        self.feed = LiveFeed(self._gather, page.interval_seconds, page.watchers)
        self._before: Overview | None = None

    async def explain(self, plan_id: str) -> dict[str, Any]:
        """Return a past choice, made again: `plan` and `record`.

        Raises:
            RouterError: UNKNOWN_PLAN once it is forgotten, or the selector does not answer.
        """
        if not 0 < len(plan_id) <= _LONGEST_ID:
            raise RouterError(Reason.UNKNOWN_PLAN, "a plan's id has 1 to 64 characters")
        async with self._service("selector", self._settings.selector_address)() as channel:
            told = await _explained(channel, plan_id)
        return MessageToDict(
            told, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    async def _gather(self) -> bytes:
        settings = self._settings
        services = {
            "selector": self._service("selector", settings.selector_address),
            "cache": self._service("cache", settings.cache_address),
        }
        nodes = _nodes(self._before) if self._before is not None else []
        places = {address: self._node(address) for address in nodes}
        seen = await look(services, places, MAX_CHOICES, _SECONDS)
        if not nodes and (found := _nodes(seen)):  # the first look cannot know whom to ask
            places = {address: self._node(address) for address in found}
            seen.nodes = (await look({}, places, 0, _SECONDS)).nodes
        if not seen.catalog.models and self._before is not None:
            seen.catalog = self._before.catalog if "selector" in seen.away else seen.catalog
        limiter = self._limits.limiter
        limits = [] if limiter is None else limiter.fullest()
        frame = frame_of(seen, rates_between(self._before, seen), self.recent, limits)
        self._before = seen
        troubles = troubles_in(frame, self._limits.trouble)
        every = self._settings.page.interval_seconds
        return to_json({**frame, "troubles": troubles, "every": every})

    def _service(self, name: str, address: str) -> Reach:
        return lambda: _reached(f"the {name}", self._dialler.channel(address))

    def _node(self, address: str) -> Reach:
        named = f"the inference service at {address}"
        return lambda: _reached(named, self._dialler.passing(address))


async def _explained(channel: Any, plan_id: str) -> selector_pb2.ExplainResponse:
    stub = SelectorServiceStub(channel)
    request = selector_pb2.ExplainRequest(plan_id=plan_id)
    told: selector_pb2.ExplainResponse = await stub.Explain(request, timeout=_SECONDS)
    return told


@contextlib.asynccontextmanager
async def _reached(name: str, channel: Any) -> AsyncIterator[Any]:
    try:
        yield channel
    except aio.AioRpcError as error:
        raise from_rpc_error(error, name) from None


def _nodes(seen: Overview) -> list[str]:
    """Return the inference services to ask."""
    return places_in(seen.catalog)[:MAX_NODES]
