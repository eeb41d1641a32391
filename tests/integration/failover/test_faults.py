"""The suite before inference services that fail on purpose, each a program of its own."""

import asyncio
import contextlib

import pytest
from tests.support.suite_before import suite_before
from tests.support.upstream import upstream

from llmrouter_client import (
    AsyncClient,
    Delta,
    Finished,
    LlmrouterError,
    Message,
    Started,
    Switched,
)

WHOLE = "".join(f"{number} " for number in range(8))
EAGER = {"gateway": {"retry": {"initial_seconds": 0.001, "max_seconds": 0.05}}}
"""Waits that a test can wait for."""


async def ask(client, prompt="Count.", **options):
    events = [event async for event in client.stream(prompt, cache=False, **options)]
    said = "".join(event.text for event in events if isinstance(event, Delta))
    return said, events


async def many(address, count, at_once=16, **options):
    """Ask so many questions; return what was said, or the error, of each."""
    gate = asyncio.Semaphore(at_once)
    async with AsyncClient(address, retries=0, timeout=60) as client:

        async def one(number):
            async with gate:
                try:
                    return await ask(client, f"Count, {number}.", **options)
                except LlmrouterError as error:
                    return error

        return await asyncio.gather(*(one(number) for number in range(count)))


def tries(result):
    if isinstance(result, LlmrouterError):
        return int(result.metadata["attempts"])
    return len(result[1][-1].attempts)


@pytest.mark.parametrize("kind", ["full", "broken", "early"])
async def test_one_that_fails_every_third_time_is_tried_again_until_the_answer_is_whole(kind):
    async with upstream(faults=0.3, kinds=(kind,)) as one, suite_before(one, **EAGER) as address:
        answers = await many(address, 40, at_once=4)
    wrong = [one for one in answers if isinstance(one, LlmrouterError) or one[0] != WHOLE]
    assert len(wrong) <= 2  # four tries of one in three
    assert sum(map(tries, answers)) > 40


async def test_nobody_notices_that_every_tenth_try_fails():
    async with (
        upstream(faults=0.1) as one,
        upstream(faults=0.1, seed=2) as two,
        suite_before(one, two, **EAGER) as address,
    ):
        answers = await many(address, 200)
    assert [one[0] for one in answers if not isinstance(one, LlmrouterError)] == [WHOLE] * 200
    assert sum(map(tries, answers)) > 200


@pytest.mark.slow
async def test_of_ten_thousand_at_least_9990_are_answered_though_every_tenth_try_fails():
    async with upstream(faults=0.1) as one, suite_before(one) as address:
        answers = await many(address, 10_000, at_once=32)
    whole = sum(not isinstance(one, LlmrouterError) and one[0] == WHOLE for one in answers)
    assert whole >= 9_990


async def test_one_that_always_fails_is_asked_a_fifth_more_often_than_planned_and_no_more():
    never = {"retry": {**EAGER["gateway"]["retry"], "per_second": 0}}
    async with (
        upstream(faults=1.0, kinds=("full",)) as one,
        suite_before(one, gateway=never) as address,
    ):
        answers = await many(address, 100, at_once=10)
    assert all(isinstance(one, LlmrouterError) for one in answers)
    assert 100 < sum(map(tries, answers)) <= 120
    assert any(one.metadata.get("retries") == "their budget is spent" for one in answers)


async def test_where_one_hangs_now_and_then_the_other_answers_for_those_in_a_hurry():
    quick = {"hedging": {"least_observations": 5, "least_seconds": 0.02}}
    async with (
        upstream(hangs=0.4) as one,
        upstream() as two,
        suite_before(one, two, selector=quick) as address,
    ):
        async with AsyncClient(address, retries=0) as client:
            for _ in range(16):  # what is usual has to be learned first
                with contextlib.suppress(LlmrouterError):
                    await ask(client, strategy="speed-priority", timeout=0.5)
        answers = await many(address, 30, at_once=3, strategy="speed-priority")
    hedged = 0
    for said, events in answers:
        assert said == WHOLE
        assert isinstance(events[0], Started)
        attempts = events[-1].attempts
        hedged += any(one.set_aside for one in attempts)
    assert hedged > 0


async def test_one_that_is_killed_is_replaced_in_the_middle_of_the_answer():
    manner = {"tokens": 60, "pause": 0.01}
    async with (
        upstream(**manner) as one,
        upstream(**manner) as two,
        suite_before(one, two) as address,
        AsyncClient(address, retries=0) as client,
    ):
        _, events = await ask(client)
        busy = events[-1].attempts[-1].address  # a conversation goes where its beginning is known
        said, switched = "", []
        async for event in client.stream("Count.", cache=False):
            if isinstance(event, Delta):
                said += event.text
                if event.text == "5 ":
                    (one if one.address == busy else two).kill()
            elif isinstance(event, Switched):
                switched.append(event)
    assert said == "".join(f"{number} " for number in range(60))
    assert [one.from_address for one in switched] == [busy]


TALK = [
    Message("system", "Count what you are told to."),
    *(
        Message(role, f"{turn} " + "word " * 20)
        for turn in range(10)
        for role in ("user", "assistant")
    ),
    Message("user", "And now?"),
]


async def test_a_chat_that_is_too_long_is_shortened_where_its_caller_allows_it_and_told():
    async with (
        upstream(context=300) as one,
        suite_before(one) as address,
        AsyncClient(address, retries=0) as client,
    ):
        with pytest.raises(LlmrouterError) as failure:
            await ask(client, TALK)
        assert failure.value.reason == "CONTEXT_TOO_LONG"
        said, events = await ask(client, TALK, truncation="auto")
    assert said == WHOLE
    first, last = events[0], events[-1]
    assert isinstance(last, Finished)
    assert first.dropped_messages > 0
    assert first.dropped_messages % 2 == 0
    refused, answered = last.attempts
    assert (refused.error_reason, refused.adjustment) == ("CONTEXT_TOO_LONG", None)
    assert answered.adjustment.dropped_messages == first.dropped_messages
