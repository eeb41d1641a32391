"""The link in the chain: questions cleaned before all else, answers looked through on their way."""

from __future__ import annotations

import dataclasses

import pytest
from structlog.testing import capture_logs
from tests.unit.gateway.doubles import CONTEXT, answer_events, play
from tests.unit.gateway.safety.samples import KEY, PERSONAL, SECRETS

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Delta,
    GenerationRequest,
    Message,
    Role,
    SamplingOptions,
)
from llmrouter.common.tools import Tool, ToolCall, ToolCallPiece, ToolWishes
from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.safety.safeguard import SafeEmbedder, Safeguard
from llmrouter.gateway.safety.settings import SafetySettings

EMAIL = PERSONAL["email"]
REDACTING = {"secrets": "redact", "personal_data": "redact"}


class Chain:
    """Plays an answer, and remembers what it was asked."""

    def __init__(self, text=("Par", "is")):
        self.text, self.asked, self.log = text, [], []

    def generate(self, request, context):
        del context
        self.asked.append(request)
        return play(answer_events(text=self.text), self.log)

    async def embed(self, request, context):
        del context
        self.asked.append(request)


def guarded(chain, **settings):
    safety = SafetySettings.model_validate(settings)
    return Safeguard(chain, safety, Policy(safety))


async def answer(chain, request=None, **settings):
    """The events of an answer."""
    asked = request or GenerationRequest(prompt="What is it?")
    return [one async for one in guarded(chain, **settings).generate(asked, CONTEXT)]


async def read_into(seen, chain, **settings):
    async for one in guarded(chain, **settings).generate(GenerationRequest(prompt="?"), CONTEXT):
        seen.append(one)


def said(events):
    return "".join(one.text for one in events if isinstance(one, Delta))


def tokens(events):
    return sum(one.tokens for one in events if isinstance(one, Delta))


async def test_every_part_of_a_chat_is_cleaned_and_told_without_its_text():
    chain = Chain()
    turns = (
        Message(Role.SYSTEM, ("Be\x00 kind.",)),
        Message(Role.USER, (f"I am {EMAIL}", f"key {SECRETS['npm token']} {EMAIL}")),
    )
    request = GenerationRequest(messages=turns)
    with capture_logs() as logs:
        await answer(chain, request, questions=REDACTING)
    [asked] = chain.asked
    assert [one.parts for one in asked.messages] == [
        ("Be kind.",),
        ("I am [email]", "key [npm token] [email]"),
    ]
    told = {(one["rule"], one["action"], one["count"]) for one in logs}
    assert told == {
        ("control characters", "strip", 1), ("email", "redact", 2), ("npm token", "redact", 1)
    }  # fmt: skip
    assert {one["request_id"] for one in logs} == {CONTEXT.request_id}
    assert EMAIL not in str(logs)


async def test_what_is_found_in_an_answer_never_leaves_in_pieces():
    secret = SECRETS["GitHub Token"]
    pieces = tuple(f"Use {secret} or write to {EMAIL}. {KEY}\nBye")
    events = await answer(Chain(pieces), answers=REDACTING)
    assert said(events) == "Use [GitHub Token] or write to [email]. [private key]\nBye"
    assert tokens(events) == len(pieces)


async def test_flagged_answers_pass_as_they_come():
    events = answer_events(text=(f"I am {EMAIL[:5]}", EMAIL[5:]))
    with capture_logs() as logs:
        passed = await answer(
            Chain((f"I am {EMAIL[:5]}", EMAIL[5:])), answers={"personal_data": "flag"}
        )
    assert passed == events
    assert [(one["rule"], one["where"]) for one in logs] == [("email", "answer")]


async def test_a_blocked_answer_ends_before_the_secret_does():
    chain, seen = Chain(tuple(f"It is {SECRETS['AWS Access Key']} indeed, and more")), []
    with pytest.raises(RouterError, match="AWS Access Key") as refused:
        await read_into(seen, chain, answers={"secrets": "block"})
    assert refused.value.reason is Reason.CONTENT_BLOCKED
    assert said(seen) == "It is "
    assert chain.log  # what runs behind it has ended


async def test_a_blocked_question_costs_nobody_anything():
    chain = Chain()
    request = GenerationRequest(prompt=f"Mail {EMAIL}")
    with pytest.raises(RouterError, match="email"):
        await answer(chain, request, questions={"personal_data": "block"})
    assert chain.asked == []


