"""The clock of silence: it counts what could have been heard, and no more."""

import asyncio
import time

import pytest
from tests.unit.selector.building import Clock

from llmrouter.selector.hearing import Hearing


@pytest.fixture
async def hearing():
    clock = Clock()
    made = Hearing(0.01, clock)
    yield clock, made
    made.close()
    made.close()


async def test_time_passes_by_one_beat_at_most_each_time_the_loop_comes_round(hearing):
    clock, hearing = hearing
    begun = hearing.now()
    hearing.start()
    clock.now += 0.004
    assert hearing.now() - begun == pytest.approx(0.004)
    clock.now += 60
    assert hearing.now() - begun == pytest.approx(0.01)
    await asyncio.sleep(0.03)
    later = hearing.now() - begun
    clock.now -= 30
    assert hearing.now() - begun == pytest.approx(later)


async def test_a_loop_that_is_kept_from_listening_hears_no_silence():
    hearing = Hearing(0.005)
    hearing.start()
    begun = hearing.now()
    time.sleep(0.2)  # noqa: ASYNC251 - it is the work that keeps the loop busy
    await asyncio.sleep(0)
    assert hearing.now() - begun < 0.1
    while hearing.now() - begun < 0.1:  # noqa: ASYNC110 - what it waits for is time
        await asyncio.sleep(0.005)
    hearing.close()
