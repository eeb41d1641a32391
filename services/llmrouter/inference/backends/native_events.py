"""What the compiled core says, as backends tell it: events, reasons of an end, and errors."""

from __future__ import annotations

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FinishReason, TokenLogprob, TopLogprob
from llmrouter.inference.backends.base import BackendFinished, TokenDelta
from llmrouter.inference.backends.event_buffer import EventBuffer

__all__ = ["put_event", "reason_of"]

_FINISH_REASONS = {
    _native.FinishReason.STOP: FinishReason.STOP,
    _native.FinishReason.LENGTH: FinishReason.LENGTH,
}


def reason_of(code: _native.ErrorCode) -> Reason:
    """Return what an engine's error means to a caller."""
    if code is _native.ErrorCode.STOPPED:
        return Reason.MODEL_UNAVAILABLE
    return Reason[code.name]


def put_event(buffer: EventBuffer, event: _native.Event) -> bool:
    """Put an event where its consumer finds it; False when its request is to be cancelled.

    That is when its consumer is too far behind, or when one of several choices failed.
    """
    if isinstance(event, _native.TextDelta):
        return buffer.put(_delta(event))
    if isinstance(event, _native.Finished):
        buffer.end(_ending(event))
        return True
    buffer.end(RouterError(reason_of(event.code), event.message))
    return False


def _ending(event: _native.Finished) -> BackendFinished | RouterError:
    # Whoever cancels a request has left: one that is still waited for lost its engine.
    if event.reason is _native.FinishReason.CANCELLED:
        told = "the model was unloaded before the answer was complete"
        return RouterError(Reason.MODEL_UNAVAILABLE, told)
    return _finished(event)


def _delta(event: _native.TextDelta) -> TokenDelta:
    told = event.logprobs
    logprobs = tuple(_logprob(one) for one in told) if told else ()
    return TokenDelta(event.text, event.tokens, event.answer, logprobs, tuple(event.ids))


def _logprob(told: _native.SampledLogprob) -> TokenLogprob:
    top = tuple(TopLogprob(one.token, one.logprob, one.bytes) for one in told.top)
    return TokenLogprob(told.sampled.token, told.sampled.logprob, told.sampled.bytes, top)


def _finished(event: _native.Finished) -> BackendFinished:
    return BackendFinished(
        reason=_FINISH_REASONS[event.reason],
        stop=event.stop,
        prompt_tokens=event.prompt_tokens,
        completion_tokens=event.completion_tokens,
        queue=event.timings.queue,
        prefill=event.timings.prefill,
        decode=event.timings.decode,
        time_to_first_token=event.timings.first_token,
        cached_prompt_tokens=event.cached_prompt_tokens,
        choice=event.answer,
    )
