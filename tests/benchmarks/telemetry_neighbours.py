"""The gateway's neighbours as doubles, and a collector, each in a process of its own."""

import asyncio
import contextlib
import sys
from typing import NamedTuple

from grpc import aio
from tests.integration.suite.otlp_receiver import receiving_grpc

from llmrouter.v1 import cache_pb2, generation_pb2, inference_pb2, selector_pb2
from llmrouter.v1.cache_pb2_grpc import CacheServiceServicer, add_CacheServiceServicer_to_server
from llmrouter.v1.inference_pb2_grpc import (
    InferenceServiceServicer,
    add_InferenceServiceServicer_to_server,
)
from llmrouter.v1.selector_pb2_grpc import (
    SelectorServiceServicer,
    add_SelectorServiceServicer_to_server,
)


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


class _Cache(CacheServiceServicer):
    async def Lookup(self, request, context):  # noqa: N802
        return cache_pb2.LookupResponse()

    async def Store(self, request, context):  # noqa: N802
        return cache_pb2.StoreResponse()


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


def _tell(address):
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


@contextlib.asynccontextmanager
async def _running(what):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.telemetry_neighbours", what,
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


if __name__ == "__main__":
    served = {"neighbours": _serve_neighbours, "collector": _serve_collector}
    asyncio.run(served[sys.argv[1]]())
