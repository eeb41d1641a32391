"""Tools by OpenAI's own client: told, called whole and in chunks, and answered."""

import openai
import pytest
from tests.unit.common.test_tools import CALL, LOOP, TOOL
from tests.unit.gateway.http.test_chat import TURNS, ask

from llmrouter.common.generation import ChoiceFinished, Delta, Finished, FinishReason, Started
from llmrouter.common.tools import Tool, ToolCallPiece, ToolChoice, ToolWishes

TOLD = {
    "type": "function",
    "function": {
        "name": "warmth",
        "description": "How warm it is.",
        "parameters": {"type": "object"},
    },
}
PIECES = (ToolCallPiece(0, "c1", "warmth"), ToolCallPiece(0, arguments='{"city": '),
          ToolCallPiece(0, arguments='"Oslo"}'))  # fmt: skip
ASKS = [
    Started("request-1", "first", "v1", "because"),
    *(Delta(0, "", 1, tool_calls=(piece,)) for piece in PIECES),
    ChoiceFinished(0, FinishReason.TOOL_CALLS),
    Finished(),
]


async def test_a_call_comes_whole_and_is_sent_back_with_what_the_tool_gave(api):
    api.chain.script = ASKS
    answer = await ask(api, tools=[TOLD])
    [choice] = answer.choices
    [call] = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert (call.id, call.type, call.function.name) == ("c1", "function", "warmth")
    assert call.function.arguments == CALL.arguments
    gave = {"role": "tool", "tool_call_id": "c1", "content": "21"}
    question = {"role": "user", "content": LOOP.messages[0].text}
    await ask(api, tools=[TOLD], messages=[question, choice.message, gave])
    asked, _ = api.chain.calls[-1]
    assert (asked.messages, asked.tools) == (LOOP.messages, ToolWishes((TOOL,)))


async def test_a_call_comes_in_chunks(api):
    api.chain.script = ASKS
    chunks = [one async for one in await ask(api, tools=[TOLD], stream=True)]
    said = [call for one in chunks for call in one.choices[0].delta.tool_calls or ()]
    assert [(one.index, one.id, one.function.name) for one in said] == [
        (0, "c1", "warmth"), (0, None, None), (0, None, None)
    ]  # fmt: skip
    assert "".join(one.function.arguments for one in said) == CALL.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    async with api.client.chat.completions.stream(
        model="auto", messages=TURNS, tools=[TOLD]
    ) as stream:
        [whole] = (await stream.get_final_completion()).choices[0].message.tool_calls
    assert whole.function.arguments == CALL.arguments


@pytest.mark.parametrize(
    ("fields", "wishes"),
    [
        ({"tool_choice": "auto"}, ToolWishes((TOOL,))),
        ({"tool_choice": "none"}, ToolWishes((TOOL,), ToolChoice.NONE)),
        ({"tool_choice": "required", "parallel_tool_calls": False},
         ToolWishes((TOOL,), ToolChoice.REQUIRED, parallel=False)),
        ({"tool_choice": {"type": "function", "function": {"name": "warmth"}}},
         ToolWishes((TOOL,), ToolChoice.NAMED, "warmth")),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
         ToolWishes((Tool("f", strict=True),))),
        ({"tools": [], "tool_choice": "none"}, None),
    ],
)  # fmt: skip
async def test_every_wish_reaches_the_chain(api, fields, wishes):
    api.chain.script = ASKS
    await ask(api, **{"tools": [TOLD], **fields})
    assert api.chain.calls[-1][0].tools == wishes


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web"}]}, "tools[0].type"),
        ({"tools": [TOLD] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"messages": [{"role": "tool", "content": "x", "tool_calls": [{"id": "c"}]}]},
         "messages[0].tool_calls[0].function"),
    ],
)  # fmt: skip
async def test_a_wish_that_is_wrong_is_named(api, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(api, **fields)
    assert caught.value.body["param"] == param
    assert not api.chain.calls
