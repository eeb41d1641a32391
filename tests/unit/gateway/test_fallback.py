"""On bad days an expired answer stands in, where the caller allows it, and says so."""

from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    DRAWN,
    FIRST,
    GREEDY,
    Cache,
    Following,
    answer_events,
    collect,
    error,
    keyed,
    started,
    text,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheLevel,
    CacheMode,
    CacheStatus,
    CacheWishes,
    FinishReason,
    RoutingWishes,
    Usage,
)
from llmrouter.common.savings import HitKind, Saved, SavingsTable, Spared
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.fallback import Fallback
from llmrouter.gateway.sticky import StickyChoice, asked_key

ALLOWING = replace(GREEDY, cache=CacheWishes(stale=True))
OLD = Answer("first", "v1", (Choice("Old Paris", FinishReason.STOP),), Usage(3, 2))


class Rig:
    """A link behind which nobody answers, and a cache that has an expired answer."""

    def __init__(self, *script):
        self.cache, self.sticky, self.savings = Cache(), StickyChoice(), SavingsTable()
        self.following = Following(*(script or (error(Reason.MODEL_UNAVAILABLE),)))
        self.sticky.remember(keyed(), FIRST)
        self.cache.kept[keyed().key] = OLD

    def link(self):
        return Fallback(self.cache, self.sticky, self.savings, self.following)

    async def ask(self, request=ALLOWING, context=CONTEXT):
        return await collect(self.link().generate(request, context))


@pytest.mark.parametrize(
    "reason",
    [
        Reason.NO_CANDIDATE,
        Reason.MODEL_UNAVAILABLE,
        Reason.QUEUE_FULL,
        Reason.MEMORY_PRESSURE,
        Reason.UPSTREAM_UNAVAILABLE,
    ],
)
async def test_an_expired_answer_stands_in_marked_as_degraded_and_counted(reason):
    rig = Rig(error(reason))
    events = await rig.ask()
    begun = started(events)
    assert (begun.cache, begun.cached, text(events)) == (
        CacheStatus.STALE,
        CacheLevel.DISK,
        "Old Paris",
    )
    assert reason.value in begun.reason
    saved = Saved("default", "first", CacheLevel.DISK, HitKind.STALE)
    assert rig.savings.drain() == [(saved, Spared(1, 3, 2, 0.0, 0.0))]


@pytest.mark.parametrize(
    "request_",
    [
        GREEDY,
        replace(GREEDY, cache=CacheWishes(CacheMode.WRITE, stale=True)),
        replace(GREEDY, cache=CacheWishes(CacheMode.OFF, stale=True)),
        replace(DRAWN, cache=CacheWishes(stale=True)),
        replace(ALLOWING, prompt="What else?"),
    ],
)
async def test_without_leave_or_without_an_answer_the_failure_is_told(request_):
    with pytest.raises(RouterError) as told:
        await Rig().ask(request_)
    assert told.value.reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    "reason", [Reason.INVALID_ARGUMENT, Reason.UNKNOWN_MODEL, Reason.DEADLINE_EXCEEDED]
)
async def test_what_is_wrong_with_the_request_is_told_all_the_same(reason):
    with pytest.raises(RouterError) as told:
        await Rig(error(reason)).ask()
    assert told.value.reason is reason


async def test_a_failure_after_text_was_sent_is_told():
    rig = Rig(*answer_events()[:2], error(Reason.GENERATION_FAILED))
    with pytest.raises(RouterError):
        await rig.ask()


async def test_a_cache_that_fails_as_well_changes_nothing():
    rig = Rig()
    rig.cache.lookup_error = error(Reason.STORE_FAILED)
    with pytest.raises(RouterError) as told:
        await rig.ask()
    assert told.value.reason is Reason.MODEL_UNAVAILABLE


async def test_after_a_restart_the_cache_knows_who_answered_the_question():
    rig = Rig(error(Reason.UPSTREAM_UNAVAILABLE))
    rig.sticky = StickyChoice()
    with pytest.raises(RouterError):
        await rig.ask()
    rig.cache.kept[asked_key(keyed().question, ALLOWING.routing)] = OLD
    events = await rig.ask()
    assert (started(events).cache, text(events)) == (CacheStatus.STALE, "Old Paris")
    with pytest.raises(RouterError):
        await rig.ask(replace(ALLOWING, routing=RoutingWishes(model="second")))


async def test_on_better_days_it_passes_everything_on_and_closes_what_is_behind_it():
    rig = Rig(*answer_events())
    assert text(await rig.ask()) == "Paris"
    async with aclosing(rig.link().generate(ALLOWING, CONTEXT)) as events:
        await anext(events)
    assert rig.following.log == ["closed", "closed"]


async def test_a_caller_that_may_not_use_the_model_is_not_given_what_it_answered():
    with pytest.raises(RouterError):
        await Rig().ask(context=replace(CONTEXT, models=frozenset({"second"})))
