"""One session at a time may generate a key, and nobody waits for ever."""

import asyncio

import pytest

from llmrouter.cache.leases import Leases

KEY = b"k" * 32


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def leases(clock):
    return Leases(clock)


async def waiting(leases, *sessions):
    return await waiting_for(leases, KEY, *sessions)


async def waiting_for(leases, key, *sessions):
    tasks = [asyncio.create_task(leases.wait(key, session)) for session in sessions]
    await asyncio.sleep(0)
    return tasks


def test_one_session_holds_a_lease_as_often_as_it_asks_and_others_do_not(leases):
    assert leases.take(KEY, "a")
    assert leases.take(KEY, "a")
    assert not leases.take(KEY, "b")
    assert leases.take(b"other", "b")


async def test_leases_that_were_forgotten_do_not_stay(leases, clock):
    for number in range(10):
        leases.take(b"%d" % number, "a")
    clock.now = 50
    [waits] = await waiting_for(leases, b"0", "b")
    leases.take(b"new", "a")
    assert len(leases) == 11
    clock.now = 61
    leases.sweep()
    assert await waits is False  # it is granted what its holder forgot
    assert len(leases) == 2
    assert leases.holds(b"new", "a")
    assert leases.holds(b"0", "b")


async def test_an_answer_ends_the_wait_of_all(leases):
    leases.take(KEY, "a")
    tasks = await waiting(leases, "b", "c")
    leases.answered(KEY)
    assert await asyncio.gather(*tasks) == [True, True]
    assert len(leases) == 0


async def test_a_release_passes_the_lease_to_who_waits_longest(leases):
    leases.take(KEY, "a")
    first, second = await waiting(leases, "b", "c")
    leases.release(KEY, "a")
    assert await first is False
    assert not leases.take(KEY, "c")
    leases.release(KEY, "c")  # not the holder: nothing happens
    assert not second.done()
    leases.end("b")
    assert await second is False
    leases.release(KEY, "c")
    assert len(leases) == 0


async def test_who_waits_for_nothing_holds_the_lease_at_once(leases):
    assert await leases.wait(KEY, "a") is False
    assert not leases.take(KEY, "b")


async def test_who_gives_up_waiting_is_passed_over(leases):
    leases.take(KEY, "a")
    first, second = await waiting(leases, "b", "c")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    leases.release(KEY, "a")
    assert await second is False


async def test_a_lease_granted_in_the_moment_of_giving_up_passes_on(leases):
    leases.take(KEY, "a")
    first, second = await waiting(leases, "b", "c")
    leases.release(KEY, "a")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await asyncio.wait_for(second, 1) is False


def test_a_lease_that_its_holder_forgot_can_be_taken(leases, clock):
    leases.take(KEY, "a")
    clock.now = 60
    assert not leases.take(KEY, "b")
    clock.now = 61
    assert leases.take(KEY, "b")
    assert not leases.take(KEY, "a")


def test_past_the_bound_everyone_may_generate(leases, monkeypatch):
    monkeypatch.setattr("llmrouter.cache.leases._MOST", 1)
    assert leases.take(KEY, "a")
    assert leases.take(b"other", "a")
    assert leases.take(b"other", "b")
    assert len(leases) == 1


async def test_closing_lets_all_who_wait_generate(leases):
    leases.take(KEY, "a")
    tasks = await waiting(leases, "b", "c")
    leases.close()
    assert await asyncio.gather(*tasks) == [False, False]
