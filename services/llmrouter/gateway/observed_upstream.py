"""Attempts at models as telemetry sees them: a span and the GenAI instruments of each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from llmrouter.common.closing import closing_stream
from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Usage,
)
from llmrouter.common.telemetry.metering import Meter
from llmrouter.common.telemetry.names import Attribute, Name
from llmrouter.common.telemetry.tracing import (
    Attributes,
    Span,
    SpanKind,
    Tracer,
    fail,
    span_active,
)
from llmrouter.gateway.attempt import ModelRunner
from llmrouter.gateway.embedding import EmbedRunner
from llmrouter.gateway.plan import Candidate

__all__ = ["ObservedUpstream"]

_PROVIDER = "llmrouter"
_MOST_CHARACTERS = 64 << 10


class Runner(ModelRunner, EmbedRunner, Protocol):
    """What runs requests on models."""


@dataclass(slots=True)
class _Attempt:
    """What is learned of one attempt as its events pass."""

    began: float = field(default_factory=time.monotonic)
    usage: Usage | None = None
    outcome: str = ""
    message: str = ""
    finish_reasons: list[str] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)

    def see(self, event: GenerationEvent) -> None:
        """Learn from one event."""
        match event:
            case Delta():
                text = self.texts.get(event.choice, "")
                if len(text) < _MOST_CHARACTERS:
                    self.texts[event.choice] = text + event.text
            case ChoiceFinished():
                self.finish_reasons.append(event.reason.value)
            case Finished():
                self.usage, self.outcome = event.usage, "OK"


class ObservedUpstream:
    """Runs requests on models and tells of every attempt.

    Args:
        following: Runs them.
        tracer: None traces nothing.
        meter: None measures nothing.
    """

    def __init__(self, following: Runner, tracer: Tracer | None, meter: Meter | None) -> None:
        self._following, self._tracer, self._meter = following, tracer, meter

    async def infer(
        self, candidate: Candidate, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Stream the events of one model.

        Raises:
            RouterError: The attempt failed.
        """
        operation = "chat" if request.messages else "text_completion"
        span = self._begin(operation, candidate, request)
        content = self._tracer is not None and self._tracer.content
        attempt = _Attempt()
        try:
            stream = self._following.infer(candidate, request, context)
            async with closing_stream(stream) as events:
                with span_active(span):  # the call begins with its first event
                    event = await anext(events, None)
                while event is not None:
                    if content or not isinstance(event, Delta):
                        attempt.see(event)
                    yield event
                    event = await anext(events, None)
            attempt.outcome = attempt.outcome or Reason.UPSTREAM_UNAVAILABLE.value
        except RouterError as error:
            attempt.outcome, attempt.message = error.reason.value, error.message
            raise
        except (asyncio.CancelledError, GeneratorExit):
            late = context.remaining() == 0
            gone = Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED
            attempt.outcome = attempt.outcome or gone.value
            raise
        finally:
            self._end(operation, candidate, attempt, span)

    async def embed(
        self, candidate: Candidate, request: EmbeddingRequest, context: RequestContext
    ) -> EmbeddingResult:
        """Return the vectors of one model.

        Raises:
            RouterError: The attempt failed.
        """
        span = self._begin("embeddings", candidate)
        attempt = _Attempt(outcome=Reason.CANCELLED.value)
        try:
            with span_active(span):
                result = await self._following.embed(candidate, request, context)
        except RouterError as error:
            attempt.outcome, attempt.message = error.reason.value, error.message
            raise
        else:
            attempt.outcome, attempt.usage = "OK", Usage(result.tokens)
            return result
        finally:
            self._end("embeddings", candidate, attempt, span)

    def _begin(
        self, operation: str, candidate: Candidate, request: GenerationRequest | None = None
    ) -> Span | None:
        if self._tracer is None:
            return None
        told: dict[str, str | int | float] = {
            Attribute.OPERATION: operation,
            Attribute.PROVIDER: _PROVIDER,
            Attribute.REQUEST_MODEL: candidate.model,
            Attribute.VERSION: candidate.version,
            Attribute.SERVER: candidate.address,
        }
        if request is not None:
            told |= _asked(request)
            if self._tracer.content:
                told[Attribute.INPUT_MESSAGES] = _messages(request)
        name = f"{operation} {candidate.model}"
        return self._tracer.start(name, told, kind=SpanKind.CLIENT)

    def _end(
        self, operation: str, candidate: Candidate, attempt: _Attempt, span: Span | None
    ) -> None:
        if self._meter is not None:
            _measure(self._meter, operation, candidate, attempt)
        if span is None:
            return
        span.set_attributes(_told(attempt, candidate))
        if attempt.outcome != "OK":
            fail(span, attempt.outcome, attempt.message)
        span.end()


def _asked(request: GenerationRequest) -> dict[str, str | int | float]:
    sampling = request.sampling
    told: dict[str, str | int | float] = {
        Attribute.TEMPERATURE: sampling.temperature,
        Attribute.TOP_P: sampling.top_p,
        Attribute.TOP_K: sampling.top_k,
        Attribute.CHOICES: sampling.n,
    }
    if sampling.max_tokens is not None:
        told[Attribute.MAX_TOKENS] = sampling.max_tokens
    if sampling.seed is not None:
        told[Attribute.SEED] = str(sampling.seed)  # 64 bits without a sign fit no attribute
    return told


def _told(attempt: _Attempt, candidate: Candidate) -> Attributes:
    told: dict[str, str | int | tuple[str, ...]] = {Attribute.RESPONSE_MODEL: candidate.model}
    if attempt.usage is not None:
        told[Attribute.INPUT_TOKENS] = attempt.usage.prompt_tokens
        told[Attribute.OUTPUT_TOKENS] = attempt.usage.completion_tokens
        told[Attribute.CACHED_TOKENS] = attempt.usage.cached_prompt_tokens
    if attempt.finish_reasons:
        told[Attribute.FINISH_REASONS] = tuple(attempt.finish_reasons)
    if attempt.texts:
        told[Attribute.OUTPUT_MESSAGES] = json.dumps(
            [_part("assistant", text) for _, text in sorted(attempt.texts.items())],
            ensure_ascii=False,
        )
    return told


def _messages(request: GenerationRequest) -> str:
    turns = [_part(turn.role.value, turn.text) for turn in request.messages]
    return json.dumps(turns or [_part("user", request.prompt)], ensure_ascii=False)


def _part(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text[:_MOST_CHARACTERS]}]}


def _measure(meter: Meter, operation: str, candidate: Candidate, attempt: _Attempt) -> None:
    meter.add(Name.ATTEMPTS, {"model": candidate.model, "outcome": attempt.outcome})
    told = {
        Attribute.OPERATION: operation,
        Attribute.PROVIDER: _PROVIDER,
        Attribute.REQUEST_MODEL: candidate.model,
    }
    seconds = time.monotonic() - attempt.began
    failed = {} if attempt.outcome == "OK" else {Attribute.ERROR: attempt.outcome}
    meter.record(Name.CLIENT_DURATION, seconds, {**told, **failed})
    if attempt.usage is not None:
        for kind, tokens in (
            ("input", attempt.usage.prompt_tokens),
            ("output", attempt.usage.completion_tokens),
        ):
            meter.record(Name.CLIENT_TOKENS, tokens, {**told, Attribute.TOKEN_TYPE: kind})
