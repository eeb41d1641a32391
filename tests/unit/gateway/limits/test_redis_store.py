"""Counters in a real Redis: as those in memory, over gateways, and whatever dies."""

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from tests.unit.gateway.limits.doubles import charge

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.redis_server import RedisSettings
from llmrouter.gateway.limits.alerts import AlertKind
from llmrouter.gateway.limits.charges import Refused, Reservation
from llmrouter.gateway.limits.memory_store import MemoryStore, milliseconds
from llmrouter.gateway.limits.redis_store import RedisStore
from llmrouter.gateway.limits.resources import Resource

NAMES = ["requests_per_hour", "tokens_per_minute", "tokens_per_day", "dollars_per_month",
         "concurrent_streams"]  # fmt: skip
LIFE = 3_000
"""Milliseconds after which a gateway that dies in a test is taken for dead."""


def used(tokens=0, dollars=0):
    return {Resource.TOKENS: tokens, Resource.DOLLARS: dollars}


def now_charge(name, limit, amount, **more):
    return charge(name, limit, amount, now=milliseconds(), **more)


async def counted(store, name, subject="tenant acme"):
    """What a counter counts now."""
    found = await store.reserve([now_charge(name, 1, 0, ceiling=-1, subject=subject)])
    return found.full[0].seen.used


async def until(condition):
    while not await condition():  # noqa: ASYNC110 - a server tells nothing by itself
        await asyncio.sleep(0.01)


@pytest.fixture
async def gateways(redis_server):
    """Return a function that starts one more gateway's store; all are closed at the end."""
    begun = []

    async def start(told=None, prefix="llmrouter", life=60_000):
        shared = RedisSettings(address=redis_server.address, timeout_seconds=30, prefix=prefix)
        store = RedisStore(shared, (told if told is not None else []).append, 0.05, life)
        await store.start()
        begun.append(store)
        return store

    yield start
    for store in begun:
        await store.close()


async def test_gateways_share_what_they_count(gateways):
    first, second = await gateways(), await gateways()
    held = await first.reserve([now_charge("tokens_per_day", 100, 60)])
    assert isinstance(await second.reserve([now_charge("tokens_per_day", 100, 41)]), Refused)
    first.settle(held, used(tokens=10))
    await until(lambda: _is(second, "tokens_per_day", 10))
    assert isinstance(await second.reserve([now_charge("tokens_per_day", 100, 90)]), Reservation)


async def _is(store, name, amount):
    return await counted(store, name) == amount


async def test_one_charge_without_room_leaves_all_others_untouched(gateways):
    store = await gateways()
    charges = [now_charge("requests_per_second", 5, 1), now_charge("tokens_per_minute", 100, 101)]
    refused = await store.reserve(charges)
    assert [(one.charge, one.wait) for one in refused.full] == [(charges[1], None)]
    assert await counted(store, "requests_per_second") == 0


steps = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from(NAMES), st.integers(0, 60)),
            min_size=1, max_size=3, unique_by=lambda one: one[0],
        ),
        st.integers(0, 90),
        st.integers(0, 6),
        st.booleans(),
    ),
    max_size=25,
)  # fmt: skip


async def play(store, moves, subject, limit=100):
    """Reserve and settle; return what the store said each time, and what it counts in the end."""
    said, held = [], []
    for charges, actual, place, tentative in moves:
        wanted = [now_charge(name, limit, amount, subject=subject) for name, amount in charges]
        found = await store.reserve(wanted, tentative=tentative)
        if isinstance(found, Reservation):
            held.append((found, actual))
            said.append([one.used for one in found.seen])
        else:
            said.append([(one.charge.kind, one.seen.used, one.wait is None) for one in found.full])
        if place < len(held):
            reservation, became = held.pop(place)
            store.settle(reservation, used(became, became))
    for reservation, became in held:
        store.settle(reservation, used(became, became))
    return said, [await counted(store, name, subject) for name in NAMES]


async def test_it_counts_as_the_memory_does(gateways):
    store, number = await gateways(told := []), 0

    @given(steps)
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    def compare(moves):
        nonlocal number
        number += 1
        told.clear()
        alerts = []
        subject = f"tenant {number}"
        expected = asyncio.run(play(MemoryStore(alerts.append), moves, subject))
        found = asyncio.run_coroutine_threadsafe(play(store, moves, subject), loop).result(30)
        assert found == expected
        assert told == alerts

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(compare)


async def test_what_waits_is_told_and_true(gateways):
    store = await gateways()
    assert isinstance(await store.reserve([now_charge("requests_per_second", 1, 1)]), Reservation)
    refused = await store.reserve([now_charge("requests_per_second", 1, 1)])
    wait = refused.full[0].wait
    assert 0 < wait <= 1000
    await asyncio.sleep(wait / 1000 + 0.01)
    assert isinstance(await store.reserve([now_charge("requests_per_second", 1, 1)]), Reservation)


async def test_an_alert_is_told_by_one_gateway_alone(gateways):
    heard = []
    stores = [await gateways(heard) for _ in range(3)]
    for store in stores * 2:
        held = await store.reserve([now_charge("dollars_per_day", 100, 15)])
        store.settle(held, used(dollars=15))
        await until(lambda store=store: _is(store, "concurrent_streams", 0))
    kinds = [one.kind for one in heard]
    assert sorted(kinds) == sorted([AlertKind.FEW_LEFT, AlertKind.NEARLY_SPENT])


