"""Whatever comes over gRPC, nothing is a fault of ours and nothing tells of our insides."""

import grpc
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.integration.fuzzed.messages import INSIDES, messages

from llmrouter.v1 import embedding_pb2, gateway_pb2, generation_pb2, rating_pb2

ASKED = generation_pb2.GenerateRequest(prompt="abcd", sampling={"max_tokens": 4})
CALLS = {
    "Generate": (generation_pb2.GenerateRequest, "unary_unary"),
    "StreamGenerate": (gateway_pb2.StreamGenerateRequest, "unary_stream"),
    "BatchGenerate": (gateway_pb2.BatchGenerateRequest, "unary_stream"),
    "Converse": (gateway_pb2.ConverseRequest, "stream_stream"),
    "Embed": (embedding_pb2.EmbedRequest, "unary_unary"),
    "RateOutcome": (rating_pb2.RateOutcomeRequest, "unary_unary"),
    "ListModels": (gateway_pb2.ListModelsRequest, "unary_unary"),
}
WELL = {
    generation_pb2.GenerateRequest: ASKED,
    gateway_pb2.StreamGenerateRequest: gateway_pb2.StreamGenerateRequest(request=ASKED),
    gateway_pb2.BatchGenerateRequest: gateway_pb2.BatchGenerateRequest(requests=[ASKED] * 2),
    embedding_pb2.EmbedRequest: embedding_pb2.EmbedRequest(texts=["red"]),
}
OURS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED", "ABORTED"}
"""Statuses that would mean a fault of the server's."""


@pytest.fixture(scope="session")
def channel(running):
    with grpc.insecure_channel(running.gateway) as opened:
        yield opened


@pytest.fixture(autouse=True)
def still_answers(channel):
    """After each test: one that nobody is answered after proves nothing of those that follow."""
    yield
    asked = generation_pb2.GenerateRequest(cache={"mode": generation_pb2.CACHE_MODE_OFF})
    asked.MergeFrom(ASKED)
    status, said = told(channel, "Generate", [asked.SerializeToString()])
    assert status == "OK", said


def told(channel, method, sent):
    """Call with bytes; return the status and all that the answer says."""
    call = getattr(channel, CALLS[method][1])(f"/llmrouter.v1.GatewayService/{method}")
    try:
        found = call(iter(sent) if method == "Converse" else sent[0], timeout=30)
        said = found if isinstance(found, bytes) else b"".join(found)
    except grpc.RpcError as error:
        metadata = b"".join(
            value if isinstance(value, bytes) else value.encode()
            for _, value in error.trailing_metadata() or ()
        )
        return error.code().name, (error.details() or "").encode() + metadata
    return "OK", said


def check(channel, method, sent):
    status, said = told(channel, method, sent)
    assert status not in OURS, said
    assert not [inside for inside in INSIDES if inside in said]


def asked(kind):
    """Give messages that are wrong in everything, and in few things."""

    def changed(message):
        made = kind()
        made.CopyFrom(WELL.get(kind, made))
        made.MergeFrom(message)
        return made

    return messages(kind) | messages(kind).map(changed)


BOUNDED = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.mark.parametrize("method", CALLS)
@seed(7)
@settings(max_examples=40, **BOUNDED)
@given(data=st.data())
def test_no_message_is_a_fault_of_ours(channel, method, data):
    kind, _ = CALLS[method]
    sent = data.draw(st.lists(asked(kind), min_size=1, max_size=3))
    check(channel, method, [one.SerializeToString() for one in sent])


@pytest.mark.parametrize("method", CALLS)
@seed(7)
@settings(max_examples=25, **BOUNDED)
@given(data=st.data())
def test_no_bytes_are_a_fault_of_ours(channel, method, data):
    kind, _ = CALLS[method]
    whole = bytearray(data.draw(asked(kind)).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole)))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    check(channel, method, [bytes(whole)])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", CALLS)
@settings(max_examples=1000, **BOUNDED)
@given(data=st.data())
def test_no_message_is_a_fault_of_ours_however_long_one_looks(channel, method, data):
    kind, _ = CALLS[method]
    sent = data.draw(st.lists(asked(kind), min_size=1, max_size=3))
    check(channel, method, [one.SerializeToString() for one in sent])


def test_ten_thousand_turns_and_messages_beyond_the_bound_are_refused_by_name(channel):
    turn = generation_pb2.Message(role=generation_pb2.ROLE_USER, content=[{"text": "a"}])
    many = generation_pb2.GenerateRequest(chat={"messages": [turn] * 10_000})
    status, said = told(channel, "Generate", [many.SerializeToString()])
    assert status == "INVALID_ARGUMENT"
    assert b"chat.messages: has 10000 turns; at most 1000" in said
    large = generation_pb2.GenerateRequest(prompt="x" * (9 << 20))
    assert told(channel, "Generate", [large.SerializeToString()])[0] == "RESOURCE_EXHAUSTED"
    assert told(channel, "ListModels", [b""])[0] == "OK"


def test_a_model_of_this_machine_is_asked_for_no_tools(channel):
    chat = {"messages": [{"role": generation_pb2.ROLE_USER, "content": [{"text": "a"}]}]}
    asked = generation_pb2.GenerateRequest(
        chat=chat, tools={"tools": [{"name": "f"}]}, routing={"model": "tiny"}
    )
    status, said = told(channel, "Generate", [asked.SerializeToString()])
    assert status in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    assert b"tools" in said
