"""What the gateway asks of the selector."""

from __future__ import annotations

import pytest
from tests.unit.gateway.doubles import CONTEXT, GREEDY

from llmrouter.common.generation import (
    FormatKind,
    GenerationRequest,
    Message,
    RequestContext,
    ResponseFormat,
    Role,
    SamplingOptions,
)
from llmrouter.gateway.messages import decode_plan, encode_select
from llmrouter.gateway.plan import Candidate
from llmrouter.v1 import selector_pb2

FREE = SamplingOptions()
BOUND = SamplingOptions(response_format=ResponseFormat(FormatKind.REGEX, "a"))


@pytest.mark.parametrize(
    ("sampling", "needed"), [(FREE, ["chat"]), (BOUND, ["chat", "structured_output"])]
)
def test_a_response_format_needs_a_model_that_honours_it(
    sampling: SamplingOptions, needed: list[str]
) -> None:
    asked = GenerationRequest(messages=(Message(Role.USER, ("hi",)),), sampling=sampling)
    assert encode_select(asked, RequestContext("1")).capabilities == needed


def test_a_plan_and_who_failed_it_before_cross_the_wire():
    there = selector_pb2.Candidate(model="m", version="v", address="h:1", away="h:1 is silent")
    plan = selector_pb2.Plan(id="p", mode=selector_pb2.PLAN_MODE_FIRST_OF, candidates=[there])
    [candidate] = decode_plan(plan).candidates
    assert candidate == Candidate("m", "v", "h:1", away="h:1 is silent")
    [tried] = encode_select(GREEDY, CONTEXT, (candidate,)).tried
    assert (tried.model, tried.version, tried.address) == ("m", "v", "h:1")
