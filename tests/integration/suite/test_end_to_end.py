"""A question through all four services, with a tiny real model, in one process and in four."""

import asyncio
import signal

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.integration.suite.conftest import SERVICES, four_processes

from llmrouter import suite
from llmrouter.v1 import cache_pb2, gateway_pb2, generation_pb2, inference_pb2, model_pb2
from llmrouter.v1.cache_pb2_grpc import CacheServiceStub
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub
from llmrouter.v1.inference_pb2_grpc import InferenceServiceStub
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter_client import AsyncClient, LlmrouterError

PROMPT = "abcd"
GREEDY = {"temperature": 0.0, "max_tokens": 8}


async def test_a_question_is_streamed_through_all_services(gateway):
    async with AsyncClient(gateway) as client:
        answer = await client.generate(PROMPT, **GREEDY)
        assert answer.model == "tiny"
        assert answer.usage.completion_tokens == 8
        assert answer.attempts[0].error_reason == ""
        assert not answer.cached


async def test_the_second_identical_question_comes_from_the_cache_and_says_so(gateway):
    async with AsyncClient(gateway) as client:
        first = await client.generate(PROMPT, **GREEDY)
        second = await client.generate(PROMPT, **GREEDY)
        assert (second.text, second.cached) == (first.text, True)
        assert "cache" in second.reason
        assert second.timings.decode > 0  # of its generation


async def test_a_hundred_identical_questions_at_once_cost_one_generation(config):
    path, _ = config
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        asked = [client.generate(PROMPT, **GREEDY) for _ in range(100)]
        answers = await asyncio.gather(*asked)
        assert len({answer.text for answer in answers}) == 1
        generated = [answer for answer in answers if answer.cache == "miss"]
        assert len(generated) == 1
        assert (await client.generate(PROMPT, **GREEDY)).cached


async def test_a_restarted_suite_answers_from_disk_and_an_invalidation_reaches_every_level(config):
    path, _ = config
    asked = {**GREEDY, "cache_tags": ["city"]}
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        first = await client.generate(PROMPT, **asked)
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        second = await client.generate(PROMPT, **asked)
        assert (second.level, second.text, second.timings) == ("disk", first.text, first.timings)
        async with grpc.aio.insecure_channel(addresses.cache) as channel:
            who = generation_pb2.RequestContext(request_id="r", tenant="default")
            request = cache_pb2.InvalidateRequest(context=who, tag="city")
            await CacheServiceStub(channel).Invalidate(request)
        await asyncio.sleep(0.2)
        assert (await client.generate(PROMPT, **asked)).cache == "miss"


async def test_several_answers_come_with_their_log_probabilities_and_again_from_the_cache(gateway):
    asked = {"max_tokens": 6, "seed": 4, "n": 3, "logprobs": True, "top_logprobs": 2}
    async with AsyncClient(gateway) as client:
        first = await client.generate(PROMPT, **asked)
        single = await client.generate(PROMPT, max_tokens=6, seed=4)
        second = await client.generate(PROMPT, **asked)
    assert len(first.choices) == 3
    assert (first.text, first.choices[0].text) == (single.text, single.text)
    assert len({choice.text for choice in first.choices}) > 1
    told = [len(choice.logprobs) for choice in first.choices]
    assert sum(told) == first.usage.completion_tokens
    assert first.usage.prompt_tokens == single.usage.prompt_tokens
    assert all(one.logprob <= 0 and len(one.top) == 2 for one in first.choices[0].logprobs)
    assert second.cached
    assert (second.choices, second.usage) == (first.choices, first.usage)


async def test_a_bias_and_a_least_length_reach_the_model(gateway):
    async with AsyncClient(gateway) as client:
        answer = await client.generate(
            PROMPT, **GREEDY, logit_bias={90: 100}, min_tokens=8, frequency_penalty=0.1,
            logprobs=True,
        )  # fmt: skip
        assert [one.token_id for one in answer.choices[0].logprobs] == [90] * 8


async def test_a_response_format_reaches_the_model_and_the_key_of_its_answer(gateway):
    async with AsyncClient(gateway) as client:
        digits, letters, again = [
            await client.generate(PROMPT, **GREEDY, response_format={"regex": expression})
            for expression in ("[0-9]{4}", "[a-z]{4}", "[0-9]{4}")
        ]
        [tiny] = [model for model in await client.models() if model.name == "tiny"]
    assert digits.text.isdigit()
    assert letters.text.isalpha()
    assert (again.text, again.cached) == (digits.text, True)
    assert "structured_output" in tiny.capabilities


async def test_a_priority_is_taken_and_a_wrong_one_refused_by_its_name(gateway):
    async with AsyncClient(gateway) as client:
        answer = await client.generate(PROMPT, **GREEDY, priority="high")
        assert answer.usage.completion_tokens == 8
    async with grpc.aio.insecure_channel(gateway) as channel:
        request = question(max_tokens=2).request
        request.priority = 99
        with pytest.raises(grpc.aio.AioRpcError, match="named Priority"):
            await GatewayServiceStub(channel).Generate(request)


async def test_a_wrong_response_format_is_refused_naming_its_place(gateway):
    wrong = {"properties": {"a": {"type": "strin"}}}
    async with AsyncClient(gateway) as client:
        with pytest.raises(LlmrouterError) as refused:
            await client.generate(PROMPT, response_format={"json_schema": wrong})
    [violation] = refused.value.violations
    assert (refused.value.reason, violation.field) == (
        "INVALID_ARGUMENT",
        "sampling.response_format.json_schema",
    )
    assert violation.description == "at /properties/a: Invalid type: strin"


