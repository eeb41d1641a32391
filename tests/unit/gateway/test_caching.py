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
    keyed,
    near_cache,
    planned,
    started,
    text,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheLevel,
    CacheMode,
    CacheStatus,
    CacheWishes,
    Finished,
    FinishReason,
    RequestContext,
    RoutingWishes,
    SamplingOptions,
    Usage,
)
from llmrouter.common.invalidation import model_label, tag_label
from llmrouter.common.savings import HitKind, Saved, SavingsTable, Spared
from llmrouter.gateway.answer_cache import Found, Keeping, Lease, LookedUp, News
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.caching import Caching
from llmrouter.gateway.near_caching import NearCaching
from llmrouter.gateway.sticky import StickyChoice, asked_key

ASKED = asked_key(keyed().question, GREEDY.routing)


def wishing(mode, ttl=0.0, **more):
    return planned(replace(GREEDY, cache=CacheWishes(mode, ttl, **more)))


def links(cache, following, patience=0.2, near=None, savings=None):
    """Both links of the cache, with nothing between them."""
    near, sticky = near or near_cache(hears=False), StickyChoice()
    far = Caching(cache, near, sticky, following, patience, 5.0)
    return NearCaching(near, sticky, savings or SavingsTable(), far)


async def ask(cache, following, request=None, patience=0.2, context=CONTEXT, near=None):
    link = links(cache, following, patience, near)
    return await collect(link.generate(request or planned(), context))


async def test_the_second_identical_question_is_answered_by_the_cache_and_says_so():
    cache, following = Cache(), Following(*answer_events())
    first = await ask(cache, following)
    second = await ask(cache, following)
    assert started(first).cache is CacheStatus.MISS
    assert started(second).cache is CacheStatus.HIT
    assert "comes from the cache" in started(second).reason
    assert text(second) == text(first) == "Paris"
    assert (second[-1].usage, second[-1].timings) == (first[-1].usage, first[-1].timings)
    assert started(second).cached is CacheLevel.MEMORY
    assert second[-1].attempts == ()
    assert len(following.calls) == 1


async def test_whoever_has_read_the_last_event_finds_the_answer_kept():
    cache = Cache(delay=0.01)
    link = links(cache, Following(*answer_events()), 1.0)
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
        (CacheMode.REFRESH, 0, 1),
    ],
)
async def test_the_callers_wishes_decide_what_the_cache_may_do(mode, reads, writes):
    cache = Cache()
    await ask(cache, Following(*answer_events()), wishing(mode))
    assert (cache.lookups, len(cache.kept)) == (reads, writes)


async def test_the_wished_time_to_live_reaches_the_cache():
    cache = Cache()
    await ask(cache, Following(*answer_events()), wishing(CacheMode.READ_WRITE, 60))
    assert cache.how == [Keeping(ttl_seconds=60, as_of=7, question=ASKED)]


async def test_tags_and_a_refresh_reach_the_cache():
    cache = Cache()
    request = wishing(CacheMode.REFRESH, tags=("a", "b"))
    await ask(cache, Following(*answer_events()), request, near=near_cache())
    assert cache.how == [Keeping(("a", "b"), as_of=7, refresh=True, question=ASKED)]


async def test_a_drawn_answer_is_kept_where_the_caller_asks_for_it():
    cache, following = Cache(), Following(*answer_events())
    request = planned(replace(DRAWN, cache=CacheWishes(drawn=True)))
    await ask(cache, following, request)
    assert started(await ask(cache, following, request)).cache is CacheStatus.HIT
    assert started(await ask(cache, following, planned(DRAWN))).cache is CacheStatus.BYPASSED


async def test_while_it_hears_the_gateway_answers_from_its_own_memory():
    cache, following, near, savings = Cache(), Following(*answer_events()), near_cache(), None
    savings = SavingsTable()
    link = links(cache, following, near=near, savings=savings)
    costly = planned(plan=replace(PLAN, candidates=(replace(FIRST, cost=0.5), SECOND)))
    first = await collect(link.generate(costly, CONTEXT))
    second = await collect(link.generate(costly, RequestContext("request-2")))
    begun = started(second)
    assert (begun.cache, begun.cached, begun.request_id) == (
        CacheStatus.HIT,
        CacheLevel.GATEWAY,
        "request-2",
    )
    assert (text(second), second[-1].timings) == (text(first), first[-1].timings)
    assert cache.lookups == 1
    near.lost()
    third = await collect(link.generate(costly, CONTEXT))
    assert started(third).cached is CacheLevel.MEMORY
    total = first[-1].timings.total
    assert dict(savings.rows()) == {
        Saved("default", "first", level, HitKind.EXACT): Spared(1, 3, 2, 0.5, total)
        for level in (CacheLevel.GATEWAY, CacheLevel.MEMORY)
    }


async def test_an_answer_found_farther_away_moves_here_with_what_it_can_be_invalidated_by():
    cache, following, near = Cache(), Following(*answer_events()), near_cache()
    await ask(cache, following)
    assert started(await ask(cache, following, near=near)).cached is CacheLevel.MEMORY
    assert started(await ask(cache, following, near=near)).cached is CacheLevel.GATEWAY
    near.hear(News(8, 0, ((model_label("first", "v1"), 8),)))
    cache.sequence = 8
    assert started(await ask(cache, following, near=near)).cached is CacheLevel.MEMORY


async def test_an_answer_invalidated_while_it_is_generated_is_not_kept_here():
    cache, near = Cache(), near_cache()
    link = links(cache, Following(*answer_events()), near=near)
    async with aclosing(link.generate(wishing(CacheMode.READ_WRITE, tags=("t",)), CONTEXT)) as all_:
        await anext(all_)
        near.hear(News(8, 0, ((tag_label("default", "t"), 8),)))
        await collect(all_)
    assert near.counts().entries == 0
    # The cache service will refuse it too.
    assert cache.how == [Keeping(("t",), as_of=7, question=ASKED)]


