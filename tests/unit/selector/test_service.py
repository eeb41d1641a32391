"""The selector on the wire: plans, outcomes and the catalog, with bounds on every field."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from tests.unit.selector.asking import (
    FP32,
    HELD,
    INT4,
    INT8,
    model_of,
    plan_of,
    report,
    service,
    wish,
)
from tests.unit.selector.building import selector_of, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire import duration
from llmrouter.selector.service import name_of
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import DecisionSettings, SelectorSettings
from llmrouter.selector.strategy_settings import StrategyWeights
from llmrouter.v1 import generation_pb2 as generation
from llmrouter.v1 import selector_pb2 as pb


async def test_while_a_catalog_is_told_others_have_their_turn():
    one, turns = service([served(f"m{number}") for number in range(20)], catalog=()), []

    async def others():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert len((await one.ListCatalog(pb.ListCatalogRequest(), None)).models) == 20
    task.cancel()
    assert len(turns) >= 20


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
    here = {"port": 0, "health_port": 1, "load_report_seconds": 1, "drain_grace_seconds": 1}
    same = service(**here, decisions=DecisionSettings(kept=5))
    assert (await plan_of(same)).policy_version == first.policy_version
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


async def test_every_version_is_listed_and_those_that_take_no_requests_are_told():
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
        (INT8, "v3", True),
    ]


async def test_versions_are_told_under_the_name_of_the_selector_which_it_keeps_in_its_place():
    names = [name_of(SelectorSettings(port=port)) for port in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    one = SelectorServicer(selector_of(HELD), name=names[0])
    assert (await one.ListVersions(pb.ListVersionsRequest(), None)).selector == names[0]


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


async def test_a_capability_of_any_length_is_refused_briefly():
    request = wish()
    request.capabilities.append("x" * 100_000)
    with pytest.raises(RouterError, match="longer than 64 characters"):
        await service().Select(request, None)
