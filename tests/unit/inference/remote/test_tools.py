"""Tools and their calls, in the words of both kinds of providers."""

import pytest
from tests.unit.common.test_tools import CALL, LOOP, REQUEST
from tests.unit.inference.remote.fake_provider import USAGE, chunk, events
from tests.unit.inference.remote.test_anthropic import BEGIN, END, ended, stream
from tests.unit.inference.remote.test_remote_models import remote_models

from llmrouter.common.errors import Reason
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    FinishReason,
    GenerationRequest,
    Message,
    Role,
)
from llmrouter.common.tools import Tool, ToolCall, ToolChoice, ToolWishes, put_together

FUNCTION = {"name": "warmth", "description": "How warm it is.", "parameters": {"type": "object"}}
MANY = ToolWishes(
    (Tool("warmth", strict=True), Tool("rain")), ToolChoice.NAMED, "rain", parallel=False
)


def calls_of(found):
    pieces = [piece for one in found if isinstance(one, Delta) for piece in one.tool_calls]
    [end] = [one for one in found if isinstance(one, ChoiceFinished)]
    return put_together(pieces), end.reason


def called(index, **more):
    return chunk() | {
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": index, **more}]}}]
    }


OPENAI = [
    events(called(0, id="c1", type="function", function={"name": "warmth", "arguments": ""})),
    events(
        called(0, function={"arguments": '{"city": '}),
        called(0, function={"arguments": '"Oslo"}'}),
        called(1, id="c2", function={"name": "rain", "arguments": "{}"}),
        chunk(reason="tool_calls"), USAGE, "[DONE]",
    ),
]  # fmt: skip
RAIN = ToolCall("c2", "rain", "{}")


async def test_openais_api_is_told_of_tools_and_its_calls_come_back():
    async with remote_models() as remote:
        remote.fake.script = OPENAI
        found = await remote.ask(LOOP)
        await remote.ask(GenerationRequest(LOOP.messages[:1], tools=MANY))
        (_, _, body), (_, _, named) = remote.fake.asked
    assert calls_of(found) == ((CALL, RAIN), FinishReason.TOOL_CALLS)
    assert body["tools"] == [{"type": "function", "function": FUNCTION}]
    assert "tool_choice" not in body
    assert body["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function",
            "function": {"name": "warmth", "arguments": '{"city": "Oslo"}'}}]},
        {"role": "tool", "content": "21", "tool_call_id": "c1"},
    ]  # fmt: skip
    assert named["tools"][0]["function"] == {"name": "warmth", "strict": True}
    assert named["tool_choice"] == {"type": "function", "function": {"name": "rain"}}
    assert named["parallel_tool_calls"] is False


def block(index, **content):
    return {"type": "content_block_start", "index": index, "content_block": content}


def given(index, text):
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


async def test_anthropics_api_is_told_of_tools_and_its_calls_come_back():
    async with remote_models(kind="anthropic") as remote:
        remote.fake.script = [stream(
            BEGIN, block(0, type="text", text=""),
            block(1, type="tool_use", id="c1", name="warmth"),
            given(1, ""), given(1, '{"city": '), given(1, '"Oslo"}'),
            block(2, type="tool_use", id="c2", name="rain"), given(2, "{}"),
            ended("tool_use"), END,
        )]  # fmt: skip
        second = Message(Role.TOOL, ("22",), (), "c2")
        found = await remote.ask(GenerationRequest((*LOOP.messages, second), tools=LOOP.tools))
        await remote.ask(GenerationRequest(LOOP.messages[:1], tools=MANY))
        (_, _, body), (_, _, named) = remote.fake.asked
    assert calls_of(found) == ((CALL, RAIN), FinishReason.TOOL_CALLS)
    assert body["tools"] == [{"name": "warmth", "description": "How warm it is.",
                              "input_schema": {"type": "object"}}]  # fmt: skip
    use = {"type": "tool_use", "id": "c1", "name": "warmth", "input": {"city": "Oslo"}}
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "21"},
            {"type": "tool_result", "tool_use_id": "c2", "content": "22"},
        ]},
    ]  # fmt: skip
    assert named["tool_choice"] == {
        "type": "tool", "name": "rain", "disable_parallel_tool_use": True
    }  # fmt: skip


async def test_arguments_that_anthropics_api_cannot_take_are_refused():
    broken = Message(Role.ASSISTANT, (), (ToolCall("c1", "warmth", "{"),))
    async with remote_models(kind="anthropic") as remote:
        error = await remote.refused(GenerationRequest((LOOP.messages[0], broken)))
    assert error.reason is Reason.UNSUPPORTED_OPTION


@pytest.mark.parametrize("said", [{"index": "x"}, {"index": 0}, {"function": {}}, 7])
async def test_nonsense_about_calls_is_no_answer(said):
    async with remote_models() as remote:
        remote.fake.script = [events({"choices": [{"index": 0, "delta": {"tool_calls": [said]}}]})]
        assert (await remote.refused(REQUEST)).reason is Reason.GENERATION_FAILED
