"""A call inside the process behaves as one over a socket."""

import asyncio

import grpc
import pytest
from grpc import aio
from tests.integration.transport.conftest import socket_channel

from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.common.guard import Gate
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.v1 import gateway_pb2 as pb
from llmrouter.v1 import generation_pb2
from llmrouter.v1.gateway_pb2_grpc import (
    GatewayServiceServicer,
    GatewayServiceStub,
    add_GatewayServiceServicer_to_server,
)

FAILURE = RouterError(
    Reason.CONTEXT_TOO_LONG,
    "the prompt has 3000 tokens, größer than 2048",
    metadata={"prompt_tokens": "3000", "context": "2048"},
    retry_after=2.0,
    violations=(FieldViolation("prompt", "is too long"),),
)
HANGING = 30
"""Seconds after which a test gives up; nothing that works comes near."""
ASK = generation_pb2.GenerateRequest(prompt="a")
STREAM = pb.StreamGenerateRequest(request=ASK)


def step(text, size=0):
    delta = generation_pb2.Delta(text=text + "." * size)
    return pb.StreamGenerateResponse(event=generation_pb2.GenerationEvent(delta=delta))


class Scripted(GatewayServiceServicer):
    """Does what the test says and notes how it ended."""

    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self.metadata = {}
        self.time_remaining = None

    async def Generate(self, request, context):  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining = context.time_remaining()
        self.began.set()
        try:
            async for _ in self.behaviour(context):
                pass
        finally:
            self.ended.set()
        return pb.GenerateResponse(choices=[generation_pb2.Choice(text="done")])

    async def StreamGenerate(self, request, context):  # noqa: N802
        self.began.set()
        try:
            async for event in self.behaviour(context):
                yield event
        finally:
            self.ended.set()

    async def ListModels(self, request, context):  # noqa: N802
        return pb.ListModelsResponse()


@pytest.fixture
def stub_of(serve):
    async def start(behaviour, gate=None):
        servicer = Scripted(behaviour)
        channel = await serve(
            lambda server: add_GatewayServiceServicer_to_server(servicer, server), gate
        )
        return GatewayServiceStub(channel), servicer

    return start


async def two(context):
    yield step("a")
    yield step("b")


async def fails(context):
    yield step("a")
    raise FAILURE


class Panic(BaseException):
    """As libraries written in Rust raise it."""


async def panics(context):
    yield step("a")
    raise Panic("the password is hunter2")


async def crashes(context):
    yield step("a")
    raise ValueError("the password is hunter2")


async def hangs(context):
    yield step("a")
    await asyncio.Event().wait()


async def floods(context):
    while True:
        yield step("a", 10_000)


async def began(servicer):
    await asyncio.wait_for(servicer.began.wait(), HANGING)


async def ended(servicer):
    await asyncio.wait_for(servicer.ended.wait(), HANGING)


async def read(call):
    return [response.event.delta.text async for response in call]


async def call_both(stub, **options):
    """Return the errors that a unary and a streaming call end with."""
    failures = []
    for start in (
        lambda: stub.Generate(ASK, **options),
        lambda: read(stub.StreamGenerate(STREAM, **options)),
    ):
        with pytest.raises(aio.AioRpcError) as failure:
            await start()
        failures.append(failure.value)
    return failures


async def test_answers_arrive_in_order(stub_of):
    stub, _ = await stub_of(two)
    assert await read(stub.StreamGenerate(STREAM)) == ["a", "b"]
    assert (await stub.Generate(ASK)).choices[0].text == "done"


async def test_a_call_may_wait_for_its_connection(stub_of):
    stub, _ = await stub_of(two)
    assert (await stub.Generate(ASK, wait_for_ready=True)).choices[0].text == "done"
    assert await read(stub.StreamGenerate(STREAM, wait_for_ready=True)) == ["a", "b"]


async def test_metadata_and_deadline_reach_the_servicer(stub_of):
    stub, servicer = await stub_of(two)
    await stub.Generate(ASK, metadata=(("x-request-id", "r-1"),), timeout=20)
    assert servicer.metadata["x-request-id"] == "r-1"
    assert 0 < servicer.time_remaining <= 20.1
    await stub.Generate(ASK)
    assert servicer.time_remaining is None


async def test_an_error_arrives_with_reason_numbers_fields_and_pause(stub_of):
    stub, _ = await stub_of(fails)
    for failure in await call_both(stub):
        assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.details() == FAILURE.message
        back = from_rpc_error(failure, "tested")
        assert back.reason is FAILURE.reason
        assert back.metadata == FAILURE.metadata
        assert back.violations == FAILURE.violations
        assert back.retry_after == FAILURE.retry_after


