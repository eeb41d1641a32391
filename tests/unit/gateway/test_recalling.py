"""What was asked in the same way before is answered without a plan, while its model serves."""

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
    near_cache,
    started,
    text,
)

from llmrouter.common.errors import Reason
from llmrouter.common.generation import (
    CacheLevel,
    CacheMode,
    CacheStatus,
    CacheWishes,
    FinishReason,
    RequestContext,
    RoutingWishes,
    Timings,
    Usage,
)
from llmrouter.common.savings import HitKind, Saved, SavingsTable, Spared
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.recalling import Recalling
from llmrouter.gateway.sticky import StickyChoice

ANSWER = Answer(
    "first", "v1", (Choice("Paris", FinishReason.STOP),), Usage(3, 2), Timings(total=0.5)
)


class Rig:
    """A link whose question GREEDY was answered by the model `first` before."""

    def __init__(self):
        self.near, self.sticky, self.savings = near_cache(), StickyChoice(), SavingsTable()
        self.cache = Cache()
        self.serving = {("first", "v1")}
        self.following = Following(*answer_events(text=("anew",)))
        asked = keyed()
        self.sticky.remember(asked, replace(FIRST, cost=0.25))
        self.near.put("default", asked.key, ANSWER, (), 60.0, 7)

    async def ask(self, request=GREEDY, context=CONTEXT):
        link = Recalling(
            self.near,
            self.cache,
            self.sticky,
            lambda *version: version in self.serving,
            self.savings,
            self.following,
        )
        return await collect(link.generate(request, context))


@pytest.fixture
def rig():
    return Rig()


async def test_it_is_repeated_with_its_usage_and_timings_and_counted(rig):
    events = await rig.ask(context=RequestContext("request-9"))
    begun = started(events)
    assert (begun.request_id, begun.model, begun.cache, begun.cached, begun.plan_id) == (
        "request-9",
        "first",
        CacheStatus.HIT,
        CacheLevel.GATEWAY,
        "",
    )
    assert text(events) == "Paris"
    assert (events[-1].usage, events[-1].timings) == (ANSWER.usage, ANSWER.timings)
    assert not rig.following.calls
    saved = Saved("default", "first", CacheLevel.GATEWAY, HitKind.EXACT)
    assert rig.savings.drain() == [(saved, Spared(1, 3, 2, 0.25, 0.5))]


@pytest.mark.parametrize(
    "other",
    [
        replace(GREEDY, prompt="What else?"),
        replace(GREEDY, routing=RoutingWishes(strategy="quality-first")),
        replace(GREEDY, cache=CacheWishes(CacheMode.REFRESH)),
        replace(GREEDY, cache=CacheWishes(CacheMode.OFF)),
        replace(GREEDY, cache=CacheWishes(CacheMode.WRITE)),
        DRAWN,
    ],
)
async def test_whatever_else_is_asked_goes_on(rig, other):
    assert text(await rig.ask(other)) == "anew"


@pytest.mark.parametrize(("named", "said"), [("v1", "Paris"), ("stable", "anew")])
async def test_what_a_label_leads_to_now_is_asked_of_the_selector(rig, named, said):
    wish = replace(GREEDY, routing=RoutingWishes(model=f"first@{named}"))
    asked = keyed(wish)
    rig.sticky.remember(asked, FIRST)
    rig.near.put("default", asked.key, ANSWER, (), 60.0, 7)
    assert text(await rig.ask(wish)) == said


async def test_another_tenant_goes_on(rig):
    assert text(await rig.ask(context=RequestContext("r", "other"))) == "anew"


async def test_once_its_model_serves_no_more_it_goes_on(rig):
    rig.serving.clear()
    assert text(await rig.ask()) == "anew"


async def test_without_news_of_the_cache_it_goes_on(rig):
    rig.near.lost()
    assert text(await rig.ask()) == "anew"
    assert rig.following.log == ["closed"]


async def test_a_caller_that_may_not_use_the_model_is_not_given_what_it_answered(rig):
    held = replace(CONTEXT, models=frozenset({"second"}))
    assert text(await rig.ask(context=held)) == "anew"
    assert text(await rig.ask()) == "Paris"


async def test_what_is_kept_here_no_more_is_looked_up_without_a_plan_and_kept_again(rig):
    rig.near = near_cache()
    rig.cache.kept[keyed().key] = ANSWER
    events = await rig.ask()
    assert (started(events).cached, started(events).plan_id) == (CacheLevel.MEMORY, "")
    assert (text(events), rig.following.calls, rig.cache.sessions) == ("Paris", [], [""])
    saved = Saved("default", "first", CacheLevel.MEMORY, HitKind.EXACT)
    assert rig.savings.drain() == [(saved, Spared(1, 3, 2, 0.25, 0.5))]
    assert started(await rig.ask()).cached is CacheLevel.GATEWAY
    assert rig.cache.lookups == 1


@pytest.mark.parametrize("kept", [None, replace(ANSWER, version="v2"), replace(ANSWER, choices=())])
async def test_what_the_cache_service_does_not_have_takes_the_whole_way(rig, kept):
    rig.near = near_cache()
    if kept is not None:
        rig.cache.kept[keyed().key] = kept
    assert text(await rig.ask()) == "anew"
    rig.cache.lookup_error = error(Reason.STORE_FAILED)
    assert text(await rig.ask()) == "anew"
    assert rig.near.counts().misses == 0  # who is on that way looks again, and counts


async def test_a_cache_service_that_is_not_heard_is_not_asked(rig):
    rig.near = near_cache(hears=False)
    rig.cache.kept[keyed().key] = ANSWER
    assert text(await rig.ask()) == "anew"
    assert rig.cache.lookups == 0
