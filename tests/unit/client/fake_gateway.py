# ruff: noqa: N802 - gRPC names the methods
"""A gateway, selector and cache that answer from a script, on a loopback port."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ClassVar

from google.protobuf.duration_pb2 import Duration
from grpc import aio
from grpc_status import rpc_status
from tests.support.background import in_background

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire_errors import to_status
from llmrouter.v1 import (
    cache_pb2,
    cache_pb2_grpc,
    embedding_pb2,
    gateway_pb2,
    gateway_pb2_grpc,
    rating_pb2,
    selector_pb2,
    selector_pb2_grpc,
)
from llmrouter.v1 import generation_pb2 as g

TEXT = ("The capital", " of France", " is Paris. ", "☕")
STARTED = g.Started(
    request_id="r1",
    model="smollm2-135m-instruct-int8",
    version="0123456789ab",
    reason="best balanced score: 0.812",
    cache=g.CACHE_STATUS_MISS,
    plan_id="p1",
    prompt_tokens=12,
)
FINISHED = g.Finished(
    usage=g.Usage(prompt_tokens=12, completion_tokens=9),
    timings=g.Timings(decode=Duration(nanos=100_000_000), total=Duration(nanos=200_000_000)),
    attempts=[
        g.Attempt(model="big", address="h:1", error_reason="QUEUE_FULL", error_message="full"),
        g.Attempt(model="smollm2-135m-instruct-int8", version="0123456789ab", address="h:2"),
    ],
)
Step = g.GenerationEvent | RouterError | float


def whole_answer() -> list[Step]:
    deltas = [g.GenerationEvent(delta=g.Delta(text=text, tokens=3)) for text in TEXT]
    end = g.ChoiceFinished(reason=g.FINISH_REASON_STOP)
    return [
        g.GenerationEvent(started=STARTED),
        *deltas,
        g.GenerationEvent(choice_finished=end),
        g.GenerationEvent(finished=FINISHED),
    ]


class FakeGateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Plays one script per call, the last one for ever: events, errors, or seconds to sleep."""

    def __init__(self, *scripts: list[Step]) -> None:
        self.scripts = list(scripts) or [whole_answer()]
        self.requests: list[Any] = []
        self.deadlines: list[float] = []
        self.credentials: list[str | None] = []
        self.ended = threading.Event()

    def _next(self, request: Any, context: Any) -> list[Step]:
        self.requests.append(request)
        self.deadlines.append(context.time_remaining())
        self._hear(context)
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    def _hear(self, context: Any) -> None:
        self.credentials.append(dict(context.invocation_metadata()).get("authorization"))

    async def StreamGenerate(self, request, context) -> AsyncIterator[Any]:
        try:
            for step in self._next(request.request, context):
                await _refuse(step, context)
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield gateway_pb2.StreamGenerateResponse(event=step)
        finally:
            self.ended.set()

    async def Generate(self, request, context):
        for step in self._next(request, context):
            await _refuse(step, context)
            if isinstance(step, float):
                await asyncio.sleep(step)
        choice = g.Choice(text="".join(TEXT), reason=g.FINISH_REASON_STOP)
        return gateway_pb2.GenerateResponse(started=STARTED, choices=[choice], finished=FINISHED)

    async def BatchGenerate(self, request, context) -> AsyncIterator[Any]:
        """Answer the questions backwards; those that say `fail` fail, at `break` the call does."""
        self._hear(context)
        self.requests.append(request)
        for index, asked in reversed(list(enumerate(request.requests))):
            text = asked.chat.messages[0].content[0].text
            if text == "break" and len(self.requests) == 1:
                await _refuse(RouterError(Reason.DRAINING, "it is shutting down"), context)
            if text == "fail":
                failed = to_status(RouterError(Reason.CONTEXT_TOO_LONG, "too long"))
                yield gateway_pb2.BatchGenerateResponse(index=index, error=failed)
                continue
            choice = g.Choice(text=f"re: {text}", reason=g.FINISH_REASON_STOP)
            answer = gateway_pb2.GenerateResponse(
                started=STARTED, choices=[choice], finished=FINISHED
            )
            yield gateway_pb2.BatchGenerateResponse(index=index, answer=answer)

    async def Converse(self, requests, context) -> AsyncIterator[Any]:
        """Answer each turn by its text and options; `fail` fails, `hang` waits for its cancel."""
        self._hear(context)
        turn, options = 0, g.SamplingOptions()
        async for request in requests:
            self.requests.append(request)
            if request.HasField("options"):
                options = request.options.sampling
            if request.HasField("cancel"):
                cancelled = gateway_pb2.TurnCancelled(tokens=1)
                yield gateway_pb2.ConverseResponse(turn=turn, cancelled=cancelled)
            if not request.HasField("turn"):
                continue
            turn += 1
            text = request.turn.messages[-1].content[0].text
            for response in self._turn(text, options):
                response.turn = turn
                yield response

    def _turn(self, text: str, options: g.SamplingOptions) -> Iterator[Any]:
        """Answer by the script that was given, if one was."""
        (step, *_), given = self.scripts[0], self.scripts[0] != whole_answer()
        if given and isinstance(step, RouterError):
            yield gateway_pb2.ConverseResponse(failed=to_status(step))
        else:
            yield from _spoken(text, options)

    async def Embed(self, request, context):
        self._hear(context)
        self.requests.append(request)
        vectors = [
            embedding_pb2.Embedding(values=[1.0, float(index)], tokens=3)
            for index, _ in enumerate(request.texts)
        ]
        return embedding_pb2.EmbedResponse(model="mini", version="v1", embeddings=vectors)

    async def RateOutcome(self, request, context):
        self._hear(context)
        self.requests.append(request)
        return rating_pb2.RateOutcomeResponse(model="small", grade=0.75, grades=12)

    async def ListModels(self, request, context):
        self._hear(context)
        models = [selector_pb2.CatalogModel(name="a", aliases=["b"], addresses=["h:1"])]
        return gateway_pb2.ListModelsResponse(models=models)


