"""The selector on the wire: plans, outcomes and the catalog, with bounds on every field."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError
from tests.unit.selector.building import Clock, selector_of, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire import duration
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import (
    BreakerSettings,
    DecisionSettings,
    SelectorSettings,
    StrategyWeights,
)
from llmrouter.v1 import generation_pb2 as generation
from llmrouter.v1 import selector_pb2 as pb

INT8, INT4, FP32 = (f"smollm2-135m-instruct-{kind}" for kind in ("int8", "int4", "fp32"))
HELD = (served(INT8), served(INT4, quality_ratio=1 / 1.12), served(FP32))


def service(held=HELD, **settings):
    return SelectorServicer(selector_of(held, **settings))


def wish(**routing):
    return pb.SelectRequest(
        context=generation.RequestContext(request_id="r", tenant="default"),
        routing=generation.RoutingWishes(**routing),
        prompt_bytes=120,
    )


def outcome_of(**outcome):
    return pb.Outcome(**{"model": INT8, "version": "v1", "address": "host:1", **outcome})


async def report(one, **outcome):
    """Ask for a plan of the model and report how it went; return how many outcomes counted."""
    told = outcome_of(**outcome)
    plan = await plan_of(one, model=told.model)
    request = pb.ReportOutcomeRequest(plan_id=plan.id, outcomes=[told])
    return (await one.ReportOutcome(request, None)).counted


async def plan_of(one, **routing):
    return (await one.Select(wish(**routing), None)).plan


async def model_of(one, name=INT8):
    models = (await one.ListCatalog(pb.ListCatalogRequest(), None)).models
    return next(model for model in models if model.name == name)


async def test_a_plan_has_a_primary_and_fallbacks_each_explained():
    plan = await plan_of(service())
    assert plan.id
    assert plan.mode == pb.PLAN_MODE_FIRST_OF
    assert plan.strategy == "balanced"
    assert len(plan.candidates) == 3
    assert {part.name for part in plan.candidates[0].components} == {
        "speed",
        "quality",
        "cost",
        "compatibility",
    }
    assert plan.candidates[0].address == "host:1"
    assert plan.candidates[0].estimated_prompt_tokens > 0


async def test_the_bare_name_of_the_demo_model_leads_to_its_8_bit_version():
    plan = await plan_of(service(), model="smollm2-135m-instruct")
    assert [one.model for one in plan.candidates] == [INT8]


async def test_every_plan_has_an_id_of_its_own_and_the_same_policy():
    one = service()
    first, second = await plan_of(one), await plan_of(one)
    assert first.id != second.id
    assert first.policy_version == second.policy_version
    weights = StrategyWeights(speed=1)
    assert (await plan_of(service(balanced=weights))).policy_version != first.policy_version


async def test_configured_weights_reach_the_plan():
    plan = await plan_of(service(balanced=StrategyWeights(speed=0.7)))
    weights = {part.name: part.weight for part in plan.candidates[0].components}
    assert weights["speed"] == 0.7


@pytest.mark.parametrize(
    ("routing", "reason"),
    [
        ({"model": "nobody"}, Reason.UNKNOWN_MODEL),
        ({"strategy": "luck"}, Reason.UNKNOWN_STRATEGY),
        ({"min_quality": 1.0}, Reason.NO_CANDIDATE),
        ({"min_quality": math.nan}, Reason.INVALID_ARGUMENT),
        ({"min_quality": -0.1}, Reason.INVALID_ARGUMENT),
        ({"max_cost": math.inf}, Reason.INVALID_ARGUMENT),
        ({"max_cost": -1.0}, Reason.INVALID_ARGUMENT),
        ({"model": "x" * 257}, Reason.INVALID_ARGUMENT),
        ({"strategy": "x" * 65}, Reason.INVALID_ARGUMENT),
        ({"session": "x" * 129}, Reason.INVALID_ARGUMENT),
        ({"tags": ["x"] * 17}, Reason.INVALID_ARGUMENT),
        ({"tags": [""]}, Reason.INVALID_ARGUMENT),
        ({"tags": ["nowhere"]}, Reason.NO_CANDIDATE),
        ({"max_latency": duration(-1)}, Reason.INVALID_ARGUMENT),
        ({"max_latency": duration(1e6)}, Reason.INVALID_ARGUMENT),
        ({"max_time_to_first_token": duration(1e-6)}, Reason.NO_CANDIDATE),
    ],
)
async def test_wishes_that_cannot_be_met_are_refused_with_their_reason(routing, reason):
    with pytest.raises(RouterError) as caught:
        await plan_of(service(), **routing)
    assert caught.value.reason is reason


async def test_who_has_failed_a_request_is_not_planned_with_again():
    one = service(held=(*HELD, served(INT8, address="host:2")))
    request = wish()
    for model, address in ((INT8, "host:1"), (INT4, "")):
        request.tried.add(model=model, version="v1", address=address)
    plan = (await one.Select(request, None)).plan
    assert {(each.model, each.address) for each in plan.candidates} == {
        (INT8, "host:2"),
        (FP32, "host:1"),
    }
    [tried] = [each.reason for each in plan.exclusions if each.model == INT4]
    assert tried == "it has failed this request already"
    request.tried.extend([pb.TriedCandidate()] * 63)
    with pytest.raises(RouterError, match="tried: 65 given; at most 64"):
        await one.Select(request, None)


async def test_a_long_prompt_to_one_model_teaches_those_with_the_same_tokenizer():
    held = [served(INT8, tokenizer="tok"), served(FP32, tokenizer="tok"), served(INT4)]
    one = service(held=tuple(held))
    usage = generation.Usage(prompt_tokens=3000, completion_tokens=9)
    for _ in range(50):
        await report(one, usage=usage, prompt_bytes=9000)
    models = [await model_of(one, name) for name in (INT8, FP32, INT4)]
    learned = [model.statistics.bytes_per_token for model in models]
    assert learned == [pytest.approx(3, rel=0.05), learned[0], 4.0]


async def test_a_model_that_is_away_is_planned_with_as_such_and_listed_as_served_by_nobody():
    one = service(held=(served(INT8, "v1", ready=False, silent=True),))
    [candidate] = (await plan_of(one, model=INT8)).candidates
    assert (candidate.version, candidate.away) == ("v1", "host:1 does not answer")
    model = await model_of(one)
    assert (model.version, list(model.addresses), list(model.endpoints)) == ("", [], [])


async def test_every_version_is_listed_the_further_and_the_away_ones_too():
    held = (
        served(INT8, "v1", ready=False, silent=True),
        served(INT8, "v2", names=frozenset({"stable"})),
        served(INT8, "v3"),
        served(FP32, "v1"),
    )
    told = await service(held=held).ListVersions(pb.ListVersionsRequest(), None)
    assert [(one.model, one.version, one.away) for one in told.versions] == [
        (FP32, "v1", False),
        (INT8, "v1", True),
        (INT8, "v2", False),
        (INT8, "v3", False),
    ]


async def test_a_context_out_of_bounds_is_refused():
    request = wish()
    request.context.tenant = "x" * 129
    with pytest.raises(RouterError, match=r"context\.tenant is 129 bytes; it must be 1 to 128"):
        await service().Select(request, None)


async def test_sizes_out_of_bounds_are_refused():
    request = wish()
    request.prompt_bytes = (1 << 30) + 1
    with pytest.raises(RouterError, match="prompt_bytes"):
        await service().Select(request, None)
    request = wish()
    request.capabilities.extend(["chat"] * 17)
    with pytest.raises(RouterError, match="capabilities"):
        await service().Select(request, None)
    for name in ("question_key", "conversation_key"):
        request = wish()
        setattr(request, name, b"x" * 65)
        with pytest.raises(RouterError, match=name):
            await service().Select(request, None)


async def test_a_model_that_nobody_serves_is_unavailable_when_asked_for():
    with pytest.raises(RouterError) as caught:
        await plan_of(service(held=HELD[1:]), model=INT8)
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE


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
    await plan_of(one, model=INT8)
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
    for wish, closed in (({"model": "other"}, 0), ({"address": "host:1"}, 1)):
        answer = await one.ResetBreakers(pb.ResetBreakersRequest(**wish), None)
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
    with pytest.raises(RouterError, match="every replica is draining"):
        await plan_of(one, model=INT8)
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


def test_load_makes_no_new_catalog_but_what_changes_models_does():
    held = [served("a"), served("b")]
    selector = selector_of(lambda: tuple(held), catalog=())
    first = selector.live.view()
    held[0] = served("a", running=12, cache_bytes=5)
    assert selector.live.view() is first
    assert selector.live.loads.reported.tolist() == [12, 0]
    for changed in ({"step_seconds": 0.05}, {"draining": True}, {"slots": 3}):
        before = selector.live.view()
        held[0] = served("a", **changed)
        assert selector.live.view() is not before
    held[0] = served("a", address="other:1", waiting=3)
    assert selector.live.view().endpoints[0][2] == "other:1"
    assert selector.live.loads.waiting.tolist() == [3, 0]


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


async def test_a_brief_plan_leaves_out_what_explain_tells_later():
    one = service()
    request = wish()
    request.brief = True
    brief = (await one.Select(request, None)).plan
    assert not brief.exclusions
    assert not brief.candidates[0].components
    full = (await one.Explain(pb.ExplainRequest(plan_id=brief.id), None)).plan
    assert [c.model for c in full.candidates] == [c.model for c in brief.candidates]
    assert full.candidates[0].components
    assert full.exclusions
    assert (full.id, full.policy_version) == (brief.id, brief.policy_version)
    with pytest.raises(RouterError) as refused:
        await one.Explain(pb.ExplainRequest(plan_id="unknown"), None)
    assert refused.value.reason is Reason.UNKNOWN_PLAN


async def test_decisions_are_exported_as_json_without_text_or_user():
    one = service()
    request = wish()
    request.context.user = "ada-lovelace"
    plans = [(await one.Select(request, None)).plan.id for _ in range(3)]
    told = [
        json.loads(answer.record)
        async for answer in one.ExportDecisions(pb.ExportDecisionsRequest(limit=2), None)
    ]
    assert [record["plan_id"] for record in told] == plans[1:]
    assert "ada-lovelace" not in json.dumps(told)
    assert {"request", "draw", "candidates", "order", "policy_version"} <= set(told[0])


async def test_the_catalog_lists_models_strategies_and_the_default():
    catalog = await service(held=HELD[:1]).ListCatalog(pb.ListCatalogRequest(), None)
    coder = [f"qwen2.5-coder-0.5b-instruct-{one}" for one in ("fp32", "int4", "int8")]
    assert [model.name for model in catalog.models] == sorted(
        [INT8, INT4, FP32, "all-minilm-l6-v2-int8", *coder]
    )
    int8 = next(model for model in catalog.models if model.name == INT8)
    assert (int8.version, int8.context, list(int8.addresses)) == ("v1", 8192, ["host:1"])
    assert list(int8.aliases) == ["smollm2-135m-instruct"]
    assert list(int8.capabilities) == ["chat", "completion"]
    assert {model.version for model in catalog.models if model.name != INT8} == {""}
    assert "cost-optimized" in catalog.strategies
    assert catalog.default_strategy == "balanced"


def test_settings_refuse_what_cannot_be_meant():
    for wrong in ({"colour": 1}, {"fallbacks": -1}, {"refresh_interval_seconds": 0}):
        with pytest.raises(ValidationError):
            SelectorSettings(**wrong)
    with pytest.raises(RouterError, match="luck"):
        service(default_strategy="luck")


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


@pytest.mark.parametrize(
    ("catalog", "why"),
    [
        ([{"name": "a"}, {"name": "a"}], "names a twice"),
        ([{"name": "a", "aliases": ["a"]}], "circle: a -> a"),
        ([{"name": "a", "aliases": ["b"]}, {"name": "b", "aliases": ["a"]}], "in a circle"),
        ([{"name": "a", "weight": 0}], "weight 0"),
        ([{"name": "a", "weight": -1}], "weight"),
        ([{"name": "a", "input_price": -1}], "input_price"),
    ],
)
def test_a_catalog_that_cannot_be_meant_is_refused(catalog, why):
    with pytest.raises(ValidationError, match=why):
        SelectorSettings(catalog=catalog)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ValidationError, match="only weights of 0"):
        StrategyWeights(speed=0, quality=0, cost=0, compatibility=0)


async def test_a_capability_of_any_length_is_refused_briefly():
    request = wish()
    request.capabilities.append("x" * 100_000)
    with pytest.raises(RouterError, match="longer than 64 characters"):
        await service().Select(request, None)
