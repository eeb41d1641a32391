"""The whole gateway between doubles of its neighbours, over both transports."""

import asyncio

import grpc
import pytest
from grpc import aio
from structlog.testing import capture_logs
from tests.integration.transport.neighbours import HANGING, Inference, ask, stream

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest, RequestContext
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.identity.principal import Scope
from llmrouter.gateway.plan import Candidate
from llmrouter.gateway.upstream import Upstream
from llmrouter.v1 import (
    embedding_pb2,
    gateway_pb2,
    generation_pb2,
)
from llmrouter.v1.inference_pb2_grpc import (
    add_InferenceServiceServicer_to_server,
)


async def test_a_question_is_streamed_from_its_model_to_the_caller(suite):
    events = await stream(suite, ask(), metadata=(("x-request-id", "r-1"),), timeout=10)
    kinds = [one.WhichOneof("event") for one in events]
    assert kinds == ["started", "delta", "delta", "choice_finished", "finished"]
    begun = events[0].started
    assert (begun.request_id, begun.model, begun.reason) == ("r-1", "working", "best")
    assert begun.cache == generation_pb2.CACHE_STATUS_MISS
    request, remaining = suite.inference.calls[0]
    assert (request.context.request_id, request.context.tenant) == ("r-1", "default")
    assert 0 < remaining < 12.2  # those who join may wait longer, by the default deadline


async def test_the_selector_learns_sizes_and_outcomes_but_no_text(suite):
    await stream(suite, ask())
    [asked] = suite.selector.asked
    assert (asked.prompt_bytes, asked.capabilities) == (6, ["completion"])
    assert "Where" not in str(asked)
    report = await asyncio.wait_for(suite.selector.outcomes.get(), HANGING)
    [outcome] = report.outcomes
    assert (report.plan_id, outcome.model, outcome.usage.completion_tokens) == ("p", "working", 2)
    assert outcome.HasField("time_to_first_token")


async def test_a_model_that_is_gone_is_stood_in_for_by_the_next(suite):
    answer = await suite.stub.Generate(ask(model=""))
    assert (answer.started.model, answer.choices[0].text) == ("working", "Paris")
    assert [one.error_reason for one in answer.finished.attempts] == ["MODEL_UNAVAILABLE", ""]


async def test_the_second_identical_question_comes_from_the_cache_whole_or_streamed(suite):
    first = await suite.stub.Generate(ask())
    second = await suite.stub.Generate(ask())
    third = await stream(suite, ask())
    assert len(suite.inference.calls) == 1
    assert second.started.cache == third[0].started.cache == generation_pb2.CACHE_STATUS_HIT
    assert second.choices == first.choices
    assert second.finished.usage == first.finished.usage
    assert second.finished.timings == first.finished.timings
    assert second.started.cached == generation_pb2.CACHE_LEVEL_MEMORY
    assert not second.finished.attempts


async def test_when_no_model_answers_an_expired_answer_stands_in_for_who_allows_it(suite):
    first = await suite.stub.Generate(ask())
    suite.cache.expired = suite.inference.broken = True
    with pytest.raises(aio.AioRpcError) as failure:
        await suite.stub.Generate(ask())
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    allowing = ask()
    allowing.cache.stale = True
    second = await suite.stub.Generate(allowing)
    assert second.started.cache == generation_pb2.CACHE_STATUS_STALE
    assert "MODEL_UNAVAILABLE" in second.started.reason
    assert second.choices == first.choices


async def test_a_hundred_identical_questions_at_once_ask_the_model_once(suite):
    answers = await asyncio.gather(*(suite.stub.Generate(ask()) for _ in range(100)))
    assert len(suite.inference.calls) == 1
    assert {answer.choices[0].text for answer in answers} == {"Paris"}


async def test_a_caller_that_leaves_frees_the_model(suite):
    request = gateway_pb2.StreamGenerateRequest(request=ask("hang"))
    call = suite.stub.StreamGenerate(request, timeout=15)
    await anext(aiter(call))
    call.cancel()
    await asyncio.wait_for(suite.inference.freed.wait(), HANGING)
    assert not suite.cache.kept


@pytest.mark.parametrize("options", [{}, {"timeout": 0.2}], ids=["default", "callers"])
async def test_a_deadline_ends_the_request_and_frees_the_model(suite, options):
    with pytest.raises(aio.AioRpcError) as failure:
        await suite.stub.Generate(ask("hang"), **options)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(suite.inference.freed.wait(), HANGING)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ask(""), "prompt"),
        (ask(temperature=-1), "sampling.temperature"),
        (ask(temperature=float("nan")), "sampling.temperature"),
        (ask(max_tokens=0), "sampling.max_tokens"),
    ],
)
async def test_bad_input_is_refused_by_field_and_nothing_is_asked(suite, request_, field):
    with pytest.raises(aio.AioRpcError) as failure:
        await stream(suite, request_)
    error = from_rpc_error(failure.value, "gateway")
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in error.violations] == [field]
    assert error.metadata["request_id"]
    assert not suite.selector.asked


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 65])
async def test_a_request_id_that_cannot_stand_in_a_log_is_refused(suite, request_id):
    with capture_logs() as lines, pytest.raises(aio.AioRpcError) as failure:
        await suite.stub.Generate(ask(), metadata=(("x-request-id", request_id),))
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    [line] = [line for line in lines if line["event"] == "request"]
    assert line["outcome"] == "INVALID_ARGUMENT"
    assert line["request_id"] not in {"", request_id}


async def test_the_priority_travels_to_inference(suite):
    request = ask()
    request.priority = generation_pb2.PRIORITY_HIGH
    await stream(suite, request, timeout=10)
    sent, _ = suite.inference.calls[-1]
    assert sent.context.priority == generation_pb2.PRIORITY_HIGH


