"""What all services of a suite say of themselves at one moment: for `stats`, `top` and the page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from llmrouter.common.errors import Reason, RouterError
from llmrouter.v1 import cache_pb2, cache_pb2_grpc, inference_pb2, model_pb2, model_pb2_grpc
from llmrouter.v1 import selector_pb2 as pb
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub

__all__ = ["Overview", "Rates", "Reach", "look", "places_in", "rates_between"]

_TIMEOUT_SECONDS = 5.0
Reach = Callable[[], AbstractAsyncContextManager[Any]]
"""Gives a channel for a block; what fails there comes out as a RouterError."""
Rates = Mapping[tuple[str, str, str], float]
"""Tokens per second by node, name and version of a model."""


@dataclass(slots=True)
class Overview:
    """What was said; what did not answer is empty, and told in `away`."""

    at: float = field(default_factory=time.monotonic)
    """On the monotonic clock."""
    catalog: pb.ListCatalogResponse = field(default_factory=pb.ListCatalogResponse)
    costs: pb.ListCostsResponse = field(default_factory=pb.ListCostsResponse)
    breakers: pb.ListBreakersResponse = field(default_factory=pb.ListBreakersResponse)
    rollouts: pb.ListRolloutsResponse = field(default_factory=pb.ListRolloutsResponse)
    choices: list[dict[str, Any]] = field(default_factory=list)
    """Records of the newest choices, oldest first."""
    levels: cache_pb2.GetStatisticsResponse = field(default_factory=cache_pb2.GetStatisticsResponse)
    nodes: dict[str, model_pb2.ModelServiceListResponse] = field(default_factory=dict)
    """The inference services, by the names under which they were asked."""
    away: dict[str, RouterError] = field(default_factory=dict)
    """Why those services did not answer that did not."""

    def held(self) -> Iterator[tuple[str, inference_pb2.LoadedModel]]:
        """Yield every model of every inference service, loaded or not."""
        for node, told in self.nodes.items():
            for model in told.models:
                yield node, model


async def look(
    services: Mapping[str, Reach],
    nodes: Mapping[str, Reach],
    choices: int,
    seconds: float = _TIMEOUT_SECONDS,
) -> Overview:
    """Ask all services at once.

    Args:
        services: `selector`, `cache` or both.
        nodes: The inference services, under the names that they are told by.
        choices: How many of the newest choices to tell; 0 tells none.
        seconds: How long each may take.
    """
    seen = Overview()
    ask = {"selector": lambda channel: _selector(channel, seen, choices, seconds),
           "cache": lambda channel: _cache(channel, seen, seconds)}  # fmt: skip
    await asyncio.gather(
        *(_asked(name, reach, seen, ask[name], seconds) for name, reach in services.items()),
        *(_asked(name, reach, seen, _node(name, seen, seconds), seconds)
          for name, reach in nodes.items()),
    )  # fmt: skip
    return seen


def places_in(catalog: pb.ListCatalogResponse) -> list[str]:
    """Return the addresses of the inference services that a catalog names, in order."""
    return sorted({place.address for model in catalog.models for place in model.endpoints})


def rates_between(before: Overview | None, now: Overview) -> Rates:
    """Return how fast each loaded model generated between two looks; nothing without a first."""
    if before is None or now.at <= before.at:
        return {}
    earlier = {
        (node, one.name, one.version): one.statistics.completion_tokens
        for node, one in before.held()
    }
    return {
        key: generated / (now.at - before.at)
        for key, tokens in (
            ((node, one.name, one.version), one.statistics.completion_tokens)
            for node, one in now.held()
        )
        # Loaded anew, it counts from 0 again.
        if key in earlier and (generated := tokens - earlier[key]) >= 0
    }


async def _asked(
    name: str,
    reach: Reach,
    seen: Overview,
    ask: Callable[[Any], Awaitable[None]],
    seconds: float,
) -> None:
    try:
        async with asyncio.timeout(seconds), reach() as channel:
            await ask(channel)
    except TimeoutError:
        told = f"{name} did not answer within {seconds:g} s"
        seen.away[name] = RouterError(Reason.UPSTREAM_UNAVAILABLE, told)
    except RouterError as error:
        seen.away[name] = error


async def _selector(channel: Any, seen: Overview, choices: int, seconds: float) -> None:
    stub = SelectorServiceStub(channel)
    seen.catalog = await stub.ListCatalog(pb.ListCatalogRequest(), timeout=seconds)
    seen.costs = await stub.ListCosts(pb.ListCostsRequest(), timeout=seconds)
    seen.breakers = await stub.ListBreakers(pb.ListBreakersRequest(), timeout=seconds)
    seen.rollouts = await stub.ListRollouts(pb.ListRolloutsRequest(), timeout=seconds)
    if choices:
        request = pb.ExportDecisionsRequest(limit=choices)
        records = stub.ExportDecisions(request, timeout=seconds)
        seen.choices = [json.loads(one.record) async for one in records]


async def _cache(channel: Any, seen: Overview, seconds: float) -> None:
    stub = cache_pb2_grpc.CacheServiceStub(channel)
    seen.levels = await stub.GetStatistics(cache_pb2.GetStatisticsRequest(), timeout=seconds)


def _node(name: str, seen: Overview, seconds: float) -> Callable[[Any], Awaitable[None]]:
    async def ask(channel: Any) -> None:
        stub = model_pb2_grpc.ModelServiceStub(channel)
        request = model_pb2.ModelServiceListRequest()
        seen.nodes[name] = await stub.List(request, timeout=seconds)

    return ask
