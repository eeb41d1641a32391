"""When which part of a kept answer is due: plain numbers, no clock."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    GenerationEvent,
    TokenLogprob,
)
from llmrouter.common.replay_pace import ReplayPace
from llmrouter.common.tools import ToolCallPiece

__all__ = ["PartedAnswer", "Schedule", "schedule"]

_SPARE_SECONDS = 0.25
"""Of a request's deadline, left for the end of the answer to arrive in time."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the steps of an answer are due, in seconds since it was asked for."""

    steps: int
    """At least 1."""
    first: float
    """When the first is due."""
    apart: float
    """From one to the next; 0 has all of them due at once."""

    def due(self, elapsed: float) -> int:
        """Return how many steps are due."""
        if elapsed < self.first:
            return 0
        if not self.apart:
            return self.steps
        return min(self.steps, 1 + math.floor((elapsed - self.first) / self.apart + 1e-9))

    def when(self, step: int) -> float:
        """Return when a step is due, counted from 1."""
        return self.first + (step - 1) * self.apart


def schedule(
    pace: ReplayPace, finished: Finished, choices: int, remaining: float | None
) -> Schedule:
    """Return the steps of an answer, in each of which every choice goes on by about a token.

    Args:
        pace: As the caller wishes it.
        finished: The usage and the timings of the answer's generation.
        choices: How many answers it has.
        remaining: Seconds until the deadline, for which all comes sooner; None is no deadline.
    """
    tokens, timings = finished.usage.completion_tokens, finished.timings
    steps = max(1, math.ceil(tokens / choices))
    if pace.tokens_per_second is not None:
        first, apart = 0.0, choices / pace.tokens_per_second
    else:
        first = timings.time_to_first_token
        apart = max(0.0, timings.total - first) / max(1, steps - 1)
    end = first + (steps - 1) * apart
    most = math.inf if remaining is None else max(0.0, remaining - _SPARE_SECONDS)
    if end > most:
        first, apart = first * most / end, apart * most / end
    return Schedule(steps, first, apart)


@dataclass(slots=True)
class _PartedChoice:
    """One choice, of which some has been given."""

    index: int
    text: str = ""
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    calls: tuple[ToolCallPiece, ...] = ()
    """Of tools; they come with the end, since whoever asks acts on them whole."""
    end: ChoiceFinished | None = None
    ends: list[int] = field(default_factory=list)
    """Characters up to the end of each token whose log probability is kept."""
    given: tuple[int, int, int] = (0, 0, 0)
    """Characters, tokens and log probabilities."""
    over: bool = False

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.tokens += delta.tokens
        self.logprobs += delta.logprobs
        self.calls += delta.tool_calls

    def part(self, share: float) -> Iterator[Delta | ChoiceFinished]:
        """Give what brings the choice to a share of it, and its end with the last of it."""
        if self.over:
            return
        upto = self._upto(min(1.0, share))
        calls = self.calls if share >= 1 else ()
        if upto != self.given or calls:
            (text, tokens, logprobs), self.given = self.given, upto
            yield Delta(
                self.index,
                self.text[text : upto[0]],
                upto[1] - tokens,
                self.logprobs[logprobs : upto[2]],
                tool_calls=calls,
            )
        if share >= 1 and self.end is not None:
            self.over = True
            yield self.end

    def _upto(self, share: float) -> tuple[int, int, int]:
        if share >= 1:
            return len(self.text), self.tokens, len(self.logprobs)
        if not self.logprobs:
            return math.ceil(share * len(self.text)), math.floor(share * self.tokens), 0
        if not self.ends:
            self.ends = list(_ends(self.logprobs))
        known = max(1, math.floor(share * len(self.logprobs)))
        return min(self.ends[known - 1], len(self.text)), math.floor(share * self.tokens), known


class PartedAnswer:
    """A whole answer that is given in parts."""

    def __init__(self, events: Iterable[GenerationEvent]) -> None:
        self._choices: dict[int, _PartedChoice] = {}
        for event in events:
            if isinstance(event, Delta):
                self._choice(event.choice).add(event)
            elif isinstance(event, ChoiceFinished):
                self._choice(event.choice).end = event
        self._longest = max((len(one.text) for one in self._choices.values()), default=0)

    @property
    def choices(self) -> int:
        """How many choices it has, at least 1."""
        return max(1, len(self._choices))

    def part(self, share: float) -> Iterator[Delta | ChoiceFinished]:
        """Give what follows of each choice until the longest is at a share of it, 0 to 1."""
        for choice in self._choices.values():
            size = len(choice.text)
            yield from choice.part(share * self._longest / size if size else 1.0)

    def _choice(self, index: int) -> _PartedChoice:
        return self._choices.setdefault(index, _PartedChoice(index))


def _ends(logprobs: Iterable[TokenLogprob]) -> Iterator[int]:
    """Give the whole characters of a text up to the end of each of its tokens."""
    decoder, characters = codecs.getincrementaldecoder("utf-8")("replace"), 0
    for one in logprobs:
        characters += len(decoder.decode(one.bytes))
        yield characters
