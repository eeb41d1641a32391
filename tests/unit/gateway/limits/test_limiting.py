"""The links: reserve before, settle after, whatever becomes of the request."""

import asyncio
import contextlib
from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    FIRST,
    GREEDY,
    PLAN,
    SECOND,
    Following,
    Replanner,
    Reporter,
    Runner,
    answer_events,
    collect,
    error,
    planned,
    text,
)
from tests.unit.gateway.limits.doubles import Clock, asking, dollars, limiter, tokens

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult, Vector
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest, Priority, SamplingOptions
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import Prices
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.limiting import Budget, LimitedRunner, Rates
from llmrouter.gateway.limiting_embeddings import LimitedEmbedRunner, RatedEmbedder
from llmrouter.gateway.limits.alerts import AlertKind
from llmrouter.gateway.limits.resources import Resource

SHORT = GenerationRequest(prompt="What?", sampling=SamplingOptions(max_tokens=10))
CHEAP = replace(FIRST, model="cheap", prices=Prices(1, 1, 1), prompt_tokens=10)
DEAR = replace(SECOND, model="dear", prices=Prices(100, 100, 100), prompt_tokens=10)


async def left(limits, resource, **caller):
    """What a caller is told remains of a resource, by a request that takes nothing."""
    context = asking(**caller)
    hold = await limits.reserve(context, {resource: 0})
    hold.settle()
    return dict(context.bill.standings.told())[f"x-ratelimit-remaining-{resource}"]


async def refused(stream):
    with pytest.raises(RouterError) as failure:
        await collect(stream)
    return failure.value


async def test_requests_beyond_the_limit_are_refused_with_a_time_to_come_back():
    clock = Clock()
    limits = limiter({"per": ["tenant"], "requests_per_second": 2}, clock=clock)
    link = Rates(limits, Following(*answer_events()))
    for _ in range(2):
        assert text(await collect(link.generate(GREEDY, asking(tenant="acme")))) == "Paris"
        clock.pass_seconds(0.1)
    failure = await refused(link.generate(GREEDY, asking(tenant="acme")))
    assert (failure.reason, failure.retry_after) == (Reason.RATE_LIMITED, 0.8)
    assert failure.quotas[0].subject == "tenant acme"
    assert "2 requests per second" in failure.message
    assert await collect(link.generate(GREEDY, asking(tenant="other")))
    clock.pass_seconds(0.8)
    assert await collect(link.generate(GREEDY, asking(tenant="acme")))


async def test_a_stream_counts_until_it_ends_however_it_ends():
    limits = limiter({"concurrent_streams": 1})
    link = Rates(limits, Following(*answer_events()))
    async with aclosing(link.generate(GREEDY, asking())) as events:
        await anext(events)
        failure = await refused(link.generate(GREEDY, asking()))
        assert failure.reason is Reason.RATE_LIMITED
    assert await collect(link.generate(GREEDY, asking())), "the reader that left gave its place up"
    failing = Rates(limits, Following(error()))
    for _ in range(3):
        assert (await refused(failing.generate(GREEDY, asking()))).reason is not Reason.RATE_LIMITED
    waiting = Rates(limits, Following(answer_events()[0], 60))
    task = asyncio.create_task(collect(waiting.generate(GREEDY, asking())))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert await collect(link.generate(GREEDY, asking()))


async def test_low_priority_leaves_the_rest_of_a_limit_to_others():
    limits = limiter({"requests_per_minute": 4, "low_share": 0.5})
    link = Rates(limits, Following(*answer_events()))
    low = asking(priority=Priority.LOW)
    for _ in range(2):
        await collect(link.generate(GREEDY, low))
    failure = await refused(link.generate(GREEDY, low))
    assert "of which 2 by requests of this priority" in failure.message
    for _ in range(2):
        assert await collect(link.generate(GREEDY, asking()))


def execution(**scripts):
    return Execution(Runner(**scripts), Reporter(), Replanner())


async def spend(limits, chain, context, plan, request=SHORT):
    link = Budget(limits, 1024, chain)
    return await collect(link.generate(planned(request, plan), context))


async def test_tokens_are_reserved_as_estimated_and_settled_as_they_were():
    limits = limiter({"per": ["tenant"], "tokens_per_minute": 100})
    plan = replace(PLAN, candidates=(CHEAP,))
    link = Budget(limits, 1024, execution(cheap=answer_events("cheap")))
    async with aclosing(link.generate(planned(SHORT, plan), asking())) as events:
        await anext(events)
        assert await left(limits, Resource.TOKENS) == "80", "10 of the prompt, 10 of the answer"
        async for _ in events:
            pass
    assert await left(limits, Resource.TOKENS) == "95", "3 read, 2 generated"


