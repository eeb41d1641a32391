"""The suite in this process before inference services that are programs of their own."""

import contextlib
import tempfile
from pathlib import Path

from tests.support.waiting import until

from llmrouter.cache import service as cache_service
from llmrouter.cache.settings import CacheSettings
from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Hosted
from llmrouter.gateway import service as gateway_service
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.selector import service as selector_service
from llmrouter.selector.settings import SelectorSettings
from llmrouter.v1.selector_pb2 import ListCatalogRequest
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub

__all__ = ["suite_before"]


@contextlib.asynccontextmanager
async def suite_before(*upstreams, gateway=None, selector=None):
    """Run gateway, selector and cache in this process before them; yield the gateway's address."""
    dialler = Dialler()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(dialler.close)
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        async def host(building):
            hosted = Hosted(await building)
            dialler.add_local(await hosted.bind(), hosted.channel)
            await hosted.start()
            stack.push_async_callback(hosted.stop, 0)
            return hosted

        where = tuple(one.address for one in upstreams)
        chosen = SelectorSettings(
            port=0, inference_addresses=where, refresh_interval_seconds=0.2, **(selector or {})
        )
        choosing = await host(selector_service.build(chosen, dialler, data))
        caching = await host(cache_service.build(CacheSettings(port=0), dialler, data))
        around = {"selector_address": choosing.address, "cache_address": caching.address}
        settings = GatewaySettings(**{"port": 0, "http_port": None, **around, **(gateway or {})})
        front = await host(gateway_service.build(settings, dialler, data))
        await _until_known(where, choosing.channel)
        yield front.address


async def _until_known(addresses, selector):
    stub = SelectorServiceStub(selector)

    async def known():
        listed = await stub.ListCatalog(ListCatalogRequest())
        return {one for model in listed.models for one in model.addresses} == set(addresses)

    await until(known, pause=0.01)