async def test_a_question_left_to_chance_is_never_cached(gateway):
    async with AsyncClient(gateway) as client:
        for _ in range(2):
            answer = await client.generate(PROMPT, temperature=1.0, max_tokens=4)
            assert not answer.cached


@pytest.mark.parametrize(
    ("wrong", "reason", "named"),
    [
        ({"prompt": ""}, "INVALID_ARGUMENT", "prompt"),
        ({"temperature": -1.0}, "INVALID_ARGUMENT", "temperature"),
        ({"temperature": float("nan")}, "INVALID_ARGUMENT", "temperature"),
        ({"max_tokens": 0}, "INVALID_ARGUMENT", "max_tokens"),
        ({"n": 5}, "UNSUPPORTED_OPTION", "sampling.n is 5; it must be at most 4"),
        ({"n": 17}, "INVALID_ARGUMENT", "sampling.n"),
        ({"logit_bias": {100_000: 1}}, "UNSUPPORTED_OPTION", "sampling.logit_bias[100000]"),
        ({"model": "nobody"}, "UNKNOWN_MODEL", "nobody"),
        ({"strategy": "astrology"}, "UNKNOWN_STRATEGY", "astrology"),
        ({"prompt": "a" * 20_000}, "CONTEXT_TOO_LONG", "context"),
    ],
)
async def test_bad_input_is_refused_by_name_and_the_service_stays_up(gateway, wrong, reason, named):
    async with AsyncClient(gateway) as client:
        asked = {"prompt": "abc", "max_tokens": 4, **wrong}
        prompt = asked.pop("prompt")
        with pytest.raises(LlmrouterError) as raised:
            await client.generate(prompt, raw=True, **asked)
        assert raised.value.reason == reason
        assert named in str(raised.value)
        assert (await client.generate("abc", raw=True, max_tokens=2)).text is not None


@pytest.mark.parametrize(
    ("who", "field"),
    [
        ({}, "context.request_id"),
        ({"request_id": "r"}, "context.tenant"),
        ({"request_id": "r" * 65, "tenant": "t"}, "context.request_id"),
        ({"request_id": "r", "tenant": "t", "user": "u" * 129}, "context.user"),
    ],
)
async def test_inference_refuses_a_neighbour_that_does_not_say_who_asks(config, who, field):
    path, _ = config
    async with (
        suite.running(path) as addresses,
        grpc.aio.insecure_channel(addresses.inference) as channel,
    ):
        asked = question(max_tokens=2).request
        context = generation_pb2.RequestContext(**who)
        request = inference_pb2.InferRequest(context=context, request=asked, model="tiny")
        with pytest.raises(grpc.aio.AioRpcError, match=field) as refused:
            await InferenceServiceStub(channel).Infer(request, timeout=20).read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_service_answers_reflection(config):
    path, ports = config
    async with four_processes(path, ports):
        for name in SERVICES:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[name]}") as channel:
                stub = reflection_pb2_grpc.ServerReflectionStub(channel)
                call = stub.ServerReflectionInfo(
                    iter([reflection_pb2.ServerReflectionRequest(list_services="")])
                )
                answer = await anext(aiter(call))
                names = {each.name for each in answer.list_services_response.service}
                assert f"llmrouter.v1.{name.capitalize()}Service" in names


async def test_a_client_that_leaves_frees_its_slot(config):
    path, ports = config
    async with four_processes(path, ports):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['gateway']}") as channel:
            call = GatewayServiceStub(channel).StreamGenerate(question(max_tokens=100))
            await anext(aiter(call))
            call.cancel()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['inference']}") as channel:
            stub = ModelServiceStub(channel)
            for _ in range(50):
                models = (await stub.List(model_pb2.ModelServiceListRequest())).models
                if models[0].statistics.running == 0:
                    return
                await asyncio.sleep(0.1)
    raise AssertionError("the slot was never freed")


async def test_sigterm_lets_a_running_stream_finish_and_refuses_new_ones(config):
    path, ports = config
    async with four_processes(path, ports) as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['gateway']}") as channel:
            stub = GatewayServiceStub(channel)
            events = aiter(stub.StreamGenerate(question(max_tokens=100)))
            await anext(events)
            running["gateway"].send_signal(signal.SIGTERM)
            rest = [event.event.WhichOneof("event") async for event in events]
            assert rest[-1] == "finished"
            assert await refusal(stub) == grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(running["gateway"].communicate(), 20)
        assert running["gateway"].returncode == 0


async def refusal(stub):
    """Status of a new call; one caught in the very moment of the stop is sent again."""
    for _ in range(20):
        try:
            await stub.Generate(question(max_tokens=4).request, timeout=10)
        except grpc.aio.AioRpcError as refused:
            if refused.code() != grpc.StatusCode.CANCELLED:
                return refused.code()
        await asyncio.sleep(0.1)
    return None


def question(max_tokens):
    return gateway_pb2.StreamGenerateRequest(
        request=generation_pb2.GenerateRequest(
            prompt="abcd",
            sampling=generation_pb2.SamplingOptions(temperature=0.0, max_tokens=max_tokens),
        )
    )