async def test_a_reader_that_leaves_pays_for_what_was_generated_and_no_more():
    limits = limiter({"tokens_per_day": 100})
    begun, *rest = answer_events("cheap")
    script = [replace(begun, prompt_tokens=7), *rest]
    link = Budget(limits, 1024, execution(cheap=script))
    plan = replace(PLAN, candidates=(CHEAP,))
    async with aclosing(link.generate(planned(SHORT, plan), asking())) as events:
        await anext(events)
        await anext(events)
    assert await left(limits, Resource.TOKENS) == "92", "7 read, 1 generated"


async def test_a_failure_before_anything_was_computed_costs_nothing():
    limits = limiter({"tokens_per_day": 100, "dollars_per_day": 1})
    with pytest.raises(RouterError, match="UPSTREAM_UNAVAILABLE"):
        await spend(
            limits, execution(cheap=[error()]), asking(), replace(PLAN, candidates=(CHEAP,))
        )
    assert await left(limits, Resource.TOKENS) == "100"
    assert await left(limits, Resource.DOLLARS) == "1"


async def test_money_is_settled_at_the_price_of_who_answered():
    limits = limiter({"dollars_per_month": 0.01})
    context = asking()
    chain = execution(dear=[error()], cheap=answer_events("cheap"))
    await spend(limits, chain, context, replace(PLAN, candidates=(DEAR, CHEAP)))
    assert await left(limits, Resource.DOLLARS) == "0.009995", "5 tokens at 1 dollar per million"
    assert dict(context.bill.standings.told())["x-ratelimit-remaining-dollars"] == "0.009995"


async def test_a_model_that_is_too_dear_for_the_budget_gives_way_to_one_that_is_not():
    limits = limiter({"dollars_per_day": 0.001})
    following = Following(*answer_events("cheap"))
    await spend(limits, following, asking(), replace(PLAN, candidates=(DEAR, CHEAP)))
    [(carried, _)] = following.calls
    assert carried.plan.candidates == (CHEAP,)
    assert carried.plan.reason == "cheap is within the budget, dear is not"


COSTLY = replace(PLAN, candidates=(replace(DEAR, cost=0.002),))


async def test_a_cheaper_model_that_was_not_in_the_plan_answers_before_anybody_is_refused():
    limits = limiter({"dollars_per_day": 0.001})
    other = replace(PLAN, id="plan-2", candidates=(replace(CHEAP, cost=0.00002),))
    following, selector = Following(*answer_events("cheap")), Replanner(other)
    link = Budget(limits, 1024, following, selector)
    await collect(link.generate(planned(SHORT, COSTLY), asking()))
    [(carried, _)] = following.calls
    assert (carried.plan.id, carried.plan.candidates) == ("plan-2", other.candidates)
    assert carried.plan.reason == "cheap is within the budget, dear is not"
    assert carried.request == SHORT
    [wishes] = selector.wishes
    assert wishes.max_cost == pytest.approx(0.001), "0.002 in all, of which half is left"


@pytest.mark.parametrize(
    ("rule", "plan", "answer"),
    [
        ({"tokens_per_day": 10}, COSTLY, None),
        ({"dollars_per_day": 0.001}, replace(COSTLY, mode=PlanMode.ENSEMBLE), None),
        ({"dollars_per_day": 0.001}, COSTLY, error(Reason.NO_CANDIDATE)),
        ({"dollars_per_day": 0.001}, COSTLY, replace(PLAN, candidates=(replace(CHEAP, away="x"),))),
        ({"dollars_per_day": 0.001}, COSTLY, COSTLY),
    ],
)
async def test_where_no_cheaper_model_helps_the_limit_is_what_the_caller_hears_of(
    rule, plan, answer
):
    link = Budget(limiter(rule), 1024, Following(), Replanner(answer))
    failure = await refused(link.generate(planned(SHORT, plan), asking()))
    assert failure.reason in {Reason.QUOTA_EXHAUSTED, Reason.RATE_LIMITED}


