"""A whole answer, and how it is put together from the events of its stream."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from llmrouter.common.continuation import Switched
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    Started,
    Timings,
    TokenLogprob,
    Usage,
)
from llmrouter.common.tools import ToolCall, ToolCallPiece, put_together

__all__ = ["Answer", "AnswerBuilder", "Choice", "logprob_bytes"]

_LOGPROB_BYTES = 32
"""About what one takes on the wire."""
_ANSWER_BYTES = 512
_CHOICE_BYTES = 128
"""About what the objects take beside their texts."""
_COMPLETE = frozenset({FinishReason.STOP, FinishReason.LENGTH, FinishReason.TOOL_CALLS})


@dataclass(frozen=True, slots=True)
class Choice:
    """One complete choice of an answer."""

    text: str
    reason: FinishReason
    stop: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def size(self) -> int:
        """About the bytes it takes in memory."""
        calls = sum(sys.getsizeof(one.arguments) + _CHOICE_BYTES for one in self.tool_calls)
        return sys.getsizeof(self.text) + _CHOICE_BYTES + logprob_bytes(self.logprobs) + calls


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of one model version."""

    model: str
    version: str
    choices: tuple[Choice, ...]
    usage: Usage
    timings: Timings = field(default_factory=Timings)
    """Of its generation."""

    @property
    def size(self) -> int:
        """About the bytes it takes in memory."""
        return _ANSWER_BYTES + sum(choice.size for choice in self.choices)

    def gives(self, model: str, version: str) -> bool:
        """Return whether it is an answer, and that of this model's version."""
        return bool(self.choices) and (self.model, self.version) == (model, version)

    def reaches(self, max_tokens: int | None) -> bool:
        """Return whether the answer is all that a request for so many tokens may get.

        Where a limit that the request does not name has cut it off, the server's, a provider's or
        that of the context, the same question may be answered at greater length elsewhere.
        """
        cut = sum(choice.reason is FinishReason.LENGTH for choice in self.choices)
        if not cut:
            return True
        return max_tokens is not None and self.usage.completion_tokens >= cut * max_tokens

    def replay(self) -> Iterator[Delta | ChoiceFinished]:
        """Give the choices as the events that stream them; token counts go with the text."""
        # Per choice tokens are not kept: the count stands with the first choice, the sum is right.
        tokens = self.usage.completion_tokens
        for index, choice in enumerate(self.choices):
            calls = tuple(
                ToolCallPiece(place, call.id, call.name, call.arguments)
                for place, call in enumerate(choice.tool_calls)
            )
            yield Delta(index, choice.text, tokens, choice.logprobs, tool_calls=calls)
            yield ChoiceFinished(index, choice.reason, choice.stop)
            tokens = 0


def logprob_bytes(logprobs: Iterable[TokenLogprob]) -> int:
    """Return about what log probabilities take on the wire."""
    return sum(_LOGPROB_BYTES * (1 + len(one.top)) for one in logprobs)


class AnswerBuilder:
    """Collects the events of one stream.

    Args:
        max_bytes: Text beyond this is let go and the answer counts as incomplete; 0 keeps all.
    """

    def __init__(self, max_bytes: int = 0) -> None:
        self.started: Started | None = None
        self.finished: Finished | None = None
        self._texts: dict[int, list[str]] = {}
        self._logprobs: dict[int, list[TokenLogprob]] = {}
        self._calls: dict[int, list[ToolCallPiece]] = {}
        self._ends: dict[int, ChoiceFinished] = {}
        self._max_bytes = max_bytes
        self._bytes = 0
        self._mixed = False
        """Whether several model versions gave it."""
        self.too_large = False
        """Whether text was let go because there was too much of it."""

    def add(self, event: GenerationEvent) -> None:
        """Take the next event in."""
        match event:
            case Delta():
                self._add_text(event)
            case ChoiceFinished():
                self._ends[event.choice] = event
            case Started():
                self.started = event
            case Finished():
                self.finished = event
            case Switched():
                self._switch(event)

    def choices(self) -> tuple[Choice, ...]:
        """Return the finished choices in order of their index."""
        return tuple(
            Choice(
                "".join(self._texts.get(index, ())),
                end.reason,
                end.stop,
                tuple(self._logprobs.get(index, ())),
                put_together(self._calls.get(index, ())),
            )
            for index, end in sorted(self._ends.items())
        )

    def complete(self) -> Answer | None:
        """Return the answer when it is whole: every choice ended by itself, and the stream too."""
        if self.started is None or self.finished is None or self.too_large or self._mixed:
            return None
        choices = self.choices()
        ended = set(self._ends) == set(range(len(choices))) and set(self._texts) <= set(self._ends)
        if not choices or not ended or any(item.reason not in _COMPLETE for item in choices):
            return None
        started, finished = self.started, self.finished
        return Answer(started.model, started.version, choices, finished.usage, finished.timings)

    def _switch(self, event: Switched) -> None:
        before = (event.from_model, event.from_version)
        self._mixed = self._mixed or (event.model, event.version) != before

    def _add_text(self, delta: Delta) -> None:
        if self._max_bytes:
            self._bytes += len(delta.text.encode())
            self._bytes += logprob_bytes(delta.logprobs)
            self._bytes += sum(len(one.arguments.encode()) for one in delta.tool_calls)
            if self._bytes > self._max_bytes:
                self.too_large = True
                self._texts.clear()
                self._logprobs.clear()
                self._calls.clear()
                return
        self._texts.setdefault(delta.choice, []).append(delta.text)
        if delta.tool_calls:
            self._calls.setdefault(delta.choice, []).extend(delta.tool_calls)
        if delta.logprobs:
            self._logprobs.setdefault(delta.choice, []).extend(delta.logprobs)
