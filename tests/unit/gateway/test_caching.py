"""What the cache may answer and what it may keep."""

from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    DRAWN,
    FIRST,
    GREEDY,
    PLAN,
    SECOND,
    Cache,
    Following,
    answer_events,
    collect,
    error,
    planned,
    started,
    text,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheMode,
    CacheStatus,
    CacheWishes,
    Finished,
    FinishReason,
    RequestContext,
    RoutingWishes,
    SamplingOptions,
)
from llmrouter.gateway.caching import Caching


def wishing(mode, ttl=0.0):
    return planned(replace(GREEDY, cache=CacheWishes(mode, ttl)))


async def ask(cache, following, request=None, patience=0.2, context=CONTEXT):
    link = Caching(cache, following, patience)
    return await collect(link.generate(request or planned(), context))


async def test_the_second_identical_question_is_answered_by_the_cache_and_says_so():
    cache, following = Cache(), Following(*answer_events())
    first = await ask(cache, following)
    second = await ask(cache, following)
    assert started(first).cache is CacheStatus.MISS
    assert started(second).cache is CacheStatus.HIT
    assert "comes from the cache" in started(second).reason
    assert text(second) == text(first) == "Paris"
    assert second[-1].usage == first[-1].usage
    assert second[-1].attempts == ()
    assert len(following.calls) == 1


async def test_whoever_has_read_the_last_event_finds_the_answer_kept():
    cache = Cache(delay=0.01)
    link = Caching(cache, Following(*answer_events()), 1.0)
    async with aclosing(link.generate(planned(), CONTEXT)) as events:
        async for event in events:
            if isinstance(event, Finished):
                break
    assert len(cache.kept) == 1


async def test_a_drawn_answer_is_neither_looked_up_nor_kept():
    cache = Cache()
    events = await ask(cache, Following(*answer_events()), planned(DRAWN))
    assert started(events).cache is CacheStatus.BYPASSED
    assert cache.lookups == 0
    assert not cache.kept


async def test_a_seeded_draw_is_kept():
    cache = Cache()
    seeded = replace(DRAWN, sampling=SamplingOptions(temperature=0.7, seed=1))
    await ask(cache, Following(*answer_events()), planned(seeded))
    assert cache.kept


@pytest.mark.parametrize(
    ("mode", "reads", "writes"),
    [
        (CacheMode.OFF, 0, 0),
        (CacheMode.READ, 1, 0),
        (CacheMode.WRITE, 0, 1),
        (CacheMode.READ_WRITE, 1, 1),
    ],
)
async def test_the_callers_wishes_decide_what_the_cache_may_do(mode, reads, writes):
    cache = Cache()
    await ask(cache, Following(*answer_events()), wishing(mode))
    assert (cache.lookups, len(cache.kept)) == (reads, writes)


async def test_the_wished_time_to_live_reaches_the_cache():
    cache = Cache()
    await ask(cache, Following(*answer_events()), wishing(CacheMode.READ_WRITE, 60))
    assert cache.ttls == [60]


async def test_two_tenants_do_not_share_answers():
    cache, following = Cache(), Following(*answer_events())
    await ask(cache, following)
    await ask(cache, following, context=RequestContext("request-2", tenant="other"))
    assert len(following.calls) == 2


@pytest.mark.parametrize(
    "cache",
    [Cache(lookup_error=error(Reason.STORE_FAILED)), Cache(delay=10)],
    ids=["failing", "slow"],
)
async def test_a_cache_that_does_not_answer_is_told_and_passed_by(cache):
    events = await ask(cache, Following(*answer_events()), patience=0.02)
    assert started(events).cache is CacheStatus.UNAVAILABLE
    assert text(events) == "Paris"
    assert not cache.kept


async def test_a_store_that_fails_does_not_fail_the_request():
    events = await ask(
        Cache(store_error=error(Reason.ENTRY_TOO_LARGE)), Following(*answer_events())
    )
    assert isinstance(events[-1], Finished)


async def test_an_answer_of_another_version_than_the_one_keyed_is_not_kept():
    cache = Cache()
    await ask(cache, Following(*answer_events(version="v9")))
    await ask(cache, Following(*answer_events(model="second")))
    assert not cache.kept


async def test_an_answer_kept_under_a_wrong_version_counts_as_a_miss():
    cache, following = Cache(), Following(*answer_events())
    await ask(cache, following)
    key, answer = next(iter(cache.kept.items()))
    cache.kept[key] = replace(answer, version="v0")
    assert started(await ask(cache, following)).cache is CacheStatus.MISS


async def test_an_answer_cut_by_its_length_is_kept_and_a_cancelled_one_is_not():
    cut, cancelled = Cache(), Cache()
    await ask(cut, Following(*answer_events(reason=FinishReason.LENGTH)))
    await ask(cancelled, Following(*answer_events(reason=FinishReason.CANCELLED)))
    assert cut.kept
    assert not cancelled.kept


async def test_nothing_is_kept_of_an_answer_that_failed():
    cache = Cache()
    with pytest.raises(RouterError):
        await ask(cache, Following(*answer_events()[:2], error(Reason.GENERATION_FAILED)))
    assert not cache.kept


async def test_nothing_is_kept_when_the_reader_leaves_and_the_generation_is_closed():
    cache, following = Cache(), Following(*answer_events())
    async with aclosing(Caching(cache, following, 1).generate(planned(), CONTEXT)) as events:
        await anext(events)
    assert not cache.kept
    assert following.log == ["closed"]


async def test_the_same_question_stays_with_the_model_that_answered_it_first():
    cache, following = Cache(), Following(*answer_events())
    link = Caching(cache, following, 0.2)
    first = await collect(link.generate(planned(), CONTEXT))
    turned = planned(plan=replace(PLAN, candidates=(SECOND, FIRST), reason="second scores best"))
    second = await collect(link.generate(turned, CONTEXT))
    assert started(second).cache is CacheStatus.HIT
    assert text(second) == text(first)
    assert len(following.calls) == 1
    wished = replace(GREEDY, routing=RoutingWishes(strategy="quality-first"))
    turned = planned(wished, replace(PLAN, candidates=(SECOND, FIRST)))
    await collect(link.generate(turned, CONTEXT))
    assert following.calls[-1][0].plan.candidates[0] == SECOND  # asked for in another way


async def test_a_model_that_the_plan_no_longer_names_is_not_gone_back_to():
    following = Following(*answer_events())
    link = Caching(Cache(), following, 0.2)
    await collect(link.generate(planned(), CONTEXT))
    gone = planned(plan=replace(PLAN, candidates=(SECOND,)))
    await collect(link.generate(gone, CONTEXT))
    assert following.calls[-1][0].plan.candidates == (SECOND,)
