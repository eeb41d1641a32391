"""Counters in memory: all charges or none, exact under any order, and kept over a restart."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.limits.doubles import Clock, charge

from llmrouter.gateway.limits.alerts import AlertKind
from llmrouter.gateway.limits.charges import Refused, Reservation
from llmrouter.gateway.limits.memory_store import MemoryStore
from llmrouter.gateway.limits.quota_file import QuotaFile
from llmrouter.gateway.limits.resources import Resource


@pytest.fixture
def clock():
    return Clock()


def used(tokens=0, dollars=0):
    return {Resource.TOKENS: tokens, Resource.DOLLARS: dollars}


async def standing(store, name, limit):
    """What a counter counts now."""
    found = await store.reserve([charge(name, limit, 0, ceiling=-1)])
    return found.full[0].seen.used


async def test_one_charge_without_room_leaves_all_others_untouched(clock):
    store = MemoryStore([].append, clock=clock)
    charges = [charge("requests_per_second", 5, 1), charge("tokens_per_minute", 100, 101)]
    refused = await store.reserve(charges)
    assert isinstance(refused, Refused)
    assert [one.charge for one in refused.full] == charges[1:]
    assert refused.full[0].wait is None, "no time helps"
    assert await standing(store, "requests_per_second", 5) == 0


async def test_a_request_counts_although_it_is_cancelled_and_its_tokens_do_not(clock):
    store = MemoryStore([].append, clock=clock)
    held = await store.reserve(
        [
            charge("requests_per_hour", 5, 1),
            charge("tokens_per_minute", 100, 40),
            charge("concurrent_streams", 3, 1),
        ]
    )
    store.settle(held, {})
    assert await standing(store, "requests_per_hour", 5) == 1
    assert await standing(store, "tokens_per_minute", 100) == 0
    assert await standing(store, "concurrent_streams", 3) == 0


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 90), st.integers(0, 9)), max_size=60),
    st.integers(1, 200),
)
def test_reservations_never_exceed_a_quota_and_settle_to_the_token(steps, limit):
    async def play():
        store, held, settled = MemoryStore([].append, clock=Clock()), [], 0
        for reserved, actual, place in steps:
            before = settled + sum(one for _, one, _ in held)
            found = await store.reserve([charge("tokens_per_day", limit, reserved)])
            assert isinstance(found, Reservation) == (before + reserved <= limit)
            if isinstance(found, Reservation):
                held.append((found, reserved, actual))
            if place < len(held):
                reservation, _, became = held.pop(place)
                store.settle(reservation, used(tokens=became))
                settled += became
            now = settled + sum(one for _, one, _ in held)
            assert await standing(store, "tokens_per_day", limit) == now

    asyncio.run(play())


async def test_alerts_are_told_once_a_period_and_with_what_was_spent(clock):
    told = []
    store = MemoryStore(told.append, clock=clock)
    for _ in range(20):
        held = await store.reserve([charge("dollars_per_day", 20_000_000_000, 1_000_000_000)])
        store.settle(held, used(dollars=1_000_000_000))
    kinds = [(alert.kind, alert.spent) for alert in told]
    assert kinds == [
        (AlertKind.FEW_LEFT, 11.0),
        (AlertKind.NEARLY_SPENT, 16.0),
        (AlertKind.SPENT, 20.0),
    ]
    assert (told[0].subject, told[0].limit) == ("tenant acme", "$20.00 per day")
    clock.pass_seconds(86_400)
    held = await store.reserve([charge("dollars_per_day", 10_000_000_000, 1, now=clock())])
    store.settle(held, used(dollars=9_000_000_000))
    assert len(told) == 5, "a new day, new alerts"


async def test_a_refusal_after_most_is_spent_says_that_the_budget_is_spent(clock):
    told = []
    store = MemoryStore(told.append, clock=clock)
    held = await store.reserve([charge("tokens_per_day", 1000, 10)])
    store.settle(held, used(tokens=10))
    assert isinstance(await store.reserve([charge("tokens_per_day", 1000, 995)]), Refused)
    assert told == [], "one request that is too large says nothing of the budget"
    held = await store.reserve([charge("tokens_per_day", 1000, 900)])
    store.settle(held, used(tokens=900))
    told.clear()
    await store.reserve([charge("tokens_per_day", 1000, 995)], tentative=True)
    assert told == [], "less will do"
    await store.reserve([charge("tokens_per_day", 1000, 995)])
    assert AlertKind.SPENT in [alert.kind for alert in told]


async def test_a_restart_keeps_quotas_and_long_windows_but_no_reservation(clock, tmp_path):
    path = tmp_path / "limits.sqlite"
    store = MemoryStore([].append, QuotaFile(path), clock)
    await store.start()
    for name in ("requests_per_hour", "tokens_per_minute", "tokens_per_day"):
        held = await store.reserve([charge(name, 1000, 100)])
        store.settle(held, used(tokens=30))
    await store.reserve([charge("tokens_per_day", 1000, 500), charge("concurrent_streams", 2, 1)])
    await store.close()
    again = MemoryStore([].append, QuotaFile(path), clock)
    await again.start()
    assert await standing(again, "requests_per_hour", 1000) == 100
    assert await standing(again, "tokens_per_minute", 1000) == 30
    assert await standing(again, "tokens_per_day", 1000) == 30
    assert await standing(again, "concurrent_streams", 2) == 0
    await again.close()
    clock.pass_seconds(86_400)
    later = MemoryStore([].append, QuotaFile(path), clock)
    await later.start()
    assert await standing(later, "requests_per_hour", 1000) == 0
    await later.close()


async def test_a_damaged_file_is_set_aside_and_counting_goes_on(clock, tmp_path):
    path = tmp_path / "limits.sqlite"
    path.write_bytes(b"this is no database at all" * 100)
    store = MemoryStore([].append, QuotaFile(path), clock)
    await store.start()
    assert isinstance(await store.reserve([charge("tokens_per_day", 10, 1)]), Reservation)
    await store.close()
    assert path.with_name("limits.sqlite.damaged").exists()
    assert store.trouble == ""


async def test_a_file_that_cannot_be_written_is_said_and_counting_goes_on(clock, tmp_path):
    (tmp_path / "file").write_text("no folder")
    store = MemoryStore([].append, QuotaFile(tmp_path / "file" / "limits.sqlite"), clock)
    await store.start()
    assert isinstance(await store.reserve([charge("tokens_per_day", 10, 1)]), Reservation)
    await store.close()
    assert "cannot be kept" in store.trouble


async def test_counters_are_bounded_and_those_that_hold_reservations_stay(clock):
    store = MemoryStore([].append, clock=clock, most=10)
    held = await store.reserve([charge("tokens_per_day", 100, 50, subject="first")])
    for number in range(100):
        await store.reserve([charge("requests_per_hour", 10, 1, subject=str(number))])
    assert len(store._counters) <= 12
    store.settle(held, used(tokens=20))
    refused = await store.reserve([charge("tokens_per_day", 100, 0, ceiling=-1, subject="first")])
    assert refused.full[0].seen.used == 20
