"""How a shared generation runs: as far ahead as its readers allow, and to its end."""

import asyncio
from contextlib import aclosing

import pytest
from tests.unit.gateway.doubles import CONTEXT, answer_events, collect, keyed, started, text
from tests.unit.gateway.flying import Scripted, asking, began, link

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import CacheStatus, Delta, Finished
from llmrouter.gateway import flight as flights


async def test_what_follows_the_last_event_is_finished_though_all_have_left():
    stored = []

    class Storing:
        async def generate(self, request, context):
            for event in answer_events():
                yield event
            await asyncio.sleep(0.01)
            stored.append(1)

    one = link(Storing())
    async with aclosing(one.generate(keyed(), CONTEXT)) as events:
        async for event in events:
            if isinstance(event, Finished):
                break
    assert not stored
    late = await collect(one.generate(keyed(), asking(2)))  # until it is stored, it can be joined
    assert started(late).cache is CacheStatus.JOINED
    await one.close()
    assert stored


async def test_closing_cancels_what_does_not_end(monkeypatch):
    monkeypatch.setattr("llmrouter.gateway.single_flight._CLOSE_SECONDS", 0.01)
    following = Scripted([*answer_events()[:2], asyncio.Event()])
    one = link(following)
    stream = one.generate(keyed(), CONTEXT)
    await began(stream)
    async with asyncio.timeout(10):
        await one.close()
    assert following.ended == ["CancelledError"]
    await stream.aclose()


async def test_the_generation_waits_for_its_fastest_reader_and_not_for_its_slowest(monkeypatch):
    monkeypatch.setattr(flights, "_AHEAD_BYTES", 1_000)
    made = []

    class Endless:
        async def generate(self, request, context):
            yield answer_events()[0]
            for number in range(100):
                made.append(number)
                yield Delta(0, "x" * 100, 1)
            for event in answer_events()[-2:]:
                yield event

    one = link(Endless())
    slow, fast = one.generate(keyed(), asking(1)), one.generate(keyed(), asking(2))
    await began(slow)
    await asyncio.sleep(0.01)
    assert len(made) < 12
    assert len(text(await collect(fast))) == 10_000
    assert len(text(await collect(slow))) == 10_000


async def test_a_reader_too_far_behind_is_told_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(flights, "_KEPT_BYTES", 1_000)

    class Long:
        async def generate(self, request, context):
            yield answer_events()[0]
            for _ in range(50):
                yield Delta(0, "x" * 100, 1)
                await asyncio.sleep(0)
            for event in answer_events()[-2:]:
                yield event

    one = link(Long())
    slow, fast = one.generate(keyed(), asking(1)), one.generate(keyed(), asking(2))
    await began(slow)
    assert len(text(await collect(fast))) == 5_000
    with pytest.raises(RouterError) as told:
        await collect(slow)
    assert told.value.reason is Reason.SLOW_READER


async def test_an_event_of_any_size_costs_its_only_reader_nothing(monkeypatch):
    monkeypatch.setattr(flights, "_KEPT_BYTES", 1_000)
    monkeypatch.setattr(flights, "_AHEAD_BYTES", 500)

    class Merged:
        async def generate(self, request, context):
            yield answer_events()[0]
            for size in (10, 5_000, 10, 5_000):
                yield Delta(0, "x" * size, 1)
            for event in answer_events()[-2:]:
                yield event

    stalled = link(Merged()).generate(keyed(), asking(1))
    await began(stalled)
    await asyncio.sleep(0.01)
    assert len(text(await collect(stalled))) == 10_020