def _spoken(text: str, options: g.SamplingOptions) -> Iterator[gateway_pb2.ConverseResponse]:
    yield gateway_pb2.ConverseResponse(accepted=gateway_pb2.TurnAccepted(forgotten_messages=2))
    if text == "fail":
        failed = to_status(RouterError(Reason.CONTEXT_TOO_LONG, "too long"))
        yield gateway_pb2.ConverseResponse(failed=failed)
        return
    delta = g.Delta(text=f"re: {text} at {options.temperature}", tokens=1)
    yield gateway_pb2.ConverseResponse(event=g.GenerationEvent(delta=delta))
    if text != "hang":
        yield gateway_pb2.ConverseResponse(event=g.GenerationEvent(finished=FINISHED))


class FakeSelector(selector_pb2_grpc.SelectorServiceServicer):
    def __init__(self, away: str = "") -> None:
        self.requests: list[Any] = []
        self.away = away

    async def Select(self, request, context):
        self.requests.append(request)
        parts = [
            selector_pb2.ScoreComponent(name=n, value=v, weight=w, explanation=e)
            for n, v, w, e in (
                ("speed", 0.9, 0.3, "97 tokens/s"),
                ("quality", 0.5, 0.3, "prior 0.50"),
                ("cost", 1.0, 0.2, "free"),
            )
        ]
        candidates = [
            selector_pb2.Candidate(model=m, version="v1", address="h:1", score=s, components=parts)
            for m, s in (("small", 0.62), ("large", 0.58))
        ]
        for candidate in candidates:
            candidate.away = self.away
        plan = selector_pb2.Plan(
            id="p1",
            mode=selector_pb2.PLAN_MODE_FIRST_OF,
            candidates=candidates,
            exclusions=[selector_pb2.Exclusion(model="gone", reason="no endpoint holds it")],
            strategy="balanced",
            reason="best balanced score",
        )
        return selector_pb2.SelectResponse(plan=plan)

    async def ListCatalog(self, request, context):
        seen = selector_pb2.ModelStatistics(
            attempts=7, tokens_per_second=97, time_to_first_token=Duration(nanos=41_000_000)
        )
        seen.first_token.p95.nanos = 83_000_000
        seen.first_token.mean.nanos = 41_000_000
        endpoint = selector_pb2.CatalogEndpoint(
            address="h:1", load=0.25, statistics=seen, breaker=selector_pb2.BREAKER_STATE_HALF_OPEN
        )
        model = selector_pb2.CatalogModel(
            name="small", addresses=["h:1"], statistics=seen, endpoints=[endpoint]
        )
        return selector_pb2.ListCatalogResponse(models=[model], default_strategy="balanced")

    async def ListCosts(self, request, context):
        cost = selector_pb2.Cost(kind="tenant", name="acme", plans=3, actual=0.25)
        return selector_pb2.ListCostsResponse(costs=[cost])

    async def Explain(self, request, context):
        self.requests.append(request)
        plan = (await self.Select(request, context)).plan
        return selector_pb2.ExplainResponse(plan=plan, record='{"plan_id": "p1"}')

    async def ExportDecisions(self, request, context):
        self.requests.append(request)
        for number in range(3):
            record = {
                "plan_id": f"p{number}",
                "at": 1_700_000_000.0 + number,
                "reason": f"best of {number}",
                "order": [{"model": "small"}],
                "outcomes": [{"error_reason": "INTERNAL"}, {"error_reason": ""}][:number],
            }
            yield selector_pb2.ExportDecisionsResponse(record=json.dumps(record))

    async def ListBreakers(self, request, context):
        breaker = selector_pb2.Breaker(
            model="small",
            version="v1",
            address="h:1",
            state=selector_pb2.BREAKER_STATE_OPEN,
            failures=5,
            retry_in=Duration(seconds=42),
            last_error="INTERNAL",
        )
        return selector_pb2.ListBreakersResponse(breakers=[breaker])

    async def StartRollout(self, request, context):
        self.requests.append(request)
        return selector_pb2.StartRolloutResponse(rollout=self.rollout())

    async def ListRollouts(self, request, context):
        return selector_pb2.ListRolloutsResponse(rollouts=[self.rollout()])

    async def ChangeRollout(self, request, context):
        self.requests.append(request)
        return selector_pb2.ChangeRolloutResponse(rollout=self.rollout())

    def rollout(self):
        spec = selector_pb2.RolloutSpec(
            model="small", old_version="v1", new_version="v2", stages=[0.1, 1.0]
        )
        return selector_pb2.Rollout(
            spec=spec,
            state=selector_pb2.ROLLOUT_STATE_ROLLED_BACK,
            reason="3 of 9 attempts on v2 failed",
            new_samples=selector_pb2.VersionSamples(attempts=9, failures=3),
        )

    async def ResetBreakers(self, request, context):
        self.requests.append(request)
        return selector_pb2.ResetBreakersResponse(closed=1)


