"""A second model beside one that is slow to begin: who answers, what is told, and what it costs."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from tests.support.waiting import until
from tests.unit.gateway.doubles import (
    CONTEXT,
    FIRST,
    GREEDY,
    PLAN,
    SECOND,
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

from llmrouter.common.bill import Bill
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Delta, Started, Usage
from llmrouter.common.prices import Prices
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.plan import Plan
from llmrouter.gateway.retrying import BudgetPolicy, Retrying

NEVER = 60.0
FAST = replace(PLAN, hedge_after=0.0)
PATIENT = replace(PLAN, hedge_after=NEVER)
ANSWER = answer_events()
OTHER = answer_events("second", "v2", ("It is ", "Paris"))
COUNTED = Started("request-1", "first", "v1", "because", prompt_tokens=9)


def execution(runner, reporter=None, budget=None):
    return Execution(runner, reporter or Reporter(), Replanner(), retrying=Retrying(policy=budget))


async def execute(runner, plan=FAST, context=CONTEXT, **how):
    stream = execution(runner, **how).generate(planned(GREEDY, plan), context)
    return await collect(stream)


async def test_the_second_answers_where_the_first_says_nothing_in_time():
    runner, reporter = Runner(first=[COUNTED, NEVER], second=OTHER), Reporter()
    events = await execute(runner, reporter=reporter)
    assert text(events) == "It is Paris"
    assert started(events).model == "second"
    assert started(events).reason == "second began earlier than first"
    assert runner.log == ["closed", "closed"]
    slow, quick = events[-1].attempts
    assert (slow.model, slow.error_reason) == ("first", "")
    assert slow.set_aside == "second had its first token earlier"
    assert slow.usage == Usage(9, 0)
    assert (quick.model, quick.set_aside) == ("second", "")
    [(_, outcomes)] = reporter.reports
    assert [(one.candidate.model, one.error_reason) for one in outcomes] == [
        ("first", "CANCELLED"),
        ("second", ""),
    ]
    assert outcomes[0].waited > 0  # the selector learns how slow it is


async def test_the_first_answers_where_it_begins_before_the_second_and_then_that_is_cancelled():
    runner = Runner(second=[OTHER[0], NEVER])
    runner.scripts["first"] = [COUNTED, lambda: len(runner.calls) == 2, *ANSWER[1:]]
    events = await execute(runner)
    assert text(events) == "Paris"
    assert started(events).reason == PLAN.reason
    assert [(one.model, bool(one.set_aside)) for one in events[-1].attempts] == [
        ("second", True),
        ("first", False),
    ]
    assert runner.log == ["closed", "closed"]


async def test_nobody_else_is_asked_where_the_first_is_in_time():
    runner = Runner(first=ANSWER, second=OTHER)
    assert text(await execute(runner, PATIENT)) == "Paris"
    assert runner.calls == ["first"]


async def test_nobody_else_is_asked_where_the_budget_of_the_second_is_spent():
    runner = Runner(first=[COUNTED, 0.02, *ANSWER[1:]], second=OTHER)
    spent = BudgetPolicy(ratio=0, per_second=0)
    assert text(await execute(runner, budget=spent)) == "Paris"
    assert runner.calls == ["first"]


async def test_hedges_are_within_the_budget_of_whom_they_go_to():
    runner = Runner(first=[COUNTED, 0.005, *ANSWER[1:]], second=OTHER)
    asked = execution(runner, budget=BudgetPolicy(ratio=0.5, per_second=0))
    for _ in range(20):
        await collect(asked.generate(planned(plan=FAST), CONTEXT))
    assert runner.calls == ["first"] * 20  # nothing was ever planned for the second


async def test_the_first_that_fails_early_is_followed_by_the_next_at_once():
    runner = Runner(first=[error()], second=OTHER)
    events = await execute(runner, PATIENT)
    assert text(events) == "It is Paris"
    assert [one.error_reason for one in events[-1].attempts] == ["UPSTREAM_UNAVAILABLE", ""]


@pytest.mark.parametrize("loser", ["first", "second"])
async def test_one_of_two_that_fails_leaves_the_answer_to_the_other(loser):
    runner = Runner()
    runner.scripts = {
        "first": [COUNTED, lambda: runner.log, *ANSWER[1:]],
        "second": [OTHER[0], lambda: runner.log, *OTHER[1:]],
    }
    failing = [COUNTED, lambda: len(runner.calls) == 2, error(Reason.GENERATION_FAILED)]
    runner.scripts[loser] = failing
    events = await execute(runner)
    assert started(events).model != loser
    failed, answered = events[-1].attempts
    assert (failed.model, failed.error_reason) == (loser, "GENERATION_FAILED")
    assert (answered.error_reason, answered.set_aside) == ("", "")


async def test_two_that_fail_are_told_both():
    runner = Runner(first=[0.01, error()], second=[error(Reason.QUEUE_FULL)])
    with pytest.raises(RouterError) as failure:
        await execute(runner, budget=BudgetPolicy(ratio=0, per_second=1))
    told = [(one.model, one.error_reason) for one in failure.value.attempts]
    assert sorted(told) == [("first", "UPSTREAM_UNAVAILABLE"), ("second", "QUEUE_FULL")]


async def test_what_both_used_is_paid_for():
    dear = Prices(1e6, 2e6)
    plan = Plan("p", (replace(FIRST, prices=dear), replace(SECOND, prices=dear)), hedge_after=0.0)
    bill = Bill()
    events = await execute(
        Runner(first=[COUNTED, NEVER], second=OTHER), plan, replace(CONTEXT, bill=bill)
    )
    assert bill.tokens == 9 + 3 + 2
    assert bill.cost == pytest.approx(9 + 3 + 4)
    assert events[-1].cost == pytest.approx(bill.cost)


async def test_a_reader_that_leaves_while_both_run_ends_both():
    runner = Runner(first=[COUNTED, NEVER], second=[OTHER[0], NEVER])
    task = asyncio.create_task(execute(runner))
    await until(lambda: runner.calls == ["first", "second"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.log == ["closed", "closed"]


async def test_a_reader_that_leaves_in_the_middle_ends_the_winner():
    runner = Runner(first=[COUNTED, NEVER], second=[*OTHER[:2], NEVER])
    stream = execution(runner).generate(planned(GREEDY, FAST), CONTEXT)
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, Delta):
                break
    assert runner.log == ["closed", "closed"]


async def test_whoever_was_only_slower_goes_on_where_nobody_else_can():
    class Once(Runner):
        def infer(self, candidate, request, context, begun=None):
            if candidate.model == "first" and begun is not None:
                self.scripts["first"] = answer_events("first", "v1", ("Rome",))
            return super().infer(candidate, request, context, begun)

    runner = Once(first=[COUNTED, NEVER], second=[*OTHER[:2], error()])
    events = await execute(runner, FAST)
    assert text(events) == "It is Rome"
    assert runner.calls == ["first", "second", "first"]


async def test_a_winner_that_breaks_off_is_gone_on_with_by_nobody_twice():
    third = replace(SECOND, model="third", version="v3", address="three:3")
    runner = Runner(
        first=[COUNTED, NEVER],
        second=[*OTHER[:2], error()],
        third=answer_events("third", "v3", ("Rome",)),
    )
    plan = Plan("p", (FIRST, SECOND, third), hedge_after=0.0)
    events = await execute(runner, plan)
    assert text(events) == "It is Rome"
    assert runner.calls == ["first", "second", "third"]