async def test_what_a_dead_gateway_had_reserved_is_free_again(gateways):
    dying, other = await gateways(life=LIFE), await gateways()
    await dying.reserve(
        [now_charge("tokens_per_day", 100, 60), now_charge("concurrent_streams", 9, 1)]
    )
    held = await dying.reserve([now_charge("tokens_per_day", 100, 40)])
    dying.settle(held, used(tokens=25))
    await until(lambda: _is(other, "tokens_per_day", 85))
    kill(dying)
    await until(lambda: _is(other, "tokens_per_day", 25))
    assert await counted(other, "concurrent_streams") == 0


def kill(store):
    """Have a store do nothing any more, as when its process dies."""
    store._link._task.cancel()
    store._link._task = None


async def test_a_gateway_that_was_taken_for_dead_pays_for_what_it_used_all_the_same(gateways):
    sleeping, other = await gateways(life=LIFE), await gateways()
    held = await sleeping.reserve([now_charge("tokens_per_day", 100, 60)])
    kill(sleeping)
    await until(lambda: _is(other, "tokens_per_day", 0))
    await sleeping.start()
    sleeping.settle(held, used(tokens=50))
    await until(lambda: _is(other, "tokens_per_day", 50))


async def test_a_gateway_gives_signs_of_life_however_busy_it_is(gateways, redis_server):
    busy = await gateways()
    with contextlib.closing(Redis(host="127.0.0.1", port=redis_server.port, protocol=2)) as client:

        def until_when():
            return client.zscore(busy._key("alive"), busy._name)

        seen = {until_when()}
        while len(seen) < 4:
            charges = [now_charge("requests_per_hour", 10**6, 1)]
            await asyncio.gather(*(busy.reserve(charges) for _ in range(50)))
            seen.add(until_when())


async def test_a_caller_that_leaves_while_it_waits_for_its_turn_holds_nothing(gateways):
    store = await gateways()
    asking = [
        asyncio.create_task(store.reserve([now_charge("concurrent_streams", 100, 1)]))
        for _ in range(20)
    ]
    await asyncio.sleep(0)
    for task in asking[::2]:
        task.cancel()
    granted = await asyncio.gather(*asking, return_exceptions=True)
    await until(lambda: _is(store, "concurrent_streams", 10))
    for one in granted[1::2]:
        store.settle(one, {})
    await until(lambda: _is(store, "concurrent_streams", 0))


async def test_a_server_that_dies_is_told_at_once_and_counts_on_once_it_is_back(
    gateways,
    redis_server,
):
    store = await gateways()
    held = await store.reserve(
        [now_charge("tokens_per_day", 100, 60), now_charge("concurrent_streams", 9, 1)]
    )
    redis_server.stop()
    with pytest.raises(RouterError, match="limits cannot be checked") as failure:
        await asyncio.gather(*(_reserving(store) for _ in range(9)))
    assert failure.value.reason is Reason.STORE_FAILED
    assert redis_server.address in store.trouble
    store.settle(held, used(tokens=20))
    redis_server.start()

    async def back():
        return not store.trouble

    await until(back)
    await until(lambda: _is(store, "tokens_per_day", 20))
    assert await counted(store, "concurrent_streams") == 0


async def _reserving(store):
    while True:
        await store.reserve([now_charge("requests_per_hour", 10**6, 1)])


async def test_a_server_that_forgot_everything_is_filled_with_what_is_settled_from_then_on(
    gateways,
    redis_server,
):
    store = await gateways()
    held = await store.reserve([now_charge("tokens_per_day", 100, 60)])
    await _flush(redis_server)
    store.settle(held, used(tokens=20))
    await until(lambda: _is(store, "tokens_per_day", 20))


async def test_scripts_that_the_server_forgot_are_loaded_again(gateways, redis_server):
    store = await gateways()
    await _flush(redis_server, b"SCRIPT FLUSH")
    answered = None
    while answered is None:
        try:
            answered = await store.reserve([now_charge("concurrent_streams", 9, 1)])
        except RouterError:
            await asyncio.sleep(0.02)
    store.settle(answered, {})
    await until(lambda: _is(store, "concurrent_streams", 0))


async def _flush(server, command=b"FLUSHALL"):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(command + b"\r\n")
    assert (await reader.readline()).startswith(b"+OK")
    writer.close()


async def test_what_is_no_counter_fails_its_own_calls_alone(gateways, redis_server):
    store = await gateways()
    wrong = now_charge("tokens_per_day", 100, 1, subject="wrong")
    reader, writer = await asyncio.open_connection("127.0.0.1", redis_server.port)
    key = store._key("counter", wrong.counter).encode()
    writer.write(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\nx\r\n" % (len(key), key))
    assert (await reader.readline()).startswith(b"+OK")
    writer.close()
    with pytest.raises(RouterError, match="WRONGTYPE"):
        await store.reserve([wrong])
    assert isinstance(await store.reserve([now_charge("tokens_per_day", 100, 1)]), Reservation)
    assert store.trouble == ""


async def test_gateways_with_different_prefixes_share_nothing(gateways):
    first, second = await gateways(), await gateways(prefix="other")
    await first.reserve([now_charge("requests_per_hour", 9, 1)])
    assert await counted(second, "requests_per_hour") == 0


async def test_nobody_waits_for_a_server_that_was_never_there():
    settings_ = RedisSettings(address="127.0.0.1:1", timeout_seconds=0.2)
    store = RedisStore(settings_, [].append)
    await store.start()
    assert "127.0.0.1:1" in store.trouble
    with pytest.raises(RouterError, match="limits cannot be checked"):
        await store.reserve([now_charge("requests_per_hour", 9, 1)])
    await store.close()
