"""The links in front: accounting, deadline, admission, planning; and reporting."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from tests.support.waiting import until
from tests.unit.gateway.doubles import (
    CONTEXT,
    FIRST,
    GREEDY,
    PLAN,
    Following,
    Selector,
    answer_events,
    collect,
    error,
)

from llmrouter.common.bill import Bill
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest
from llmrouter.gateway import reporting
from llmrouter.gateway.accounting import Accounting
from llmrouter.gateway.admission import Admission
from llmrouter.gateway.deadline import Deadline
from llmrouter.gateway.plan import Outcome, Plan
from llmrouter.gateway.planning import Planning
from llmrouter.gateway.record import LONGEST_ASKED
from llmrouter.gateway.reporting import BackgroundReporter


async def account(following, context=CONTEXT):
    with capture_logs() as lines:
        try:
            await collect(Accounting(following).generate(GREEDY, context))
        except Exception as failure:  # noqa: BLE001 - handed to the test
            return [line for line in lines if line["event"] == "request"], failure
    return [line for line in lines if line["event"] == "request"], None


async def test_an_answered_request_leaves_one_line_with_its_numbers_and_without_its_text():
    [line], failure = await account(Following(*answer_events()))
    assert failure is None
    assert (line["outcome"], line["request_id"], line["model"]) == ("OK", "request-1", "first")
    assert (line["prompt_tokens"], line["completion_tokens"]) == (3, 2)
    assert 0 <= line["ttft_seconds"] <= line["total_seconds"]
    assert not any(secret in str(line) for secret in ("What is it", "Paris", "Par"))


async def test_a_refused_request_is_accounted_for_with_its_reason_and_attempts():
    refusal = error(Reason.QUEUE_FULL, metadata={"attempts": "2"})
    [line], failure = await account(Following(refusal))
    assert failure is refusal
    assert (line["outcome"], line["attempts"]) == ("QUEUE_FULL", 2)


def recorded(selector, *script, model="first", deadline=None):
    """Begin a request for a model by its name; returns its task, and where the record will be."""
    seen = []
    chain = Admission(Deadline(Planning(selector, Following(*script))))
    request = replace(GREEDY, routing=replace(GREEDY.routing, model=model))
    context = replace(CONTEXT, bill=Bill(), deadline=deadline)
    accounting = Accounting(chain, [SimpleNamespace(ended=seen.append)])
    return asyncio.create_task(collect(accounting.generate(request, context))), seen


async def test_a_request_that_failed_under_a_plan_is_accounted_for_with_it_and_who_was_asked_for():
    task, seen = recorded(Selector(), error(Reason.UPSTREAM_UNAVAILABLE))
    with pytest.raises(RouterError):
        await task
    [told] = seen
    assert (told.plan_id, told.reason, told.asked) == (PLAN.id, PLAN.reason, "first")
    assert (told.model, told.outcome) == ("", "UPSTREAM_UNAVAILABLE")


async def test_a_request_whose_model_hung_past_its_deadline_is_accounted_for_with_its_plan():
    task, seen = recorded(Selector(), 60, deadline=time.monotonic() + 0.05)
    with pytest.raises(RouterError):
        await task
    [told] = seen
    assert (told.plan_id, told.reason) == (PLAN.id, PLAN.reason)
    assert told.outcome == "DEADLINE_EXCEEDED"


async def test_a_request_that_was_given_up_before_its_answer_began_is_accounted_for_with_its_plan():
    selector = Selector()
    task, seen = recorded(selector, 60)
    await until(lambda: selector.asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [told] = seen
    assert (told.plan_id, told.reason, told.outcome) == (PLAN.id, PLAN.reason, "CANCELLED")


async def test_a_request_that_got_no_plan_is_accounted_for_without_one():
    task, seen = recorded(Selector(error(Reason.UNKNOWN_MODEL)))
    with pytest.raises(RouterError):
        await task
    assert (seen[0].plan_id, seen[0].reason) == ("", "")


async def test_of_a_name_that_is_refused_for_its_length_the_record_keeps_the_beginning_alone():
    task, seen = recorded(Selector(), model="m" * 100_000)
    with pytest.raises(RouterError):
        await task
    assert seen[0].asked == "m" * LONGEST_ASKED


@pytest.mark.parametrize("reason", [Reason.DEADLINE_EXCEEDED, Reason.ANSWER_BROKEN_OFF])
async def test_an_answer_that_breaks_off_is_accounted_for_as_far_as_it_came(reason):
    first, *rest = answer_events()
    [line], _ = await account(Following(replace(first, prompt_tokens=31), *rest[:2], error(reason)))
    assert (line["outcome"], line["attempts"]) == (reason.value, 1)
    assert (line["prompt_tokens"], line["completion_tokens"]) == (31, 2)


async def test_a_defect_is_accounted_for_as_internal():
    [line], failure = await account(Following(ValueError("secret")))
    assert isinstance(failure, ValueError)
    assert line["outcome"] == "INTERNAL"
    assert "secret" not in str(line)


@pytest.mark.parametrize(("deadline", "outcome"), [(None, "CANCELLED"), (0, "DEADLINE_EXCEEDED")])
async def test_a_reader_that_left_is_told_from_one_whose_time_was_up(deadline, outcome):
    first, *rest = answer_events()
    following = Following(replace(first, prompt_tokens=31), *rest)
    with capture_logs() as lines:
        stream = Accounting(following).generate(GREEDY, replace(CONTEXT, deadline=deadline))
        async with aclosing(stream) as events:
            await anext(events)
            await anext(events)
    assert lines[-1]["outcome"] == outcome
    assert (lines[-1]["attempts"], lines[-1]["completion_tokens"]) == (1, 1)
    assert lines[-1]["prompt_tokens"] == 31
    assert following.log == ["closed"]


async def test_a_request_whose_deadline_passes_ends_with_deadline_exceeded_and_is_closed():
    following = Following(answer_events()[0], 60)
    context = replace(CONTEXT, deadline=time.monotonic() + 0.03)
    with pytest.raises(RouterError) as failure:
        await collect(Deadline(following).generate(GREEDY, context))
    assert failure.value.reason is Reason.DEADLINE_EXCEEDED
    assert following.log == ["closed"]


async def test_a_deadline_never_cancels_the_reader_between_events():
    following = Following(*answer_events())
    context = replace(CONTEXT, deadline=time.monotonic() + 0.02)
    async with aclosing(Deadline(following).generate(GREEDY, context)) as events:
        await anext(events)
        await asyncio.sleep(0.04)
    assert following.log == ["closed"]


async def test_a_deadline_that_passes_while_the_reader_has_an_event_is_told_instead_of_the_next():
    following = Following(*answer_events())
    context = replace(CONTEXT, deadline=time.monotonic() + 0.02)
    stream = Deadline(following).generate(GREEDY, context)
    await anext(stream)
    await asyncio.sleep(0.05)
    with pytest.raises(RouterError) as late:
        await anext(stream)
    assert (late.value.reason, following.log) == (Reason.DEADLINE_EXCEEDED, ["closed"])


async def test_who_is_cancelled_as_the_deadline_passes_is_cancelled():
    task = None

    class Cancelling:
        async def generate(self, request, context):
            task.get_loop().call_soon(task.cancel)
            await asyncio.sleep(10)
            yield

    async def read():
        context = replace(CONTEXT, deadline=time.monotonic())
        await collect(Deadline(Cancelling()).generate(GREEDY, context))

    task = asyncio.create_task(read())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_a_timeout_of_someone_else_is_not_told_as_the_requests_deadline():
    with pytest.raises(TimeoutError):
        await collect(Deadline(Following(TimeoutError())).generate(GREEDY, CONTEXT))


async def test_an_invalid_request_goes_no_further():
    following = Following(*answer_events())
    with pytest.raises(RouterError) as failure:
        await collect(Admission(following).generate(GenerationRequest(), CONTEXT))
    assert failure.value.violations[0].field == "prompt"
    assert following.calls == []


async def test_a_valid_request_is_admitted():
    assert await collect(Admission(Following(*answer_events())).generate(GREEDY, CONTEXT))


async def test_planning_hands_the_plan_on_with_the_request():
    following, selector = Following(*answer_events()), Selector()
    events = await collect(Planning(selector, following).generate(GREEDY, CONTEXT))
    [(planned, _)] = following.calls
    assert (planned.request, planned.plan) == (GREEDY, PLAN)
    assert events == answer_events()


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (error(Reason.UNKNOWN_STRATEGY), Reason.UNKNOWN_STRATEGY),
        (Plan("p", ()), Reason.NO_CANDIDATE),
    ],
)
async def test_without_a_plan_nothing_is_generated(plan, reason):
    following = Following(*answer_events())
    with pytest.raises(RouterError) as failure:
        await collect(Planning(Selector(plan), following).generate(GREEDY, CONTEXT))
    assert failure.value.reason is reason
    assert following.calls == []


@pytest.mark.parametrize("link", [Accounting, Deadline, Admission])
async def test_closing_a_link_closes_what_is_behind_it(link):
    following = Following(*answer_events())
    async with aclosing(link(following).generate(GREEDY, CONTEXT)) as events:
        await anext(events)
    assert following.log == ["closed"]


class OutcomeSink:
    def __init__(self, failure=None):
        self.taken = []
        self.failure = failure

    async def report_outcome(self, plan_id, outcomes, context):
        await asyncio.sleep(0.01)
        if self.failure:
            raise self.failure
        self.taken.append((plan_id, outcomes))


async def test_a_report_does_not_make_its_caller_wait_and_arrives():
    sink = OutcomeSink()
    reporter = BackgroundReporter(sink)
    reporter.report("plan-1", (Outcome(candidate=FIRST),), CONTEXT)
    assert sink.taken == []
    await reporter.wait()
    assert sink.taken == [("plan-1", (Outcome(candidate=FIRST),))]


async def test_a_selector_that_takes_no_reports_harms_no_one():
    reporter = BackgroundReporter(OutcomeSink(error()))
    reporter.report("plan-1", (Outcome(candidate=FIRST),), CONTEXT)
    await reporter.wait()


async def test_reports_on_their_way_arrive_before_the_gateway_ends_but_it_waits_for_none_for_long(
    monkeypatch,
):
    monkeypatch.setattr(reporting, "_CLOSE_SECONDS", 0.05)
    sink = OutcomeSink()
    reporter = BackgroundReporter(sink)
    reporter.report("plan-1", (), CONTEXT)
    await reporter.close()
    assert len(sink.taken) == 1
    stuck = BackgroundReporter(HangingSink())
    stuck.report("plan-2", (), CONTEXT)
    await stuck.close()
    await stuck.wait()  # it was cancelled


class HangingSink:
    async def report_outcome(self, plan_id, outcomes, context):
        await asyncio.sleep(60)
