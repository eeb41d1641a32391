"""The selector over both transports: plans, outcomes, records and refusals."""

import json

import pytest
from grpc import aio
from tests.unit.selector.building import selector_of, served

from llmrouter.common.errors import Reason
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.v1 import generation_pb2, selector_pb2
from llmrouter.v1.selector_pb2_grpc import (
    SelectorServiceStub,
    add_SelectorServiceServicer_to_server,
)

HELD = (served("a"), served("b"))


@pytest.fixture
async def stub(serve):
    servicer = SelectorServicer(selector_of(HELD, catalog=()))
    channel = await serve(lambda server: add_SelectorServiceServicer_to_server(servicer, server))
    return SelectorServiceStub(channel)


def wish(**routing):
    return selector_pb2.SelectRequest(
        context=generation_pb2.RequestContext(request_id="r", tenant="default"),
        routing=generation_pb2.RoutingWishes(**routing),
        prompt_bytes=10,
        brief=True,
    )


async def test_a_plan_is_reported_on_explained_and_exported(stub):
    plan = (await stub.Select(wish(), timeout=5)).plan
    first = plan.candidates[0]
    outcome = selector_pb2.Outcome(model=first.model, version=first.version, address=first.address)
    report = selector_pb2.ReportOutcomeRequest(plan_id=plan.id, outcomes=[outcome])
    assert [(await stub.ReportOutcome(report, timeout=5)).counted for _ in range(2)] == [1, 0]
    told = await stub.Explain(selector_pb2.ExplainRequest(plan_id=plan.id), timeout=5)
    assert told.plan.candidates[0].components
    assert told.plan.reason == plan.reason
    export = stub.ExportDecisions(selector_pb2.ExportDecisionsRequest(), timeout=5)
    records = [json.loads(answer.record) async for answer in export]
    assert [record["plan_id"] for record in records] == [plan.id]
    assert records[0] == json.loads(told.record)
    assert len(records[0]["outcomes"]) == 1


@pytest.mark.parametrize(
    ("call", "request_of", "reason"),
    [
        ("Select", lambda: wish(min_quality=0.9), Reason.NO_CANDIDATE),
        ("Select", lambda: wish(strategy="luck"), Reason.UNKNOWN_STRATEGY),
        ("Explain", lambda: selector_pb2.ExplainRequest(plan_id="x"), Reason.UNKNOWN_PLAN),
        (
            "ChangeRollout",
            lambda: selector_pb2.ChangeRolloutRequest(model="a", action="ROLLOUT_ACTION_ABORT"),
            Reason.ROLLOUT_CONFLICT,
        ),
    ],
)
async def test_a_refusal_arrives_with_its_reason_and_facts(stub, call, request_of, reason):
    with pytest.raises(aio.AioRpcError) as refused:
        await getattr(stub, call)(request_of(), timeout=5)
    error = from_rpc_error(refused.value, "selector")
    assert error.reason is reason
    if reason is Reason.NO_CANDIDATE:
        assert error.metadata["nearest"] == "a"
        assert "quality 0.300 is below the required 0.900" in error.metadata["lacks"]
