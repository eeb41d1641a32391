from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FinishReason
from llmrouter.inference.backends.base import BackendEvent, BackendFinished, TokenDelta
from llmrouter.inference.backends.event_buffer import EventBuffer

FINISHED = BackendFinished(
    reason=FinishReason.STOP,
    stop="",
    prompt_tokens=1,
    completion_tokens=3,
    queue=0.0,
    prefill=0.0,
    decode=0.0,
    time_to_first_token=0.0,
)


async def collect(events: AsyncIterator[BackendEvent]) -> list[BackendEvent]:
    return [event async for event in events]


async def test_deltas_that_nobody_took_merge_into_one() -> None:
    buffer = EventBuffer(100)
    for text in ("one ", "two ", "three"):
        assert buffer.put(TokenDelta(text, 2))
    buffer.end(FINISHED)
    assert await collect(buffer.events()) == [TokenDelta("one two three", 6), FINISHED]


async def test_a_reader_who_keeps_up_gets_each_delta() -> None:
    buffer = EventBuffer(100)
    events = buffer.events()
    for text in ("one", "two"):
        buffer.put(TokenDelta(text, 1))
        assert await anext(events) == TokenDelta(text, 1)
    buffer.end(FINISHED)
    assert await collect(events) == [FINISHED]


async def test_a_waiting_reader_is_woken_by_text_and_by_the_end() -> None:
    buffer = EventBuffer(100)
    reader = asyncio.create_task(collect(buffer.events()))
    await asyncio.sleep(0)
    buffer.put(TokenDelta("late", 1))
    await asyncio.sleep(0)
    buffer.end(FINISHED)
    assert await reader == [TokenDelta("late", 1), FINISHED]


async def test_a_full_buffer_ends_the_sequence_after_its_text() -> None:
    buffer = EventBuffer(10)
    assert buffer.put(TokenDelta("ééééé", 1))  # ten bytes
    assert not buffer.put(TokenDelta("x", 1))
    assert buffer.ended
    assert buffer.put(TokenDelta("ignored", 1)), "only the first overflow is reported"
    buffer.end(FINISHED)
    events = buffer.events()
    assert await anext(events) == TokenDelta("ééééé", 1)
    with pytest.raises(RouterError, match="10 bytes of text behind") as raised:
        await anext(events)
    assert raised.value.reason is Reason.SLOW_READER


async def test_taking_makes_room_again() -> None:
    buffer = EventBuffer(10)
    events = buffer.events()
    for _ in range(5):
        assert buffer.put(TokenDelta("x" * 10, 1))
        await anext(events)


async def test_a_failure_is_raised_after_the_text_before_it() -> None:
    buffer = EventBuffer(100)
    buffer.put(TokenDelta("half", 1))
    buffer.end(RouterError(Reason.GENERATION_FAILED, "broke"))
    events = buffer.events()
    assert await anext(events) == TokenDelta("half", 1)
    with pytest.raises(RouterError, match="broke"):
        await anext(events)
