"""A provider that speaks Anthropic's API."""

import json

import pytest
from tests.unit.inference.remote.test_remote_models import KEY, remote_models

from llmrouter.common.continuation import Continuation
from llmrouter.common.errors import Reason
from llmrouter.common.generation import ChoiceFinished, FinishReason, GenerationRequest


def stream(*bodies):
    told = [f"event: {body['type']}\ndata: {json.dumps(body)}\n\n" for body in bodies]
    return "".join(told).encode()


BEGIN = {"type": "message_start", "message": {
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1}}}  # fmt: skip


def said(text):
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
    }


def ended(reason, stop=None):
    delta = {"stop_reason": reason, "stop_sequence": stop}
    return {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}}


END = {"type": "message_stop"}


@pytest.fixture
async def remote():
    async with remote_models(kind="anthropic") as running:
        yield running


async def test_an_answer_is_streamed_and_counted(remote):
    remote.fake.script = [
        stream(BEGIN, {"type": "ping"}, said("Par"), said("is"), ended("end_turn"), END)
    ]
    _, delta, end, finished = await remote.ask(
        temperature=0.5, top_k=4, stop=("END",), max_tokens=9
    )
    assert (delta.text, delta.tokens) == ("Paris", 2)
    assert end == ChoiceFinished(0, FinishReason.STOP)
    usage = finished.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens) == (8, 2, 3)
    [(path, headers, body)] = remote.fake.asked
    assert (path, headers["x-api-key"]) == ("/v1/messages", KEY)
    assert headers["anthropic-version"] == "2023-06-01"
    assert body == {
        "model": "large-2026", "stream": True, "max_tokens": 9, "temperature": 0.5, "top_k": 4,
        "stop_sequences": ["END"], "system": "Be brief.",
        "messages": [{"role": "user", "content": "Who?"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (ended("max_tokens"), ChoiceFinished(0, FinishReason.LENGTH)),
        (ended("stop_sequence", "END"), ChoiceFinished(0, FinishReason.STOP, "END")),
    ],
)
async def test_the_reason_of_an_end_is_told(remote, end, expected):
    remote.fake.script = [stream(BEGIN, said("a"), end, END)]
    assert (await remote.ask())[-2] == expected


async def test_an_error_in_the_stream_is_told(remote):
    failure = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    remote.fake.script = [stream(BEGIN, failure)]
    error = await remote.refused()
    assert (error.reason, "Overloaded" in error.message) == (Reason.GENERATION_FAILED, True)


@pytest.mark.parametrize(
    "sampling", [{"temperature": 1.5}, {"n": 2}, {"seed": 1}, {"logprobs": True}]
)
async def test_what_the_api_has_no_word_for_is_refused(remote, sampling):
    assert (await remote.refused(**sampling)).reason is Reason.UNSUPPORTED_OPTION
    raw = await remote.refused(GenerationRequest(prompt="a"))
    assert raw.reason is Reason.UNSUPPORTED_OPTION
    assert remote.fake.asked == []


async def test_an_answer_is_gone_on_with_as_a_turn_that_was_begun(remote):
    remote.fake.script = [stream(BEGIN, said("is"), ended("end_turn"), END)]
    await remote.ask(begun=Continuation("Par", (), 1), max_tokens=9)
    body = remote.fake.asked[0][2]
    assert body["messages"][-1] == {"role": "assistant", "content": "Par"}
    assert body["max_tokens"] == 8


async def test_what_ends_with_a_blank_cannot_be_gone_on_with_there(remote):
    refused = await remote.refused(begun=Continuation("Paris ", (), 1))
    assert refused.reason is Reason.UNSUPPORTED_OPTION