async def test_what_came_before_an_error_is_delivered(stub_of):
    stub, _ = await stub_of(fails)
    call = stub.StreamGenerate(STREAM)
    assert (await anext(aiter(call))).event.delta.text == "a"
    with pytest.raises(aio.AioRpcError):
        await read(call)


async def test_a_second_loop_goes_on_where_the_first_one_stopped(stub_of):
    stub, _ = await stub_of(two)
    call = stub.StreamGenerate(STREAM)
    async for _ in call:
        break
    assert await read(call) == ["b"]


async def test_a_cancelled_reader_ends_its_call(stub_of):
    stub, servicer = await stub_of(hangs)
    call = stub.StreamGenerate(STREAM)
    await anext(aiter(call))
    task = asyncio.create_task(read(call))
    await asyncio.sleep(0)  # it waits for the next one by now
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended(servicer)


@pytest.mark.parametrize("defect", [crashes, panics])
async def test_a_defect_arrives_as_internal_and_tells_nothing(stub_of, defect):
    stub, _ = await stub_of(defect)
    for failure in await call_both(stub):
        assert failure.code() is grpc.StatusCode.INTERNAL
        assert "hunter2" not in str(failure)
        assert "ValueError" not in str(failure)
        assert from_rpc_error(failure, "tested").reason is Reason.INTERNAL


async def test_a_servicers_own_abort_arrives_as_it_is(stub_of):
    async def aborts(context):
        yield step("a")
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    stub, _ = await stub_of(aborts)
    for failure in await call_both(stub):
        assert (failure.code(), failure.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")


async def test_a_deadline_ends_the_call_on_both_sides(stub_of):
    stub, servicer = await stub_of(hangs)
    for start in (
        lambda: stub.Generate(ASK, timeout=0.1),
        lambda: read(stub.StreamGenerate(STREAM, timeout=0.1)),
    ):
        servicer.ended.clear()
        with pytest.raises(aio.AioRpcError) as failure:
            await asyncio.wait_for(start(), HANGING)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await ended(servicer)


async def test_cancelling_a_stream_runs_the_servicers_finally(stub_of):
    stub, servicer = await stub_of(hangs)
    call = stub.StreamGenerate(STREAM)
    async for _ in call:
        break
    call.cancel()
    await ended(servicer)


async def test_cancelling_a_unary_call_runs_the_servicers_finally(stub_of):
    stub, servicer = await stub_of(hangs)
    task = asyncio.create_task(_await(stub.Generate(ASK)))
    await began(servicer)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended(servicer)


async def test_a_reader_that_never_reads_holds_the_servicer_back_until_it_leaves(stub_of, caplog):
    stub, servicer = await stub_of(floods)
    call = stub.StreamGenerate(STREAM)
    async for _ in call:
        break
    await asyncio.sleep(0.1)
    assert not servicer.ended.is_set()
    call.cancel()
    await ended(servicer)
    assert not caplog.records, "that a reader left is told by whoever accounts for the call"


async def test_a_draining_service_lets_no_one_in_and_finishes_what_runs(stub_of):
    gate = Gate("tested")
    release = asyncio.Event()

    async def waits(context):
        yield step("a")
        await release.wait()
        yield step("b")

    stub, servicer = await stub_of(waits, gate)
    running = asyncio.create_task(read(stub.StreamGenerate(STREAM)))
    await began(servicer)
    gate.closed = True
    for failure in await call_both(stub):
        assert failure.code() is grpc.StatusCode.UNAVAILABLE
        assert from_rpc_error(failure, "tested").reason is Reason.DRAINING
    release.set()
    assert await running == ["a", "b"]
    await asyncio.wait_for(gate.wait_idle(), HANGING)


async def test_the_gate_counts_every_call_out_however_it_ends(stub_of):
    gate = Gate("tested")
    stub, _ = await stub_of(hangs, gate)
    call = stub.StreamGenerate(STREAM)
    async for _ in call:
        break
    assert gate.active == 1
    call.cancel()
    await asyncio.wait_for(gate.wait_idle(), HANGING)


async def _await(call):
    return await call


async def test_bytes_that_are_no_message_are_told_as_a_bad_request():
    def register(server):
        add_GatewayServiceServicer_to_server(Scripted(two), server)

    async with socket_channel(register, Gate("tested")) as channel:
        call = channel.unary_unary("/llmrouter.v1.GatewayService/Generate")
        with pytest.raises(aio.AioRpcError) as failure:
            await call(b"\xff\xff\xff")
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "protobuf" in failure.value.details()
