"""FIRST_OF: failover before the first token, the truth after it."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
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
    play,
    started,
    text,
)

from llmrouter.common.bill import Bill
from llmrouter.common.errors import RULES, Reason, Retry, RouterError
from llmrouter.common.generation import Finished, Started, Usage
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.plan import Candidate, Plan, Tried
from llmrouter.gateway.retrying import BudgetPolicy, Retrying

ANSWER = answer_events()
OTHER = answer_events("second", "v2")
FAILS_OVER = [reason for reason in Reason if RULES[reason].retry is not Retry.NEVER]
SURFACES = [reason for reason in Reason if RULES[reason].retry is Retry.NEVER]


async def execute(runner, reporter=None, replanner=None):
    execution = Execution(runner, reporter or Reporter(), replanner or Replanner())
    return await collect(execution.generate(planned(), CONTEXT))


async def test_the_primary_answers_alone_and_its_reason_is_the_plans():
    counted = replace(ANSWER[0], prompt_tokens=31)
    runner = Runner(first=[counted, *ANSWER[1:]], second=OTHER)
    events = await execute(runner)
    assert runner.calls == ["first"]
    assert started(events) == Started(
        "request-1", "first", "v1", "first scores best", plan_id="plan-1", prompt_tokens=31
    )
    assert [attempt.model for attempt in events[-1].attempts] == ["first"]


@pytest.mark.parametrize("reason", FAILS_OVER)
async def test_a_failure_before_the_first_token_goes_to_the_next_model(reason):
    runner = Runner(first=[ANSWER[0], error(reason)], second=OTHER)
    events = await execute(runner)
    assert text(events) == "Paris"
    assert [type(event) for event in events].count(Started) == 1
    assert started(events).model == "second"
    assert reason.value in started(events).reason
    first, second = events[-1].attempts
    assert (first.model, first.error_reason) == ("first", reason.value)
    assert (second.model, second.error_reason) == ("second", "")


@pytest.mark.parametrize("reason", SURFACES)
async def test_what_no_other_model_can_mend_surfaces_at_once(reason):
    runner = Runner(first=[error(reason)], second=OTHER)
    with pytest.raises(RouterError) as failure:
        await execute(runner)
    assert failure.value.reason is reason
    assert runner.calls == ["first"]


async def test_when_every_model_fails_the_last_error_surfaces_with_the_number_tried():
    runner = Runner(first=[error()], second=[error(Reason.MODEL_UNAVAILABLE)])
    with pytest.raises(RouterError) as failure:
        await execute(runner)
    assert failure.value.reason is Reason.MODEL_UNAVAILABLE
    assert failure.value.metadata["attempts"] == "2"


async def test_a_model_unloaded_after_the_first_token_has_broken_off_too():
    gone = [error(Reason.MODEL_UNAVAILABLE)]
    runner = Runner(first=[*ANSWER[:3], *gone], second=gone)
    with pytest.raises(RouterError, match="broke its answer off after 2 tokens") as failure:
        await execute(runner)
    assert failure.value.reason is Reason.ANSWER_BROKEN_OFF


async def test_a_stream_that_ends_early_is_a_failure():
    runner = Runner(first=ANSWER[:-1], second=[error()])
    with pytest.raises(RouterError, match="before the answer was complete") as failure:
        await execute(runner)
    assert failure.value.reason is Reason.ANSWER_BROKEN_OFF
    silent = Runner(first=ANSWER[:1], second=OTHER)
    assert started(await execute(silent)).model == "second"


async def test_outcomes_are_reported_under_their_plan():
    reporter = Reporter()
    await execute(Runner(first=[*ANSWER[:3], Finished(Usage(3, 3))]), reporter)
    [(plan_id, (outcome,))] = reporter.reports
    assert plan_id == "plan-1"
    assert outcome.candidate == FIRST
    assert outcome.error_reason == ""
    assert outcome.usage == Usage(3, 3)
    assert outcome.prompt_bytes == GREEDY.prompt_bytes


async def test_every_failed_attempt_is_reported():
    reporter = Reporter()
    await execute(Runner(first=[error(Reason.QUEUE_FULL)], second=OTHER), reporter)
    assert [one.error_reason for one in reporter.reports[0][1]] == ["QUEUE_FULL", ""]


async def test_a_reader_that_leaves_closes_the_model_and_is_reported_as_cancelled():
    runner, reporter = Runner(first=ANSWER), Reporter()
    stream = Execution(runner, reporter, Replanner()).generate(planned(), CONTEXT)
    async with aclosing(stream) as events:
        await anext(events)
    assert runner.log == ["closed"]
    assert reporter.reports[0][1][0].error_reason == "CANCELLED"


async def test_a_cancelled_task_closes_the_model():
    runner, reporter = Runner(first=[ANSWER[0], 60]), Reporter()
    task = asyncio.create_task(execute(runner, reporter))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.log == ["closed"]
    assert reporter.reports[0][1][0].error_reason == "CANCELLED"


THIRD = Candidate("third", "v3", "three:3")
LATER = Plan("plan-2", (THIRD,), "third is left")


async def test_a_spent_plan_is_followed_by_a_new_one_without_those_who_failed():
    too_long = error(Reason.CONTEXT_TOO_LONG)
    runner = Runner(first=[too_long], second=[error()], third=answer_events("third", "v3"))
    replanner, reporter = Replanner(LATER), Reporter()
    events = await execute(runner, reporter, replanner)
    assert text(events) == "Paris"
    assert started(events).plan_id == "plan-2"
    assert [one.model for one in events[-1].attempts] == ["first", "second", "third"]
    [tried] = replanner.asked
    assert tried == (Tried(FIRST, too_long=True), Tried(SECOND))
    told = [
        (plan, [one.candidate.model for one in outcomes]) for plan, outcomes in reporter.reports
    ]
    assert told == [("plan-1", ["first", "second"]), ("plan-2", ["third"])]


async def test_the_plan_that_was_carried_out_last_is_the_one_that_is_recorded():
    context = replace(CONTEXT, bill=Bill(plan=("plan-0", "what the selector said first")))
    runner = Runner(first=[error()], second=[error()], third=[error()])
    execution = Execution(runner, Reporter(), Replanner(LATER))
    cheaper = replace(PLAN, candidates=(SECOND,), reason="second is within the budget")
    alone = Execution(runner, Reporter(), Replanner())
    with pytest.raises(RouterError):
        await collect(alone.generate(planned(plan=cheaper), context))
    assert context.bill.plan == ("plan-1", "second is within the budget")
    with pytest.raises(RouterError):
        await collect(execution.generate(planned(), context))
    assert context.bill.plan == ("plan-2", "third is left")


class Placed(Runner):
    """Inference: a script per place."""

    def infer(self, candidate, request, context, begun=None):
        return play(self.scripts[candidate.address], self.log)


async def test_what_is_too_long_in_one_place_is_so_only_where_the_context_is_no_larger():
    places = [Candidate("first", "v1", f"host:{context}", context) for context in (1024, 512, 8192)]
    too_long = error(Reason.CONTEXT_TOO_LONG)
    runner = Placed(**{"host:1024": [too_long], "host:8192": ANSWER})
    plan = Plan("plan-4", tuple(places))
    stream = Execution(runner, Reporter(), Replanner()).generate(planned(plan=plan), CONTEXT)
    events = await collect(stream)
    assert text(events) == "Paris"
    assert [one.address for one in events[-1].attempts] == ["host:1024", "host:8192"]


async def test_when_nobody_is_left_the_last_refusal_surfaces_with_its_numbers():
    numbers = {"prompt_tokens": "9000", "context": "8192"}
    too_long = error(Reason.CONTEXT_TOO_LONG, metadata=numbers)
    replanner = Replanner(error(Reason.NO_CANDIDATE))
    with pytest.raises(RouterError) as failure:
        await execute(Runner(first=[error()], second=[too_long]), None, replanner)
    assert failure.value is too_long
    assert failure.value.metadata == {**numbers, "attempts": "2"}


async def test_a_selector_that_plans_with_the_same_again_is_not_asked_for_ever():
    runner = Runner(first=[error()], second=[error()])
    ample = Retrying(policy=BudgetPolicy(per_second=100))
    stream = Execution(runner, Reporter(), Replanner(PLAN), retrying=ample)
    with pytest.raises(RouterError) as failure:
        await collect(stream.generate(planned(), CONTEXT))
    assert failure.value.metadata["attempts"] == "16"


@pytest.mark.parametrize(
    "script", [[*ANSWER[:2], error(Reason.SLOW_READER)], [error(Reason.INVALID_ARGUMENT)]]
)
async def test_no_new_plan_is_asked_for_what_it_cannot_mend(script):
    replanner = Replanner(LATER)
    with pytest.raises(RouterError):
        await execute(Runner(first=script, second=OTHER), None, replanner)
    assert replanner.asked == []


GONE = Plan("plan-3", (replace(FIRST, away="one:1 does not answer"),), "only kept answers")


async def test_models_that_are_away_are_not_called_and_told_with_a_time_to_ask_again():
    runner, reporter = Runner(first=ANSWER), Reporter()
    stream = Execution(runner, reporter, Replanner(LATER)).generate(planned(plan=GONE), CONTEXT)
    with pytest.raises(RouterError, match="first cannot serve now: one:1 does not") as failure:
        await collect(stream)
    assert failure.value.reason is Reason.MODEL_UNAVAILABLE
    assert failure.value.retry_after == 1.0
    assert (runner.calls, reporter.reports) == ([], [])


async def test_a_new_plan_of_models_that_are_away_is_none():
    runner = Runner(first=[error()], second=[error(Reason.QUEUE_FULL)])
    with pytest.raises(RouterError) as failure:
        await execute(runner, None, Replanner(GONE))
    assert failure.value.reason is Reason.QUEUE_FULL
