"""The whole suite in one process before a model that answers at once, and echoes beside it."""

import asyncio
import contextlib
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from grpc import aio
from tests.benchmarks.cache_echo import calling, serving
from tests.support.redis_server import running

from llmrouter.cache import service as cache_service
from llmrouter.cache.settings import CacheSettings
from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Hosted, Service
from llmrouter.gateway import service as gateway_service
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.selector import service as selector_service
from llmrouter.selector.settings import SelectorSettings
from llmrouter.v1 import cache_pb2, gateway_pb2, inference_pb2, model_pb2
from llmrouter.v1 import generation_pb2 as g
from llmrouter.v1.cache_pb2_grpc import CacheServiceStub
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub
from llmrouter.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from llmrouter.v1.model_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server

MODEL = "instant"
WORDS = 32
PROMPT = "What is the capital of France, and since when? " * 8
ROUNDS = 300
_SETTLE_SECONDS = 0.004
"""Between two requests: what a miss stores behind its answer is not to slow the next one down."""


class Instant(InferenceServiceServicer):
    """A model that costs nothing, so that only what is around it is measured."""

    def __init__(self, words=WORDS):
        self.words = words
        self.generations = 0
        self.pause = 0.0

    async def Infer(self, request, context):  # noqa: N802
        self.generations += 1
        yield event(started={"model": MODEL, "version": "1"})
        await asyncio.sleep(self.pause)
        for number in range(self.words):
            yield event(delta={"text": f"word {number} ", "tokens": 1})
        yield event(choice_finished={"reason": g.FINISH_REASON_STOP})
        yield event(finished={"usage": {"prompt_tokens": 100, "completion_tokens": self.words}})


class Held(ModelServiceServicer):
    """Tells the selector of that model."""

    async def Watch(self, request, context):  # noqa: N802
        model = inference_pb2.LoadedModel(
            name=MODEL, version="1", state=inference_pb2.MODEL_STATE_READY, context=4096,
            capabilities=["completion", "seed"],
        )  # fmt: skip
        while True:
            yield model_pb2.ModelServiceWatchResponse(models=[model])
            await asyncio.sleep(1)


def register(server, model):
    """Let a server be an inference service of one model."""
    add_InferenceServiceServicer_to_server(model, server)
    add_ModelServiceServicer_to_server(Held(), server)


def event(**kind):
    return inference_pb2.InferResponse(event=g.GenerationEvent(**kind))


@contextlib.asynccontextmanager
async def suite(model=None, **cache_settings):
    """Yield a gateway with memory of its own, one without, their model, their cache, and where the
    first of them listens."""
    model, dialler = model or Instant(), Dialler()
    async with contextlib.AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        async def host(building):
            hosted = Hosted(await building)
            dialler.add_local(await hosted.bind(), hosted.channel)
            await hosted.start()
            stack.push_async_callback(hosted.stop, 0)
            return hosted

        async def inference():
            return Service(
                "inference", "llmrouter.v1.InferenceService",
                lambda server: register(server, model),
                "127.0.0.1", 0,
            )  # fmt: skip

        held = await host(inference())
        chosen = SelectorSettings(port=0, inference_addresses=(held.address,))
        selector = await host(selector_service.build(chosen, dialler, data))
        cache = await host(
            cache_service.build(CacheSettings(port=0, **cache_settings), dialler, data)
        )
        addresses = {"selector_address": selector.address, "cache_address": cache.address}
        around = {**addresses, "port": 0, "http_port": None}
        stubs, places = [], []
        for room in (32 << 20, 0):
            settings = GatewaySettings(cache_memory_max_bytes=room, **around)
            gateway = await host(gateway_service.build(settings, dialler, data))
            channel = await stack.enter_async_context(aio.insecure_channel(gateway.address))
            stubs.append(GatewayServiceStub(channel))
            places.append(gateway.address)
        await until_routable(stubs[0])
        yield *stubs, model, CacheServiceStub(cache.channel), places[0]


async def until_routable(stub):
    async with asyncio.timeout(30):
        while True:
            models = (await stub.ListModels(gateway_pb2.ListModelsRequest())).models
            if any(model.addresses for model in models):
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # the gateways hear of the cache


def asking(number, mode=g.CACHE_MODE_READ_WRITE):
    return g.GenerateRequest(
        prompt=f"{number} {PROMPT}", sampling={"temperature": 0.0}, cache={"mode": mode}
    )


async def _whole(stub, request):
    return await stub.Generate(request)


