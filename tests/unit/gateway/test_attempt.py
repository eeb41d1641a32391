"""What one try measures of a model, by a clock that the test turns."""

import asyncio
from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    FIRST,
    GREEDY,
    Runner,
    answer_events,
    collect,
    error,
)

from llmrouter.common.bill import Bill
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Delta, Finished, Timings, Usage
from llmrouter.gateway.attempt import Trial

STARTED = answer_events()[0]
PROMPT_BYTES = 11


class Turned:
    """Inference whose numbers let time pass; a script that ends with None then hangs."""

    def __init__(self, *script):
        self.script = script
        self.now = 1000.0
        self.hanging = asyncio.Event()

    def clock(self):
        return self.now

    async def infer(self, candidate, request, context, begun=None):
        for step in self.script:
            if step is None:
                self.hanging.set()
                await asyncio.Event().wait()
            elif isinstance(step, float):
                self.now += step
            else:
                yield step

    async def outcome(self):
        trial = Trial(FIRST, PROMPT_BYTES, self.clock)
        reading = asyncio.create_task(collect(trial.run(self, GREEDY, CONTEXT)))
        ends = asyncio.create_task(self.hanging.wait())
        await asyncio.wait((reading, ends), return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        ends.cancel()
        await asyncio.gather(reading, ends, return_exceptions=True)
        return trial.outcome()


async def test_the_first_token_and_those_after_it_are_timed_apart():
    deltas = [0.25, Delta(0, "a", 1), 0.5, Delta(0, "b", 2)]
    outcome = await Turned(STARTED, *deltas, 4.0, Finished(Usage(3, 3))).outcome()
    assert (outcome.time_to_first_token, outcome.time_per_token) == (0.25, 0.25)
    assert (outcome.waited, outcome.prompt_bytes) == (None, PROMPT_BYTES)


@pytest.mark.parametrize(
    ("reason", "tokens"),
    [(Reason.INVALID_ARGUMENT, 0), (Reason.QUEUE_FULL, 0), (Reason.GENERATION_FAILED, 9)],
)
async def test_a_prompt_that_was_turned_away_is_not_paid_for(reason, tokens):
    runner = Runner(first=[replace(STARTED, prompt_tokens=9), error(reason)])
    bill = Bill()
    with pytest.raises(RouterError):
        await collect(Trial(FIRST, PROMPT_BYTES).run(runner, GREEDY, replace(CONTEXT, bill=bill)))
    assert bill.tokens == tokens


async def test_how_long_a_first_token_was_waited_for_in_vain_is_told():
    outcome = await Turned(STARTED, 0.5, None).outcome()
    assert (outcome.error_reason, outcome.time_to_first_token) == ("CANCELLED", None)
    assert outcome.waited == 0.5


async def test_a_model_that_answers_was_not_waited_for_in_vain():
    outcome = await Turned(STARTED, 0.5, Delta(0, "a", 1), 0.5, None).outcome()
    assert (outcome.error_reason, outcome.waited) == ("CANCELLED", None)


async def test_the_engines_own_clock_tells_the_time_per_token_where_it_is_known():
    finished = Finished(Usage(3, 6), Timings(decode=0.5))
    outcome = await Turned(STARTED, 0.5, Delta(0, "a", 6), 3.0, finished).outcome()
    assert outcome.time_per_token == pytest.approx(0.1)


async def test_choices_that_run_side_by_side_do_not_look_like_one_faster_stream():
    finished = Finished(Usage(3, 12), Timings(decode=0.5))
    outcome = await Turned(STARTED, Delta(0, "a", 6), Delta(1, "b", 6), finished).outcome()
    assert outcome.time_per_token == pytest.approx(0.1)
