"""A kept answer is streamed as fast as its caller wishes, never later than its deadline allows."""

import asyncio
import math
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.doubles import CONTEXT, GREEDY, Following, answer_events, collect, text

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheLevel,
    CacheWishes,
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    Timings,
    TokenLogprob,
    Usage,
)
from llmrouter.common.replay_pace import ReplayPace
from llmrouter.common.tools import ToolCall, put_together
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.pace import PartedAnswer, schedule
from llmrouter.gateway.pacing import Pacing, check_unpaced
from llmrouter.gateway.replaying import replay

ORIGINAL = ReplayPace()
TIMINGS = Timings(time_to_first_token=0.5, total=4.5)
KEPT = Answer("first", "v1", (Choice("abcdefghij", FinishReason.STOP),), Usage(3, 5), TIMINGS)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)


def hit(answer=KEPT):
    return list(replay(answer, CacheLevel.MEMORY, "plan-1", CONTEXT))


def wishing(pace):
    return replace(GREEDY, cache=CacheWishes(pace=pace))


async def timed(script, pace, context=CONTEXT, reading=0.0):
    """Return each event with when it came, for a reader who takes so long over each."""
    clock = Clock()
    link = Pacing(Following(*script), clock, clock.sleep)
    found = []
    async for event in link.generate(wishing(pace), context):
        found.append((round(clock.now - 100.0, 6), event))
        clock.now += reading
    return found


def texts(found):
    return [(when, event.text) for when, event in found if isinstance(event, Delta)]


async def test_without_a_wish_a_kept_answer_passes_as_it_is():
    script = hit()
    assert await collect(Pacing(Following(*script)).generate(GREEDY, CONTEXT)) == script


async def test_the_original_pace_gives_each_text_when_it_came_then():
    found = await timed(hit(), ORIGINAL)
    assert texts(found) == [(0.5, "ab"), (1.5, "cd"), (2.5, "ef"), (3.5, "gh"), (4.5, "ij")]
    assert (found[0][0], found[0][1]) == (0.0, hit()[0])
    assert [event for _, event in found[-2:]] == hit()[-2:]
    assert sum(event.tokens for _, event in found if isinstance(event, Delta)) == 5


async def test_a_rate_gives_the_first_text_at_once_and_no_more_than_so_many_tokens_a_second():
    found = await timed(hit(), ReplayPace(10.0))
    assert texts(found) == [(0.0, "ab"), (0.1, "cd"), (0.2, "ef"), (0.3, "gh"), (0.4, "ij")]


async def test_calls_of_tools_come_whole_with_the_end():
    calls = (ToolCall("c1", "weather", '{"of": "Rome"}'), ToolCall("c2", "time", "{}"))
    for said in ("abcd", ""):
        choice = Choice(said, FinishReason.TOOL_CALLS, tool_calls=calls)
        found = await timed(hit(replace(KEPT, choices=(choice,))), ReplayPace(10.0))
        deltas = [event for _, event in found if isinstance(event, Delta)]
        assert "".join(one.text for one in deltas) == said
        assert [bool(one.tool_calls) for one in deltas] == [False] * (len(deltas) - 1) + [True]
        assert put_together(deltas[-1].tool_calls) == calls


async def test_several_choices_go_on_side_by_side_and_share_the_rate():
    choices = (Choice("abcdefgh", FinishReason.STOP), Choice("ABCD", FinishReason.LENGTH))
    found = await timed(hit(replace(KEPT, choices=choices, usage=Usage(3, 8))), ReplayPace(8.0))
    given_ = [(when, event.choice, event.text) for when, event in found if isinstance(event, Delta)]
    assert given_ == [
        (0.0, 0, "ab"),
        (0.0, 1, "AB"),
        (0.25, 0, "cd"),
        (0.25, 1, "CD"),
        (0.5, 0, "ef"),
        (0.75, 0, "gh"),
    ]
    ends = [event for _, event in found if isinstance(event, ChoiceFinished)]
    assert ends == [ChoiceFinished(1, FinishReason.LENGTH), ChoiceFinished(0, FinishReason.STOP)]


async def test_who_reads_slowly_gets_all_that_is_due_in_one_part():
    found = await timed(hit(), ReplayPace(10.0), reading=0.25)
    assert texts(found) == [(0.25, "abcdef"), (0.5, "ghij")]


async def test_what_is_due_within_a_moment_comes_together():
    found = await timed(hit(), ReplayPace(1000.0))
    assert len(texts(found)) == 2


