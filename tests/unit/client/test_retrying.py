"""How long a call pauses before it is tried again, without waiting for it."""

import grpc
import pytest

from llmrouter_client import LlmrouterError
from llmrouter_client.gateways import Gateways
from llmrouter_client.retrying import Retrying


def refusal(retry_after=None, code=grpc.StatusCode.UNAVAILABLE):
    return LlmrouterError("DRAINING", "away", code=code, retry_after=retry_after)


@pytest.fixture
def paused():
    return []


@pytest.fixture
def make(paused):
    async def sleep(seconds):
        paused.append(seconds)

    return lambda retries=9, timeout=None: Retrying(
        retries, timeout, Gateways(["127.0.0.1:1"], None), sleep
    )


async def test_a_pause_is_as_long_as_the_service_says(make, paused):
    assert await make().pause(refusal(0.3))
    assert paused == [0.3]


async def test_pauses_double_up_to_two_seconds_and_differ_by_chance(make, paused):
    retrying = make()
    for _ in range(9):
        assert await retrying.pause(refusal())
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0]
    assert all(most / 2 <= one <= most for one, most in zip(paused, longest, strict=True))
    assert len(set(paused)) == len(paused)


async def test_there_are_no_more_pauses_than_retries(make, paused):
    retrying = make(retries=1)
    assert [await retrying.pause(refusal()) for _ in range(3)] == [True, False, False]
    assert len(paused) == 1


async def test_a_pause_that_reaches_past_the_deadline_is_not_made(make, paused):
    assert not await make(timeout=20).pause(refusal(retry_after=30))
    assert paused == []


async def test_what_is_not_safe_to_repeat_is_not_paused_for(make, paused):
    assert not await make().pause(refusal(code=grpc.StatusCode.INTERNAL))
    assert paused == []
