"""One try at one candidate: its events, its clock and what is to be said of it afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Continuation
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Attempt,
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Started,
    Usage,
)
from llmrouter.common.truncation import Adjustment
from llmrouter.gateway.plan import Candidate, Outcome

__all__ = ["ModelRunner", "Said", "Trial"]


_REFUSALS = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
"""Statuses of those whom a model turns away before it computes."""
_LOST = (Reason.UPSTREAM_UNAVAILABLE, Reason.MODEL_UNAVAILABLE)
"""Why an answer ends half way though nothing is wrong with it: its service or its model went."""


class ModelRunner(Protocol):
    """What execution needs of inference."""

    def infer(
        self,
        candidate: Candidate,
        request: GenerationRequest,
        context: RequestContext,
        begun: Continuation | None = None,
    ) -> AsyncIterator[GenerationEvent]:
        """Run the request on one model, from the beginning or from what was answered already.

        Raises:
            RouterError: It failed; nothing follows.
        """
        ...


class Said:
    """What one try sent of its first choice."""

    __slots__ = ("exact", "size", "texts", "token_ids", "tokens")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.token_ids: list[int] = []
        self.tokens = 0
        self.size = 0
        """Characters of the text."""
        self.exact = True
        """Whether `token_ids` is all that it was made of."""

    def add(self, delta: Delta) -> None:
        """Take in what is sent."""
        self.texts.append(delta.text)
        self.size += len(delta.text)
        self.token_ids += delta.token_ids
        self.exact = self.exact and bool(delta.token_ids or not delta.text)
        # One that ends the answer is drawn again where the answer is gone on with.
        self.tokens += len(delta.token_ids) or delta.tokens


def turned_away(error: RouterError) -> bool:
    """Whether a model refused before it computed, unless it had begun to answer."""
    return error.status in _REFUSALS


class Trial:
    """One try. Ask it for its `attempt` and `outcome` once `run` has ended."""

    def __init__(
        self,
        candidate: Candidate,
        prompt_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        held: bool = False,
        begun: Continuation | None = None,
        adjustment: Adjustment | None = None,
        hedge: bool = False,
    ) -> None:
        """Prepare it.

        Args:
            candidate: Who is tried.
            prompt_bytes: UTF-8 bytes of the prompt.
            clock: Monotonic seconds.
            held: Whether nothing goes out before it has ended.
            begun: What others answered already, which it goes on with.
            adjustment: How what it is asked differs from what the caller asked.
            hedge: Whether it is asked only because another one is slow.
        """
        self.candidate = candidate
        self.error: RouterError | None = None
        self.finished: Finished | None = None
        self.version = candidate.version
        self.sent = False
        """Whether anything of it went out: then others may but go on with it."""
        self.said = Said()
        self.prompt_tokens = 0
        """As the model counted them; 0 where it has not."""
        self.confidence: float | None = None
        """How sure it was of its answer, 0 to 1; None where nobody asked."""
        self.set_aside = ""
        """Why its answer was not given although nothing was wrong with it; one phrase."""
        self._held = held
        self._begun = begun
        self.adjustment = adjustment
        self.hedge = hedge
        self._over = self._charged = False
        self._prompt_bytes = prompt_bytes
        self._clock = clock
        self._began = self._ended = clock()
        self._first: float | None = None
        self._last = 0.0
        self._tokens = 0
        self._later_tokens = 0
        self._choices = 1

    async def run(
        self, runner: ModelRunner, request: GenerationRequest, context: RequestContext
    ) -> AsyncGenerator[GenerationEvent]:
        """Stream the candidate's events; `Started` is held back until there is something to send.

        Raises:
            RouterError: The candidate failed, or its stream ended early.
        """
        self._began = self._clock()
        # Stands until the end is known: a reader that goes away raises nothing of ours.
        self.error = RouterError(Reason.CANCELLED, "the caller went away")
        held: Started | None = None
        try:
            stream = runner.infer(self.candidate, request, context, self._begun)
            async with closing_stream(stream) as events:
                async for event in events:
                    if isinstance(event, Started):
                        self.version = event.version or self.version
                        self.prompt_tokens = event.prompt_tokens
                        held = event
                        continue
                    self._see(event)
                    if self.finished is not None:
                        self._charge(context)  # before whoever settles at the end sees it
                    self.sent = not self._held
                    if held is not None:
                        yield held
                        held = None
                    yield event
            self._must_be_complete()
        except RouterError as error:
            self.error = self._told(error)
            if self.error is error:
                raise
            raise self.error from error
        finally:
            self._ended, self._over = self._clock(), True
            self._charge(context)

    def attempt(self) -> Attempt:
        """Return what the caller is told of this try."""
        usage = self.finished.usage if self.finished else None
        error = None if self.set_aside else self.error
        if self.error is not None and (self.sent or self.set_aside):
            usage = Usage(self.prompt_tokens, self.said.tokens)
        return Attempt(
            model=self.candidate.model,
            version=self.version,
            address=self.candidate.address,
            duration=(self._ended if self._over or not self.finished else self._clock())
            - self._began,
            error_reason="" if error is None else error.reason.value,
            error_message="" if error is None else error.message,
            usage=usage,
            cost=0.0 if usage is None else self.candidate.prices.cost(usage),
            confidence=self.confidence,
            set_aside=self.set_aside,
            adjustment=self.adjustment,
        )

    def outcome(self) -> Outcome:
        """Return what the selector is told of this try."""
        return Outcome(
            candidate=self.candidate,
            error_reason="" if self.error is None else self.error.reason.value,
            time_to_first_token=None if self._first is None else self._first - self._began,
            time_per_token=self._time_per_token(),
            usage=self.finished.usage if self.finished else None,
            prompt_bytes=self._prompt_bytes,
            queue_time=self.finished.timings.queue if self.finished else None,
            waited=None if self._first is not None or self.finished else self._ended - self._began,
        )

    def _charge(self, context: RequestContext) -> None:
        """Add to the request's bill, once, what was used, be it all of an answer or a part."""
        if context.bill is not None and not self._charged:
            self._charged = True
            used = self._used()
            context.bill.add(used, self.candidate.prices.cost(used))

    def _used(self) -> Usage:
        if self.finished:
            return self.finished.usage
        # The prompt of one that was turned away was counted, and nothing computed of it.
        refused = self.error is not None and turned_away(self.error)
        return Usage(0 if refused and not self._tokens else self.prompt_tokens, self._tokens)

    def _must_be_complete(self) -> None:
        if self.finished is None:
            message = f"{self.candidate.model} ended its stream before the answer was complete"
            raise RouterError(Reason.UPSTREAM_UNAVAILABLE, message)

    def _told(self, error: RouterError) -> RouterError:
        """Return the error as it is told once a part of the answer is out: with how much."""
        if not self.sent:
            return error
        tokens = self._tokens + (self._begun.tokens if self._begun else 0)
        facts = {**error.metadata, "delivered_tokens": str(tokens)}
        if error.reason not in _LOST:
            error.metadata = facts
            return error
        told = "1 token" if tokens == 1 else f"{tokens} tokens"
        message = f"{self.candidate.model} broke its answer off after {told}: {error.message}"
        return RouterError(Reason.ANSWER_BROKEN_OFF, message, metadata=facts)

    def _see(self, event: GenerationEvent) -> None:
        now = self._clock()
        if isinstance(event, Delta):
            self._tokens += event.tokens
            self._choices = max(self._choices, event.choice + 1)
            if event.choice == 0:
                self.said.add(event)
            if self._first is None:
                self._first = now
            else:
                self._later_tokens += event.tokens
            self._last = now
        elif isinstance(event, Finished):
            self.finished = event
            self.error = None

    def _time_per_token(self) -> float | None:
        """Return the time of one stream's token: several choices run side by side.

        The engine's clock is preferred: ours also counts a reader that pauses.
        """
        if self.finished is not None and self.finished.timings.decode > 0:
            later = self.finished.usage.completion_tokens / self._choices - 1
            return self.finished.timings.decode / later if later > 0 else None
        later = self._later_tokens / self._choices
        if self._first is None or not later:
            return None
        return (self._last - self._first) / later
