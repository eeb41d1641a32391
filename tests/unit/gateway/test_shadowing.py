"""Shadows answer for nobody: beside the request, never in its way, and told to the selector."""

import asyncio
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    PLAN,
    Following,
    Reporter,
    Runner,
    answer_events,
    collect,
    error,
    planned,
    text,
)

from llmrouter.common.errors import RouterError
from llmrouter.gateway.plan import Candidate
from llmrouter.gateway.shadowing import _MAX_AT_ONCE, Shadowing

SHADOW = Candidate("next", "v2", "one:1")
SHADOWED = planned(plan=replace(PLAN, shadows=(SHADOW,)))


async def test_a_shadow_answers_beside_the_request_and_its_outcome_is_told():
    runner, reporter = Runner(next=answer_events("next", "v2", ("other",))), Reporter()
    link = Shadowing(runner, reporter, Following(*answer_events()))
    assert text(await collect(link.generate(SHADOWED, CONTEXT))) == "Paris"
    await link.wait()
    [(plan_id, (outcome,))] = reporter.reports
    assert (plan_id, outcome.candidate, outcome.error_reason) == (PLAN.id, SHADOW, "")
    assert outcome.usage.completion_tokens == 1


async def test_a_plan_without_shadows_has_none():
    runner, reporter = Runner(), Reporter()
    link = Shadowing(runner, reporter, Following(*answer_events()))
    await collect(link.generate(planned(), CONTEXT))
    assert not runner.calls


async def test_a_shadow_that_fails_or_is_slow_harms_nobody():
    runner, reporter = Runner(next=[error()]), Reporter()
    link = Shadowing(runner, reporter, Following(*answer_events()))
    assert text(await collect(link.generate(SHADOWED, CONTEXT))) == "Paris"
    await link.wait()
    assert reporter.reports[0][1][0].error_reason == "UPSTREAM_UNAVAILABLE"
    runner.scripts["next"] = [60]
    context = replace(CONTEXT, deadline=asyncio.get_running_loop().time() + 0.05)
    assert text(await collect(link.generate(SHADOWED, context))) == "Paris"
    await link.wait()
    assert reporter.reports[1][1][0].error_reason == "CANCELLED"


async def test_what_still_runs_at_the_end_is_ended_and_told():
    runner, reporter = Runner(next=[60]), Reporter()
    link = Shadowing(runner, reporter, Following(*answer_events()))
    await collect(link.generate(SHADOWED, CONTEXT))
    await asyncio.sleep(0.01)  # it begins
    await link.close()
    assert reporter.reports[0][1][0].error_reason == "CANCELLED"


async def test_the_error_of_the_request_itself_passes_and_the_shadow_goes_on():
    runner, reporter = Runner(next=answer_events("next", "v2")), Reporter()
    link = Shadowing(runner, reporter, Following(error()))
    with pytest.raises(RouterError):
        await collect(link.generate(SHADOWED, CONTEXT))
    await link.wait()
    assert len(reporter.reports) == 1


async def test_past_a_bound_shadows_are_left_out():
    runner, reporter = Runner(next=[0.05, *answer_events("next", "v2")]), Reporter()
    link = Shadowing(runner, reporter, Following(*answer_events()))
    for _ in range(_MAX_AT_ONCE + 5):
        await collect(link.generate(SHADOWED, CONTEXT))
    await link.wait()
    assert len(runner.calls) == _MAX_AT_ONCE
