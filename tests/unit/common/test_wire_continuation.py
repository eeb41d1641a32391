"""What is handed over to go on with an answer, and what is told of it, over the wire."""

import pytest

from llmrouter.common.continuation import Continuation, Switched, Switching
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    FormatKind,
    GenerationRequest,
    ResponseFormat,
    RoutingWishes,
    SamplingOptions,
)
from llmrouter.common.wire_continuation import (
    MAX_CONTINUED_BYTES,
    decode_continuation,
    encode_continuation,
)
from llmrouter.common.wire_event import decode_event, encode_event
from llmrouter.common.wire_routing import decode_routing, encode_routing
from llmrouter.v1 import generation_pb2
from llmrouter.v1 import inference_pb2 as pb

ASKED = GenerationRequest(prompt="a")


@pytest.mark.parametrize("begun", [None, Continuation("é", (1, 2), 2), Continuation("", (), 0)])
def test_the_beginning_of_an_answer_comes_back(begun):
    request = pb.InferRequest(continuation=encode_continuation(begun))
    assert decode_continuation(request, ASKED) == begun


def test_what_is_too_long_to_be_gone_on_with_is_refused_by_field():
    begun = Continuation("x" * (MAX_CONTINUED_BYTES + 1))
    with pytest.raises(RouterError) as refused:
        decode_continuation(pb.InferRequest(continuation=encode_continuation(begun)), ASKED)
    assert [one.field for one in refused.value.violations] == ["continuation.text"]


def test_a_token_that_no_vocabulary_has_is_refused_by_field():
    begun = pb.InferRequest(continuation=pb.Continuation(token_ids=[1, 2**32 - 1]))
    with pytest.raises(RouterError, match="has 4294967295, which no vocabulary has") as refused:
        decode_continuation(begun, ASKED)
    assert [one.field for one in refused.value.violations] == ["continuation.token_ids"]


@pytest.mark.parametrize(
    "sampling",
    [SamplingOptions(n=2), SamplingOptions(response_format=ResponseFormat(FormatKind.REGEX, "a"))],
)
def test_what_cannot_be_gone_on_with_leads_to_another_model(sampling):
    request = pb.InferRequest(continuation=encode_continuation(Continuation("a")))
    with pytest.raises(RouterError) as refused:
        decode_continuation(request, GenerationRequest(prompt="a", sampling=sampling))
    assert refused.value.reason is Reason.UNSUPPORTED_OPTION


def test_a_switch_comes_back():
    event = Switched(
        from_model="a",
        from_version="v1",
        from_address="one:1",
        model="b",
        version="v2",
        address="two:2",
        reason="DRAINING",
        tokens=7,
    )
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize("switching", list(Switching))
def test_a_wish_comes_back(switching):
    wishes = RoutingWishes(switching=switching)
    assert decode_routing(encode_routing(wishes)) == wishes


def test_no_wish_allows_everything_and_an_unknown_one_nothing():
    assert decode_routing(generation_pb2.RoutingWishes()).switching is Switching.ANY
    newer = generation_pb2.RoutingWishes(switching=99)
    assert decode_routing(newer).switching is Switching.OFF
