"""Batches and conversations through the gateway, over both transports."""

import asyncio

import pytest
from grpc import aio
from tests.integration.transport.neighbours import HANGING, ask

from llmrouter.common.errors import Reason
from llmrouter.common.wire_errors import from_rpc_error, from_status
from llmrouter.v1 import (
    gateway_pb2,
    generation_pb2,
)


def batch_of(*requests, **fields):
    return gateway_pb2.BatchGenerateRequest(requests=requests, **fields)


async def test_a_batch_gives_each_question_its_answer_or_its_error(suite):
    call = suite.stub.BatchGenerate(
        batch_of(ask("one"), ask(temperature=-1), ask("two", model="broken"), ask("three")),
        metadata=(("x-request-id", "b" * 64),),
        timeout=10,
    )
    results = {result.index: result async for result in call}
    assert sorted(results) == [0, 1, 2, 3]
    assert [results[index].answer.choices[0].text for index in (0, 3)] == ["Paris", "Paris"]
    assert results[3].answer.started.request_id == f"{'b' * 58}-3"
    wrong, gone = from_status(results[1].error), from_status(results[2].error)
    assert [one.field for one in wrong.violations] == ["sampling.temperature"]
    assert wrong.metadata["request_id"] == f"{'b' * 58}-1"
    assert gone.reason is Reason.MODEL_UNAVAILABLE


async def test_leaving_a_batch_frees_every_model_that_answers_it(suite):
    hanging = [ask("hang", max_tokens=number) for number in (1, 2, 3)]
    call = suite.stub.BatchGenerate(batch_of(ask(), *hanging, concurrency=4), timeout=15)
    await anext(aiter(call))
    async with asyncio.timeout(HANGING):
        for _ in range(4):
            await suite.inference.begun.get()
        call.cancel()
        for _ in range(4):
            await suite.inference.ended.get()


@pytest.mark.parametrize(
    ("batch", "field"), [(batch_of(), "requests"), (batch_of(ask(), concurrency=65), "concurrency")]
)
async def test_a_batch_out_of_bounds_is_refused_as_a_whole(suite, batch, field):
    with pytest.raises(aio.AioRpcError) as failure:
        [result async for result in suite.stub.BatchGenerate(batch, timeout=10)]
    error = from_rpc_error(failure.value, "gateway")
    assert [one.field for one in error.violations] == [field]


def said(text, role=generation_pb2.ROLE_USER):
    message = generation_pb2.Message(role=role, content=[{"text": text}])
    return gateway_pb2.ConverseRequest(turn={"messages": [message]})


OPTIONS = gateway_pb2.ConverseRequest(
    options={"sampling": {"temperature": 0.0}, "routing": {"model": "working"}}
)


async def until_over(call, turn):
    """Read a turn to its end and return the kinds of its messages."""
    kinds = []
    while True:
        response = await call.read()
        assert response.turn == turn
        kind = response.WhichOneof("kind")
        kinds.append(response.event.WhichOneof("event") if kind == "event" else kind)
        if kinds[-1] in {"finished", "cancelled", "failed"}:
            return kinds, response


async def test_a_conversation_holds_what_was_said(suite):
    call = suite.stub.Converse(timeout=15, metadata=(("x-request-id", "talk"),))
    await call.write(OPTIONS)
    for turn, text in enumerate(("Where?", "Why?"), start=1):
        await call.write(said(text))
        kinds, _ = await until_over(call, turn)
        assert list(dict.fromkeys(kinds)) == [
            "accepted", "started", "delta", "choice_finished", "finished",
        ]  # fmt: skip
    await call.done_writing()
    assert await call.read() is aio.EOF
    first, second = (request for request, _ in suite.inference.calls)
    assert first.context.request_id == "talk-1"
    texts = [one.content[0].text for one in second.request.chat.messages]
    assert texts == ["Where?", "Paris", "Why?"]


async def test_a_turn_is_cancelled_and_fails_by_itself(suite):
    call = suite.stub.Converse(timeout=15)
    await call.write(said("hang"))
    while (await call.read()).event.WhichOneof("event") != "delta":
        pass
    await call.write(gateway_pb2.ConverseRequest(cancel={"turn": 1}))
    _, last = await until_over(call, 1)
    assert last.cancelled.tokens == 1
    await asyncio.wait_for(suite.inference.freed.wait(), HANGING)
    wrong = gateway_pb2.ConverseRequest(options={"sampling": {"temperature": -1}})
    await call.write(wrong)
    await call.write(said("Where?"))
    _, last = await until_over(call, 2)
    assert [one.field for one in from_status(last.failed).violations] == ["sampling.temperature"]
    await call.write(OPTIONS)
    await call.write(said("Where?"))
    assert (await until_over(call, 3))[0][-1] == "finished"
    call.cancel()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (gateway_pb2.ConverseRequest(), "kind"),
        (gateway_pb2.ConverseRequest(credit={"bytes": 0}), "credit.bytes"),
        (gateway_pb2.ConverseRequest(options={"cache": {"mode": 99}}), "cache.mode"),
    ],
)
async def test_what_means_nothing_ends_a_conversation_by_field(suite, wrong, field):
    call = suite.stub.Converse(timeout=15)
    await call.write(wrong)
    with pytest.raises(aio.AioRpcError) as failure:
        await call.read()
    error = from_rpc_error(failure.value, "gateway")
    assert [one.field for one in error.violations] == [field]


async def test_a_caller_that_leaves_a_conversation_frees_the_model(suite):
    call = suite.stub.Converse(timeout=15)
    await call.write(said("hang"))
    await asyncio.wait_for(suite.inference.begun.get(), HANGING)
    call.cancel()
    await asyncio.wait_for(suite.inference.freed.wait(), HANGING)
