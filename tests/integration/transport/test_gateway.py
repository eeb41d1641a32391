"""The whole gateway between doubles of its neighbours, over both transports."""

import asyncio

import grpc
import pytest
from grpc import aio
from structlog.testing import capture_logs
from tests.unit.gateway.identity.key_ring import KeyRing

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest, RequestContext
from llmrouter.common.wire_errors import from_rpc_error, from_status
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.identity.authentication import Identity
from llmrouter.gateway.identity.principal import Scope
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.pipeline import Shared, build_embedding, build_pipeline
from llmrouter.gateway.plan import Candidate
from llmrouter.gateway.servicer import GatewayServicer
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.gateway.upstream import Upstream
from llmrouter.v1 import (
    cache_pb2,
    embedding_pb2,
    gateway_pb2,
    generation_pb2,
    inference_pb2,
    selector_pb2,
)
from llmrouter.v1.cache_pb2_grpc import CacheServiceServicer, add_CacheServiceServicer_to_server
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub, add_GatewayServiceServicer_to_server
from llmrouter.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from llmrouter.v1.selector_pb2_grpc import (
    SelectorServiceServicer,
    add_SelectorServiceServicer_to_server,
)

HANGING = 30
"""Seconds after which a test gives up; nothing that works comes near."""


class Selector(SelectorServiceServicer):
    def __init__(self):
        self.asked = []
        self.outcomes = asyncio.Queue()

    async def Select(self, request, context):  # noqa: N802
        self.asked.append(request)
        candidates = [
            selector_pb2.Candidate(model=name, version="1", address=f"{name}:1")
            for name in ("broken", "working")
            if request.routing.model in ("", name)
        ]
        plan = selector_pb2.Plan(
            id="p", mode=selector_pb2.PLAN_MODE_FIRST_OF, candidates=candidates, reason="best"
        )
        return selector_pb2.SelectResponse(plan=plan)

    async def ReportOutcome(self, request, context):  # noqa: N802
        self.outcomes.put_nowait(request)
        return selector_pb2.ReportOutcomeResponse()

    async def ListCatalog(self, request, context):  # noqa: N802
        models = [selector_pb2.CatalogModel(name=name) for name in ("b", "a")]
        return selector_pb2.ListCatalogResponse(models=models)


class Cache(CacheServiceServicer):
    def __init__(self):
        self.kept = {}
        self.expired = False

    async def Lookup(self, request, context):  # noqa: N802
        found = None
        if request.key in self.kept and (request.stale or not self.expired):
            level = generation_pb2.CACHE_LEVEL_MEMORY
            found = cache_pb2.FoundAnswer(answer=self.kept[request.key], level=level)
        return cache_pb2.LookupResponse(found=found)

    async def Store(self, request, context):  # noqa: N802
        self.kept[request.key] = request.answer
        return cache_pb2.StoreResponse()

    async def GetStatistics(self, request, context):  # noqa: N802
        return cache_pb2.GetStatisticsResponse()


class Inference(InferenceServiceServicer):
    """Answers "Paris"; the model `broken` is not loaded, the prompt `hang` never ends."""

    def __init__(self):
        self.calls = []
        self.broken = False
        self.freed = asyncio.Event()
        self.begun, self.ended = asyncio.Queue(), asyncio.Queue()

    async def Infer(self, request, context):  # noqa: N802
        self.calls.append((request, context.time_remaining()))
        self.begun.put_nowait(request)
        try:
            if request.model == "broken" or self.broken:
                raise RouterError(Reason.UNKNOWN_MODEL, "broken is not held here")
            yield event(started={"model": request.model, "version": "1"})
            yield event(delta={"text": "Pa", "tokens": 1})
            if "hang" in (request.request.prompt, asked_last(request.request)):
                await asyncio.Event().wait()
            yield event(delta={"text": "ris", "tokens": 1})
            yield event(choice_finished={"reason": generation_pb2.FINISH_REASON_STOP})
            yield event(finished={"usage": {"prompt_tokens": 2, "completion_tokens": 2}})
        finally:
            self.freed.set()
            self.ended.put_nowait(request)

    async def Embed(self, request, context):  # noqa: N802
        self.calls.append((request, context.time_remaining()))
        vectors = [{"values": [0.5, 1.0], "tokens": 3} for _ in request.request.texts]
        answer = embedding_pb2.EmbedResponse(model=request.model, version="1", embeddings=vectors)
        return embedding_pb2.InferenceServiceEmbedResponse(response=answer)


def asked_last(request):
    return request.chat.messages[-1].content[0].text if request.chat.messages else ""


def event(**kind):
    return inference_pb2.InferResponse(event=generation_pb2.GenerationEvent(**kind))


class Suite:
    def __init__(self):
        self.keys = KeyRing()
        self.selector, self.cache, self.inference = Selector(), Cache(), Inference()
        self.stub = None


@pytest.fixture
def anonymous():
    return "loopback"


@pytest.fixture
async def suite(serve, anonymous):
    built = Suite()
    add = [
        (add_SelectorServiceServicer_to_server, built.selector),
        (add_CacheServiceServicer_to_server, built.cache),
        (add_InferenceServiceServicer_to_server, built.inference),
    ]
    selector, cache, inference = [
        await serve(lambda server, add=add, servicer=servicer: add(servicer, server))
        for add, servicer in add
    ]
    settings = GatewaySettings(default_deadline_seconds=0.5, max_deadline_seconds=20)
    dialler = Dialler({"broken:1": inference, "working:1": inference})
    shared = Shared(NearCache(1 << 20), lambda *_: True)
    gateway = GatewayServicer(
        build_pipeline(settings, selector, cache, dialler, shared).generator,
        build_embedding(settings, selector, dialler),
        SelectorClient(selector, 1),
        Identity(built.keys, anonymous, built.keys),
        settings,
    )
    channel = await serve(lambda server: add_GatewayServiceServicer_to_server(gateway, server))
    built.stub = GatewayServiceStub(channel)
    return built


def ask(prompt="Where?", model="working", **sampling):
    return generation_pb2.GenerateRequest(
        prompt=prompt, sampling={"temperature": 0.0, **sampling}, routing={"model": model}
    )


async def stream(suite, request, **options):
    call = suite.stub.StreamGenerate(gateway_pb2.StreamGenerateRequest(request=request), **options)
    return [response.event async for response in call]


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
    assert 0 < left <= 0.5


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
