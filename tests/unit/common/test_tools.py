"""Tools and their calls: bounds, keys, and how pieces make up a call."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.answer_key import question_key
from llmrouter.common.capabilities import TOOLS, needed
from llmrouter.common.ensemble import EnsembleWish
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import GenerationRequest, Message, Role, RoutingWishes
from llmrouter.common.tools import (
    Tool,
    ToolCall,
    ToolCallPiece,
    ToolChoice,
    ToolWishes,
    put_together,
)
from llmrouter.common.validation import validate

ASKED = Message(Role.USER, ("How warm is it?",))
TOOL = Tool("warmth", "How warm it is.", '{"type": "object"}')
CALL = ToolCall("c1", "warmth", '{"city": "Oslo"}')
REQUEST = GenerationRequest((ASKED,), tools=ToolWishes((TOOL,)))
LOOP = replace(
    REQUEST,
    messages=(
        ASKED, Message(Role.ASSISTANT, (), (CALL,)), Message(Role.TOOL, ("21",), (), "c1")
    ),
)  # fmt: skip


def with_tools(*tools, **more):
    return replace(REQUEST, tools=ToolWishes(tools, **more))


def test_what_is_within_its_bounds_passes():
    validate(REQUEST)
    validate(LOOP)
    validate(with_tools(TOOL, choice=ToolChoice.NAMED, name="warmth"))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (with_tools(), "tools.tools"),
        (with_tools(*[replace(TOOL, name=f"t{at}") for at in range(129)]), "tools.tools"),
        (with_tools(TOOL, TOOL), "tools.tools"),
        (with_tools(replace(TOOL, name="how warm")), "tools.tools[0].name"),
        (with_tools(replace(TOOL, description="x" * 16385)), "tools.tools[0].description"),
        (with_tools(replace(TOOL, parameters="[]")), "tools.tools[0].parameters"),
        (with_tools(replace(TOOL, parameters="{" * 70000)), "tools.tools[0].parameters"),
        (with_tools(replace(TOOL, parameters="[" * 60000)), "tools.tools[0].parameters"),
        (with_tools(TOOL, choice=ToolChoice.NAMED, name="other"), "tools.name"),
        (with_tools(TOOL, name="warmth"), "tools.name"),
        (replace(REQUEST, messages=(), prompt="x"), "tools"),
        (replace(REQUEST, routing=RoutingWishes(ensemble=EnsembleWish(2))), "tools"),
        (
            replace(REQUEST, messages=(replace(ASKED, tool_calls=(CALL,)),)),
            "chat.messages[0].tool_calls",
        ),
        (
            replace(REQUEST, messages=(replace(ASKED, tool_call_id="c1"),)),
            "chat.messages[0].tool_call_id",
        ),
        (
            replace(REQUEST, messages=(ASKED, Message(Role.TOOL, ("21",)))),
            "chat.messages[1].tool_call_id",
        ),
        (
            replace(REQUEST, messages=(Message(Role.ASSISTANT, (), (ToolCall("", "f", ""),)),)),
            "chat.messages[0].tool_calls[0].id",
        ),
    ],
)  # fmt: skip
def test_what_is_not_is_named(request_, field):
    with pytest.raises(RouterError) as refused:
        validate(request_)
    assert field in [one.field for one in refused.value.violations]


def test_only_models_that_know_tools_are_asked_of_them():
    assert TOOLS in needed(REQUEST)
    assert TOOLS in needed(replace(LOOP, tools=None))
    assert TOOLS not in needed(replace(REQUEST, tools=None))


def test_every_part_of_tools_and_calls_makes_another_question():
    changed = replace(LOOP.messages[1], tool_calls=(replace(CALL, arguments="{}"),))
    questions = [
        REQUEST,
        replace(REQUEST, tools=None),
        with_tools(replace(TOOL, description="")),
        with_tools(TOOL, choice=ToolChoice.REQUIRED),
        with_tools(TOOL, parallel=False),
        LOOP,
        replace(LOOP, messages=(ASKED, changed, LOOP.messages[2])),
        replace(LOOP, messages=(*LOOP.messages[:2], replace(LOOP.messages[2], tool_call_id="c2"))),
    ]
    assert len({question_key(one, "t") for one in questions}) == len(questions)


@given(
    st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.lists(st.text()))), st.data()
)
def test_pieces_make_up_their_calls_however_they_are_mixed(calls, data):
    queues = []
    for index, (identity, name, arguments) in enumerate(calls):
        first = ToolCallPiece(index, identity, name)
        queues.append([first, *(ToolCallPiece(index, arguments=one) for one in arguments)])
    mixed = []
    while any(queues):
        mixed.append(data.draw(st.sampled_from([one for one in queues if one])).pop(0))
    assert put_together(mixed) == tuple(
        ToolCall(identity, name, "".join(arguments)) for identity, name, arguments in calls
    )
