"""ENSEMBLE: all are asked at once, one answer is elected, everybody is paid."""

import asyncio
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    GREEDY,
    Reporter,
    collect,
    error,
    planned,
    started,
    text,
)
from tests.unit.gateway.test_cascading import Asked, sure

from llmrouter.common.ensemble import Election, EnsembleWish
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Delta, RoutingWishes, Started, Usage
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import Prices
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.plan import Candidate, Plan

PRICES = Prices(1e6, 1e6, 1e6)
A, B, C = (Candidate(name, "v1", "h:1", prices=PRICES) for name in "abc")
WISE = Candidate("wise", "v1", "h:2", prices=Prices(4e6, 4e6, 4e6))
PLAN = Plan("plan-1", (A, B, C), "a, b, c answer side by side", mode=PlanMode.ENSEMBLE)
BENCH = Plan("plan-2", (WISE,), "wise was asked for")


class Selector:
    """Gives the judge's plan."""

    def __init__(self, plan=BENCH):
        self.plan, self.asked = plan, []

    async def select(self, request, context, tried):
        self.asked.append(request)
        if isinstance(self.plan, Exception):
            raise self.plan
        return self.plan


def wishing(election=Election.VOTE, judge=""):
    return replace(GREEDY, routing=RoutingWishes(ensemble=EnsembleWish(3, election, judge)))


def says(model, said, chance=0.9):
    return sure(model, chance, said=said)


async def execute(runner, request=None, reporter=None, selector=None, plan=PLAN):
    execution = Execution(runner, reporter or Reporter(), selector or Selector())
    return await collect(execution.generate(planned(request or wishing(), plan), CONTEXT))


async def test_the_answer_that_most_give_is_given_and_all_are_paid():
    reporter = Reporter()
    runner = Asked(a=says("a", "Lyon"), b=says("b", "Paris"), c=says("c", "paris."))
    events = await execute(runner, reporter=reporter)
    assert text(events) == "Paris"
    assert [type(event) for event in events].count(Started) == 1
    assert started(events).reason == "b was elected: 2 of 3 answers agree"
    attempts = events[-1].attempts
    assert [one.model for one in attempts] == ["a", "c", "b"]
    assert [one.set_aside for one in attempts] == ["another answer was elected"] * 2 + [""]
    assert events[-1].usage == Usage(1, 1)
    assert events[-1].cost == sum(one.cost for one in attempts) == 6.0
    [(plan_id, outcomes)] = reporter.reports
    assert (plan_id, len(outcomes)) == ("plan-1", 3)
    assert not any(event.logprobs for event in events if isinstance(event, Delta))


async def test_all_are_asked_at_once():
    gate = asyncio.Barrier(3)

    class Waiting(Asked):
        def infer(self, candidate, request, context, begun=None):
            return self._together(super().infer(candidate, request, context, begun))

        async def _together(self, events):
            async with asyncio.timeout(5):
                await gate.wait()
            async for event in events:
                yield event

    runner = Waiting(a=says("a", "x"), b=says("b", "x"), c=says("c", "x"))
    assert text(await execute(runner)) == "x"


async def test_the_surest_is_given_where_confidence_decides():
    runner = Asked(a=says("a", "Lyon", 0.4), b=says("b", "Paris", 0.8), c=says("c", "Lyon", 0.6))
    events = await execute(runner, wishing(Election.CONFIDENCE))
    assert text(events) == "Paris"
    assert all(one.sampling.logprobs for one in runner.requests)
    assert not any(event.logprobs for event in events if isinstance(event, Delta))
    assert [round(one.confidence, 2) for one in events[-1].attempts] == [0.4, 0.6, 0.8]


JUDGED = wishing(Election.JUDGE, "wise")


