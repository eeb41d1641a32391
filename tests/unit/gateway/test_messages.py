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
from llmrouter.gateway.plan import Candidate, Tried
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
    there = selector_pb2.Candidate(
        model="m", version="v", address="h:1", context=9, away="h:1 is silent"
    )
    plan = selector_pb2.Plan(id="p", mode=selector_pb2.PLAN_MODE_FIRST_OF, candidates=[there])
    [candidate] = decode_plan(plan).candidates
    assert candidate == Candidate("m", "v", "h:1", 9, away="h:1 is silent")
    [tried] = encode_select(GREEDY, CONTEXT, (Tried(candidate, too_long=True),)).tried
    assert (tried.model, tried.version, tried.address, tried.too_long) == ("m", "v", "h:1", True)


def test_the_selector_gets_fingerprints_and_no_word_of_the_question() -> None:
    asked = GenerationRequest(messages=(Message(Role.USER, ("a secret",)),))
    told = encode_select(asked, RequestContext("1"))
    assert (len(told.question_key), len(told.conversation_key), told.brief) == (32, 32, True)
    assert b"secret" not in told.SerializeToString()


def test_a_plan_names_its_shadows() -> None:
    one = selector_pb2.Candidate(model="m", version="v2", address="h:1")
    plan = selector_pb2.Plan(mode=selector_pb2.PLAN_MODE_FIRST_OF, shadows=[one])
    assert decode_plan(plan).shadows == (Candidate("m", "v2", "h:1"),)
