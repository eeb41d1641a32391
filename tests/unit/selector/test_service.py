"""The selector on the wire: plans, outcomes and the catalog, with bounds on every field."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError
from tests.unit.selector.building import Clock, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire import duration
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import SelectorSettings, StrategyWeights
from llmrouter.v1 import generation_pb2 as generation
from llmrouter.v1 import selector_pb2 as pb

INT8, INT4, FP32 = (f"smollm2-135m-instruct-{kind}" for kind in ("int8", "int4", "fp32"))
HELD = (served(INT8), served(INT4, quality_ratio=1 / 1.12), served(FP32))


def service(held=HELD, **settings):
    return SelectorServicer(SelectorSettings(**settings), lambda: held, clock=Clock())


def wish(**routing):
    return pb.SelectRequest(
        context=generation.RequestContext(request_id="r", tenant="default"),
        routing=generation.RoutingWishes(**routing),
        prompt_bytes=120,
    )


def report(**outcome):
    outcome = {"model": INT8, "version": "v1", "address": "host:1", **outcome}
    return pb.ReportOutcomeRequest(plan_id="p", outcomes=[pb.Outcome(**outcome)])


async def plan_of(one, **routing):
    return (await one.Select(wish(**routing), None)).plan


async def statistics_of(one, name=INT8):
    models = (await one.ListCatalog(pb.ListCatalogRequest(), None)).models
    return next(model for model in models if model.name == name).statistics


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


async def test_a_model_that_nobody_serves_is_unavailable_when_asked_for():
    with pytest.raises(RouterError) as caught:
        await plan_of(service(held=HELD[1:]), model=INT8)
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE


async def test_outcomes_move_the_statistics():
    one = service()
    request = report(
        time_to_first_token=duration(0.5),
        time_per_token=duration(0.01),
        usage=generation.Usage(prompt_tokens=300, completion_tokens=9),
        prompt_bytes=1500,
    )
    for _ in range(50):
        await one.ReportOutcome(request, None)
    statistics = await statistics_of(one)
    assert (statistics.attempts, statistics.failures) == (50, 0)
    assert statistics.time_to_first_token.ToMilliseconds() == 500
    assert statistics.tokens_per_second == pytest.approx(100)
    assert 4.9 < statistics.bytes_per_token < 5
    assert not (await statistics_of(one, INT4)).HasField("time_to_first_token")


async def test_a_long_prompt_to_one_model_teaches_those_with_the_same_tokenizer():
    held = [served(INT8, tokenizer="tok"), served(FP32, tokenizer="tok"), served(INT4)]
    one = service(held=tuple(held))
    usage = generation.Usage(prompt_tokens=3000, completion_tokens=9)
    for _ in range(50):
        await one.ReportOutcome(report(usage=usage, prompt_bytes=9000), None)
    learned = [(await statistics_of(one, name)).bytes_per_token for name in (INT8, FP32, INT4)]
    assert learned == [pytest.approx(3, rel=0.05), learned[0], 4.0]


@pytest.mark.parametrize("reason", list(Reason))
async def test_only_the_models_own_faults_count_as_failures(reason):
    one = service()
    await one.ReportOutcome(report(error_reason=reason.value), None)
    expected = {
        "GENERATION_FAILED", "MODEL_UNAVAILABLE", "UPSTREAM_UNAVAILABLE", "ANSWER_BROKEN_OFF",
        "INTERNAL",
    }  # fmt: skip
    assert ((await statistics_of(one)).failures == 1) == (reason.value in expected)


async def test_faults_of_callers_neither_raise_nor_dilute_the_error_rate():
    one = service()
    await one.ReportOutcome(report(error_reason="INTERNAL"), None)
    before = (await statistics_of(one)).error_rate
    for _ in range(10):
        await one.ReportOutcome(report(error_reason="CANCELLED"), None)
    assert (await statistics_of(one)).error_rate == before


async def test_failures_move_the_choice():
    one = service()
    first = (await plan_of(one)).candidates[0].model
    for _ in range(10):
        failure = report(model=first, error_reason="GENERATION_FAILED")
        await one.ReportOutcome(failure, None)
    assert (await plan_of(one)).candidates[0].model != first


async def test_outcomes_of_what_nobody_serves_are_not_remembered():
    one = service()
    for number in range(100):
        await one.ReportOutcome(report(model=f"ghost{number}"), None)
        await one.ReportOutcome(report(version=f"v{number}x"), None)
    assert len(one._statistics) == 0


@pytest.mark.parametrize("count", [0, 65])
async def test_a_report_of_none_or_too_many_outcomes_is_refused(count):
    request = pb.ReportOutcomeRequest(outcomes=[pb.Outcome()] * count)
    with pytest.raises(RouterError, match=f"outcomes: {count} given"):
        await service().ReportOutcome(request, None)


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


async def test_a_time_that_cannot_be_is_refused_and_teaches_nothing():
    one = service()
    for field in ("time_to_first_token", "time_per_token"):
        with pytest.raises(RouterError, match=field) as refused:
            await one.ReportOutcome(report(**{field: duration(1e9)}), None)
        assert refused.value.reason is Reason.INVALID_ARGUMENT


async def test_a_capability_of_any_length_is_refused_briefly():
    request = wish()
    request.capabilities.append("x" * 100_000)
    with pytest.raises(RouterError, match="longer than 64 characters"):
        await service().Select(request, None)
