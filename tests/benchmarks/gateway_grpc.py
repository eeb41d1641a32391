"""A routed request over gRPC, its suite in one process, beside a bare echo of its answer.

Callers and servers of both share that process. The answer comes in one piece of the model's and in
16, whole and streamed; an echo sends as many messages as the suite does.
"""

import asyncio
import statistics
import time
from functools import partial

from tests.benchmarks.cache_echo import calling, serving
from tests.benchmarks.cache_suite import Instant, asking, suite

from llmrouter.v1 import gateway_pb2
from llmrouter.v1 import generation_pb2 as g

__all__ = ["measure_calls"]

_REQUESTS = 300
_PIECES = {"": 1, "_16_pieces": 16}


async def measure_calls(rounds):
    """Return medians of both in microseconds, and their ratios."""
    figures = {}
    for name, words in _PIECES.items():
        async with suite(Instant(words)) as (near, *_):
            figures |= {
                f"grpc_{what}{name}{unit}": value
                for (what, unit), value in (await _beside_echo(near, rounds)).items()
            }
    return figures


async def _beside_echo(stub, rounds):
    async def whole(request):
        return await stub.Generate(request)

    async def streamed(request):
        call = stub.StreamGenerate(gateway_pb2.StreamGenerateRequest(request=request))
        return [one async for one in call]

    plain = asking("plain", g.CACHE_MODE_OFF)
    figures = {}
    async with (
        serving(await whole(plain), await streamed(plain)) as address,
        calling(address) as (echo, echo_stream),
    ):
        for what, ask, bare in (("call", whole, echo), ("stream", streamed, echo_stream)):
            ratios, times = [], {"": [], "_echo": []}
            for _ in range(rounds):
                took = await _in_turn({"": ask, "_echo": partial(_awaited, bare)})
                ratios.append(took[""] / took["_echo"])
                for side, value in took.items():
                    times[side].append(value)
            for side, values in times.items():
                figures[f"{what}{side}", "_us"] = statistics.median(values)
            figures[f"{what}_over_echo", ""] = statistics.median(ratios)
    return figures


async def _awaited(call, request):
    return await call(request)


async def _in_turn(sides):
    """Ask each side in turn; the median of each in microseconds."""
    times = {name: [] for name in sides}
    for number in range(_REQUESTS):
        for name, ask in sides.items():
            request = asking(number, g.CACHE_MODE_OFF)
            began = time.perf_counter()
            await ask(request)
            times[name].append((time.perf_counter() - began) * 1e6)
            await asyncio.sleep(0.001)  # what comes after an answer is not to slow the next one
    return {name: statistics.median(taken) for name, taken in times.items()}
