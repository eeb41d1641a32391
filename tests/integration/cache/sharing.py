"""Cache services over one Redis or Valkey, and what they are asked."""

import asyncio
import contextlib

from tests.unit.cache.serving import KEY, Clock, lookup, who

from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings, SharedSettings
from llmrouter.cache.sharing import open_shared
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2 as generation

SHARED, MEMORY = generation.CACHE_LEVEL_SHARED, generation.CACHE_LEVEL_MEMORY


@contextlib.asynccontextmanager
async def sharing(address, clock=None, **settings):
    """A cache service and what keeps it in step."""
    shared = SharedSettings(**{"address": address, "timeout_seconds": 1, **settings})
    chosen = CacheSettings(shared=shared)
    made = open_shared(chosen, shared, clock or Clock())
    # A clock that stands: on a busy machine looks come late.
    made.invalidations._clock = lambda: 0.0
    await made.following.start()
    service = CacheServicer(chosen, made.tiers, made.invalidations, made.versions, made.claims)
    service.made = made
    try:
        yield service
    finally:
        await made.following.close()
        service.stop_waiting()
        await made.tiers.close()


@contextlib.asynccontextmanager
async def session_at(service):
    stream = service.WatchInvalidations(pb.WatchInvalidationsRequest(), None)
    try:
        yield (await anext(stream)).session
    finally:
        await stream.aclose()


async def found(service, **more):
    response = await lookup(service, **more)
    return response.found.level if response.HasField("found") else None


async def until(condition):
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - another process has no event
            await asyncio.sleep(0.01)


def waiting(service, session):
    request = pb.AwaitAnswerRequest(context=who(), key=KEY, session=session)
    return asyncio.create_task(service.AwaitAnswer(request, None))
