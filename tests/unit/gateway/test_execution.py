"""FIRST_OF: failover before the first token, the truth after it."""

import asyncio
from contextlib import aclosing

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    FIRST,
    GREEDY,
    Reporter,
    Runner,
    answer_events,
    collect,
    error,
    planned,
    started,
    text,
)

from llmrouter.common.errors import RULES, Reason, Retry, RouterError
from llmrouter.common.generation import Delta, Finished, Started, Timings, Usage
from llmrouter.gateway.execution import Execution

ANSWER = answer_events()
OTHER = answer_events("second", "v2")
FAILS_OVER = [reason for reason in Reason if RULES[reason].retry is not Retry.NEVER]
SURFACES = [reason for reason in Reason if RULES[reason].retry is Retry.NEVER]


async def execute(runner, reporter=None):
    return await collect(Execution(runner, reporter or Reporter()).generate(planned(), CONTEXT))


async def test_the_primary_answers_alone_and_its_reason_is_the_plans():
    runner = Runner(first=ANSWER, second=OTHER)
    events = await execute(runner)
    assert runner.calls == ["first"]
    assert started(events) == Started(
        "request-1", "first", "v1", "first scores best", plan_id="plan-1"
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


async def test_a_failure_after_the_first_token_surfaces():
    runner = Runner(first=[*ANSWER[:2], error()], second=OTHER)
    with pytest.raises(RouterError) as failure:
        await execute(runner)
    assert failure.value.reason is Reason.UPSTREAM_UNAVAILABLE
    assert runner.calls == ["first"]


async def test_when_every_model_fails_the_last_error_surfaces_with_the_number_tried():
    runner = Runner(first=[error()], second=[error(Reason.MODEL_UNAVAILABLE)])
    with pytest.raises(RouterError) as failure:
        await execute(runner)
    assert failure.value.reason is Reason.MODEL_UNAVAILABLE
    assert failure.value.metadata["attempts"] == "2"


async def test_a_stream_that_ends_early_is_a_failure():
    runner = Runner(first=ANSWER[:-1], second=OTHER)
    with pytest.raises(RouterError, match="before the answer was complete"):
        await execute(runner)
    silent = Runner(first=ANSWER[:1], second=OTHER)
    assert started(await execute(silent)).model == "second"


async def test_outcomes_are_reported_with_what_was_measured():
    slow = [ANSWER[0], 0.02, Delta(0, "a", 1), 0.02, Delta(0, "b", 2)]
    reporter = Reporter()
    await execute(Runner(first=[*slow, Finished(Usage(3, 3))]), reporter)
    [(plan_id, (outcome,))] = reporter.reports
    assert plan_id == "plan-1"
    assert outcome.candidate == FIRST
    assert outcome.error_reason == ""
    # Never less than what passed; a busy machine may make it more.
    assert 0.019 <= outcome.time_to_first_token < 10
    assert 0.009 <= outcome.time_per_token < 10
    assert outcome.usage == Usage(3, 3)
    assert outcome.prompt_bytes == GREEDY.prompt_bytes


async def test_how_long_a_first_token_was_waited_for_in_vain_is_told():
    reporter = Reporter()
    stream = Execution(Runner(first=[ANSWER[0], 60]), reporter).generate(planned(), CONTEXT)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await collect(stream)
    await stream.aclose()
    [(_, (outcome,))] = reporter.reports
    assert (outcome.error_reason, outcome.time_to_first_token) == ("CANCELLED", None)
    assert 0.04 <= outcome.waited < 10
    await execute(Runner(first=ANSWER), reporter)
    assert reporter.reports[1][1][0].waited is None


async def test_the_engines_own_clock_tells_the_time_per_token_where_it_is_known():
    reporter = Reporter()
    finished = Finished(Usage(3, 6), Timings(decode=0.5))
    await execute(Runner(first=[ANSWER[0], Delta(0, "a", 6), finished]), reporter)
    assert reporter.reports[0][1][0].time_per_token == pytest.approx(0.1)


async def test_choices_that_run_side_by_side_do_not_look_like_one_faster_stream():
    reporter = Reporter()
    finished = Finished(Usage(3, 12), Timings(decode=0.5))
    deltas = [Delta(0, "a", 6), Delta(1, "b", 6)]
    await execute(Runner(first=[ANSWER[0], *deltas, finished]), reporter)
    assert reporter.reports[0][1][0].time_per_token == pytest.approx(0.1)


async def test_every_failed_attempt_is_reported():
    reporter = Reporter()
    await execute(Runner(first=[error(Reason.QUEUE_FULL)], second=OTHER), reporter)
    assert [one.error_reason for one in reporter.reports[0][1]] == ["QUEUE_FULL", ""]


async def test_a_reader_that_leaves_closes_the_model_and_is_reported_as_cancelled():
    runner, reporter = Runner(first=ANSWER), Reporter()
    stream = Execution(runner, reporter).generate(planned(), CONTEXT)
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