async def test_an_answer_comes_sooner_where_the_deadline_leaves_no_time_for_its_pace(monkeypatch):
    monkeypatch.setattr("llmrouter.common.generation.time.monotonic", lambda: 1000.0)
    context = replace(CONTEXT, deadline=1001.25)
    found = await timed(hit(), ORIGINAL, context)
    assert found[-1][0] == 1.0
    assert texts(found)[0][0] == pytest.approx(0.5 / 4.5, abs=1e-6)
    late = await timed(hit(), ORIGINAL, replace(CONTEXT, deadline=999.0))
    assert (late[-1][0], texts(late)) == (0.0, [(0.0, "abcdefghij")])


async def test_an_answer_that_is_generated_passes_as_it_comes():
    clock = Clock()
    script = answer_events()
    following = Following(*script)
    link = Pacing(following, clock, clock.sleep)
    async with aclosing(link.generate(wishing(ReplayPace(0.1)), CONTEXT)) as events:
        assert [await anext(events) for _ in range(2)] == script[:2]
        assert following.log == []
    assert (following.log, clock.now) == (["closed"], 100.0)


async def test_who_leaves_while_a_part_is_waited_for_ends_the_wait():
    link = Pacing(Following(*hit()))
    task = asyncio.create_task(collect(link.generate(wishing(ReplayPace(0.1)), CONTEXT)))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


async def test_a_failure_before_the_answer_is_raised_as_it_is():
    failure = RouterError(Reason.MODEL_UNAVAILABLE, "nobody is there")
    with pytest.raises(RouterError, match="nobody is there"):
        await collect(Pacing(Following(failure)).generate(wishing(ORIGINAL), CONTEXT))


def test_a_pace_has_no_meaning_for_an_answer_in_one_piece():
    check_unpaced(CacheWishes())
    with pytest.raises(RouterError, match=r"cache\.pace: is given, .* ask for a stream") as refused:
        check_unpaced(CacheWishes(pace=ORIGINAL))
    assert refused.value.reason is Reason.INVALID_ARGUMENT


def _kept(text_, tokens, *, told):
    logprobs = tuple(TokenLogprob(0, -1.0, bytes([one])) for one in text_.encode())
    return Delta(0, text_, tokens, logprobs if told else ())


@given(
    st.lists(st.tuples(st.text(max_size=30), st.integers(0, 40), st.booleans()), max_size=4),
    st.lists(st.floats(0, 1), max_size=12),
)
def test_parts_are_whole_characters_that_join_to_the_answer(choices, shares):
    script = []
    for index, (content, tokens, told) in enumerate(choices):
        script += [
            replace(_kept(content, tokens, told=told), choice=index),
            ChoiceFinished(index, FinishReason.STOP),
        ]
    answer = PartedAnswer(script)
    given_ = [event for share in [*sorted(shares), 1.0] for event in answer.part(share)]
    for index, (content, tokens, told) in enumerate(choices):
        parts = [one for one in given_ if isinstance(one, Delta) and one.choice == index]
        whole = _kept(content, tokens, told=told)
        assert text(parts) == content
        assert sum(part.tokens for part in parts) == tokens
        assert sum((part.logprobs for part in parts), ()) == whole.logprobs
        for count in range(len(parts) if told else 0):  # each token's text comes with its own
            tokens_ = (one.bytes for part in parts[: count + 1] for one in part.logprobs)
            assert text(parts[: count + 1]) == b"".join(tokens_).decode(errors="ignore")
        assert all(part.text or part.tokens or part.logprobs for part in parts)
    ends = [event.choice for event in given_ if isinstance(event, ChoiceFinished)]
    assert sorted(ends) == list(range(len(choices)))


@given(
    st.integers(0, 5000),
    st.integers(1, 16),
    st.floats(0, 100),
    st.floats(0, 1000),
    st.none() | st.floats(0.1, 10_000),
    st.none() | st.floats(0, 200),
)
def test_no_step_is_due_before_its_time_nor_the_first_later_than_it_came_or_time_is_left(
    tokens, choices, first, total, rate, remaining
):
    finished = Finished(Usage(1, tokens), Timings(time_to_first_token=first, total=total))
    plan = schedule(ReplayPace(rate), finished, choices, remaining)
    assert plan.steps >= 1
    assert plan.first <= (first if rate is None else 0.0)
    last = plan.when(plan.steps)
    assert math.isfinite(last)
    assert remaining is None or last <= max(0.0, remaining - 0.25) + 1e-6
    assert plan.due(last + 1e-6) == plan.steps
    if plan.apart > 1e-3:
        middle = plan.when(1 + plan.steps // 2) - plan.apart / 2
        assert plan.due(middle) <= max(0, plan.steps // 2)
