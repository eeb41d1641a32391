"""Outcomes reported over the wire move statistics, breakers and costs, each once."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.unit.selector.asking import (
    HELD,
    INT4,
    INT8,
    model_of,
    outcome_of,
    plan_of,
    report,
    service,
    wish,
)
from tests.unit.selector.building import Clock, selector_of

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire import duration
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import BreakerSettings, DecisionSettings
from llmrouter.v1 import generation_pb2 as generation
from llmrouter.v1 import selector_pb2 as pb


async def test_outcomes_move_the_statistics_of_the_version_and_of_its_endpoint():
    one = service()
    for _ in range(50):
        counted = await report(
            one,
            time_to_first_token=duration(0.5),
            time_per_token=duration(0.01),
            queue_time=duration(0.1),
            usage=generation.Usage(
                prompt_tokens=300, completion_tokens=9, cached_prompt_tokens=100
            ),
            prompt_bytes=1500,
        )
        assert counted == 1
    model = await model_of(one)
    statistics = model.statistics
    assert (statistics.attempts, statistics.failures) == (50, 0)
    assert statistics.time_to_first_token.ToMilliseconds() == 500
    assert statistics.tokens_per_second == pytest.approx(100)
    assert 4.9 < statistics.bytes_per_token < 5
    assert statistics.first_token.evidence == pytest.approx(50)
    assert statistics.first_token.p99.ToMilliseconds() == pytest.approx(500, rel=0.05)
    assert statistics.queue.mean.ToMilliseconds() == 100
    assert statistics.recent.attempts == 50
    assert statistics.cost == pytest.approx(50 * 309 * 0.02e-6)
    assert (statistics.prompt_tokens, statistics.completion_tokens) == (15_000, 450)
    (endpoint,) = model.endpoints
    assert (endpoint.address, endpoint.statistics.attempts) == ("host:1", 50)
    assert not (await model_of(one, INT4)).statistics.HasField("time_to_first_token")


async def test_an_outcome_counts_once_and_only_under_a_plan_that_named_its_endpoint():
    one = service()
    plan = await plan_of(one, model=INT8)
    foreign = (
        outcome_of(address="elsewhere:1"),
        outcome_of(model=INT4),
        outcome_of(version="v9"),
    )
    request = pb.ReportOutcomeRequest(plan_id=plan.id, outcomes=[*foreign, outcome_of()])
    assert (await one.ReportOutcome(request, None)).counted == 1
    assert (await one.ReportOutcome(request, None)).counted == 0
    assert (await model_of(one)).statistics.attempts == 1
    with pytest.raises(RouterError) as refused:
        await one.ReportOutcome(
            pb.ReportOutcomeRequest(plan_id="never issued", outcomes=[outcome_of()]), None
        )
    assert refused.value.reason is Reason.UNKNOWN_PLAN


async def test_a_plan_can_be_reported_on_for_its_time_only():
    clock = Clock()
    one = SelectorServicer(selector_of(HELD, clock, decisions=DecisionSettings(report_seconds=10)))
    old = await plan_of(one, model=INT8)
    clock.now += 11
    with pytest.raises(RouterError, match="is forgotten"):
        await one.ReportOutcome(
            pb.ReportOutcomeRequest(plan_id=old.id, outcomes=[outcome_of()]), None
        )


@pytest.mark.parametrize("reason", list(Reason))
async def test_only_the_models_own_faults_count_as_failures(reason):
    one = service()
    await report(one, error_reason=reason.value)
    expected = {
        "GENERATION_FAILED", "MODEL_UNAVAILABLE", "UPSTREAM_UNAVAILABLE", "ANSWER_BROKEN_OFF",
        "INTERNAL",
    }  # fmt: skip
    statistics = (await model_of(one)).statistics
    assert (statistics.failures == 1) == (reason.value in expected)
    assert dict(statistics.errors) == {reason.value: 1}


async def test_what_counts_as_a_failure_is_configured():
    one = service(breaker=BreakerSettings(failure_classes=("QUEUE_FULL",)))
    await report(one, error_reason="QUEUE_FULL")
    await report(one, error_reason="INTERNAL")
    assert (await model_of(one)).statistics.failures == 1
    with pytest.raises(ValidationError):
        BreakerSettings(failure_classes=("INVALID_ARGUMENT",))


async def test_faults_of_callers_neither_raise_nor_dilute_the_error_rate():
    one = service()
    await report(one, error_reason="INTERNAL")
    before = (await model_of(one)).statistics.error_rate
    for _ in range(10):
        await report(one, error_reason="CANCELLED")
    assert (await model_of(one)).statistics.error_rate == before


async def test_failures_move_the_choice_and_open_the_breaker_which_can_be_reset():
    one = service()
    first = (await plan_of(one)).candidates[0].model
    for _ in range(5):
        await report(one, model=first, error_reason="GENERATION_FAILED")
    plan = await plan_of(one)
    assert first not in {candidate.model for candidate in plan.candidates}
    assert {one.model: one.reason for one in plan.exclusions}[first] == "1 circuit breaker is open"
    (breaker,) = (await one.ListBreakers(pb.ListBreakersRequest(), None)).breakers
    assert (breaker.model, breaker.state) == (first, pb.BREAKER_STATE_OPEN)
    assert (breaker.failures, breaker.last_error) == (5, "GENERATION_FAILED")
    assert breaker.retry_in.ToSeconds() == 60
    assert (await model_of(one, first)).endpoints[0].breaker == pb.BREAKER_STATE_OPEN
    for meant, closed in (({"model": "other"}, 0), ({"address": "host:1"}, 1)):
        answer = await one.ResetBreakers(pb.ResetBreakersRequest(**meant), None)
        assert answer.closed == closed
    assert not (await one.ListBreakers(pb.ListBreakersRequest(), None)).breakers


async def test_a_model_that_works_again_is_probed_and_gets_its_traffic_back():
    clock = Clock()
    one = SelectorServicer(selector_of(HELD, clock))
    first = (await plan_of(one)).candidates[0].model
    for _ in range(5):
        await report(one, model=first, error_reason="GENERATION_FAILED")
    clock.now += 60
    for _ in range(3):
        plan = await plan_of(one)
        assert plan.candidates[0].model == first  # what failed before does not count
        assert (await plan_of(one)).candidates[0].model != first  # one probe at once
        told = pb.ReportOutcomeRequest(plan_id=plan.id, outcomes=[outcome_of(model=first)])
        await one.ReportOutcome(told, None)
    model = await model_of(one, first)
    assert model.endpoints[0].breaker == pb.BREAKER_STATE_CLOSED
    assert model.statistics.error_rate == 0
    assert (await plan_of(one)).candidates[0].model == first


async def test_a_model_that_hangs_loses_its_place_though_nobody_says_that_it_failed():
    one = service(default_strategy="speed-priority")
    first = (await plan_of(one)).candidates[0].model
    for reason in ("CANCELLED", "DEADLINE_EXCEEDED") * 3:
        await report(one, model=first, error_reason=reason, waited=duration(60))
    assert (await plan_of(one)).candidates[0].model != first


async def test_an_endpoint_that_refused_since_it_drains_is_left_alone_until_the_next_looks():
    clock = Clock()
    one = SelectorServicer(selector_of(HELD, clock, refresh_interval_seconds=5))
    await report(one, error_reason="DRAINING")
    assert (await plan_of(one, model=INT8)).candidates[0].away == "every replica is draining"
    clock.now += 10
    assert await plan_of(one, model=INT8)
    assert not (await one.ListBreakers(pb.ListBreakersRequest(), None)).breakers


async def test_what_was_asked_of_an_endpoint_weighs_until_its_outcome_is_known():
    one = service()
    plan = await plan_of(one, model=INT8)
    assert (await model_of(one)).endpoints[0].outstanding_tokens > 256
    await one.ReportOutcome(pb.ReportOutcomeRequest(plan_id=plan.id, outcomes=[outcome_of()]), None)
    assert (await model_of(one)).endpoints[0].outstanding_tokens == 0


@pytest.mark.parametrize("count", [0, 65])
async def test_a_report_of_none_or_too_many_outcomes_is_refused(count):
    request = pb.ReportOutcomeRequest(outcomes=[pb.Outcome()] * count)
    with pytest.raises(RouterError, match=f"outcomes: {count} given"):
        await service().ReportOutcome(request, None)


async def test_costs_are_told_by_model_tenant_and_user():
    one = service()
    request = wish(model=INT8)
    request.context.user = "ada-lovelace"
    plan = (await one.Select(request, None)).plan
    usage = generation.Usage(prompt_tokens=1000, completion_tokens=500)
    await one.ReportOutcome(
        pb.ReportOutcomeRequest(plan_id=plan.id, outcomes=[outcome_of(usage=usage)]), None
    )
    costs = (await one.ListCosts(pb.ListCostsRequest(), None)).costs
    assert {(cost.kind, cost.name) for cost in costs} == {
        ("model", INT8),
        ("tenant", "default"),
        ("user", "default/ada-lovelace"),
    }
    for cost in costs:
        assert cost.actual == pytest.approx(1500 * 0.02e-6)
        assert cost.estimated == pytest.approx(plan.candidates[0].estimated_cost)
        assert (cost.plans, cost.attempts) == (1, 1)
    models = (await one.ListCosts(pb.ListCostsRequest(kind="model"), None)).costs
    assert [cost.kind for cost in models] == ["model"]
    with pytest.raises(RouterError, match="kind"):
        await one.ListCosts(pb.ListCostsRequest(kind="planet"), None)


async def test_what_a_version_answered_last_is_paid_for_though_it_has_gone():
    held = [*HELD]
    one = service(lambda: tuple(held))
    plan = await plan_of(one, model=INT8)
    held[:] = [served for served in held if served.name != INT8]
    told = outcome_of(usage=generation.Usage(prompt_tokens=1000, completion_tokens=500))
    await one.ReportOutcome(pb.ReportOutcomeRequest(plan_id=plan.id, outcomes=[told]), None)
    costs = (await one.ListCosts(pb.ListCostsRequest(kind="model"), None)).costs
    assert [(cost.name, cost.attempts) for cost in costs] == [(INT8, 1)]
    assert costs[0].actual == pytest.approx(1500 * 0.02e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_to_first_token": duration(1e9)},
        {"time_per_token": duration(-1)},
        {"queue_time": duration(1e9)},
        {"waited": duration(-1), "error_reason": "CANCELLED"},
        {"prompt_bytes": 1 << 40},
        {"usage": generation.Usage(prompt_tokens=1, cached_prompt_tokens=2)},
    ],
)
async def test_numbers_that_cannot_be_are_refused_and_teach_nothing(wrong):
    one = service()
    name = next(iter(wrong))
    with pytest.raises(RouterError, match=name) as refused:
        await report(one, **wrong)
    assert refused.value.reason is Reason.INVALID_ARGUMENT
    assert (await model_of(one)).statistics.attempts == 0
