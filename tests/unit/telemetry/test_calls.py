"""What is seen of calls, over both transports: spans below their callers, and durations."""

import asyncio

import grpc
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from tests.unit.telemetry.driving import Kept, Page

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.guard import Gate
from llmrouter.common.inprocess import InProcessChannel, InProcessServer
from llmrouter.common.listening import Listening
from llmrouter.common.server import ServiceServer
from llmrouter.common.telemetry.calls import CallWatch
from llmrouter.common.telemetry.channels import TracedChannel
from llmrouter.common.telemetry.keeping import SpanKeeper
from llmrouter.common.telemetry.tracing import Tracer, current_ids
from llmrouter.v1 import cache_pb2
from llmrouter.v1.cache_pb2_grpc import (
    CacheServiceServicer,
    CacheServiceStub,
    add_CacheServiceServicer_to_server,
)

METHOD = "llmrouter.v1.CacheService/Lookup"
FULL = cache_pb2.StoreRequest(key=b"full")


class Cache(CacheServiceServicer):
    def __init__(self):
        self.within = []

    async def Lookup(self, request, context):  # noqa: N802
        self.within.append(current_ids())
        if request.key == b"hang":
            await asyncio.sleep(30)
        return cache_pb2.LookupResponse()

    async def Store(self, request, context):  # noqa: N802
        raise RouterError(Reason.STORE_FAILED, "the disk is full")


class World:
    def __init__(self):
        self.kept, self.page, self.cache = Kept(), Page(), Cache()
        self.tracer = Tracer(SpanKeeper(SimpleSpanProcessor(self.kept), Resource({}), 10.0))
        self.watch = CallWatch("cache", self.tracer, self.page.meter)
        self.stub = None

    def spans(self, kind):
        return [one for one in self.kept.spans if one.kind.name == kind]


@pytest.fixture(params=["socket", "in process"])
async def world(request):
    made = World()
    gate = Gate("cache", made.watch)

    def register(server):
        add_CacheServiceServicer_to_server(made.cache, server)

    dialler = Dialler(around=lambda channel: TracedChannel(channel, made.tracer))
    server = ServiceServer("cache", ("llmrouter.v1.CacheService",), register, gate, Listening())
    address = f"127.0.0.1:{await server.start('127.0.0.1', 0)}"
    if request.param == "in process":
        inside = InProcessServer(gate)
        register(inside)
        dialler.add_local(address, InProcessChannel(inside))
    made.stub = CacheServiceStub(dialler.channel(address))
    yield made
    await dialler.close()
    await server.drain(0)


async def test_a_call_for_a_request_is_a_span_below_that_of_its_caller(world):
    with world.tracer.span("request") as request:
        await world.stub.Lookup(cache_pb2.LookupRequest())
    [asked], [served] = world.spans("CLIENT"), world.spans("SERVER")
    assert [asked.name, served.name] == ["cache_lookup", "cache_lookup"]
    assert asked.parent.span_id == request.get_span_context().span_id
    assert served.parent.span_id == asked.context.span_id
    ids = served.context
    assert world.cache.within == [(f"{ids.trace_id:032x}", f"{ids.span_id:016x}")]


async def test_what_is_left_to_be_done_behind_an_answer_is_part_of_its_trace_still(world):
    async def behind():
        await answered.wait()
        await world.stub.Lookup(cache_pb2.LookupRequest())

    answered = asyncio.Event()
    with world.tracer.span("request") as request:
        left = asyncio.create_task(behind())
        await asyncio.sleep(0)
    answered.set()
    await left
    [asked], [served] = world.spans("CLIENT"), world.spans("SERVER")
    assert asked.parent.span_id == request.get_span_context().span_id
    assert served.parent.span_id == asked.context.span_id


async def test_a_call_for_nobody_is_measured_and_not_traced(world):
    await world.stub.Lookup(cache_pb2.LookupRequest())
    assert world.kept.spans == []
    counts = world.page.values("rpc_server_call_duration_seconds_count")
    labels = f'{{rpc_method="{METHOD}",rpc_response_status_code="OK"}}'
    assert counts == {labels: 1}


async def test_a_failed_call_tells_its_reason_and_its_status(world):
    with pytest.raises(grpc.aio.AioRpcError), world.tracer.span("request"):
        await world.stub.Store(FULL)
    [served], [asked] = world.spans("SERVER"), world.spans("CLIENT")
    assert served.attributes["error.type"] == "STORE_FAILED"
    assert served.attributes["rpc.response.status_code"] == "UNAVAILABLE"
    assert asked.attributes["error.type"] == "UNAVAILABLE"


async def test_a_call_that_is_given_up_ends_its_span_and_is_no_longer_counted(world):
    with pytest.raises(grpc.aio.AioRpcError), world.tracer.span("request"):
        await world.stub.Lookup(cache_pb2.LookupRequest(key=b"hang"), timeout=0.2)
    async with asyncio.timeout(5):
        while not world.spans("SERVER"):  # noqa: ASYNC110 - the other side ends a little later
            await asyncio.sleep(0.01)
    assert [reading.value for reading in await world.watch.readings()] == [0]


async def test_a_page_that_is_watched_is_measured_and_not_traced(world):
    world.watch.begin("GET /live/events", ())("OK")
    world.watch.begin("GET /v1/models", ())("OK")
    assert [one.name for one in world.kept.spans] == ["GET /v1/models"]
    counts = world.page.values("http_server_request_duration_seconds_count")
    assert len(counts) == 2
