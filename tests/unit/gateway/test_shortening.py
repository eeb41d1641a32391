"""A chat that fits no context: what is left out of it, by whose leave, and what is told."""

from dataclasses import replace
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.doubles import CONTEXT, answer_events, collect, error, play, started, text

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Attempt,
    Finished,
    GenerationRequest,
    Message,
    Role,
    RoutingWishes,
    SamplingOptions,
)
from llmrouter.common.tools import Tool, ToolWishes
from llmrouter.common.truncation import Adjustment, Truncation
from llmrouter.gateway.shortening import Shortening, shortened

AUTO = RoutingWishes(truncation=Truncation.AUTO)
SYSTEM = Message(Role.SYSTEM, ("Be brief.",))


def say(role, words):
    return Message(role, (words,))


def chat(turns, *, size=100, system=True, max_tokens=None, routing=AUTO):
    """A chat of so many turns of the user's, each but the last with an answer."""
    messages = [SYSTEM] if system else []
    for index in range(turns):
        messages.append(say(Role.USER, f"{index}".ljust(size, "q")))
        messages.append(say(Role.ASSISTANT, f"{index}".ljust(size, "a")))
    sampling = SamplingOptions(temperature=0, max_tokens=max_tokens)
    return GenerationRequest(tuple(messages[:-1]), sampling=sampling, routing=routing)


def too_long(prompt_tokens=None, context=None):
    known = {"prompt_tokens": prompt_tokens, "context": context}
    facts = {name: str(value) for name, value in known.items() if value is not None}
    return error(Reason.CONTEXT_TOO_LONG, metadata=facts)


def test_the_eldest_turns_go_with_their_answers_until_the_rest_fits():
    asked = chat(10)  # 1,909 bytes
    shorter = shortened(asked, too_long(1000, 800))
    kept = shorter.messages
    assert kept[0] == SYSTEM
    assert kept[1].role is Role.USER
    assert kept[-1] == asked.messages[-1]
    assert kept[1:] == asked.messages[-len(kept) + 1 :]
    assert (len(asked.messages) - len(kept)) % 2 == 0
    tokens = 1000 * shorter.prompt_bytes / asked.prompt_bytes
    assert 300 < tokens <= 800 - 256


def test_what_tells_of_tools_stays_and_is_not_counted_as_turns():
    tools = ToolWishes((Tool("look_up", "x" * 20_000),))
    asked = replace(chat(40, size=500), tools=tools)  # 60,000 bytes with the tools
    shorter = shortened(asked, too_long(15_000, 10_000))
    tokens = 15_000 * shorter.prompt_bytes / asked.prompt_bytes
    assert tokens <= 10_000 - 256  # in one round
    assert shorter.tools == tools


@given(st.integers(300, 990))
def test_no_answer_stays_without_its_question(context):
    kept = shortened(chat(10), too_long(1000, context)).messages
    assert [one.role for one in kept[1:]] == [Role.USER, Role.ASSISTANT] * (len(kept) // 2 - 1) + [
        Role.USER
    ]


def test_room_is_left_for_the_answer_that_is_asked_for():
    long = shortened(chat(20, max_tokens=700), too_long(1500, 1400))
    short = shortened(chat(20, max_tokens=10), too_long(1500, 1400))
    assert len(long.messages) < len(short.messages)


def test_where_nobody_tells_numbers_a_part_goes():
    asked = chat(10)
    shorter = shortened(asked, too_long())
    assert 0.4 < shorter.prompt_bytes / asked.prompt_bytes <= 0.7


def test_a_last_turn_that_is_too_long_by_itself_is_not_cut():
    assert shortened(chat(1, size=5000), too_long(2000, 1000)) is None


def test_where_only_the_answer_does_not_fit_fewer_tokens_are_asked_for():
    shorter = shortened(chat(1, max_tokens=100), too_long(950, 1000))
    assert shorter.sampling.max_tokens == 70
    assert shortened(chat(1, max_tokens=1), too_long(950, 1000)) is None


ROLES = st.lists(st.sampled_from(list(Role)), min_size=1, max_size=30)
SIZES = st.integers(1, 4000)


