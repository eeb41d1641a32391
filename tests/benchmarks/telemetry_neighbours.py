"""The gateway's neighbours as doubles, and a collector, each in a process of its own."""

import asyncio
import contextlib
import json
import sys
import time
from typing import NamedTuple

import aiohttp
from grpc import aio
from tests.integration.suite.otlp_receiver import receiving_grpc

from llmrouter.v1 import cache_pb2, generation_pb2, inference_pb2, model_pb2, selector_pb2
from llmrouter.v1.cache_pb2_grpc import CacheServiceServicer, add_CacheServiceServicer_to_server
from llmrouter.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from llmrouter.v1.model_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from llmrouter.v1.selector_pb2_grpc import (
    SelectorServiceServicer,
    add_SelectorServiceServicer_to_server,
)

_MODELS = [f"model-{number}" for number in range(8)]
"""Of the catalog that the live page shows."""


class Places(NamedTuple):
    selector: str
    cache: str


class _Selector(SelectorServiceServicer):
    address = ""

    async def Select(self, request, context):  # noqa: N802
        mode = selector_pb2.PLAN_MODE_FIRST_OF
        candidate = selector_pb2.Candidate(model="m", version="1", address=self.address)
        plan = selector_pb2.Plan(id="p", mode=mode, candidates=[candidate], reason="best")
        return selector_pb2.SelectResponse(plan=plan)

    async def ReportOutcome(self, request, context):  # noqa: N802
        return selector_pb2.ReportOutcomeResponse(counted=1)

    async def ListCatalog(self, request, context):  # noqa: N802
        place = selector_pb2.CatalogEndpoint(address=self.address, load=0.5)
        statistics = selector_pb2.ModelStatistics(attempts=900, tokens_per_second=70, cost=0.1)
        return selector_pb2.ListCatalogResponse(
            models=[
                selector_pb2.CatalogModel(
                    name=name, version="1", quality=0.5, addresses=[self.address],
                    endpoints=[place, place], statistics=statistics,
                )
                for name in _MODELS
            ]
        )  # fmt: skip

    async def ListCosts(self, request, context):  # noqa: N802
        costs = [selector_pb2.Cost(kind="model", name=name, attempts=900) for name in _MODELS]
        return selector_pb2.ListCostsResponse(costs=costs)

    async def ListBreakers(self, request, context):  # noqa: N802
        return selector_pb2.ListBreakersResponse()

    async def ListRollouts(self, request, context):  # noqa: N802
        return selector_pb2.ListRolloutsResponse()

    async def ExportDecisions(self, request, context):  # noqa: N802
        order = [
            {"model": name, "version": "1", "score": 0.5, "verdicts": {"quality": 0.5, "cost": 0.9}}
            for name in _MODELS
        ]
        for number in range(request.limit):
            record = {
                "plan_id": f"p{number}", "at": time.time(), "tenant": "default", "order": order,
                "strategy": "balanced", "mode": "first-of", "reason": "the best score of 8",
                "exclusions": [], "outcomes": [{"error_reason": ""}],
            }  # fmt: skip
            yield selector_pb2.ExportDecisionsResponse(record=json.dumps(record))


class _Cache(CacheServiceServicer):
    async def Lookup(self, request, context):  # noqa: N802
        return cache_pb2.LookupResponse()

    async def Store(self, request, context):  # noqa: N802
        return cache_pb2.StoreResponse()

    async def GetStatistics(self, request, context):  # noqa: N802
        level = cache_pb2.LevelStatistics(
            level=generation_pb2.CACHE_LEVEL_MEMORY, entries=900, hits=90
        )
        return cache_pb2.GetStatisticsResponse(levels=[level] * 3)


class _Models(ModelServiceServicer):
    async def List(self, request, context):  # noqa: N802
        now = inference_pb2.EngineStatistics(running=4, slots=16, completion_tokens=9000)
        models = [
            inference_pb2.LoadedModel(
                name=name, version="1", state=inference_pb2.MODEL_STATE_READY, statistics=now
            )
            for name in _MODELS
        ]
        return model_pb2.ModelServiceListResponse(models=models)


class _Inference(InferenceServiceServicer):
    async def Infer(self, request, context):  # noqa: N802
        yield _event(started={"model": "m", "version": "1"})
        deltas = request.request.sampling.max_tokens
        for _ in range(deltas):
            yield _event(delta={"text": "word ", "tokens": 1})
        yield _event(choice_finished={"reason": generation_pb2.FINISH_REASON_STOP})
        yield _event(finished={"usage": {"prompt_tokens": 9, "completion_tokens": deltas}})


def _event(**kind):
    return inference_pb2.InferResponse(event=generation_pb2.GenerationEvent(**kind))


async def _serve_neighbours():
    selector, server = _Selector(), aio.server()
    add_SelectorServiceServicer_to_server(selector, server)
    add_CacheServiceServicer_to_server(_Cache(), server)
    add_InferenceServiceServicer_to_server(_Inference(), server)
    add_ModelServiceServicer_to_server(_Models(), server)
    selector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    _tell(selector.address)
    await asyncio.to_thread(sys.stdin.read)


async def _serve_collector():
    async with receiving_grpc() as (received, endpoint):
        _tell(endpoint)
        ending = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        while not ending.done():
            received.traces.clear()
            received.metrics.clear()
            await asyncio.wait({ending}, timeout=1)


async def _watch():
    """Read the live page's frames as so many open pages do; tell once each has had one."""
    address, pages = sys.argv[2], int(sys.argv[3])

    async def read(events):
        async for _ in events.content:
            pass

    async with aiohttp.ClientSession() as http, contextlib.AsyncExitStack() as stack:
        url = f"http://{address}/live/events"
        opened = [await stack.enter_async_context(http.get(url)) for _ in range(pages)]
        for events in opened:
            events.raise_for_status()
            await events.content.readline()
        reading = [asyncio.create_task(read(events)) for events in opened]
        _tell(str(pages))
        await asyncio.to_thread(sys.stdin.read)
        for task in reading:
            task.cancel()


def _tell(address):
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


@contextlib.asynccontextmanager
async def _running(what, *arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.telemetry_neighbours", what, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.stdin.close()
        await process.wait()


@contextlib.asynccontextmanager
async def neighbours():
    """Yield where selector and cache are; the plan names where inference is."""
    async with _running("neighbours") as address:
        yield Places(address, address)


@contextlib.asynccontextmanager
async def receiving():
    """Yield the endpoint of a collector that drops what it gets."""
    async with _running("collector") as endpoint:
        yield endpoint


@contextlib.asynccontextmanager
async def watching(address, pages):
    """Have so many live pages open at a gateway's HTTP port."""
    if not pages:
        yield
        return
    async with _running("pages", address, str(pages)) as told:
        if told != str(pages):
            raise RuntimeError(f"no {pages} pages could be opened at {address}")
        yield


if __name__ == "__main__":
    served = {"neighbours": _serve_neighbours, "collector": _serve_collector, "pages": _watch}
    asyncio.run(served[sys.argv[1]]())
