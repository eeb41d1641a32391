"""CASCADE: unsure answers lead on, sure ones are given, and failures never lose an answer."""

from dataclasses import replace
from math import log

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    GREEDY,
    Replanner,
    Reporter,
    Runner,
    answer_events,
    collect,
    error,
    planned,
    started,
    text,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    RoutingWishes,
    Started,
    TokenLogprob,
    Usage,
)
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import Prices
from llmrouter.gateway.cascade import CascadePolicy
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.plan import Candidate, Plan

SMALL = Candidate("small", "v1", "one:1", prices=Prices(1e6, 1e6, 1e6))
MIDDLE = Candidate("middle", "v1", "one:1", prices=Prices(2e6, 2e6, 2e6))
LARGE = Candidate("large", "v1", "two:2", prices=Prices(5e6, 5e6, 5e6))
PLAN = Plan("plan-1", (SMALL, LARGE), "small first", mode=PlanMode.CASCADE)
LONG = replace(PLAN, candidates=(SMALL, MIDDLE, LARGE))


def sure(model, *chances, said=None):
    """An answer of one token per chance, each as probable as that; 1 token of prompt."""
    deltas = [
        Delta(0, said or f"{model}{place} ", 1, (TokenLogprob(place, log(chance), b""),))
        for place, chance in enumerate(chances)
    ]
    end = [ChoiceFinished(0, FinishReason.STOP), Finished(Usage(1, len(chances)))]
    return [Started("request-1", model, "v1", "because"), *deltas, *end]


class Asked(Runner):
    """Remembers what was asked as well."""

    def __init__(self, **scripts):
        super().__init__(**scripts)
        self.requests = []

    def infer(self, candidate, request, context, begun=None):
        self.requests.append(request)
        return super().infer(candidate, request, context, begun)


async def execute(runner, plan=PLAN, request=GREEDY, reporter=None, replanner=None):
    execution = Execution(
        runner, reporter or Reporter(), replanner or Replanner(), CascadePolicy(threshold=0.6)
    )
    return await collect(execution.generate(planned(request, plan), CONTEXT))


async def test_a_sure_answer_is_given_and_nobody_else_is_asked():
    runner = Asked(small=sure("small", 0.9, 0.8))
    events = await execute(runner)
    assert runner.calls == ["small"]
    assert text(events) == "small0 small1 "
    assert started(events).model == "small"
    assert "is sure enough: confidence 0.80 is at least 0.60" in started(events).reason
    [attempt] = events[-1].attempts
    assert (attempt.confidence, attempt.set_aside) == (pytest.approx(0.8), "")
    assert attempt.cost == events[-1].cost == 3.0


async def test_an_unsure_answer_leads_on_and_both_are_told_and_paid():
    reporter = Reporter()
    runner = Asked(small=sure("small", 0.9, 0.2), large=sure("large", 0.1))
    events = await execute(runner, reporter=reporter)
    assert text(events) == "large0 "
    assert [type(event) for event in events].count(Started) == 1
    assert "large was asked in the end: small's confidence 0.20 is below 0.60" in (
        started(events).reason
    )
    small, large = events[-1].attempts
    assert small.set_aside == "confidence 0.20 is below 0.60"
    assert (small.cost, large.cost, events[-1].cost) == (3.0, 10.0, 13.0)
    assert (large.confidence, large.set_aside) == (None, "")
    [(plan_id, outcomes)] = reporter.reports
    assert plan_id == "plan-1"
    assert [one.error_reason for one in outcomes] == ["", ""]
    assert [one.usage for one in outcomes] == [Usage(1, 2), Usage(1, 1)]


async def test_log_probabilities_are_asked_of_all_but_the_last_and_told_only_to_who_asks():
    runner = Asked(small=sure("small", 0.9))
    events = await execute(runner)
    assert [one.sampling.logprobs for one in runner.requests] == [True]
    assert all(not event.logprobs for event in events if isinstance(event, Delta))
    asking = replace(GREEDY, sampling=replace(GREEDY.sampling, logprobs=True))
    events = await execute(Asked(small=sure("small", 0.9)), request=asking)
    assert [len(event.logprobs) for event in events if isinstance(event, Delta)] == [1]
    runner = Asked(small=sure("small", 0.1), large=sure("large", 0.9))
    await execute(runner)
    assert [one.sampling.logprobs for one in runner.requests] == [True, False]


