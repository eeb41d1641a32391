"""Two real versions of one model: the new one gets traffic, is made to fail, and loses it."""

import asyncio
import contextlib

import pytest
from grpc import aio
from tests.integration.engine.tiny_model import write_tiny_folder

from llmrouter.cache import service as cache_service
from llmrouter.cache.settings import CacheSettings
from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Hosted
from llmrouter.gateway import service as gateway_service
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.inference import service as inference_service
from llmrouter.inference.models.card import ModelCard, Source, write_card
from llmrouter.inference.settings import InferenceSettings
from llmrouter.selector import service as selector_service
from llmrouter.selector.settings import SelectorSettings
from llmrouter.v1 import selector_pb2 as pb
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub
from llmrouter_client import AsyncClient

OPTIONS = {"model": "tiny", "temperature": 0.0, "max_tokens": 3, "cache": "off", "timeout": 20}


class Suite:
    """Two inference services behind one selector and one gateway, in this process."""

    def __init__(self, stack, data):
        self.stack, self.data, self.dialler = stack, data, Dialler()

    async def host(self, building, *, local=True):
        hosted = Hosted(await building)
        address = await hosted.bind()
        if local:
            self.dialler.add_local(address, hosted.channel)
        self.stack.push_async_callback(hosted.stop, 0)
        await hosted.start()
        return hosted

    async def start(self):
        self.stack.push_async_callback(self.dialler.close)
        self.versions = [await self.inference(seed) for seed in (1, 2)]
        addresses = tuple(one.address for one in self.versions)
        # What failed is to be learned from outcomes: no look at the services comes in between.
        settings = SelectorSettings(
            port=0, catalog=(), inference_addresses=addresses, refresh_interval_seconds=60
        )
        selector = await self.host(selector_service.build(settings, self.dialler, self.data))
        cache = await self.host(
            cache_service.build(CacheSettings(port=0, disk_max_bytes=0), self.dialler, self.data)
        )
        gateway = GatewaySettings(
            port=0,
            http_port=None,
            selector_address=selector.address,
            cache_address=cache.address,
        )
        hosted = await self.host(gateway_service.build(gateway, self.dialler, self.data))
        self.gateway, self.selector = hosted.address, SelectorServiceStub(selector.channel)
        return self

    async def inference(self, seed):
        folder = self.data / f"store-{seed}" / "tiny"
        folder.mkdir(parents=True)
        write_tiny_folder(folder, seed=seed)
        write_card(
            ModelCard("tiny", f"v{seed}", "llama", 1, "int8", 128, "MIT", Source("made up", "0")),
            folder,
        )
        settings = InferenceSettings(port=0, store=folder.parent, slots=2)
        building = inference_service.build(settings, self.dialler, self.data)
        # Over sockets, so that one that is gone refuses connections instead of draining.
        return await self.host(building, local=False)

    def cut_off(self, hosted):
        """Let calls to a service fail from now on, while it goes on telling that it is ready."""
        nowhere = aio.insecure_channel("127.0.0.1:1")
        self.stack.push_async_callback(nowhere.close)
        self.dialler.add_local(hosted.address, nowhere)

    async def version_at(self, hosted):
        models = (await self.selector.ListCatalog(pb.ListCatalogRequest(), timeout=5)).models
        return next(one.version for one in models if hosted.address in one.addresses)

    async def rollout_once(self, holds):
        """The rollout as soon as it is so: outcomes come beside the answers."""
        for _ in range(100):
            answer = await self.selector.ListRollouts(pb.ListRolloutsRequest(), timeout=5)
            if holds(answer.rollouts[0]):
                return answer.rollouts[0]
            await asyncio.sleep(0.05)
        raise AssertionError(f"it never was: {answer}")


@pytest.fixture
async def running(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        yield await Suite(stack, tmp_path).start()


async def test_a_new_version_that_fails_is_rolled_back_and_nobody_notices(running):
    old, new = [await running.version_at(one) for one in running.versions]
    spec = pb.RolloutSpec(
        model="tiny", new_version=new, old_version=old, stages=[0.5, 1.0], min_samples=1000,
        max_slowdown=100,
    )  # fmt: skip
    await running.selector.StartRollout(pb.StartRolloutRequest(spec=spec), timeout=5)
    async with AsyncClient(running.gateway) as client:

        async def versions(count):
            answers = [
                await client.generate("abcd", session=str(number), **OPTIONS)
                for number in range(count)
            ]
            return [answer.version for answer in answers]

        before = await versions(12)
        assert set(before) == {old, new}
        running.cut_off(running.versions[1])
        after = await versions(12)
    assert set(after) == {old}  # those of the new version were answered by the old one instead
    rollout = await running.rollout_once(lambda one: one.state != pb.ROLLOUT_STATE_RUNNING)
    assert rollout.state == pb.ROLLOUT_STATE_ROLLED_BACK
    assert "failed, more than 5%" in rollout.reason
    assert rollout.share == 0


async def test_shadows_of_a_real_version_are_answered_for_nobody(running):
    old, new = [await running.version_at(one) for one in running.versions]
    spec = pb.RolloutSpec(model="tiny", new_version=new, old_version=old, shadow=1.0)
    await running.selector.StartRollout(pb.StartRolloutRequest(spec=spec), timeout=5)
    async with AsyncClient(running.gateway) as client:
        for number in range(4):
            answer = await client.generate("abcd", session=str(number), **OPTIONS)
            assert answer.version == old
    rollout = await running.rollout_once(lambda one: one.new_samples.attempts >= 4)
    assert (rollout.stage, rollout.old_samples.attempts) == (-1, 4)
