"""Limits as callers over gRPC meet them, over both transports."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import aio
from grpc_status import rpc_status
from tests.integration.transport.neighbours import HANGING, Cache, Inference, Selector, ask
from tests.unit.gateway.identity.key_ring import KeyRing
from tests.unit.gateway.limits.doubles import limiter

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.gateway.identity.authentication import Identity
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.neighbours import neighbours_of
from llmrouter.gateway.pipeline import Shared, build_embedding, build_pipeline
from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.servicer import GatewayServicer
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1 import embedding_pb2, gateway_pb2
from llmrouter.v1.cache_pb2_grpc import add_CacheServiceServicer_to_server
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub, add_GatewayServiceServicer_to_server
from llmrouter.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from llmrouter.v1.selector_pb2_grpc import add_SelectorServiceServicer_to_server


class Gateway:
    def __init__(self, stub, keys, inference):
        self.stub, self.keys, self.inference = stub, keys, inference


@pytest.fixture
async def gateway(serve):
    """Return a function that serves a gateway with limits."""

    async def start(*rules):
        neighbours = [
            (add_SelectorServiceServicer_to_server, Selector()),
            (add_CacheServiceServicer_to_server, Cache()),
            (add_InferenceServiceServicer_to_server, inference := Inference()),
        ]
        selector, cache, inferring = [
            await serve(lambda server, add=add, servicer=servicer: add(servicer, server))
            for add, servicer in neighbours
        ]
        settings, keys, limits = GatewaySettings(), KeyRing(), limiter(*rules)
        channels = {"broken:1": inferring, "working:1": inferring}
        channels |= {settings.selector_address: selector, settings.cache_address: cache}
        around = neighbours_of(settings, Dialler(channels))
        policy, near = Policy(settings.safety), NearCache(1 << 20)
        shared = Shared(near=near, serves=lambda *_: True, policy=policy, limiter=limits)
        servicer = GatewayServicer(
            build_pipeline(settings, around, shared).generator,
            build_embedding(around, limits),
            around.selector,
            Identity(keys, "loopback", keys),
            settings,
        )
        channel = await serve(lambda server: add_GatewayServiceServicer_to_server(servicer, server))
        return Gateway(GatewayServiceStub(channel), keys, inference)

    return start


async def generate(gateway, prompt="Where?", metadata=(), **sampling):
    """Return a whole answer, and what was told beside it."""
    call = gateway.stub.Generate(ask(prompt, **sampling), metadata=metadata, timeout=HANGING)
    answer = await call
    return answer, dict(await call.trailing_metadata())


async def refused(call):
    with pytest.raises(aio.AioRpcError) as failure:
        await call
    return failure.value


async def test_a_refusal_names_the_limit_and_the_time_in_the_standard_details(gateway):
    limited = await gateway({"name": "plan", "per": ["tenant"], "requests_per_hour": 1})
    await generate(limited)
    failure = await refused(generate(limited))
    assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = {
        one.type_url.rpartition(".")[2]: one for one in rpc_status.from_call(failure).details
    }
    quota, retry = error_details_pb2.QuotaFailure(), error_details_pb2.RetryInfo()
    details["QuotaFailure"].Unpack(quota)
    details["RetryInfo"].Unpack(retry)
    [violation] = quota.violations
    told = (violation.subject, violation.description)
    assert told == ("tenant default", "1 request per hour (rule plan)")
    assert retry.retry_delay.ToTimedelta().total_seconds() == 3600
    assert from_rpc_error(failure, "gateway").reason is Reason.RATE_LIMITED


async def test_what_is_left_is_told_with_every_answer_and_refusal(gateway):
    limited = await gateway({"requests_per_hour": 2, "tokens_per_day": 2000})
    _, told = await generate(limited, max_tokens=50)
    assert told["x-ratelimit-limit-requests"] == "2"
    assert told["x-ratelimit-remaining-requests"] == "1"
    assert told["x-ratelimit-reset-requests"] == "1h0m0s"
    assert told["x-ratelimit-remaining-tokens"] == "1996", "2 read, 2 generated"
    call = limited.stub.StreamGenerate(
        gateway_pb2.StreamGenerateRequest(request=ask("Another?")), timeout=HANGING
    )
    assert [one async for one in call]
    assert dict(await call.trailing_metadata())["x-ratelimit-remaining-tokens"] == "1992"
    failure = await refused(generate(limited))
    assert dict(failure.trailing_metadata())["x-ratelimit-remaining-requests"] == "0"


async def test_an_answer_from_the_cache_costs_a_request_and_no_tokens(gateway):
    limited = await gateway({"requests_per_hour": 9, "tokens_per_day": 2000})
    for remaining in ("1996", None):
        _, told = await generate(limited)
        assert told.get("x-ratelimit-remaining-tokens") == remaining
    assert told["x-ratelimit-remaining-requests"] == "7"


async def test_every_key_has_its_own_count(gateway):
    limited = await gateway({"per": ["key"], "requests_per_hour": 1})
    for _ in range(2):
        headers = limited.keys.headers(tenant="acme")
        await generate(limited, metadata=headers)
        failure = await refused(generate(limited, metadata=headers))
        assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_caller_that_leaves_gives_back_what_it_did_not_use(gateway):
    limited = await gateway({"concurrent_streams": 1, "tokens_per_day": 1100})
    request = gateway_pb2.StreamGenerateRequest(request=ask("hang"))
    call = limited.stub.StreamGenerate(request, timeout=HANGING)
    events = aiter(call)
    await anext(events)
    assert (await refused(generate(limited))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    call.cancel()
    await asyncio.wait_for(limited.inference.freed.wait(), HANGING)
    while True:
        try:
            _, told = await generate(limited, max_tokens=10)
        except aio.AioRpcError:
            await asyncio.sleep(0.01)
        else:
            break
    assert told["x-ratelimit-remaining-tokens"] == "1095", "1 token was sent, 4 now"


async def test_texts_are_held_to_the_limits_of_their_endpoint(gateway):
    limited = await gateway(
        {"endpoints": ["embed"], "requests_per_hour": 1, "tokens_per_day": 1000}
    )
    request = embedding_pb2.EmbedRequest(model="working", texts=["one", "two"])
    call = limited.stub.Embed(request, timeout=HANGING)
    await call
    assert dict(await call.trailing_metadata())["x-ratelimit-remaining-tokens"] == "994"
    failure = await refused(limited.stub.Embed(request, timeout=HANGING))
    assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await generate(limited)