async def test_the_caller_says_how_sure_an_answer_must_be():
    for wish, model in ((0.95, "large"), (0.5, "small")):
        request = replace(GREEDY, routing=RoutingWishes(min_confidence=wish))
        runner = Asked(small=sure("small", 0.9), large=sure("large", 0.1))
        assert started(await execute(runner, request=request)).model == model


async def test_the_least_sure_of_several_answers_counts():
    both = sure("small", 0.9)
    both[2:2] = [Delta(1, "or", 1, (TokenLogprob(0, log(0.2), b""),))]
    both.insert(-1, ChoiceFinished(1, FinishReason.STOP))
    events = await execute(Asked(small=both, large=sure("large", 0.9)))
    assert started(events).model == "large"
    assert events[-1].attempts[0].confidence == pytest.approx(0.2)


async def test_a_model_that_fails_is_passed_over():
    runner = Asked(small=[error(Reason.QUEUE_FULL)], middle=sure("middle", 0.9), large=[])
    events = await execute(runner, LONG)
    assert started(events).model == "middle"
    assert [one.error_reason for one in events[-1].attempts] == ["QUEUE_FULL", ""]
    runner = Asked(small=[error(Reason.QUEUE_FULL)], large=sure("large", 0.1))
    assert "small failed (QUEUE_FULL)" in started(await execute(runner)).reason


async def test_one_that_breaks_off_is_passed_over_since_nothing_of_it_was_sent():
    broken = [*sure("small", 0.9)[:2], error(Reason.UPSTREAM_UNAVAILABLE)]
    events = await execute(Asked(small=broken, large=sure("large", 0.9)))
    assert text(events) == "large0 "
    assert events[-1].attempts[0].error_reason == "UPSTREAM_UNAVAILABLE"


async def test_a_wrong_request_is_not_asked_again():
    runner = Asked(small=[error(Reason.INVALID_ARGUMENT)], large=sure("large", 0.9))
    with pytest.raises(RouterError) as caught:
        await execute(runner)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert runner.calls == ["small"]


async def test_the_surest_of_unsure_answers_is_given_where_the_last_model_fails():
    runner = Asked(
        small=sure("small", 0.5), middle=sure("middle", 0.3), large=[error(Reason.QUEUE_FULL)]
    )
    events = await execute(runner, LONG)
    assert text(events) == "small0 "
    assert "not sure (confidence 0.50)" in started(events).reason
    assert "QUEUE_FULL" in started(events).reason
    attempts = events[-1].attempts
    assert [one.model for one in attempts] == ["middle", "large", "small"]
    assert [bool(one.set_aside) for one in attempts] == [True, False, False]


async def test_an_answer_that_is_being_sent_is_not_replaced_by_an_unsure_one():
    broken = [*sure("large", 0.9)[:2], error(Reason.UPSTREAM_UNAVAILABLE)]
    with pytest.raises(RouterError) as caught:
        await execute(Asked(small=sure("small", 0.1), large=broken))
    assert caught.value.reason is Reason.ANSWER_BROKEN_OFF


async def test_a_cascade_that_failed_altogether_is_planned_again():
    again = Plan("plan-2", (MIDDLE,), "middle is left", mode=PlanMode.CASCADE)
    replanner = Replanner(again)
    runner = Asked(small=[error()], large=[error()], middle=sure("middle", 0.1))
    events = await execute(runner, replanner=replanner)
    assert started(events).model == "middle"
    assert [one.candidate.model for one in replanner.asked[0]] == ["small", "large"]


async def test_an_answer_too_large_to_be_held_back_is_passed_over():
    huge = sure("small", 0.9, 0.9, said="x" * (3 << 20))
    events = await execute(Asked(small=huge, large=sure("large", 0.1)))
    assert started(events).model == "large"
    assert events[-1].attempts[0].error_reason == "GENERATION_FAILED"
    assert "too large" in events[-1].attempts[0].error_message


async def test_a_model_that_tells_no_probabilities_is_unsure():
    silent = answer_events("small", "v1")
    events = await execute(Asked(small=silent, large=sure("large", 0.1)))
    assert started(events).model == "large"
    assert events[-1].attempts[0].confidence == 0


async def test_the_last_one_streams_as_it_is_generated():
    runner = Asked(small=sure("small", 0.1), large=[*sure("large", 0.9)[:2], 5.0])
    execution = Execution(runner, Reporter(), Replanner())
    stream = execution.generate(planned(GREEDY, PLAN), CONTEXT)
    first = [await anext(stream), await anext(stream)]
    assert text(first) == "large0 "
    await stream.aclose()
    assert runner.log == ["closed", "closed"]
