"""Doubles of the gateway's neighbours, and what tests ask of the gateway between them."""

import asyncio

from tests.unit.gateway.identity.key_ring import KeyRing

from llmrouter.common.errors import Reason, RouterError
from llmrouter.v1 import (
    cache_pb2,
    embedding_pb2,
    gateway_pb2,
    generation_pb2,
    inference_pb2,
    selector_pb2,
)
from llmrouter.v1.cache_pb2_grpc import CacheServiceServicer
from llmrouter.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
)
from llmrouter.v1.selector_pb2_grpc import (
    SelectorServiceServicer,
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


def ask(prompt="Where?", model="working", **sampling):
    return generation_pb2.GenerateRequest(
        prompt=prompt, sampling={"temperature": 0.0, **sampling}, routing={"model": model}
    )


async def stream(suite, request, **options):
    call = suite.stub.StreamGenerate(gateway_pb2.StreamGenerateRequest(request=request), **options)
    return [response.event async for response in call]