async def test_a_judge_decides_by_number_and_is_paid_too():
    reporter, selector = Reporter(), Selector()
    runner = Asked(
        a=says("a", "Lyon"), b=says("b", "Paris"), c=says("c", "Lyon"), wise=says("wise", "2")
    )
    events = await execute(runner, JUDGED, reporter, selector)
    assert text(events) == "Paris"
    assert started(events).reason == "b was elected: the judge prefers b"
    assert [one.model for one in events[-1].attempts] == ["a", "c", "wise", "b"]
    assert events[-1].attempts[2].set_aside == "it judged"
    assert events[-1].cost == 14.0
    assert {plan_id for plan_id, _ in reporter.reports} == {"plan-1", "plan-2"}
    [asked] = selector.asked
    assert (asked.routing.model, asked.routing.ensemble) == ("wise", None)
    seen = runner.requests[-1]
    assert seen.sampling.response_format.text == "[1-9][0-9]?"
    assert all(said in seen.messages[0].text for said in ("What is it?", "Lyon", "Paris"))
    assert not any(f"Answer {name}" in seen.messages[0].text for name in "abc")


@pytest.mark.parametrize("verdict", ["9", "neither"])
async def test_a_judge_without_a_verdict_leaves_it_to_the_vote(verdict):
    runner = Asked(
        a=says("a", "Lyon"), b=says("b", "Paris"), c=says("c", "Lyon"), wise=says("wise", verdict)
    )
    events = await execute(runner, JUDGED)
    assert text(events) == "Lyon"
    assert "the judge named no answer; 2 of 3 answers agree" in started(events).reason


async def test_a_judge_that_fails_leaves_it_to_the_vote_and_is_told():
    runner = Asked(
        a=says("a", "Lyon"), b=says("b", "Paris"), c=says("c", "Lyon"),
        wise=[error(Reason.QUEUE_FULL)],
    )  # fmt: skip
    events = await execute(runner, JUDGED)
    assert text(events) == "Lyon"
    assert "wise gave no verdict (QUEUE_FULL)" in started(events).reason
    assert [one.error_reason for one in events[-1].attempts] == ["", "", "QUEUE_FULL", ""]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (error(Reason.UNKNOWN_MODEL), Reason.UNKNOWN_MODEL),
        (Plan("p", (replace(WISE, away="silent"),)), Reason.MODEL_UNAVAILABLE),
    ],
)
async def test_a_judge_that_cannot_be_had_refuses_the_request_before_anybody_is_asked(plan, reason):
    runner = Asked()
    with pytest.raises(RouterError) as caught:
        await execute(runner, JUDGED, selector=Selector(plan))
    assert caught.value.reason is reason
    assert runner.calls == []


async def test_one_answer_needs_no_judge():
    runner = Asked(a=[error()], b=says("b", "Paris"), c=[error()])
    events = await execute(runner, JUDGED)
    assert text(events) == "Paris"
    assert "wise" not in runner.calls


async def test_those_that_fail_have_no_vote():
    broken = [*says("a", "Lyon")[:2], error()]
    runner = Asked(a=broken, b=says("b", "Paris"), c=[error(Reason.QUEUE_FULL)])
    events = await execute(runner)
    assert text(events) == "Paris"
    assert "2 of 3 did not answer" in started(events).reason
    told = [(one.model, one.error_reason) for one in events[-1].attempts]
    assert told == [("a", "UPSTREAM_UNAVAILABLE"), ("c", "QUEUE_FULL"), ("b", "")]


async def test_where_all_fail_the_first_failure_is_told_with_the_count():
    runner = Asked(a=[error(Reason.QUEUE_FULL)], b=[error()], c=[error()])
    with pytest.raises(RouterError) as caught:
        await execute(runner, selector=Selector(error(Reason.NO_CANDIDATE)))
    assert caught.value.reason is Reason.QUEUE_FULL
    assert caught.value.metadata["attempts"] == "3"


async def test_a_caller_that_leaves_ends_every_answer():
    runner = Asked(a=[60], b=[60], c=[60])
    execution = Execution(runner, Reporter(), Selector())
    stream = execution.generate(planned(wishing(), PLAN), CONTEXT)
    waiting = asyncio.create_task(anext(stream))
    async with asyncio.timeout(5):
        while len(runner.calls) < 3:  # noqa: ASYNC110 - looks from outside, like a caller
            await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await stream.aclose()
    assert runner.log == ["closed"] * 3
