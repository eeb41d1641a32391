"""Two gateways before one cache service, over both transports."""

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest
from tests.integration.transport.conftest import inprocess_channel, socket_channel
from tests.support.waiting import until
from tests.unit.gateway.doubles import GREEDY, PLAN, answer_events, collect, planned, started, text

from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers, steady_clock
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheLevel,
    CacheMode,
    CacheStatus,
    CacheWishes,
    RequestContext,
)
from llmrouter.common.guard import Gate
from llmrouter.common.savings import SavingsTable
from llmrouter.gateway.cache_client import CacheClient
from llmrouter.gateway.caching import Caching
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.near_caching import NearCaching
from llmrouter.gateway.single_flight import SingleFlight
from llmrouter.gateway.sticky import StickyChoice
from llmrouter.gateway.watching import CacheWatch
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2
from llmrouter.v1.cache_pb2_grpc import CacheServiceStub, add_CacheServiceServicer_to_server

WHO = generation_pb2.RequestContext(request_id="test", tenant="default")


class Model:
    """Counts generations; each waits until `go` is set."""

    def __init__(self):
        self.go = asyncio.Event()
        self.go.set()
        self.generations = 0
        self.failing = 0

    async def generate(self, request, context):
        self.generations += 1
        yield answer_events()[0]
        await self.go.wait()
        if self.failing:
            self.failing -= 1
            raise RouterError(Reason.GENERATION_FAILED, "the engine failed")
        for event in answer_events()[1:]:
            yield event


class Gateway:
    """The links of the cache, as `build_pipeline` puts them together."""

    def __init__(self, channel, model):
        # A clock that stands: on a busy machine signs of life come late.
        self.near, self.savings = NearCache(1 << 20, lambda: 0.0), SavingsTable()
        sticky = StickyChoice()
        cache = self.cache = CacheClient(channel, 5.0)
        caching = Caching(cache, self.near, sticky, model, 5.0, 10.0)
        self.flights = SingleFlight(self.near, caching, 300.0)
        self.chain = NearCaching(self.near, sticky, self.savings, self.flights)
        self.watch = CacheWatch(cache, self.near, self.savings)

    async def ask(self, tenant="default", **wishes):
        request = planned(replace(GREEDY, cache=CacheWishes(**wishes)), PLAN)
        context = RequestContext("r", tenant, deadline=time.monotonic() + 30)
        return await collect(self.chain.generate(request, context))

    async def level(self, **wishes):
        return started(await self.ask(**wishes)).cached


@pytest.fixture(params=[socket_channel, inprocess_channel], ids=["socket", "inprocess"])
async def suite(request, tmp_path):
    """Two gateways, their model and the cache service between them."""
    settings = CacheSettings(disk_path=tmp_path / "answers")
    tiers, marks, versions = await open_tiers(settings, settings.disk_path, steady_clock())
    servicer, model = CacheServicer(settings, tiers, marks, versions), Model()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(tiers.close)
        channel = await stack.enter_async_context(
            request.param(
                lambda server: add_CacheServiceServicer_to_server(servicer, server), Gate("cache")
            )
        )
        one, two = Gateway(channel, model), Gateway(channel, model)
        for gateway in (one, two):
            await gateway.watch.start()
            stack.push_async_callback(gateway.watch.close)
            stack.push_async_callback(gateway.flights.close)
            await until(lambda gateway=gateway: gateway.near.hears)
        yield one, two, model, CacheServiceStub(channel)


async def test_a_second_gateway_finds_what_the_first_stored_and_then_holds_it_too(suite):
    one, two, model, _ = suite
    assert await one.level() is None
    assert await one.level() is CacheLevel.GATEWAY
    await one.flights.close()
    assert await two.level() is CacheLevel.MEMORY
    assert await two.level() is CacheLevel.GATEWAY
    assert model.generations == 1