async def test_a_request_that_cannot_be_decoded_leaves_its_line_too(suite):
    with capture_logs() as lines, pytest.raises(aio.AioRpcError):
        await suite.stub.Generate(
            generation_pb2.GenerateRequest(prompt="hi", cache=generation_pb2.CacheWishes(mode=99)),
            metadata=(("x-request-id", "r-2"),),
        )
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["outcome"], line["request_id"]) == ("INVALID_ARGUMENT", "r-2")


async def test_models_are_listed_by_name(suite):
    models = (await suite.stub.ListModels(gateway_pb2.ListModelsRequest())).models
    assert [model.name for model in models] == ["a", "b"]


async def test_without_its_neighbours_the_gateway_says_who_is_missing():
    nobody = aio.insecure_channel("127.0.0.1:1")
    client = SelectorClient(nobody, 0.5)
    with pytest.raises(RouterError, match="selector") as failure:
        await client.list_catalog()
    assert failure.value.reason is Reason.UPSTREAM_UNAVAILABLE
    await nobody.close()


async def test_closing_an_attempt_between_two_events_frees_the_model(serve):
    servicer = Inference()
    channel = await serve(lambda server: add_InferenceServiceServicer_to_server(servicer, server))
    upstream = Upstream(Dialler({"one:1": channel}))
    events = upstream.infer(
        Candidate("working", "1", "one:1"), GenerationRequest(prompt="hang"), RequestContext("r-1")
    )
    await anext(events)
    assert not servicer.freed.is_set()
    await events.aclose()
    await asyncio.wait_for(servicer.freed.wait(), HANGING)


async def test_texts_become_vectors_of_a_model_that_the_selector_chose_for_them(suite):
    request = embedding_pb2.EmbedRequest(texts=["red", "blue!"], model="working")
    answer = await suite.stub.Embed(request)
    assert (answer.model, [list(one.values) for one in answer.embeddings]) == (
        "working",
        [[0.5, 1.0]] * 2,
    )
    (asked,) = suite.selector.asked
    assert (list(asked.capabilities), asked.prompt_bytes) == (["embedding"], 5)
    ((sent, left),) = suite.inference.calls
    assert sent.version == "1"
    assert 0 < left <= 2


async def test_texts_out_of_bounds_reach_nobody_and_name_their_field(suite):
    with pytest.raises(aio.AioRpcError) as refused:
        await suite.stub.Embed(embedding_pb2.EmbedRequest(texts=["red", " "]))
    error = from_rpc_error(refused.value, "gateway")
    assert error.violations[0].field == "texts[1]"
    assert "request_id" in error.metadata
    assert suite.selector.asked == []


async def refused(call):
    with pytest.raises(aio.AioRpcError) as failure:
        await call
    return from_rpc_error(failure.value, "gateway")


@pytest.mark.parametrize("anonymous", ["never"])
async def test_without_a_credential_no_call_is_let_in_and_each_is_accounted_for(suite, anonymous):
    texts = embedding_pb2.EmbedRequest(texts=["red"])
    with capture_logs() as lines:
        for call in (
            lambda: suite.stub.Generate(ask()),
            lambda: stream(suite, ask()),
            lambda: suite.stub.Embed(texts),
            lambda: suite.stub.ListModels(gateway_pb2.ListModelsRequest()),
        ):
            error = await refused(call())
            assert (error.reason, error.status) == (Reason.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert [line["outcome"] for line in lines if line["event"] == "request"] == [
        "UNAUTHENTICATED"
    ] * 4
    assert [one["scope"] for one in suite.keys.refusals] == [
        "generate", "generate", "embed", "models"
    ]  # fmt: skip
    assert suite.selector.asked == []


async def test_tenant_and_user_come_from_the_key_and_travel_to_inference(suite):
    metadata = suite.keys.headers(tenant="acme", user="ann", models=frozenset({"working"}))
    with capture_logs() as lines:
        await stream(suite, ask(), metadata=(*metadata, ("x-tenant", "other")), timeout=10)
    sent, _ = suite.inference.calls[-1]
    assert (sent.context.tenant, sent.context.user) == ("acme", "ann")
    assert list(suite.selector.asked[-1].allowed_models) == ["working"]
    assert [line["tenant"] for line in lines if line["event"] == "request"] == ["acme"]


async def test_what_one_tenant_asked_is_not_answered_to_another_from_the_cache(suite):
    for tenant in ("acme", "other"):
        await stream(suite, ask(), metadata=suite.keys.headers(tenant=tenant))
    assert len(suite.inference.calls) == 2


async def test_a_key_is_held_to_its_scopes_and_models(suite):
    metadata = suite.keys.headers(scopes=frozenset({Scope.GENERATE}), models=frozenset({"working"}))
    texts = embedding_pb2.EmbedRequest(texts=["red"])
    error = await refused(suite.stub.Embed(texts, metadata=metadata))
    assert (error.reason, error.metadata["scope"]) == (Reason.PERMISSION_DENIED, "embed")
    error = await refused(stream(suite, ask(model="broken"), metadata=metadata))
    assert (error.reason, error.metadata["model"]) == (Reason.PERMISSION_DENIED, "broken")
    assert (await stream(suite, ask(), metadata=metadata))[-1].finished


async def test_a_key_is_shown_the_models_that_it_may_use(suite):
    metadata = suite.keys.headers(models=frozenset({"b"}))
    answer = await suite.stub.ListModels(gateway_pb2.ListModelsRequest(), metadata=metadata)
    assert [model.name for model in answer.models] == ["b"]