async def test_a_cascade_gives_its_dearest_stages_up_first():
    limits = limiter({"dollars_per_day": 0.001})
    following = Following(*answer_events("cheap"))
    plan = replace(PLAN, candidates=(CHEAP, DEAR), mode=PlanMode.CASCADE)
    await spend(limits, following, asking(), plan)
    [(carried, _)] = following.calls
    assert carried.plan.candidates == (CHEAP,)


async def test_a_budget_that_holds_no_model_says_when_it_begins_anew():
    limits = limiter({"dollars_per_day": 0.000001})
    link = Budget(limits, 1024, Following())
    plan = replace(PLAN, candidates=(CHEAP, DEAR))
    failure = await refused(link.generate(planned(SHORT, plan), asking()))
    assert failure.reason is Reason.QUOTA_EXHAUSTED
    assert failure.retry_after is None, "the budget never holds as much"
    spent = limiter({"dollars_per_day": 0.00002})
    await spend(
        spent, execution(cheap=answer_events("cheap")), asking(), replace(PLAN, candidates=(CHEAP,))
    )
    failure = await refused(
        Budget(spent, 1024, Following()).generate(planned(SHORT, plan), asking())
    )
    assert failure.retry_after == 12 * 3600


async def test_all_models_of_an_ensemble_are_reserved_together():
    limits = limiter({"tokens_per_minute": 39})
    plan = replace(PLAN, candidates=(CHEAP, DEAR), mode=PlanMode.ENSEMBLE)
    link = Budget(limits, 1024, Following(*answer_events()))
    failure = await refused(link.generate(planned(SHORT, plan), asking()))
    assert "40" in failure.message
    roomy = limiter({"tokens_per_minute": 40})
    chain = execution(cheap=answer_events("cheap"), dear=answer_events("dear"))
    await spend(roomy, chain, asking(), plan)
    assert await left(roomy, Resource.TOKENS) == "30", "both answers are paid"


async def test_a_model_without_room_leaves_the_request_to_the_next():
    limits = limiter({"models": ["first"], "requests_per_minute": 1})
    runner = Runner(first=answer_events(), second=answer_events("second", "v2"))
    chain = Execution(LimitedRunner(limits, 1024, runner), Reporter(), Replanner())
    for _ in range(2):
        events = await collect(chain.generate(planned(), asking()))
    assert runner.calls == ["first", "second"]
    assert events[0].reason == "second stands in for first (RATE_LIMITED)"
    alone = replace(PLAN, candidates=(FIRST,))
    failure = await refused(chain.generate(planned(plan=alone), asking()))
    assert (failure.reason, failure.retry_after) == (Reason.RATE_LIMITED, 60.0)


async def test_the_tokens_of_a_model_are_settled_per_try():
    limits = limiter({"per": ["model"], "tokens_per_day": 5000})
    runner = LimitedRunner(limits, 1024, Runner(cheap=answer_events("cheap")))
    await collect(runner.infer(CHEAP, SHORT, asking()))
    hold = await limits.reserve(context := asking(), {Resource.TOKENS: 0}, model="cheap")
    hold.settle()
    assert dict(context.bill.standings.told())["x-ratelimit-remaining-tokens"] == "4995"


async def test_a_prompt_that_a_model_turns_away_counts_nowhere():
    limits = limiter({"per": ["model"], "tokens_per_day": 5000})
    begun = replace(answer_events("cheap")[0], prompt_tokens=1000)
    script = [begun, RouterError(Reason.CONTEXT_TOO_LONG, "too long")]
    await refused(LimitedRunner(limits, 1024, Runner(cheap=script)).infer(CHEAP, SHORT, asking()))
    hold = await limits.reserve(context := asking(), {Resource.TOKENS: 0}, model="cheap")
    hold.settle()
    assert dict(context.bill.standings.told())["x-ratelimit-remaining-tokens"] == "5000"


class Embedder:
    def __init__(self, failure=None):
        self.failure = failure

    async def embed(self, *_):
        if self.failure:
            raise self.failure
        return EmbeddingResult("mini", "v1", (Vector((1.0,), 3), Vector((1.0,), 4)))