async def test_a_look_ahead_through_the_client_is_no_miss_yet(suite):
    one, *_, cache = suite
    assert (await one.cache.look_ahead(bytes(32), RequestContext("r"))).found is None
    levels = (await cache.GetStatistics(pb.GetStatisticsRequest())).levels
    assert [level.misses for level in levels] == [0, 0, 0]
    await one.cache.lookup(bytes(32), "", RequestContext("r"))
    levels = (await cache.GetStatistics(pb.GetStatisticsRequest())).levels
    assert [level.misses for level in levels] == [0, 1, 1]


@pytest.mark.parametrize(
    "target",
    [{"tag": "t"}, {"model": {"model": "first", "version": "v1"}}, {"tenant": True}],
    ids=["tag", "version", "tenant"],
)
async def test_what_is_invalidated_is_gone_from_every_gateway(suite, target):
    one, two, model, cache = suite
    for gateway in (one, two):
        await gateway.ask(tags=("t",))
        assert await gateway.level(tags=("t",)) is CacheLevel.GATEWAY
    told = await cache.Invalidate(pb.InvalidateRequest(context=WHO, **target))
    await until(lambda: min(one.near.sequence, two.near.sequence) >= told.sequence)
    assert await one.level(tags=("t",)) is None
    assert model.generations == 2


async def test_a_refresh_at_one_gateway_is_seen_by_the_other(suite):
    one, two, model, _ = suite
    await one.ask()
    await one.flights.close()
    await two.ask()
    fresh = await one.ask(mode=CacheMode.REFRESH)
    assert started(fresh).cache is CacheStatus.BYPASSED
    await one.flights.close()
    await until(lambda: two.near.sequence == one.near.sequence > 0)
    assert model.generations == 2
    assert await two.level() is CacheLevel.MEMORY  # not its own, which is the old one


async def test_identical_requests_at_two_gateways_cause_one_generation(suite):
    one, two, model, _ = suite
    model.go.clear()
    tasks = [asyncio.create_task(gateway.ask()) for gateway in (one, two) for _ in range(50)]
    await until(lambda: model.generations)
    await asyncio.sleep(0.1)
    model.go.set()
    answers = await asyncio.gather(*tasks)
    assert {text(events) for events in answers} == {"Paris"}
    assert model.generations == 1


async def test_when_the_generating_gateway_fails_the_other_one_generates(suite):
    one, two, model, _ = suite
    model.go.clear()
    model.failing = 1
    first = asyncio.create_task(one.ask())
    await until(lambda: model.generations)
    second = asyncio.create_task(two.ask())
    await asyncio.sleep(0.1)
    assert model.generations == 1
    model.go.set()
    with pytest.raises(RouterError):
        await first
    assert text(await second) == "Paris"
    assert model.generations == 2


async def test_when_the_generating_gateway_is_gone_the_other_one_generates(suite):
    one, two, model, _ = suite
    model.go.clear()
    first = asyncio.create_task(one.ask())
    await until(lambda: model.generations)
    second = asyncio.create_task(two.ask())
    await asyncio.sleep(0.1)
    await one.watch.close()
    await until(lambda: model.generations == 2)
    model.go.set()
    assert text(await second) == text(await first) == "Paris"


async def test_a_gateway_that_has_lost_the_stream_serves_nothing_of_its_own(suite):
    one, _, model, _ = suite
    await one.ask()
    await one.flights.close()
    await one.watch.close()
    assert await one.level() is CacheLevel.MEMORY
    assert model.generations == 1


async def test_what_was_spared_is_told_to_the_cache_service(suite):
    one, _, _, cache = suite
    for _ in range(4):
        await one.ask()
    async with asyncio.timeout(30):
        while True:
            told = await cache.GetStatistics(pb.GetStatisticsRequest())
            if sum(row.hits for row in told.savings) == 3 and told.levels[0].entries:
                break
            await asyncio.sleep(0.05)
    [row] = told.savings
    assert (row.tenant, row.model, row.hits) == ("default", "first", 3)
    assert (row.prompt_tokens, row.completion_tokens) == (9, 6)
    assert told.levels[0].entries == 1
    assert told.gateways == 2
