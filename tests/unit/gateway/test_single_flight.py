"""Identical requests in flight share one generation, and nobody pays for another's leaving."""

import asyncio
import time
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    DRAWN,
    GREEDY,
    answer_events,
    collect,
    error,
    keyed,
    near_cache,
    planned,
    started,
    text,
)
from tests.unit.gateway.flying import Scripted, asking, began, link

from llmrouter.common.answer_key import stored_key
from llmrouter.common.bill import Bill
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheMode,
    CacheStatus,
    CacheWishes,
    Finished,
    Priority,
    RequestContext,
    RoutingWishes,
    Started,
)
from llmrouter.common.invalidation import key_label, model_label, tag_label, tenant_label
from llmrouter.gateway.answer_cache import News
from llmrouter.gateway.single_flight import SingleFlight


async def test_a_hundred_identical_requests_cause_one_generation():
    following = Scripted(answer_events())
    one = link(following)
    every = await asyncio.gather(
        *(collect(one.generate(keyed(), asking(number))) for number in range(100))
    )
    assert len(following.contexts) == 1
    assert {text(events) for events in every} == {"Paris"}
    assert [started(events).request_id for events in every[1:]] == [
        f"request-{number}" for number in range(1, 100)
    ]
    statuses = [started(events).cache for events in every]
    assert statuses.count(CacheStatus.JOINED) == 99
    assert "already" in started(every[-1]).reason


async def test_who_comes_later_receives_what_was_streamed_so_far_and_follows_live():
    go = asyncio.Event()
    events = answer_events(text=("Par", "is"))
    one = link(Scripted([*events[:2], go, *events[2:]]))
    first = one.generate(keyed(), asking(1))
    assert isinstance(await began(first), Started)
    assert (await anext(first)).text == "Par"
    second = one.generate(keyed(), asking(2))
    assert isinstance(await began(second), Started)
    assert (await anext(second)).text == "Par"
    go.set()
    rest = await asyncio.gather(collect(first), collect(second))
    assert [text(events) for events in rest] == ["is", "is"]
    assert all(isinstance(events[-1], Finished) for events in rest)


async def test_the_starter_leaving_does_not_end_it_for_the_others():
    go = asyncio.Event()
    events = answer_events()
    following = Scripted([*events[:2], go, *events[2:]])
    one = link(following)
    first, second = one.generate(keyed(), asking(1)), one.generate(keyed(), asking(2))
    await began(first)
    await began(second)
    await first.aclose()
    go.set()
    assert text(await collect(second)) == "Paris"
    await one.close()
    assert following.ended == ["finished"]
    assert len(following.contexts) == 1


async def test_the_last_to_leave_ends_the_generation():
    following = Scripted([*answer_events()[:2], asyncio.Event()])
    one = link(following)
    first, second = one.generate(keyed(), asking(1)), one.generate(keyed(), asking(2))
    await began(first)
    await began(second)
    await first.aclose()
    assert following.ended == []
    await second.aclose()
    assert following.ended == ["CancelledError"]


async def test_a_reader_cancelled_while_it_waits_leaves_too():
    following = Scripted([asyncio.Event()])
    task = asyncio.create_task(collect(link(following).generate(keyed(), CONTEXT)))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert following.ended == ["CancelledError"]


async def test_a_failure_wakes_the_others_to_try_again_together_and_is_told_to_its_starter():
    go = asyncio.Event()
    failing = [go, error(Reason.UPSTREAM_UNAVAILABLE)]
    following = Scripted(failing, answer_events())
    one = link(following)
    tasks = [
        asyncio.create_task(collect(one.generate(keyed(), asking(number)))) for number in range(5)
    ]
    await asyncio.sleep(0.01)
    go.set()
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert first.reason is Reason.UPSTREAM_UNAVAILABLE
    assert [text(events) for events in others] == ["Paris"] * 4
    assert len(following.contexts) == 2


async def test_a_deadline_of_the_starter_is_no_answer_to_the_others():
    go = asyncio.Event()
    following = Scripted([go, error(Reason.DEADLINE_EXCEEDED)], answer_events())
    one = link(following)
    tasks = [asyncio.create_task(collect(one.generate(keyed(), asking(n)))) for n in range(2)]
    await asyncio.sleep(0.01)
    go.set()
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert first.reason is Reason.DEADLINE_EXCEEDED
    assert text(second) == "Paris"


@pytest.mark.parametrize("reason", [Reason.INVALID_ARGUMENT, Reason.NO_CANDIDATE])
async def test_what_is_wrong_with_the_request_itself_is_told_to_all_at_once(reason):
    go = asyncio.Event()
    following = Scripted([go, error(reason, metadata={"a": "b"})])
    one = link(following)
    tasks = [asyncio.create_task(collect(one.generate(keyed(), asking(n)))) for n in range(3)]
    await asyncio.sleep(0.01)
    go.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one.reason for one in errors] == [reason] * 3
    assert len({id(one.metadata) for one in errors}) == 3  # what one adds is not the others'
    assert len(following.contexts) == 1


async def test_who_has_received_text_is_told_of_the_failure():
    go = asyncio.Event()
    following = Scripted([*answer_events()[:2], go, error()], answer_events())
    one = link(following)
    first, second = one.generate(keyed(), asking(1)), one.generate(keyed(), asking(2))
    await began(first)
    await began(second)
    go.set()
    for stream in (first, second):
        with pytest.raises(RouterError):
            await collect(stream)


async def test_a_failure_is_not_shared_for_ever():
    one = link(Scripted([error()], [error()], answer_events()))
    for _ in range(2):
        with pytest.raises(RouterError):
            await collect(one.generate(keyed(), CONTEXT))
    assert text(await collect(one.generate(keyed(), CONTEXT))) == "Paris"