async def test_texts_are_counted_like_questions():
    limits = limiter(
        {"requests_per_minute": 3, "tokens_per_day": 60},
        {"per": ["model"], "tokens_per_minute": 1000},
    )
    request = EmbeddingRequest(("a" * 20, "b" * 40))
    candidate = replace(CHEAP, prompt_tokens=20)
    runner = LimitedEmbedRunner(limits, Embedder())
    await runner.embed(candidate, request, asking())
    assert await left(limits, Resource.TOKENS) == "53"
    with pytest.raises(RouterError, match="UPSTREAM"):
        await LimitedEmbedRunner(limits, Embedder(error())).embed(candidate, request, asking())
    assert await left(limits, Resource.TOKENS) == "53"
    with pytest.raises(RouterError) as failure:
        await runner.embed(replace(candidate, prompt_tokens=40), request, asking())
    assert failure.value.reason is Reason.QUOTA_EXHAUSTED
    rated = RatedEmbedder(limits, Embedder())
    for _ in range(3):
        await rated.embed(request, asking())
    with pytest.raises(RouterError) as failure:
        await rated.embed(request, asking())
    assert failure.value.reason is Reason.RATE_LIMITED


HEDGED = replace(PLAN, candidates=(CHEAP, DEAR), hedge_after=0.0)
"""Two that may run at once: 20 tokens each."""


async def test_a_plan_that_may_ask_two_at_once_reserves_both_and_pays_for_what_both_used():
    limits = limiter({"per": ["tenant"], "tokens_per_minute": 100})
    runner = Runner(
        cheap=[replace(answer_events()[0], prompt_tokens=9), 60.0], dear=answer_events("dear")
    )
    execution = Execution(runner, Reporter(), Replanner())
    context = asking(tenant="acme")
    seen = []

    async def infer(*arguments):
        seen.append(await left(limits, "tokens", tenant="acme"))
        async for event in Runner.infer(runner, *arguments):
            yield event

    runner.infer = infer
    link = Budget(limits, 50, execution)
    await collect(link.generate(planned(SHORT, HEDGED), context))
    assert seen == ["60", "60"]
    assert runner.calls == ["cheap", "dear"]
    assert (await left(limits, "tokens", tenant="acme"), context.bill.tokens) == ("86", 14)


async def test_a_plan_is_not_hedged_where_the_limits_hold_but_one():
    limits = limiter({"per": ["tenant"], "tokens_per_minute": 30})
    runner = Runner(cheap=[0.02, *answer_events("cheap")], dear=answer_events("dear"))
    link = Budget(limits, 50, Execution(runner, Reporter(), Replanner()))
    events = await collect(link.generate(planned(SHORT, HEDGED), asking(tenant="acme")))
    assert text(events) == "Paris"
    assert runner.calls == ["cheap"]


async def alerts_of(plan, rule, *, replanner=None):
    """What is told of a budget of which 80 % are spent, once one more request has run or failed."""
    told = []
    limits = limiter(rule, told=told)
    hold = await limits.reserve(asking(), tokens(80) | dollars(0.00095))
    hold.settle(tokens(80) | dollars(0.00095))
    told.clear()
    link = Budget(limits, 50, Following(*answer_events()), replanner)
    with contextlib.suppress(RouterError):
        await collect(link.generate(planned(SHORT, plan), asking()))
    return [one.kind for one in told]


async def test_nobody_hears_that_a_budget_is_spent_while_less_of_a_plan_will_do():
    dollars_left = {"dollars_per_day": 0.001}
    assert await alerts_of(HEDGED, {"tokens_per_day": 100}) == [], "one of two"
    assert await alerts_of(replace(PLAN, candidates=(DEAR, CHEAP)), dollars_left) == [], "the cheap"
    cheaper = Replanner(replace(PLAN, candidates=(replace(CHEAP, cost=0.00002),)))
    assert await alerts_of(COSTLY, dollars_left, replanner=cheaper) == [], "another plan"


async def test_a_budget_that_holds_nothing_of_a_plan_is_told_as_spent():
    dear = replace(PLAN, candidates=(DEAR,))
    for replanner in (None, Replanner()):
        spent = await alerts_of(dear, {"dollars_per_day": 0.001}, replanner=replanner)
        assert spent == [AlertKind.SPENT]


async def test_the_loser_of_two_gives_its_models_limit_back():
    limits = limiter({"per": ["model"], "concurrent_streams": 1})
    runner = Runner(cheap=[answer_events()[0], 60.0], dear=answer_events("dear"))
    execution = Execution(LimitedRunner(limits, 50, runner), Reporter(), Replanner())
    for _ in range(2):
        events = await collect(execution.generate(planned(SHORT, HEDGED), asking()))
        assert [one.model for one in events[-1].attempts] == ["cheap", "dear"]
        assert [one.error_reason for one in events[-1].attempts] == ["", ""]
