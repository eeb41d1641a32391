"""What all services of a suite say of themselves at one moment, for `stats` and `top`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grpc import aio

from llmrouter.cli.calling import dialled
from llmrouter.cli.places import Place
from llmrouter.common.errors import RouterError
from llmrouter.v1 import cache_pb2, cache_pb2_grpc, model_pb2, model_pb2_grpc
from llmrouter.v1 import selector_pb2 as pb
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub

__all__ = ["Overview", "Places", "Rates", "look", "rates_between"]

_TIMEOUT_SECONDS = 5.0
Rates = Mapping[tuple[str, str], float]
"""Tokens per second by name and version of a model."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the services are; those that are None are not asked."""

    selector: Place
    cache: Place | None = None
    inference: Place | None = None


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
    models: model_pb2.ModelServiceListResponse = field(
        default_factory=model_pb2.ModelServiceListResponse
    )
    away: dict[str, RouterError] = field(default_factory=dict)
    """Why those services did not answer that did not."""


async def look(places: Places, choices: int) -> Overview:
    """Ask all services at once.

    Args:
        places: Where they are.
        choices: How many of the newest choices to tell.
    """
    seen = Overview()
    await asyncio.gather(
        _asked(places.selector, seen, lambda channel: _selector(channel, seen, choices)),
        _asked(places.cache, seen, lambda channel: _cache(channel, seen)),
        _asked(places.inference, seen, lambda channel: _inference(channel, seen)),
    )
    return seen


def rates_between(before: Overview | None, now: Overview) -> Rates:
    """Return how fast each loaded model generated between two looks; nothing without a first."""
    if before is None or now.at <= before.at:
        return {}
    earlier = {
        (one.name, one.version): one.statistics.completion_tokens for one in before.models.models
    }
    return {
        (one.name, one.version): generated / (now.at - before.at)
        for one in now.models.models
        if (one.name, one.version) in earlier
        # Loaded anew, it counts from 0 again.
        and (generated := one.statistics.completion_tokens - earlier[one.name, one.version]) >= 0
    }


async def _asked(
    place: Place | None, seen: Overview, ask: Callable[[aio.Channel], Awaitable[None]]
) -> None:
    if place is None:
        return
    try:
        async with dialled(place) as channel:
            await ask(channel)
    except RouterError as error:
        seen.away[place.service] = error


async def _selector(channel: aio.Channel, seen: Overview, choices: int) -> None:
    stub = SelectorServiceStub(channel)
    seen.catalog = await stub.ListCatalog(pb.ListCatalogRequest(), timeout=_TIMEOUT_SECONDS)
    seen.costs = await stub.ListCosts(pb.ListCostsRequest(), timeout=_TIMEOUT_SECONDS)
    seen.breakers = await stub.ListBreakers(pb.ListBreakersRequest(), timeout=_TIMEOUT_SECONDS)
    seen.rollouts = await stub.ListRollouts(pb.ListRolloutsRequest(), timeout=_TIMEOUT_SECONDS)
    if choices:
        request = pb.ExportDecisionsRequest(limit=choices)
        records = stub.ExportDecisions(request, timeout=_TIMEOUT_SECONDS)
        seen.choices = [json.loads(one.record) async for one in records]


async def _cache(channel: aio.Channel, seen: Overview) -> None:
    stub = cache_pb2_grpc.CacheServiceStub(channel)
    request = cache_pb2.GetStatisticsRequest()
    seen.levels = await stub.GetStatistics(request, timeout=_TIMEOUT_SECONDS)


async def _inference(channel: aio.Channel, seen: Overview) -> None:
    stub = model_pb2_grpc.ModelServiceStub(channel)
    request = model_pb2.ModelServiceListRequest()
    seen.models = await stub.List(request, timeout=_TIMEOUT_SECONDS)
