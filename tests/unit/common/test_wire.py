"""Domain values survive the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common import generation as domain
from llmrouter.common import tools
from llmrouter.common.errors import RouterError
from llmrouter.common.replay_pace import ReplayPace
from llmrouter.common.truncation import Adjustment, Truncation
from llmrouter.common.wire import decode_context, encode_context
from llmrouter.common.wire_event import decode_event, encode_event
from llmrouter.common.wire_request import decode_request, encode_request
from llmrouter.v1 import generation_pb2 as pb

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
count = st.integers(0, 2**32 - 1)
moment = st.integers(0, 10**6).map(lambda part: part / 512)  # whole nanoseconds
sampling = st.builds(
    domain.SamplingOptions,
    temperature=st.floats(allow_nan=False),
    top_k=count,
    top_p=st.floats(allow_nan=False),
    seed=st.none() | st.integers(0, 2**64 - 1),
    max_tokens=st.none() | count,
    stop=st.lists(words, max_size=3).map(tuple),
    min_p=st.floats(allow_nan=False),
    repetition_penalty=st.floats(allow_nan=False),
    presence_penalty=st.floats(allow_nan=False),
    frequency_penalty=st.floats(allow_nan=False),
    logit_bias=st.dictionaries(
        st.integers(-(2**31), 2**31 - 1), st.floats(allow_nan=False, width=32), max_size=3
    ).map(lambda biases: tuple(sorted(biases.items()))),
    min_tokens=count,
    n=count,
    logprobs=st.booleans(),
    top_logprobs=count,
    response_format=st.none()
    | st.just(domain.ResponseFormat(domain.FormatKind.JSON_OBJECT))
    | st.builds(
        domain.ResponseFormat,
        kind=st.sampled_from([k for k in domain.FormatKind if k is not k.JSON_OBJECT]),
        text=words,
    ),
)
routing = st.builds(
    domain.RoutingWishes,
    model=words,
    strategy=words,
    min_quality=st.floats(0, 1),
    max_cost=st.floats(0, 9),
    tags=st.lists(words, max_size=3).map(tuple),
    max_latency=st.integers(0, 86_400).map(float),
    max_time_to_first_token=st.integers(0, 86_400).map(float),
    session=words,
    truncation=st.sampled_from(Truncation),
)
wishes = st.builds(
    domain.CacheWishes,
    mode=st.sampled_from(domain.CacheMode),
    ttl_seconds=st.just(0.0) | st.integers(1, 365 * 86400).map(float),
    pace=st.none() | st.builds(ReplayPace, st.none() | st.floats(0.1, 10_000)),
)
tool = st.builds(tools.Tool, words, words, words, st.none() | st.booleans())
tool_wishes = st.none() | st.builds(
    tools.ToolWishes,
    st.lists(tool, max_size=2).map(tuple),
    st.sampled_from(tools.ToolChoice),
    words,
    st.none() | st.booleans(),
)
pieces = st.builds(tools.ToolCallPiece, count, words, words, words)
turns = st.lists(
    st.builds(
        domain.Message,
        role=st.sampled_from(domain.Role),
        parts=st.lists(words, max_size=3).map(tuple),
        tool_calls=st.lists(st.builds(tools.ToolCall, words, words, words), max_size=2).map(tuple),
        tool_call_id=words,
    ),
    min_size=1,
    max_size=4,
).map(tuple)
shared = {"sampling": sampling, "routing": routing, "cache": wishes, "tools": tool_wishes}
requests = st.builds(domain.GenerationRequest, messages=turns, **shared) | st.builds(
    domain.GenerationRequest, prompt=words, **shared
)
contexts = st.builds(
    domain.RequestContext,
    request_id=words,
    tenant=words.filter(bool),
    user=words,
    priority=st.sampled_from(domain.Priority),
    deadline=st.none(),
)
timings = st.builds(domain.Timings, *[moment] * 5)
usage = st.builds(domain.Usage, count, count, count)
adjustment = st.none() | st.builds(Adjustment, count, count, st.booleans())
attempts = st.builds(
    domain.Attempt,
    model=words,
    version=words,
    address=words,
    duration=moment,
    error_reason=words,
    error_message=words,
    adjustment=adjustment,
)
logprob = st.floats(-100, 0, width=32)
top = st.builds(domain.TopLogprob, count, logprob, st.binary(max_size=4))
logprobs = st.builds(
    domain.TokenLogprob,
    count,
    logprob,
    st.binary(max_size=4),
    st.lists(top, max_size=2).map(tuple),
)
events = (
    st.builds(
        domain.Started,
        words,
        words,
        words,
        words,
        st.sampled_from(domain.CacheStatus),
        words,
        dropped_messages=count,
    )
    | st.builds(
        domain.Delta,
        count,
        words,
        count,
        st.lists(logprobs, max_size=2).map(tuple),
        st.just(()),
        st.lists(pieces, max_size=2).map(tuple),
    )
    | st.builds(domain.ChoiceFinished, count, st.sampled_from(domain.FinishReason), words)
    | st.builds(domain.Finished, usage, timings, st.lists(attempts, max_size=2).map(tuple))
)


@given(requests)
def test_a_request_comes_back_as_it_went(request):
    sent = pb.GenerateRequest.FromString(encode_request(request).SerializeToString())
    assert decode_request(sent) == request


@given(events)
def test_an_event_comes_back_as_it_went(event):
    sent = pb.GenerationEvent.FromString(encode_event(event).SerializeToString())
    assert decode_event(sent) == event


@given(contexts)
def test_a_context_comes_back_as_it_went(context):
    assert decode_context(encode_context(context)) == context


def test_absent_options_take_the_defaults_that_the_protos_state():
    assert decode_request(pb.GenerateRequest(prompt="a")) == domain.GenerationRequest(prompt="a")


def test_an_event_of_a_kind_to_come_is_ignored():
    assert decode_event(pb.GenerationEvent()) is None


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GenerateRequest(chat={"messages": [{"content": [{"text": "a"}]}]}), "role"),
        (pb.GenerateRequest(chat={"messages": [{"role": 9}]}), "role"),
        (pb.GenerateRequest(chat={"messages": [{"role": 2, "content": [{}]}]}), "content[0]"),
        (pb.GenerateRequest(prompt="a", cache={"mode": 77}), "cache.mode"),
        (pb.GenerateRequest(prompt="a", cache={"ttl": {"seconds": 0}}), "cache.ttl"),
        (pb.GenerateRequest(prompt="a", cache={"ttl": {"seconds": -5}}), "cache.ttl"),
        (pb.GenerateRequest(prompt="a", cache={"ttl": {"seconds": 10**11}}), "cache.ttl"),
        (pb.GenerateRequest(prompt="a", cache={"pace": {}}), "cache.pace"),
        (pb.GenerateRequest(prompt="a", cache={"pace": {"original": False}}), "cache.pace"),
    ],
)
def test_a_value_without_meaning_is_refused_by_its_field(request_, field):
    with pytest.raises(RouterError) as failure:
        decode_request(request_)
    assert field in failure.value.violations[0].field


def test_a_response_format_without_a_kind_is_refused():
    request = pb.GenerateRequest(prompt="x")
    request.sampling.response_format.SetInParent()
    with pytest.raises(RouterError, match=r"sampling\.response_format: is empty"):
        decode_request(request)
