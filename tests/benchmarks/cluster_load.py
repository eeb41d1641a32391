"""What asks a cluster while things happen to it, and what became of every question."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field

from tests.support.paced.llmrouter_paced import text_of

from llmrouter_client import Delta, LlmrouterError

REQUEST_SECONDS, STREAM_SECONDS = 30.0, 60.0
_MAX_AT_ONCE = 256
_MAX_FAILURES_KEPT = 20


@dataclass
class Tally:
    """How questions of one kind fared."""

    asked: int = 0
    answered: int = 0
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    broken: list[tuple[float, float]] = field(default_factory=list)
    """When those that failed began and ended, on the monotonic clock."""

    @property
    def share(self):
        return self.answered / self.asked if self.asked else 0.0

    def took(self, began, failure=None):
        now = time.monotonic()
        if failure is None:
            self.answered += 1
            self.seconds.append(now - began)
            return
        self.broken.append((began, now))
        if len(self.failures) < _MAX_FAILURES_KEPT:
            self.failures.append(failure)


async def ask(client, number, tally):
    """Ask one question; every fifth was asked before, so that caches have something to do."""
    which = number // 2 if number % 5 == 0 else number
    tokens, began = 4 + which % 9, time.monotonic()
    tally.asked += 1
    try:
        answer = await client.generate(
            f"question {which}", max_tokens=tokens, temperature=0, timeout=REQUEST_SECONDS
        )
    except LlmrouterError as error:
        tally.took(began, f"{error.reason}: {error.message}")
    else:
        right = answer.text == text_of(tokens)
        tally.took(began, None if right else f"wrong answer: {answer.text!r}")


async def ask_steadily(client, rate, at_least, over, tally):
    """Ask so many questions a second until `over` is set and there were enough."""
    running, begin = set(), time.monotonic()
    for number in itertools.count():
        if over.is_set() and number >= at_least:
            break
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        if len(running) >= _MAX_AT_ONCE:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(ask(client, number, tally))
        running.add(task)
        task.add_done_callback(running.discard)
    if running:
        await asyncio.wait(running)


async def stream_steadily(client, tokens, over, tally):
    """Read one long answer after the other until `over` is set."""
    for number in itertools.count():
        if over.is_set():
            return
        began, said = time.monotonic(), []
        tally.asked += 1
        try:
            async with client.stream(
                f"long {number}", max_tokens=tokens, cache=False, timeout=STREAM_SECONDS
            ) as stream:
                said = [event.text async for event in stream if isinstance(event, Delta)]
        except LlmrouterError as error:
            tally.took(began, f"{error.reason}: {error.message}")
            await asyncio.sleep(0.1)
        else:
            right = "".join(said) == text_of(tokens)
            tally.took(began, None if right else f"wrong answer of {len(''.join(said))} tokens")


async def answers_per_second(client, callers, tokens, seconds):
    """Return how many answers so many callers get, each asking again at once, in a second."""
    over, tally = asyncio.Event(), Tally()

    async def call():
        for number in itertools.count():
            if over.is_set():
                return
            began = time.monotonic()
            await client.generate(
                f"caller {number}", max_tokens=tokens, cache=False, timeout=REQUEST_SECONDS
            )
            tally.took(began)

    tasks = [asyncio.create_task(call()) for _ in range(callers)]
    await asyncio.sleep(seconds / 4)  # until all slots are taken and the callers are spread
    before, began = tally.answered, time.monotonic()
    await asyncio.sleep(seconds)
    figure = (tally.answered - before) / (time.monotonic() - began)
    over.set()
    await asyncio.gather(*tasks)
    return figure