@given(ROLES, SIZES, SIZES, st.none() | st.integers(1, 2000))
def test_it_gets_shorter_each_time_keeps_its_ends_and_comes_to_an_end(
    roles, tokens, context, max_tokens
):
    messages = tuple(say(role, f"{index} " * 9) for index, role in enumerate(roles))
    sampling = SamplingOptions(max_tokens=max_tokens)
    asked = GenerationRequest(messages, sampling=sampling, routing=AUTO)
    heads = tuple(takewhile(lambda one: one.role is Role.SYSTEM, messages))
    for _ in range(200):
        shorter = shortened(asked, too_long(tokens, context))
        if shorter is None:
            return
        smaller = shorter.prompt_bytes < asked.prompt_bytes
        fewer = (shorter.sampling.max_tokens or 0) < (asked.sampling.max_tokens or 0)
        assert smaller or fewer
        assert shorter.messages[: len(heads)] == heads
        assert shorter.messages[-1] == messages[-1]
        asked = shorter
    raise AssertionError("it never ends")


class Models:
    """What is behind: a script per call, the last one for ever."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.asked = []

    def generate(self, request, context):
        self.asked.append(request)
        return play(self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0], [])


def refusal(*numbers):
    refused = too_long(*numbers)
    refused.attempts = (
        Attempt(
            model="first",
            version="v1",
            address="one:1",
            duration=0.1,
            error_reason="CONTEXT_TOO_LONG",
        ),
    )
    return refused


ANSWERED = [
    *answer_events()[:-1],
    Finished(attempts=(Attempt(model="first", version="v1", address="one:1", duration=0.5),)),
]


async def test_the_answer_tells_what_was_left_out_and_every_attempt_its_own():
    models = Models([refusal(1000, 800)], [refusal(600, 500)], ANSWERED)
    events = await collect(Shortening(models).generate(chat(10), CONTEXT))
    assert text(events) == "Paris"
    dropped = [19 + 1 - len(one.messages) for one in models.asked]
    assert dropped[0] == 0 < dropped[1] < dropped[2]
    assert started(events).dropped_messages == dropped[2]
    assert [one.adjustment for one in events[-1].attempts] == [
        None,
        Adjustment(dropped[1]),
        Adjustment(dropped[2]),
    ]
    assert [one.error_reason for one in events[-1].attempts] == [
        "CONTEXT_TOO_LONG",
        "CONTEXT_TOO_LONG",
        "",
    ]


async def test_fewer_tokens_are_told_too():
    models = Models([refusal(950, 1000)], ANSWERED)
    events = await collect(Shortening(models).generate(chat(1, max_tokens=100), CONTEXT))
    assert events[-1].attempts[1].adjustment == Adjustment(0, 70)
    assert started(events).dropped_messages == 0


async def test_nothing_is_left_out_unless_the_caller_allows_it():
    models = Models([too_long(1000, 800)])
    with pytest.raises(RouterError) as failure:
        await collect(Shortening(models).generate(chat(10, routing=RoutingWishes()), CONTEXT))
    assert failure.value.reason is Reason.CONTEXT_TOO_LONG
    assert len(models.asked) == 1


async def test_an_answer_that_needs_nothing_left_out_is_passed_on_as_it_is():
    asked = chat(3)
    models = Models(ANSWERED)
    assert await collect(Shortening(models).generate(asked, CONTEXT)) == ANSWERED
    assert models.asked == [asked]


async def test_it_gives_up_after_a_few_rounds_with_all_that_was_tried():
    models = Models([refusal(100_000, 99_990)])
    with pytest.raises(RouterError) as failure:
        await collect(Shortening(models).generate(chat(40, size=10), CONTEXT))
    assert len(models.asked) == 9
    assert len(failure.value.attempts) >= 1


@pytest.mark.parametrize("script", [[error()], [*ANSWERED[:2], too_long(1000, 800)]])
async def test_nothing_is_left_out_for_other_failures_nor_once_something_was_sent(script):
    models = Models(script)
    with pytest.raises(RouterError):
        await collect(Shortening(models).generate(chat(10), CONTEXT))
    assert len(models.asked) == 1
