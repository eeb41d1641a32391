"""Turns of a conversation: in order, with what was said, cancelled, changed and held by credit."""

import asyncio
from contextlib import aclosing

import pytest
from tests.unit.gateway.doubles import answer_events, error

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Delta,
    Finished,
    GenerationRequest,
    Message,
    Role,
    SamplingOptions,
)
from llmrouter.gateway.conversing import (
    Accepted,
    Change,
    Conversation,
    GiveUp,
    Grant,
    Say,
)
from llmrouter.gateway.reply import Cancelled

HANGING = 30


def say(text):
    return Say((Message(Role.USER, (text,)),))


class Caller:
    """What the caller says, one thing after another, until it ends."""

    def __init__(self, *commands):
        self.queue = asyncio.Queue()
        for command in commands:
            self.queue.put_nowait(command)

    def __call__(self, *commands):
        for command in commands:
            self.queue.put_nowait(command)

    def end(self):
        self.queue.put_nowait(None)

    async def __aiter__(self):
        while (command := await self.queue.get()) is not None:
            if isinstance(command, Exception):
                raise command
            yield command


class Model:
    """Answers by a script per turn, the last one for ever; a number waits for ever."""

    def __init__(self, *scripts):
        self.scripts = list(scripts) or [answer_events()]
        self.asked = []
        self.sent = 0
        self.closed = 0

    async def __call__(self, request, turn):
        self.asked.append((request, turn))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for event in script:
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, int):
                    await asyncio.Event().wait()
                self.sent += 1
                yield event
                await asyncio.sleep(0)
        finally:
            self.closed += 1


async def talk(model, caller, *, max_bytes=1 << 20, idle=HANGING):
    conversation = Conversation(model, max_bytes, idle)
    return [told async for told in conversation.run(caller)]


async def settle():
    for _ in range(20_000):
        await asyncio.sleep(0)


async def test_turns_are_answered_in_order_with_what_was_said_before():
    model, caller = Model(), Caller(say("Who?"), say("Why?"))
    caller.end()
    told = await talk(model, caller)
    assert [turn for turn, _ in told] == [1] * 6 + [2] * 6
    assert told[0][1] == Accepted(0)
    assert isinstance(told[5][1], Finished)
    assert [turn for _, turn in model.asked] == [1, 2]
    second, _ = model.asked[1]
    assert [one.text for one in second.messages] == ["Who?", "Paris", "Why?"]
    assert second.messages[1].role is Role.ASSISTANT


async def test_options_hold_for_what_is_said_after_them():
    hot = GenerationRequest(sampling=SamplingOptions(temperature=0.9))
    cold = GenerationRequest(sampling=SamplingOptions(temperature=0))
    model, caller = Model(), Caller(Change(hot), say("a"), Change(cold), say("b"))
    caller.end()
    await talk(model, caller)
    assert [request.sampling.temperature for request, _ in model.asked] == [0.9, 0]


async def test_a_cancelled_turn_ends_at_once_and_is_remembered_as_far_as_it_was_sent():
    model = Model([*answer_events()[:3], 1], answer_events())
    caller = Caller(say("Who?"), say("Why?"))
    conversation = Conversation(model, 1 << 20, HANGING)
    told = []
    async with aclosing(conversation.run(caller)) as outcomes:
        async for outcome in outcomes:
            told.append(outcome)
            if outcome == (1, Delta(0, "is", 1)):
                caller(GiveUp(1), GiveUp(99))
                caller.end()
    assert (1, Cancelled(2)) in told
    assert model.closed == 2
    request, _ = model.asked[1]
    assert [one.text for one in request.messages] == ["Who?", "Paris", "Why?"]


async def test_a_turn_that_is_given_up_before_its_time_is_not_asked():
    model = Model([*answer_events()[:2], 1], answer_events())
    caller = Caller(say("a"), say("b"), GiveUp(2), GiveUp(1))
    caller.end()
    told = await talk(model, caller)
    assert [one for one in told if isinstance(one[1], Cancelled)] == [
        (1, Cancelled(0)), (2, Cancelled(0)),
    ]  # fmt: skip
    assert len(model.asked) <= 1


