"""Measures of the engine alone: what its decoder's runs do not explain."""

import asyncio
import statistics
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
from tests.benchmarks.engine_peers import Results
from tests.benchmarks.engine_workloads import Prompts
from tests.benchmarks.peers.contestants import AT_ONCE, CONTEXT, THREADS
from tests.support.waiting import until

from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import BackendFinished, BackendOptions, BackendRequest
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

__all__ = ["measure_around", "measure_prefix", "measure_step_cost", "measure_waiting"]

GREEDY = {"temperature": 0.0}
FULL = {
    "temperature": 0.8,
    "top_k": 50,
    "top_p": 0.95,
    "repetition_penalty": 1.1,
    "presence_penalty": 0.2,
    "frequency_penalty": 0.2,
    "seed": 1,
}
RUNNING = (1, 2, 4, 8, 12, 16, 24, 32)
WAITING = 10_000
_until = partial(until, seconds=120, pause=0.02)
"""The engine tells by its statistics alone."""


@asynccontextmanager
async def _backend(folder, **options):
    backend = await OnnxRuntimeBackend.load(
        folder,
        BackendOptions(**{"threads": THREADS, "slots": AT_ONCE, "context": CONTEXT} | options),
    )
    try:
        yield backend
    finally:
        await backend.close()


def _ask(prompt, tokens, **sampling):
    options = {"min_tokens": tokens, "max_tokens": tokens, **(sampling or GREEDY)}
    return BackendRequest(prompt, SamplingOptions(**options))


async def _finish(backend, request):
    async for event in backend.generate(request):
        if isinstance(event, BackendFinished):
            return event
    raise AssertionError("the stream ended without its last event")


@asynccontextmanager
async def _streams(backend, requests):
    """Keep requests running; entered once all have sent a token, the rest is dropped."""
    begun = [asyncio.Event() for _ in requests]

    async def consume(request, first):
        async for _ in backend.generate(request):
            first.set()

    tasks = [asyncio.create_task(consume(*item)) for item in zip(requests, begun, strict=True)]
    try:
        await asyncio.gather(*(first.wait() for first in begun))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _over_steps(backend, steps):
    """Return per step, over so many steps: seconds, and those around the decoder's runs."""
    begin = backend.statistics()
    await _until(lambda: backend.statistics().steps >= begin.steps + steps)
    end = backend.statistics()
    count = end.steps - begin.steps
    busy = (end.busy_seconds - begin.busy_seconds) / count
    return busy, busy - (end.decoder_seconds - begin.decoder_seconds) / count


def measure_around(folder, repeats):
    """The share of a step at batch 16 that is not the decoder's own run."""

    async def share(backend, prompts, sampling):
        requests = [_ask(prompts(100), 200, **sampling) for _ in range(AT_ONCE)]
        async with _streams(backend, requests):
            busy, around = await _over_steps(backend, 100)
        return around / busy

    async def measure():
        results, prompts = Results(), Prompts()
        async with _backend(folder) as backend:
            for name, sampling in (("greedy", GREEDY), ("sampling", FULL)):
                shares = [await share(backend, prompts, sampling) for _ in range(repeats)]
                results.add(f"around_decoder_share_{name}", shares)
        return results

    return asyncio.run(measure())


def measure_prefix(folder, repeats):
    """Time to the first token of a second request that shares 1,000 tokens, over the first's."""

    async def measure():
        results, prompts, ratios, firsts = Results(), Prompts(), [], []
        async with _backend(folder) as backend:
            await _finish(backend, _ask(prompts(100), 4))
            for _ in range(repeats):
                shared = prompts(1000)
                ends = [await _finish(backend, _ask(shared + prompts(16), 2)) for _ in range(2)]
                first, second = (end.time_to_first_token for end in ends)
                ratios.append(second / first)
                firsts.append(first)
        results.add("prefix_first_token_ratio", ratios)
        results.add("prefix_first_token_seconds", firsts)
        return results

    return asyncio.run(measure())


def measure_step_cost(folder, repeats):
    """How well a straight line over the running sequences explains the cost of a step."""

    async def measure():
        prompts, costs = Prompts(), {count: [] for count in RUNNING}
        # A draft that is accepted would end an answer before its steps are counted.
        async with _backend(folder, slots=max(RUNNING), speculation_tokens=0) as backend:
            for _ in range(repeats):
                for count in RUNNING:
                    requests = [_ask(prompts(32), 120) for _ in range(count)]
                    async with _streams(backend, requests):
                        costs[count].append((await _over_steps(backend, 40))[0])
        return {count: statistics.median(values) for count, values in costs.items()}

    costs = asyncio.run(measure())
    counts, seconds = np.array(list(costs)), np.array(list(costs.values()))
    slope, base = np.polyfit(counts, seconds, 1)
    unexplained = ((seconds - (slope * counts + base)) ** 2).sum()
    results = Results(curves={"ours": [(int(n), s) for n, s in costs.items()]})
    results.figures = {
        "step_cost_linear_r2": float(1 - unexplained / ((seconds - seconds.mean()) ** 2).sum()),
        "step_seconds_per_sequence": float(slope),
        "step_seconds_base": float(base),
    }
    return results


def measure_waiting(folder, repeats):
    """A step's cost while 10,000 requests wait, over its cost while none does."""

    async def measure():
        results, prompts, ratios, around = Results(), Prompts(), [], []
        short = prompts(16)
        async with _backend(folder, max_waiting=2 * WAITING) as backend:
            for _ in range(repeats):
                requests = [_ask(prompts(32), 1000) for _ in range(AT_ONCE)]
                async with _streams(backend, requests):
                    before = await _over_steps(backend, 30)
                    async with _queue(backend, short):
                        during = await _over_steps(backend, 30)
                    after = await _over_steps(backend, 30)
                ratios.append(during[0] / ((before[0] + after[0]) / 2))
                around.append(1e6 * (during[1] - (before[1] + after[1]) / 2))
        results.add("waiting_10000_step_ratio", ratios)
        results.add("waiting_10000_added_microseconds", around)
        return results

    return asyncio.run(measure())


@asynccontextmanager
async def _queue(backend, prompt):
    """Keep so many requests waiting; left when all are gone again."""
    tasks = [asyncio.create_task(_finish(backend, _ask(prompt, 1))) for _ in range(WAITING)]
    await _until(lambda: backend.statistics().waiting >= WAITING)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _until(lambda: backend.statistics().waiting == 0)
