"""An hour's worth of requests, one every half second, asked as fast as the engine takes them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.engine.tiny_model import TinyShape

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FormatKind, Priority, ResponseFormat, SamplingOptions
from llmrouter.inference.backends.base import BackendFinished, BackendOptions, BackendRequest
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

REQUESTS = 7200
AT_ONCE = 16
MAY_GROW = 8 << 20
"""Bytes over five sixths of the requests: 1.4 kB for each, so that no answer may be kept."""
EXPECTED = {Reason.DEADLINE_EXCEEDED, Reason.SLOW_READER}
FORMATS = (
    ResponseFormat(FormatKind.REGEX, "[a-z]{1,8}"),
    ResponseFormat(FormatKind.JSON_SCHEMA, '{"type": "integer", "maximum": 99}'),
)


def request(dice: random.Random) -> BackendRequest:
    """Anything a caller may ask: long and short, shared prefixes, drawn, shaped, with a format."""
    begin = [dice.choice(b"ab")] * dice.choice([0, 0, 20, 40])
    prompt = [*begin, *(dice.randrange(97, 123) for _ in range(dice.randrange(1, 20)))]
    sampling = SamplingOptions(
        temperature=dice.choice([0.0, 0.8]),
        max_tokens=dice.randrange(1, 24),
        seed=dice.choice([None, 7]),
        top_k=dice.choice([0, 20]),
        repetition_penalty=dice.choice([1.0, 1.2]),
        n=dice.choice([1, 1, 1, 3]),
        logprobs=dice.random() < 0.2,
        stop=dice.choice([(), ("q",)]),
    )
    if dice.random() < 0.1:
        sampling = replace(sampling, response_format=dice.choice(FORMATS), n=1)
    return BackendRequest(
        prompt,
        sampling,
        priority=dice.choice(list(Priority)),
        timeout=dice.choice([None, None, None, 0.05]),
        scope=dice.choice(["one", "two"]),
    )


async def ask(backend: OnnxRuntimeBackend, dice: random.Random) -> None:
    """Ask and read to the end; now and then leave early, as callers do."""
    asked = request(dice)
    leave_after = dice.randrange(1, 6) if dice.random() < 0.1 else None
    ended = 0
    try:
        async with contextlib.aclosing(backend.generate(asked)) as events:
            count = 0
            async for event in events:
                count += 1
                ended += isinstance(event, BackendFinished)
                if count == leave_after:
                    return
    except RouterError as error:
        assert error.reason in EXPECTED, error  # noqa: PT017 - others are a defect
        return
    assert ended == asked.sampling.n


def resident() -> int:
    """Return the bytes of this process in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
async def backend(tiny_folder: Path) -> AsyncIterator[OnnxRuntimeBackend]:
    options = BackendOptions(threads=2, slots=8, prefill_chunk=16, prefix_bytes=1 << 20)
    loaded = await OnnxRuntimeBackend.load(tiny_folder, options)
    yield loaded
    await loaded.close()


@pytest.mark.timeout(900)
async def test_an_hours_worth_of_requests_leaves_no_memory_behind(
    backend: OnnxRuntimeBackend,
) -> None:
    assert TinyShape().context >= 84
    dice = random.Random(1)  # noqa: S311 - repeatable, not secret

    async def serve(requests: int) -> None:
        left = iter(range(requests))

        async def caller() -> None:
            for _ in left:
                await ask(backend, dice)

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))

    await serve(REQUESTS // 6)  # Every cache and pool has its size by now.
    before = resident()
    await serve(REQUESTS - REQUESTS // 6)
    assert resident() - before < MAY_GROW
    now = backend.statistics()
    assert (now.running, now.waiting) == (0, 0)
