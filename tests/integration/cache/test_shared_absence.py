"""A shared store that is away is told at once, left out, and found again."""

import asyncio

import pytest
from tests.integration.cache.sharing import MEMORY, found, sharing
from tests.support.redis_server import needs_server, running
from tests.support.waiting import until
from tests.unit.cache.serving import Clock, store, who

from llmrouter.common.errors import Reason, RouterError
from llmrouter.v1 import cache_pb2 as pb

pytestmark = needs_server


@pytest.mark.parametrize("away", ["paused", "killed"])
async def test_a_server_that_is_away_is_told_at_once_and_found_again(server, away):
    async with sharing(server.address, timeout_seconds=0.05) as one:
        invalidations, clock = one.made.invalidations, Clock()
        invalidations._clock = clock
        await invalidations.look()
        await store(one)
        server.pause() if away == "paused" else server.stop()
        with pytest.raises(RouterError):
            await found(one, key=bytes(32))
        link = one.made.tiers._far._link
        assert link.away
        clock.now += 1
        with pytest.raises(RouterError, match="away; no answers can be served") as refused:
            await found(one)
        assert refused.value.reason is Reason.STORE_FAILED
        with pytest.raises(RouterError, match="is away"):
            await one.Invalidate(pb.InvalidateRequest(context=who(), tag="t"), None)
        server.resume() if away == "paused" else server.start()

        async def back():
            return not link.away and invalidations.hears()

        await until(back)
        await store(one)
        assert await found(one) is not None


async def test_a_service_starts_without_its_server_and_finds_it_later(tmp_path):
    async with running(tmp_path) as server:
        server.stop()
        async with sharing(server.address) as one:
            with pytest.raises(RouterError, match="away"):
                await found(one)
            server.start()

            async def back():
                return not one.made.tiers._far._link.away

            await until(back)
            await store(one)
            assert await found(one) is MEMORY


async def test_while_its_server_is_away_a_service_tells_gateways_nothing(server):
    async with sharing(server.address) as one:
        invalidations, clock = one.made.invalidations, Clock()
        invalidations._clock = clock
        await invalidations.look()
        stream = one.WatchInvalidations(pb.WatchInvalidationsRequest(), None)
        await anext(stream)
        server.stop()
        clock.now += 1
        following = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.6)
        assert not following.done()
        server.start()
        assert (await following).sequence >= 0
        await stream.aclose()