async def test_log_probabilities_would_tell_what_is_hidden():
    request = GenerationRequest(prompt="?", sampling=SamplingOptions(logprobs=True))
    with pytest.raises(RouterError) as refused:
        await answer(Chain(), request, answers={"secrets": "redact"})
    assert refused.value.reason is Reason.UNSUPPORTED_OPTION
    assert await answer(Chain(), request, answers={"secrets": "flag"})


async def test_calls_of_tools_would_tell_what_is_hidden():
    request = GenerationRequest((Message(Role.USER, ("?",)),), tools=ToolWishes((Tool("look_up"),)))
    with pytest.raises(RouterError, match="tools") as refused:
        await answer(Chain(), request, answers={"secrets": "redact"})
    assert refused.value.reason is Reason.UNSUPPORTED_OPTION
    assert await answer(Chain(), request, answers={"secrets": "flag"})


async def test_calls_of_tools_and_what_tells_of_tools_are_cleaned_too():
    chain = Chain()
    call = ToolCall("c1", "mail", f'{{"to": "{EMAIL}"}}')
    turns = (Message(Role.USER, ("?",)), Message(Role.ASSISTANT, (), tool_calls=(call,)))
    tools = ToolWishes((Tool("mail", f"ask {EMAIL}", f'{{"default": "{EMAIL}"}}'),))
    await answer(chain, GenerationRequest(turns, tools=tools), questions=REDACTING)
    [asked] = chain.asked
    assert asked.messages[1].tool_calls[0].arguments == '{"to": "[email]"}'
    assert asked.tools.tools[0].description == "ask [email]"
    assert asked.tools.tools[0].parameters == '{"default": "[email]"}'


@pytest.mark.parametrize(
    ("told", "cleaned"),
    [
        ('{"card": 4111111111111111, "n": 3}', '{"card": "[card]", "n": 3}'),
        (f'{{"{EMAIL}": ["é", {{"a": "{EMAIL}"}}, true, null]}}',
         '{"[email]": ["é", {"a": "[email]"}, true, null]}'),
        ("{card: 4111111111111111}", "{card: [card]}"),
        ("{ }", "{ }"),
    ],
)  # fmt: skip
async def test_what_is_json_stays_json_once_it_is_cleaned(told, cleaned):
    chain = Chain()
    turns = (Message(Role.ASSISTANT, (), tool_calls=(ToolCall("c1", "pay", told),)),)
    tools = ToolWishes((Tool("pay", parameters=told),))
    with capture_logs() as logs:
        await answer(chain, GenerationRequest(turns, tools=tools), questions=REDACTING)
    [asked] = chain.asked
    assert asked.messages[0].tool_calls[0].arguments == cleaned
    assert asked.tools.tools[0].parameters == cleaned
    assert sum(one["count"] for one in logs) == 2 * cleaned.count("[card]") + 2 * cleaned.count(
        "[email]"
    )


async def test_calls_of_tools_in_an_answer_are_looked_through():
    middle = len(EMAIL) // 2
    pieces = [
        Delta(0, "", 1, tool_calls=(ToolCallPiece(0, arguments=part),))
        for part in (EMAIL[:middle], EMAIL[middle:])
    ]
    events = answer_events(text=())
    chain = Chain()
    chain.generate = lambda *_: play([events[0], *pieces, *events[1:]], chain.log)
    with capture_logs() as logs:
        await answer(chain, answers={"personal_data": "flag"})
    assert [(one["rule"], one["action"]) for one in logs] == [("email", "flag")]


async def test_long_texts_are_looked_through_beside_the_loop():
    chain = Chain()
    request = GenerationRequest(prompt=f"{'word ' * 10_000}{EMAIL}")
    await answer(chain, request, questions=REDACTING)
    assert chain.asked[0].prompt.endswith("word [email]")


async def test_texts_to_be_embedded_are_cleaned_as_well():
    chain = Chain()
    policy = Policy(SafetySettings.model_validate({"questions": REDACTING}))
    request = EmbeddingRequest((f"I am {EMAIL}", "plain"), "mini")
    await SafeEmbedder(chain, policy).embed(request, CONTEXT)
    assert chain.asked == [dataclasses.replace(request, texts=("I am [email]", "plain"))]
    refusing = Policy(SafetySettings.model_validate({"questions": {"personal_data": "block"}}))
    with pytest.raises(RouterError) as refused:
        await SafeEmbedder(chain, refusing).embed(request, CONTEXT)
    assert refused.value.violations[0].field == "texts[0]"
