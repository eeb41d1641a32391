"""Attempts at models as telemetry sees them: a span and the GenAI instruments of each."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager

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
    LightSpan,
    SpanKind,
    Tracer,
    fail,
    span_active,
)
from llmrouter.gateway.plan import Candidate

__all__ = ["AttemptObserver", "AttemptWatch"]

_PROVIDER = "llmrouter"
_MAX_CHARACTERS = 64 << 10


class AttemptWatch:
    """Sees one attempt, from before its call until `ended`; made by `AttemptObserver.begin`."""

    def __init__(
        self,
        meter: Meter | None,
        span: LightSpan | None,
        operation: str,
        model: str,
        *,
        content: bool,
    ) -> None:
        self.sees_text = content
        """Whether deltas are to be shown to it too."""
        self._meter, self._span = meter, span
        self._operation, self._model = operation, model
        self._began = time.monotonic()
        self._usage: Usage | None = None
        self._outcome, self._message = "", ""
        self._finish_reasons: list[str] = []
        self._texts: dict[int, str] = {}

    def calling(self) -> AbstractContextManager[None]:
        """Have the call of the block belong to the attempt; no `yield` may be inside."""
        return span_active(self._span)

    def see(self, event: GenerationEvent) -> None:
        """Learn from an event; deltas need to be shown only where `sees_text` says so."""
        match event:
            case Delta():
                text = self._texts.get(event.choice, "")
                if len(text) < _MAX_CHARACTERS:
                    self._texts[event.choice] = text + event.text
            case ChoiceFinished():
                self._finish_reasons.append(event.reason.value)
            case Finished():
                self.answered(event.usage)

    def answered(self, usage: Usage) -> None:
        """Learn that it succeeded."""
        self._usage, self._outcome = usage, "OK"

    def failed(self, error: RouterError) -> None:
        """Learn how it failed."""
        self._outcome, self._message = error.reason.value, error.message

    def ended(self, context: RequestContext) -> None:
        """Tell of it: without an answer or an error its reader has left, or its time was up."""
        if not self._outcome:
            late = context.remaining() == 0
            self._outcome = (Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED).value
        if self._meter is not None:
            self._measure(self._meter)
        # The span will hold this until it is decided on: without a way back nothing is left to the
        # collector of cycles.
        span, self._span = self._span, None
        if span is None:
            return
        span.tell_later(lambda span: span.set_attributes(self._told()))
        if self._outcome != "OK":
            fail(span, self._outcome, self._message)
        span.end()

    def _told(self) -> Attributes:
        told: dict[str, str | int | tuple[str, ...]] = {Attribute.RESPONSE_MODEL: self._model}
        if self._usage is not None:
            told[Attribute.INPUT_TOKENS] = self._usage.prompt_tokens
            told[Attribute.OUTPUT_TOKENS] = self._usage.completion_tokens
            told[Attribute.CACHED_TOKENS] = self._usage.cached_prompt_tokens
        if self._finish_reasons:
            told[Attribute.FINISH_REASONS] = tuple(self._finish_reasons)
        if self._texts:
            answers = [_part("assistant", text) for _, text in sorted(self._texts.items())]
            told[Attribute.OUTPUT_MESSAGES] = json.dumps(answers, ensure_ascii=False)
        return told

    def _measure(self, meter: Meter) -> None:
        meter.add(Name.ATTEMPTS, {"model": self._model, "outcome": self._outcome})
        told = {
            Attribute.OPERATION: self._operation,
            Attribute.PROVIDER: _PROVIDER,
            Attribute.REQUEST_MODEL: self._model,
        }
        seconds = time.monotonic() - self._began
        failed = {} if self._outcome == "OK" else {Attribute.ERROR: self._outcome}
        meter.record(Name.CLIENT_DURATION, seconds, {**told, **failed})
        if self._usage is not None:
            read, generated = self._usage.prompt_tokens, self._usage.completion_tokens
            meter.record(Name.CLIENT_TOKENS, read, {**told, Attribute.TOKEN_TYPE: "input"})
            meter.record(Name.CLIENT_TOKENS, generated, {**told, Attribute.TOKEN_TYPE: "output"})


class AttemptObserver:
    """Watches attempts.

    Args:
        tracer: None traces nothing.
        meter: None measures nothing.
    """

    def __init__(self, tracer: Tracer | None, meter: Meter | None) -> None:
        self._tracer, self._meter = tracer, meter

    def begin(
        self, operation: str, candidate: Candidate, request: GenerationRequest | None = None
    ) -> AttemptWatch:
        """Take in that a call to a model is about to be made.

        Args:
            operation: `chat`, `text_completion` or `embeddings`.
            candidate: Whom it is made to.
            request: What is asked, where it is a generation.
        """
        content, span = False, None
        if self._tracer is not None:
            content = self._tracer.content
            span = self._tracer.start(f"{operation} {candidate.model}", kind=SpanKind.CLIENT)
            span.tell_later(
                lambda span: span.set_attributes(
                    _asked(candidate, operation, request, content=content)
                )
            )
        return AttemptWatch(self._meter, span, operation, candidate.model, content=content)


def _asked(
    candidate: Candidate, operation: str, request: GenerationRequest | None, *, content: bool
) -> Attributes:
    told: dict[str, str | int | float] = {
        Attribute.OPERATION: operation,
        Attribute.PROVIDER: _PROVIDER,
        Attribute.REQUEST_MODEL: candidate.model,
        Attribute.VERSION: candidate.version,
        Attribute.SERVER: candidate.address,
    }
    if request is None:
        return told
    sampling = request.sampling
    told[Attribute.TEMPERATURE] = sampling.temperature
    told[Attribute.TOP_P] = sampling.top_p
    told[Attribute.TOP_K] = sampling.top_k
    told[Attribute.CHOICES] = sampling.n
    if sampling.max_tokens is not None:
        told[Attribute.MAX_TOKENS] = sampling.max_tokens
    if sampling.seed is not None:
        told[Attribute.SEED] = str(sampling.seed)  # 64 bits without a sign fit no attribute
    if content:
        turns = [_part(turn.role.value, turn.text) for turn in request.messages]
        asked = turns or [_part("user", request.prompt)]
        told[Attribute.INPUT_MESSAGES] = json.dumps(asked, ensure_ascii=False)
    return told


def _part(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text[:_MAX_CHARACTERS]}]}
