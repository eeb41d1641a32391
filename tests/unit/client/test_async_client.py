"""The asynchronous client against a scripted gateway."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from tests.unit.client.fake_gateway import TEXT, FakeGateway, serving, whole_answer

from llmrouter.common.errors import FieldViolation as WireViolation
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest, SamplingOptions
from llmrouter.common.validation import validate
from llmrouter.v1 import generation_pb2 as g
from llmrouter.v1 import rating_pb2
from llmrouter_client import (
    AsyncClient,
    ChoiceFinished,
    Delta,
    FieldViolation,
    Finished,
    LlmrouterError,
    Message,
    Started,
)
from llmrouter_client.errors import from_rpc_error
from llmrouter_client.requests import request_from


async def collect(stream):
    return [event async for event in stream]


async def test_a_stream_gives_typed_events_in_order():
    async with (
        serving(FakeGateway()) as address,
        AsyncClient(address) as client,
        client.stream("hi") as stream,
    ):
        events = await collect(stream)
    kinds = [type(event) for event in events]
    assert kinds == [Started, *[Delta] * len(TEXT), ChoiceFinished, Finished]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "".join(TEXT)
    assert (stream.started.cache, stream.started.prompt_tokens) == ("miss", 12)
    assert stream.started.cached is False
    assert stream.finished.usage.completion_tokens == 9
    assert stream.finished.timings.total == pytest.approx(0.2)
    assert stream.finished.attempts[0].error_reason == "QUEUE_FULL"


async def test_options_reach_the_wire():
    gateway = FakeGateway()
    options = {
        "model": "m",
        "strategy": "quality-first",
        "temperature": 0,
        "top_k": 3,
        "top_p": 0.5,
        "seed": 7,
        "max_tokens": 9,
        "stop": ["x"],
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {42: -100},
        "min_tokens": 2,
        "n": 3,
        "logprobs": True,
        "top_logprobs": 4,
        "response_format": {"json_schema": {"type": "object"}},
        "cache": "read",
        "cache_ttl": 1.5,
        "cache_tags": ["t"],
        "cache_drawn": True,
        "cache_stale": True,
        "min_quality": 0.25,
        "max_cost": 0.5,
        "timeout": 5.0,
    }
    async with serving(gateway) as address, AsyncClient(address) as client:
        await client.generate([Message("system", "s"), Message("user", "u")], **options)
        await client.generate("as it is", raw=True, cache=False)
    chat, raw = gateway.requests
    assert [(m.role, m.content[0].text) for m in chat.chat.messages] == [
        (g.ROLE_SYSTEM, "s"),
        (g.ROLE_USER, "u"),
    ]
    assert chat.sampling == g.SamplingOptions(
        temperature=0,
        top_k=3,
        top_p=0.5,
        seed=7,
        max_tokens=9,
        stop=["x"],
        min_p=0.05,
        repetition_penalty=1.1,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={42: -100},
        min_tokens=2,
        n=3,
        logprobs=True,
        top_logprobs=4,
        response_format=g.ResponseFormat(json_schema='{"type": "object"}'),
    )
    assert chat.sampling.HasField("temperature")
    assert chat.routing == g.RoutingWishes(
        model="m", strategy="quality-first", min_quality=0.25, max_cost=0.5
    )
    assert chat.cache.mode == g.CACHE_MODE_READ
    assert chat.cache.ttl.ToMilliseconds() == 1500
    assert (list(chat.cache.tags), chat.cache.drawn, chat.cache.stale) == (["t"], True, True)
    assert 0 < gateway.deadlines[0] <= 5.2  # gRPC rounds it up
    assert raw.prompt == "as it is"
    assert raw.cache.mode == g.CACHE_MODE_OFF
    assert not raw.sampling.HasField("temperature")


async def test_generate_and_models():
    async with serving(FakeGateway()) as address, AsyncClient(address) as client:
        answer = await client.generate("hi")
        models = await client.models()
    assert answer.text == "".join(TEXT)
    assert (answer.model, answer.finish_reason) == ("smollm2-135m-instruct-int8", "stop")
    assert (models[0].name, models[0].aliases, models[0].ready) == ("a", ("b",), True)


async def test_a_verdict_on_an_answer_its_start_or_a_plan_is_sent():
    gateway = FakeGateway()
    async with serving(gateway) as address, AsyncClient(address) as client:
        answer = await client.generate("hi")
        rated = await client.rate(answer, verdict=True)
        await client.rate(answer.plan_id, 0.5)
        await client.rate("p2", (4, 1, 5), model="m")
    assert (rated.model, rated.grade, rated.grades) == ("small", 0.75, 12)
    thumb, judged, score = gateway.requests[1:]
    assert (thumb.plan_id, thumb.model) == ("p1", "smollm2-135m-instruct-int8")
    assert thumb.thumb == rating_pb2.THUMB_UP
    assert (judged.plan_id, judged.model, judged.judged) == ("p1", "", 0.5)
    assert score.score == rating_pb2.Score(value=4, lowest=1, highest=5)


@pytest.mark.parametrize("verdict", ["good", None, (1, 2), (1, 2, "3"), [1, 2, 3]])
async def test_what_is_no_verdict_is_refused_before_it_is_sent(verdict):
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(LlmrouterError, match="verdict is"):
            await client.rate("p1", verdict)


@pytest.mark.parametrize("leave", ["close", "break", "task", "other task"])
async def test_leaving_a_stream_cancels_the_call(leave):
    gateway = FakeGateway([*whole_answer()[:2], 60.0])
    async with serving(gateway) as address, AsyncClient(address) as client:
        stream = client.stream("hi")
        assert isinstance(await anext(stream), Started)
        if leave == "close":
            await stream.aclose()
        elif leave == "break":
            async with stream:
                async for _ in stream:
                    break
        else:
            reader = asyncio.create_task(collect(stream))
            await asyncio.sleep(0.05)
            if leave == "task":
                reader.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reader
            else:
                await stream.aclose()
                assert len(await reader) == 1
        assert await asyncio.to_thread(gateway.ended.wait, 5)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_unavailable_before_the_first_delta_is_tried_again():
    away = RouterError(Reason.UPSTREAM_UNAVAILABLE, "away")
    gateway = FakeGateway([away], [whole_answer()[0], away], whole_answer())
    async with serving(gateway) as address, AsyncClient(address, retries=2) as client:
        events = await collect(client.stream("hi"))
    assert len(gateway.requests) == 3
    assert [type(event) for event in events].count(Started) == 1
    assert events[-1].usage.completion_tokens == 9


async def test_nothing_is_tried_again_after_the_first_delta():
    away = RouterError(Reason.UPSTREAM_UNAVAILABLE, "away")
    gateway = FakeGateway([*whole_answer()[:2], away], whole_answer())
    async with serving(gateway) as address, AsyncClient(address, retries=5) as client:
        stream = client.stream("hi")
        await anext(stream)
        await anext(stream)
        with pytest.raises(LlmrouterError, match="away"):
            await anext(stream)
    assert len(gateway.requests) == 1


@pytest.mark.parametrize("reason", [Reason.QUEUE_FULL, Reason.INTERNAL, Reason.UNKNOWN_MODEL])
async def test_other_failures_are_not_tried_again(reason):
    gateway = FakeGateway([RouterError(reason, "no")])
    async with serving(gateway) as address, AsyncClient(address) as client:
        with pytest.raises(LlmrouterError):
            await client.generate("hi")
    assert len(gateway.requests) == 1


async def test_retries_end_with_the_last_refusal():
    gateway = FakeGateway([RouterError(Reason.DRAINING, "draining", retry_after=0.01)])
    async with serving(gateway) as address, AsyncClient(address, retries=1) as client:
        with pytest.raises(LlmrouterError) as caught:
            await client.generate("hi")
    assert len(gateway.requests) == 2
    assert caught.value.retry_after == pytest.approx(0.01)


async def test_no_pause_reaches_past_the_deadline():
    gateway = FakeGateway([RouterError(Reason.DRAINING, "draining", retry_after=30)])
    async with serving(gateway) as address, AsyncClient(address, timeout=2) as client:
        with pytest.raises(LlmrouterError) as caught:
            await collect(client.stream("hi"))
    assert caught.value.reason == "DRAINING"
    assert len(gateway.requests) == 1


async def test_a_deadline_ends_the_call():
    gateway = FakeGateway([60.0])
    async with serving(gateway) as address, AsyncClient(address, timeout=0.2) as client:
        with pytest.raises(LlmrouterError) as caught:
            await collect(client.stream("hi"))
        assert await asyncio.to_thread(gateway.ended.wait, 5)
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_error_details_are_typed():
    refused = RouterError(
        Reason.CONTEXT_TOO_LONG,
        "too long",
        metadata={"prompt_tokens": "9000", "context": "8192"},
        violations=(WireViolation("chat", "too long"),),
    )
    async with serving(FakeGateway([refused])) as address, AsyncClient(address) as client:
        with pytest.raises(LlmrouterError) as caught:
            await client.generate("hi")
    error = caught.value
    assert (error.reason, error.message, str(error)) == ("CONTEXT_TOO_LONG", "too long", "too long")
    assert error.metadata == {"prompt_tokens": "9000", "context": "8192"}
    assert error.violations == (FieldViolation("chat", "too long"),)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.retry_after is None


async def test_a_gateway_lost_in_mid_answer_has_broken_it_off_after_so_much():
    cut = [*whole_answer()[:3], 60.0]
    async with contextlib.AsyncExitStack() as running:
        address = await running.enter_async_context(serving(FakeGateway(cut)))
        async with AsyncClient(address) as client, client.stream("hi") as stream:
            assert [type(await anext(stream)) for _ in range(3)] == [Started, Delta, Delta]
            await running.aclose()
            with pytest.raises(LlmrouterError, match=f"{address} broke the answer off") as caught:
                await anext(stream)
    assert caught.value.reason == "ANSWER_BROKEN_OFF"
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.metadata["delivered_tokens"] == "6"


async def test_nobody_there_is_one_sentence():
    async with AsyncClient("127.0.0.1:1", retries=0) as client:
        with pytest.raises(LlmrouterError) as caught:
            await client.models(timeout=5)
    assert caught.value.message == "nothing answers at 127.0.0.1:1; is the suite running?"
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("hi", {"top_k": -1}),
        ("hi", {"seed": 2**64}),
        ("hi", {"cache": "sometimes"}),
        ([Message("robot", "hi")], {}),
        ([Message("user", "hi")], {"raw": True}),
        ("\ud800", {}),
        ("hi", {"cache_ttl": float("nan")}),
        ("hi", {"cache_ttl": float("inf")}),
    ],
)
async def test_what_cannot_be_encoded_is_refused_here(prompt, options):
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(LlmrouterError) as caught:
            await client.generate(prompt, **options)
    assert caught.value.reason == "INVALID_ARGUMENT"
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ({"json_object": True}, g.ResponseFormat(json_object=g.JsonObjectFormat())),
        ({"json_schema": "{}"}, g.ResponseFormat(json_schema="{}")),
        ({"regex": "a+"}, g.ResponseFormat(regex="a+")),
        ({"grammar": 'start: "a"'}, g.ResponseFormat(grammar='start: "a"')),
    ],
)
def test_each_response_format_has_its_field(wanted, sent):
    request = request_from("x", {"response_format": wanted})
    assert request.sampling.response_format == sent


@pytest.mark.parametrize("wanted", [{}, {"xml": "a"}, {"regex": "a", "grammar": "b"}])
def test_a_response_format_is_exactly_one(wanted):
    with pytest.raises(LlmrouterError, match=r"must have one of json_object, json_schema, regex"):
        request_from("x", {"response_format": wanted})


async def test_an_unknown_option_is_a_mistake_of_the_program():
    with pytest.raises(TypeError, match="temprature"):
        AsyncClient("127.0.0.1:1").stream("hi", temprature=0)


async def test_an_endless_timeout_is_no_deadline_in_the_past():
    async with serving(FakeGateway(whole_answer())) as address, AsyncClient(address) as client:
        assert (await client.generate("hi", timeout=9e12)).text


async def test_a_proxy_set_for_the_outside_world_is_not_asked_for_a_gateway_here(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with serving(FakeGateway(whole_answer())) as address, AsyncClient(address) as client:
        assert (await client.generate("hi")).text


async def test_one_stop_string_is_one_and_a_negative_time_to_live_is_left_to_the_gateway():
    gateway = FakeGateway(whole_answer())
    async with serving(gateway) as address, AsyncClient(address) as client:
        await client.generate("hi", stop="END", cache_ttl=-1.5)
    [request] = gateway.requests
    assert list(request.sampling.stop) == ["END"]
    assert request.cache.ttl.ToNanoseconds() == -1_500_000_000


def test_a_call_that_a_stopping_server_let_go_of_is_told_as_unavailable():
    nothing = grpc.aio.Metadata()
    failed = grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, nothing, nothing)
    told = from_rpc_error(failed, "here:1")
    assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
def test_a_failure_without_a_reason_tells_its_code_and_keeps_what_was_said(code):
    nothing = grpc.aio.Metadata()
    failed = grpc.aio.AioRpcError(code, nothing, nothing, details="Stream removed")
    told = from_rpc_error(failed, "here:1")
    assert told.message == f"here:1 failed ({code.name}); its log may say why"
    assert (told.code, told.reason) == (code, "INTERNAL")
    assert told.metadata == {"detail": "Stream removed"}


@pytest.mark.parametrize("value", [-1, 1 << 32])
@pytest.mark.parametrize("field", ["top_k", "max_tokens", "min_tokens", "n", "top_logprobs"])
def test_a_number_that_no_proto_carries_is_refused_in_the_gateways_own_words(field, value):
    sampling = SamplingOptions(logprobs=True, **{field: value})
    with pytest.raises(RouterError) as theirs:
        validate(GenerationRequest(prompt="hi", sampling=sampling))
    with pytest.raises(LlmrouterError) as ours:
        request_from("hi", {field: value})
    told, expected = ours.value.violations[0], theirs.value.violations[0]
    assert (told.field, told.description) == (expected.field, expected.description)


@pytest.mark.parametrize(("key", "sent"), [("llmr_k", "Bearer llmr_k"), (None, None)])
async def test_every_call_brings_the_key(key, sent):
    gateway = FakeGateway()
    async with serving(gateway) as address, AsyncClient(address, api_key=key) as client:
        await client.generate("hi")
        await collect(client.stream("hi"))
        await client.embed("hi")
        await client.models()
        await client.rate("plan", True)
    assert gateway.credentials == [sent] * 5