async def test_a_turn_that_fails_is_forgotten_and_the_conversation_goes_on():
    failed = error(Reason.QUEUE_FULL)
    model, caller = Model([failed], answer_events()), Caller(say("a"), say("b"))
    caller.end()
    told = await talk(model, caller)
    assert told[:2] == [(1, Accepted(0)), (1, failed)]
    assert [one.text for one in model.asked[1][0].messages] == ["b"]


@pytest.mark.parametrize("script", [[ValueError("a defect")], answer_events()[:2]])
async def test_a_defect_ends_its_turn_alone_and_says_nothing_of_itself(script):
    model, caller = Model(script, answer_events()), Caller(say("a"), say("b"))
    caller.end()
    told = await talk(model, caller)
    [failed] = [one for _, one in told if isinstance(one, RouterError)]
    assert failed.reason is Reason.INTERNAL
    assert "defect" not in failed.message
    assert isinstance(told[-1][1], Finished)


LONG = [answer_events()[0], *[Delta(0, "x" * 1000, 1)] * 500, *answer_events()[-2:]]


async def test_without_credit_the_first_delta_comes_alone_and_the_generation_pauses():
    model, caller = Model(LONG), Caller(Grant(10), say("a"))
    conversation = Conversation(model, 1 << 20, HANGING)
    async with aclosing(conversation.run(caller)) as outcomes:
        told = [await anext(outcomes) for _ in range(3)]
        assert told[-1] == (1, Delta(0, "x" * 1000, 1))
        waiting = asyncio.ensure_future(anext(outcomes))
        await settle()
        assert not waiting.done()
        assert model.sent < 20  # 16 KiB wait, and no more
        caller(Grant(5000))
        _, merged = await waiting
        assert 15_000 < len(merged.text) <= 18_000
        assert merged.tokens * 1000 == len(merged.text)


@pytest.mark.parametrize("credit", [1, 3000, 100_000])
async def test_however_credit_comes_the_whole_answer_does(credit):
    model, caller = Model(LONG), Caller(Grant(credit), say("a"))
    conversation, text, tokens = Conversation(model, 1 << 20, HANGING), 0, 0
    async with aclosing(conversation.run(caller)) as outcomes:
        async for _, outcome in outcomes:
            if isinstance(outcome, Delta):
                text, tokens = text + len(outcome.text), tokens + outcome.tokens
                caller(Grant(len(outcome.text)))
            if isinstance(outcome, Finished):
                caller.end()
    assert (text, tokens) == (500_000, 500)


async def test_more_turns_than_may_wait_are_refused_one_by_one():
    model, caller = Model(), Caller(*[say(str(number)) for number in range(30)])
    caller.end()
    told = await talk(model, caller)
    refused = [one for _, one in told if isinstance(one, RouterError)]
    answered = [one for _, one in told if isinstance(one, Finished)]
    assert {one.reason for one in refused} == {Reason.QUEUE_FULL}
    assert len(refused) + len(answered) == 30
    assert 16 <= len(answered) <= 18


async def test_what_is_forgotten_is_told():
    model, caller = Model(), Caller(say("a" * 600), say("b" * 600))
    caller.end()
    told = await talk(model, caller, max_bytes=1024)
    assert [one.forgotten for _, one in told if isinstance(one, Accepted)] == [0, 2]


async def test_what_means_nothing_ends_the_conversation_and_what_runs():
    model = Model([*answer_events()[:2], 1])
    wrong = RouterError(Reason.INVALID_ARGUMENT, "kind: is not set")
    caller = Caller(say("a"), GiveUp(1), wrong)
    with pytest.raises(RouterError, match="is not set"):
        await talk(model, caller)


async def test_silence_and_a_reader_without_credit_end_it():
    with pytest.raises(RouterError, match="nothing was said") as late:
        await talk(Model(), Caller(), idle=0.01)
    assert late.value.reason is Reason.DEADLINE_EXCEEDED
    model = Model(LONG)
    with pytest.raises(RouterError, match="nothing was answered or taken"):
        await talk(model, Caller(Grant(1), say("a")), idle=0.3)
    assert model.closed == 1


async def test_leaving_frees_the_model():
    model, caller = Model([*answer_events()[:2], 1]), Caller(say("a"))
    outcomes = Conversation(model, 1 << 20, HANGING).run(caller)
    for _ in range(3):
        await anext(outcomes)
    await outcomes.aclose()
    assert model.closed == 1
