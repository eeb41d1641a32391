"""How many streams of 50 tokens a second the suite carries, beside bare gRPC.

A process of its own has the suite with a model that gives a token every 20 ms, and an echo that
does the same through nothing but gRPC. Each token says when it was due: its delay is counted from
there to where the caller reads it, so that a server that falls behind shows it.
"""

import asyncio
import contextlib
import logging
import sys
import time

import grpc
from grpc import aio
from tests.benchmarks.cache_suite import Instant, event, suite

from llmrouter.common.logs import configure_logs
from llmrouter.common.standalone import configure_process
from llmrouter.v1 import gateway_pb2, generation_pb2
from llmrouter.v1.gateway_pb2_grpc import GatewayServiceStub

__all__ = ["measure_streams"]

TOKENS_PER_SECOND = 50
TOKENS = 150
LADDER = (25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1000)
MAX_DELAY = 0.1
_TRIES = 2
_SPREAD_SECONDS = 1.0
"""Streams do not all begin at once, nor do callers."""


async def _paced():
    """Give when each token is due, then."""
    due = time.monotonic()
    for _ in range(TOKENS):
        due += 1 / TOKENS_PER_SECOND
        await asyncio.sleep(due - time.monotonic())
        yield due


class _Paced(Instant):
    async def Infer(self, request, context):  # noqa: N802
        yield event(started={"model": "instant", "version": "1"})
        async for due in _paced():
            yield event(delta={"text": f"{due:.6f} ", "tokens": 1})
        yield event(choice_finished={"reason": generation_pb2.FINISH_REASON_STOP})
        yield event(finished={"usage": {"prompt_tokens": 9, "completion_tokens": TOKENS}})


async def _echo(request, context):
    async for due in _paced():
        told = generation_pb2.GenerationEvent(delta={"text": f"{due:.6f} ", "tokens": 1})
        yield gateway_pb2.StreamGenerateResponse(event=told)


async def _serve():
    configure_process()
    configure_logs(json=False, level=logging.WARNING)
    handler = grpc.unary_stream_rpc_method_handler(
        _echo, gateway_pb2.StreamGenerateRequest.FromString,
        gateway_pb2.StreamGenerateResponse.SerializeToString,
    )  # fmt: skip
    bare = aio.server()
    bare.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("Echo", {"StreamGenerate": handler}),)
    )
    echo = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    async with suite(_Paced()) as (_, _, _, _, address):
        sys.stdout.write(f"{address} 127.0.0.1:{echo}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    await bare.stop(0)


@contextlib.asynccontextmanager
async def _serving():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.gateway_streams",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield (await process.stdout.readline()).decode().split()
    finally:
        process.stdin.close()
        await process.wait()


async def measure_streams():
    """Return the most streams that each carries, and every step of the way there."""
    figures, steps = {}, {}
    async with _serving() as (suite_address, echo_address):
        for name, address in (("streams", suite_address), ("bare_streams", echo_address)):
            async with aio.insecure_channel(address) as channel:
                call = GatewayServiceStub(channel).StreamGenerate
                if name.startswith("bare"):
                    call = channel.unary_stream(
                        "/Echo/StreamGenerate",
                        gateway_pb2.StreamGenerateRequest.SerializeToString,
                        gateway_pb2.StreamGenerateResponse.FromString,
                    )
                steps[name] = await _climb(call)
            carried = [one for one in steps[name] if one["carried"]]
            figures[f"{name}_of_50_tokens_per_second"] = carried[-1]["streams"] if carried else 0
            if carried:
                figures[f"{name}_delay_p99_ms"] = carried[-1]["delay_p99_ms"]
            figures[f"{name}_tokens_lost"] = sum(one["lost"] for one in steps[name])
    return figures, steps


async def _climb(call):
    """Ask for more and more streams until they are too many, twice."""
    steps = []
    await _together(call, 2)
    for streams in LADDER:
        for _ in range(_TRIES):
            steps.append(await _step(call, streams))
            if steps[-1]["carried"]:
                break
        else:
            break
    return steps


async def _step(call, streams):
    delays, lost = await _together(call, streams)
    middle, late = (
        delays[int(share * len(delays))] if delays else float("inf") for share in (0.5, 0.99)
    )
    carried = late <= MAX_DELAY and not lost
    return {"streams": streams, "delay_p50_ms": 1000 * middle, "delay_p99_ms": 1000 * late,
            "lost": lost, "carried": carried}  # fmt: skip


async def _together(call, streams):
    """Return the seconds that every token was late, in order of size, and how many never came."""
    delays = []

    async def read(number):
        await asyncio.sleep(_SPREAD_SECONDS * number / streams)
        request = generation_pb2.GenerateRequest(prompt=f"{time.monotonic()} {number}")
        count = 0
        with contextlib.suppress(aio.AioRpcError):  # what did not come was lost
            async for one in call(gateway_pb2.StreamGenerateRequest(request=request), timeout=60):
                now, text = time.monotonic(), one.event.delta.text
                dues = [float(due) for due in text.split()]
                delays.extend(now - due for due in dues)
                count += len(dues)
        return count

    counts = await asyncio.gather(*(read(number) for number in range(streams)))
    return sorted(delays), streams * TOKENS - sum(counts)


if __name__ == "__main__":
    asyncio.run(_serve())