class FakeCache(cache_pb2_grpc.CacheServiceServicer):
    invalidated: ClassVar[list[cache_pb2.InvalidateRequest]] = []

    async def GetStatistics(self, request, context):
        level = cache_pb2.LevelStatistics(
            level=g.CACHE_LEVEL_MEMORY, entries=3, bytes=1000, hits=3, misses=1
        )
        saved = cache_pb2.Savings(
            tenant="default",
            model="small",
            level=g.CACHE_LEVEL_GATEWAY,
            kind=cache_pb2.HIT_KIND_EXACT,
            hits=12,
            prompt_tokens=1_000,
            completion_tokens=234,
            cost=0.5,
            time=Duration(seconds=9),
        )
        joined = cache_pb2.Savings(tenant="acme", kind=cache_pb2.HIT_KIND_JOINED, hits=1)
        return cache_pb2.GetStatisticsResponse(
            levels=[level], savings=[saved, joined], gateways=2, invalidations=3
        )

    async def Invalidate(self, request, context):
        self.invalidated.append(request)
        return cache_pb2.InvalidateResponse(sequence=4)


async def _refuse(step: Step, context: Any) -> None:
    if isinstance(step, RouterError):
        await context.abort_with_status(rpc_status.to_status(to_status(step)))


@asynccontextmanager
async def serving(
    gateway: FakeGateway, selector: FakeSelector | None = None, at: str = "127.0.0.1:0"
):
    """Serve, by default on a free port; yields `host:port`."""
    server = aio.server()
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(gateway, server)
    selector_pb2_grpc.add_SelectorServiceServicer_to_server(selector or FakeSelector(), server)
    cache_pb2_grpc.add_CacheServiceServicer_to_server(FakeCache(), server)
    port = server.add_insecure_port(at)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@contextmanager
def serving_in_thread(gateway: FakeGateway, selector: FakeSelector | None = None) -> Iterator[str]:
    """Serve from a thread of its own, for callers that block."""
    with in_background(lambda: serving(gateway, selector)) as address:
        yield address
