from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.traced import traced
from tests.support.waiting import until

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FinishReason, TokenLogprob, TopLogprob
from llmrouter.inference.backends import event_buffer
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


async def test_choices_merge_apart_and_the_end_of_each_follows_its_text() -> None:
    buffer = EventBuffer(100, choices=2)
    told = TokenLogprob(5, -0.5, b"b", (TopLogprob(6, -0.25, b"c"),))
    buffer.put(TokenDelta("a", 1, 1))
    buffer.put(TokenDelta("x", 1, 0))
    buffer.put(TokenDelta("b", 1, 1, (told,)))
    buffer.end(replace(FINISHED, choice=1))
    assert not buffer.ended
    buffer.put(TokenDelta("y", 1, 0))
    buffer.end(FINISHED)
    assert buffer.ended
    assert await collect(buffer.events()) == [
        TokenDelta("ab", 2, 1, (told,)),
        TokenDelta("xy", 2, 0),
        replace(FINISHED, choice=1),
        FINISHED,
    ]


async def test_log_probabilities_count_against_the_bound() -> None:
    buffer = EventBuffer(100)
    told = TokenLogprob(5, -0.5, b"b", tuple(TopLogprob(i, -1.0, b"") for i in range(20)))
    assert not buffer.put(TokenDelta("", 1, 0, (told,)))


async def test_the_failure_of_one_choice_ends_all() -> None:
    buffer = EventBuffer(100, choices=3)
    buffer.end(FINISHED)
    buffer.end(RouterError(Reason.GENERATION_FAILED, "broke"))
    assert buffer.ended
    events = buffer.events()
    assert await anext(events) == FINISHED
    with pytest.raises(RouterError, match="broke"):
        await anext(events)


MOST = 64 << 10
PART = 24 << 10
"""Of those, what waits in the engine's buffer; the rest is on the way (`test_slow_reader.py`)."""


@pytest.mark.parametrize("tops", [None, 0, 20], ids=["text", "logprobs", "top 20"])
async def test_what_waits_takes_little_memory_until_its_sequence_is_taken_off(
    tops: int | None,
) -> None:
    async def until_held() -> EventBuffer:
        held: list[bool] = []
        buffer = EventBuffer(MOST, 1, held.append, patience=0)
        number = 0
        while not held:
            number += 1
            buffer.put(TokenDelta(f"w{number} ", 1, 0, logprobs_of(number, tops), (1000 + number,)))
            await asyncio.sleep(0)
        return buffer

    with traced(__file__, event_buffer.__file__) as taken:
        buffer = await until_held()
        assert taken() <= PART
    assert not buffer.ended


def told(number: int) -> TokenDelta:
    """Little text, and much memory."""
    return TokenDelta("a", 1, 0, logprobs_of(number, 20), (number,))


async def test_who_takes_what_came_all_at_once_is_not_held() -> None:
    held: list[bool] = []
    buffer = EventBuffer(8192, 1, held.append, patience=0.01)
    events = buffer.events()
    for number in range(3):
        buffer.put(told(number))
        await anext(events)
        buffer.put(told(number))
        await asyncio.sleep(0.02)  # what came since is on its way to be taken
        assert held == []
        await anext(events)


async def test_who_has_an_eighth_of_all_to_hear_is_held_at_once_and_never_ended() -> None:
    held: list[bool] = []
    buffer = EventBuffer(800, 1, held.append, patience=60)
    buffer.put(TokenDelta("x" * 100, 1))
    assert held == []
    assert buffer.put(TokenDelta("x", 1))
    assert held == [True]
    assert buffer.put(TokenDelta("x" * 1000, 1)), "what comes while it is being held is no fault"


async def test_who_takes_nothing_is_held_until_all_is_taken() -> None:
    held: list[bool] = []
    buffer = EventBuffer(8192, 1, held.append, patience=0)
    buffer.put(told(1))
    assert held == [], "it had no turn yet"
    await until(lambda: held)
    await anext(buffer.events())
    assert held == [True, False]


def logprobs_of(number: int, tops: int | None) -> tuple[TokenLogprob, ...]:
    if tops is None:
        return ()
    top = tuple(
        TopLogprob(5000 + number + i, -i / 7, f"t{number}{i}".encode()) for i in range(tops)
    )
    return (TokenLogprob(5000 + number, -number / 7, f"w{number}".encode(), top),)


async def test_many_that_merge_on_the_way_lose_nothing() -> None:
    buffer = EventBuffer(1 << 20)
    for number in range(1000):
        buffer.put(TokenDelta(f"{number} ", 1, 0, (), (number,)))
    buffer.end(FINISHED)
    [delta, end] = await collect(buffer.events())
    whole = "".join(f"{number} " for number in range(1000))
    assert delta == TokenDelta(whole, 1000, 0, (), tuple(range(1000)))
    assert end == FINISHED