@pytest.mark.parametrize(
    "other",
    [
        replace(GREEDY, prompt="What else?"),
        replace(GREEDY, cache=CacheWishes(CacheMode.READ)),
        replace(GREEDY, cache=CacheWishes(ttl_seconds=5)),
        replace(GREEDY, cache=CacheWishes(tags=("t",))),
        replace(GREEDY, cache=CacheWishes(similar=True)),
        replace(GREEDY, routing=RoutingWishes(model="first")),
        replace(GREEDY, routing=RoutingWishes(max_cost=0.01)),
        replace(GREEDY, routing=RoutingWishes(tags=("region=eu",))),
        replace(GREEDY, priority=Priority.HIGH),
    ],
)
async def test_requests_that_differ_in_what_is_asked_or_kept_do_not_share(other):
    following = Scripted(answer_events())
    one = link(following)
    await asyncio.gather(
        collect(one.generate(keyed(), CONTEXT)), collect(one.generate(keyed(other), CONTEXT))
    )
    assert len(following.contexts) == 2


async def test_tenants_do_not_share():
    following = Scripted(answer_events())
    one = link(following)
    streams = (
        one.generate(keyed(tenant="a"), RequestContext("1", "a")),
        one.generate(keyed(tenant="b"), RequestContext("2", "b")),
    )
    await asyncio.gather(*map(collect, streams))
    assert len(following.contexts) == 2


async def test_a_refresh_shares_no_generation_that_began_before_it():
    following = Scripted(answer_events())
    one = link(following)
    fresh = keyed(replace(GREEDY, cache=CacheWishes(CacheMode.REFRESH)))
    await asyncio.gather(*(collect(one.generate(fresh, CONTEXT)) for _ in range(2)))
    assert len(following.contexts) == 2


@pytest.mark.parametrize(
    "label",
    [
        tag_label("default", "t"),
        tenant_label("default"),
        model_label("first", "v1"),
        key_label(stored_key("default", keyed().key)),
    ],
)
async def test_nobody_joins_what_began_before_its_answer_was_invalidated(label):
    go, near = asyncio.Event(), near_cache()
    following = Scripted([*answer_events()[:2], go, *answer_events()[2:]])
    one = link(following, near=near)
    tagged = keyed(replace(GREEDY, cache=CacheWishes(tags=("t",))))
    streams = [one.generate(tagged, asking(number)) for number in range(3)]
    await began(streams[0])
    near.hear(News(sequence=8, floor=0, marks=((tag_label("default", "another"), 8),)))
    await began(streams[1])
    assert len(following.contexts) == 1
    near.hear(News(sequence=9, floor=0, marks=((label, 9),)))
    await began(streams[2])
    assert len(following.contexts) == 2
    go.set()
    await asyncio.gather(*map(collect, streams))


async def test_nobody_joins_what_began_beside_another_store():
    go, near = asyncio.Event(), near_cache()
    following = Scripted([*answer_events()[:2], go, *answer_events()[2:]])
    one = link(following, near=near)
    streams = [one.generate(keyed(), asking(number)) for number in range(2)]
    await began(streams[0])
    near.hear(News(sequence=7, floor=0, session="s", store_id=b"another"))
    await began(streams[1])
    assert len(following.contexts) == 2
    go.set()
    await asyncio.gather(*map(collect, streams))


async def test_without_a_key_everyone_generates_alone():
    following = Scripted(answer_events())
    one = link(following)
    await asyncio.gather(*(collect(one.generate(planned(DRAWN), CONTEXT)) for _ in range(2)))
    assert len(following.contexts) == 2
    assert following.contexts[0] is CONTEXT


async def test_a_generation_may_last_longer_than_its_starter_waits_and_nobody_joins_in_vain():
    following = Scripted([*answer_events()[:2], asyncio.Event()])
    one, now = link(following, patience=10.0), time.monotonic()
    first = one.generate(keyed(), asking(1, deadline=now + 1))
    await began(first)
    assert following.contexts[0].deadline == now + 11
    second = one.generate(keyed(), asking(2, deadline=now + 5))
    third = one.generate(keyed(), asking(3, deadline=now + 60))
    await began(second)
    assert len(following.contexts) == 1
    await began(third)
    assert len(following.contexts) == 2
    for stream in (first, second, third):
        await stream.aclose()


async def test_requests_with_the_same_time_to_wait_share_though_one_comes_later():
    go = asyncio.Event()
    following = Scripted([*answer_events()[:2], go, *answer_events()[2:]])
    one, now = link(following, patience=1.0), time.monotonic()
    streams = [one.generate(keyed(), asking(n, deadline=now + 300 + n / 100)) for n in range(5)]
    for stream in streams:
        await began(stream)
    go.set()
    await asyncio.gather(*map(collect, streams))
    assert len(following.contexts) == 1


async def test_a_generation_is_billed_to_its_starter_to_its_end_though_others_hear_it():
    gate, told = asyncio.Event(), []
    begun, *rest = answer_events()
    link = SingleFlight(near_cache(), Scripted([begun, gate, *rest]), 60)
    bill = Bill()
    starting = link.generate(keyed(), replace(CONTEXT, bill=bill))
    await anext(starting)
    joined = asyncio.create_task(collect(link.generate(keyed(), replace(CONTEXT, bill=Bill()))))
    await asyncio.sleep(0.01)
    await starting.aclose()
    bill.settled(lambda: told.append("settled"))
    assert told == []
    gate.set()
    await joined
    await link.close()
    assert told == ["settled"]
