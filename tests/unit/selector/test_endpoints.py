"""The watcher keeps in view what answers, drops what is silent, and never gives up."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.unit.selector.building import Clock

from llmrouter.selector.endpoints import EndpointWatcher
from llmrouter.selector.statistics import PRIORS, Priors
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1 import inference_pb2_grpc


class Inference(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self):
        self.models = [
            pb.LoadedModel(
                name="m",
                version="v",
                state=pb.MODEL_STATE_READY,
                context=512,
                capabilities=["chat", "completion"],
                quality=pb.ModelQuality(perplexity=25, reference_perplexity=20),
                statistics=pb.EngineStatistics(running=3, waiting=2, slots=4),
            ),
            pb.LoadedModel(name="broken", state=pb.MODEL_STATE_FAILED, error="bad magic"),
        ]
        self.down = False
        self.hang = False
        self.asked = 0

    async def ListLoadedModels(self, request, context):  # noqa: N802 - the proto's name
        self.asked += 1
        if self.hang:
            await asyncio.sleep(60)
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        return pb.ListLoadedModelsResponse(models=self.models)

    async def Infer(self, request, context):  # noqa: N802 - the proto's name
        raise NotImplementedError
        yield


@pytest.fixture
async def inference():
    service = Inference()
    server = grpc.aio.server()
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield service
    await server.stop(None)


@pytest.fixture
async def watching():
    watchers, channels = [], []

    def channel(address):
        channels.append(grpc.aio.insecure_channel(address))
        return channels[-1]

    async def start(*addresses, patience=2.0, **options):
        watchers.append(EndpointWatcher(addresses, channel, **options))
        await watchers[-1].start(patience)
        return watchers[-1]

    yield start
    for watcher in watchers:
        await watcher.close()
        await watcher.close()
    for one in channels:
        await one.close()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - looks from outside, like a caller
            await asyncio.sleep(0.01)


async def test_the_first_look_is_over_when_start_returns(inference, watching):
    watcher = await watching(inference.address)
    model, broken = watcher.served()
    assert (model.name, model.version, model.address) == ("m", "v", inference.address)
    assert model.ready
    assert model.context == 512
    assert model.capabilities == {"chat", "completion"}
    assert model.quality_ratio == pytest.approx(0.8)
    assert model.load == pytest.approx(5 / 4)
    assert (broken.ready, broken.error) == (False, "bad magic")


async def test_a_silent_address_is_dropped_after_two_intervals_and_returns(inference, watching):
    clock = Clock()
    watcher = await watching(inference.address, interval=0.05, clock=clock)
    inference.down = True
    asked = inference.asked
    await until(lambda: inference.asked >= asked + 2)
    clock.now += 0.09
    assert watcher.served()
    clock.now += 0.02
    assert watcher.served() == ()
    inference.down = False
    await until(watcher.served)


async def test_an_address_that_hangs_or_refuses_does_not_hold_up_the_start(inference, watching):
    inference.hang = True
    loop = asyncio.get_running_loop()
    begun = loop.time()
    watcher = await watching(inference.address, "127.0.0.1:1", patience=0.2)
    assert loop.time() - begun < 1
    assert watcher.served() == ()


async def test_a_silent_address_does_not_hide_another(inference, watching):
    watcher = await watching("127.0.0.1:1", inference.address)
    assert {one.name for one in watcher.served()} == {"m", "broken"}


async def test_pauses_grow_with_failures_up_to_a_bound():
    watcher = EndpointWatcher((), lambda address: None, interval=1.0)
    assert [watcher._pause(failures) for failures in (0, 1, 2, 3, 1000)] == [1, 0, 1, 2, 5]


async def test_no_addresses_serve_nothing(watching):
    assert (await watching()).served() == ()


async def test_a_model_can_do_what_its_service_says(inference, watching):
    inference.models[0].capabilities.extend(["logprobs", "n"])
    watcher = await watching(inference.address)
    [model] = [one for one in watcher.served() if one.name == "m"]
    assert model.capabilities == {"chat", "completion", "logprobs", "n"}


async def test_a_measured_speed_is_what_is_believed_of_the_model_there(inference, watching):
    inference.models[0].speed.CopyFrom(pb.ModelSpeed(prefill_rate=1000, decode_rate=50))
    watcher = await watching(inference.address)
    measured, other = watcher.served()
    assert measured.priors == Priors.measured(1000, 50)
    assert other.priors == PRIORS