async def test_the_last_event_does_not_wait_for_the_cache_where_this_process_keeps_the_answer():
    cache = Cache(delay=0.05)
    link = links(cache, Following(*answer_events()), 1.0, near_cache())
    async with aclosing(link.generate(planned(), CONTEXT)) as events:
        async for event in events:
            if isinstance(event, Finished):
                assert not cache.kept
    assert len(cache.kept) == 1


async def test_an_answer_another_gateway_is_generating_is_waited_for():
    given = Answer("first", "v1", (Choice("Paris", FinishReason.STOP),), Usage(3, 2))
    waited = LookedUp(Found(given, CacheLevel.MEMORY, 60.0), 7)
    cache, following = Cache(leases=[Lease.HELD], waited=waited), Following()
    events = await ask(cache, following, near=near_cache())
    assert (started(events).cache, text(events)) == (CacheStatus.HIT, "Paris")
    assert not following.calls


@pytest.mark.parametrize(
    "waited", [LookedUp(sequence=7, lease=Lease.GRANTED), error(Reason.UPSTREAM_UNAVAILABLE)]
)
async def test_when_the_other_gateway_gives_up_or_takes_too_long_this_one_generates(waited):
    cache = Cache(leases=[Lease.HELD], waited=waited)
    events = await ask(cache, Following(*answer_events()), near=near_cache())
    assert (started(events).cache, text(events)) == (CacheStatus.MISS, "Paris")
    assert cache.kept


async def test_a_lease_is_given_back_when_the_generation_fails_and_when_its_reader_leaves():
    cache = Cache(leases=[Lease.GRANTED, Lease.GRANTED])
    failing = Following(*answer_events()[:2], error(Reason.GENERATION_FAILED))
    with pytest.raises(RouterError):
        await ask(cache, failing, near=near_cache())
    assert len(cache.released) == 1
    link = links(cache, Following(*answer_events()), near=near_cache())
    async with aclosing(link.generate(planned(), CONTEXT)) as events:
        await anext(events)
    assert len(cache.released) == 2


async def test_a_lease_that_may_have_been_granted_unheard_is_given_back():
    cache = Cache(delay=10)
    await ask(cache, Following(*answer_events()), patience=0.02, near=near_cache())
    assert len(cache.released) == 1


async def test_a_stored_answer_ends_its_lease_and_none_is_given_back():
    cache = Cache(leases=[Lease.GRANTED])
    await ask(cache, Following(*answer_events()), near=near_cache())
    assert cache.kept
    assert not cache.released


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


@pytest.mark.parametrize(
    ("max_tokens", "reason", "kept"),
    [
        (2, FinishReason.LENGTH, True),
        (3, FinishReason.LENGTH, False),  # another limit than the request's own
        (None, FinishReason.LENGTH, False),
        (None, FinishReason.STOP, True),
        (3, FinishReason.STOP, True),
        (2, FinishReason.CANCELLED, False),
    ],
)
async def test_an_answer_is_kept_if_it_ended_by_itself_or_where_the_request_says(
    max_tokens, reason, kept
):
    cache, sampling = Cache(), SamplingOptions(temperature=0, max_tokens=max_tokens)
    request = planned(replace(GREEDY, sampling=sampling))
    await ask(cache, Following(*answer_events(reason=reason)), request)
    assert bool(cache.kept) == kept


async def test_of_several_choices_each_cut_one_has_reached_the_limit_of_the_request():
    cut = Choice("Par is", FinishReason.LENGTH)
    answer = Answer("m", "v", (cut, cut), Usage(3, 4))
    assert answer.reaches(2)
    assert not answer.reaches(3)


async def test_who_stood_in_once_does_not_answer_the_question_for_ever():
    cache = Cache()
    following = Following(*answer_events("second", "v2"))
    link = links(cache, following)
    assert started(await collect(link.generate(planned(), CONTEXT))).model == "second"
    following.script = answer_events()
    await collect(link.generate(planned(), CONTEXT))
    plans = [request.plan.candidates[0] for request, _ in following.calls]
    assert plans == [FIRST, FIRST]


@pytest.mark.parametrize(("mode", "session"), [(CacheMode.READ, ""), (CacheMode.READ_WRITE, "s")])
async def test_nobody_waits_for_an_answer_that_will_not_be_kept(mode, session):
    cache = Cache()
    await ask(cache, Following(*answer_events()), wishing(mode), near=near_cache())
    assert cache.sessions == [session]


async def test_nothing_is_kept_of_an_answer_that_failed():
    cache = Cache()
    with pytest.raises(RouterError):
        await ask(cache, Following(*answer_events()[:2], error(Reason.GENERATION_FAILED)))
    assert not cache.kept


async def test_nothing_is_kept_when_the_reader_leaves_and_the_generation_is_closed():
    cache, following = Cache(), Following(*answer_events())
    async with aclosing(links(cache, following).generate(planned(), CONTEXT)) as events:
        await anext(events)
    assert not cache.kept
    assert following.log == ["closed"]


async def test_the_same_question_stays_with_the_model_that_answered_it_first():
    cache, following = Cache(), Following(*answer_events())
    link = links(cache, following)
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
    link = links(Cache(), following)
    await collect(link.generate(planned(), CONTEXT))
    gone = planned(plan=replace(PLAN, candidates=(SECOND,)))
    await collect(link.generate(gone, CONTEXT))
    assert following.calls[-1][0].plan.candidates == (SECOND,)