async def _stream(stub, request):
    call = stub.StreamGenerate(gateway_pb2.StreamGenerateRequest(request=request))
    return [one async for one in call]


async def measure_latency():
    """Time hits, misses and echoes in turn; medians in microseconds and their ratios."""
    async with suite() as (near, far, *_):
        return await latencies(near, far, serving)


async def latencies(near, far, echoing):
    """Time two gateways, with and without memory of their own, beside echoes of their answers.

    `echoing` takes a whole answer and its events and is a context that gives an address.
    """
    hit, generated = asking(0), asking(0, g.CACHE_MODE_OFF)
    for stub in (near, far):
        await _whole(stub, hit)
    cached = await _whole(near, hit), await _stream(near, hit)
    fresh = await _whole(near, generated), await _stream(near, generated)
    figures = {}
    async with (
        echoing(*cached) as short,
        echoing(*fresh) as long,
        calling(short) as short_calls,
        calling(long) as long_calls,
    ):
        for name, call, at in (("unary", _whole, 0), ("stream", _stream, 1)):
            medians = await _in_turn(
                {
                    "echo": partial(_same, short_calls[at], hit),
                    "echo_generated": partial(_same, long_calls[at], hit),
                    "l1": partial(_same, partial(call, near), hit),
                    "l2": partial(_same, partial(call, far), hit),
                    "off": partial(_anew, partial(call, near), name, g.CACHE_MODE_OFF),
                    "miss": partial(_anew, partial(call, near), name, g.CACHE_MODE_READ_WRITE),
                }
            )
            figures |= {f"{name}_{step}_us": value for step, value in medians.items()}
            figures |= {
                f"{name}_l1_over_echo": medians["l1"] / medians["echo"],
                f"{name}_l2_over_echo": medians["l2"] / medians["echo"],
                f"{name}_miss_adds_of_echo": (medians["miss"] - medians["off"])
                / medians["echo_generated"],
            }
    return figures


async def _same(call, request, _):
    await call(request)


async def _anew(call, name, mode, number):
    await call(asking(f"{name} {mode} {number}", mode))


async def _in_turn(steps):
    times = {name: [] for name in steps}
    for number in range(ROUNDS + 20):
        for name, step in steps.items():
            began = time.perf_counter()
            await step(number)
            taken = time.perf_counter() - began
            if number >= 20:
                times[name].append(taken)
            await asyncio.sleep(_SETTLE_SECONDS)
    return {name: statistics.median(taken) * 1e6 for name, taken in times.items()}


async def measure_shared(requests=100):
    """Time requests with a shared store that is well, that is stopped, and that is well again."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(folder) as server, suite(shared={"address": server.address}) as made:
            near, far, *_ = made
            well = await _each(near, "well", requests)
            server.pause()
            stopped = await _each(near, "stopped", requests)
            server.resume()
            async with asyncio.timeout(30):
                while not await _hits(far, asking("well 1")):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.01)
    return {
        "shared_well_median_ms": statistics.median(well) * 1e3,
        "shared_stopped_median_ms": statistics.median(stopped) * 1e3,
        "shared_stopped_adds_ms_at_most": (max(stopped) - statistics.median(well)) * 1e3,
    }


async def _hits(stub, request):
    return (await _whole(stub, request)).started.cache == g.CACHE_STATUS_HIT


async def _each(stub, name, requests):
    times = []
    for number in range(requests):
        began = time.perf_counter()
        await _whole(stub, asking(f"{name} {number}"))
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    return times


async def measure_stampede():
    """Let 100 identical requests ask at once; generations they caused."""
    async with suite() as (near, _, model, *_):
        model.pause = 0.2
        before = model.generations
        await asyncio.gather(*(_stream(near, asking("stampede")) for _ in range(100)))
        return {"generations_of_100_identical": float(model.generations - before)}


async def measure_invalidation(repeats=30):
    """Invalidate what a gateway holds; seconds until it serves it no more, the longest of some."""
    async with suite() as (near, _, _, cache, _):
        times, who = [], g.RequestContext(request_id="bench", tenant="default")
        reading = asking("invalidated", g.CACHE_MODE_READ)
        for _ in range(repeats):
            await _whole(near, asking("invalidated"))
            began = time.perf_counter()
            await cache.Invalidate(cache_pb2.InvalidateRequest(context=who, tenant=True))
            while (await _whole(near, reading)).started.cache == g.CACHE_STATUS_HIT:
                pass
            times.append(time.perf_counter() - began)
        return {"invalidation_seconds_longest": max(times)}
