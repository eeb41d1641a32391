"""Events of a generation to protos and back: the only file that knows both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from llmrouter.common.continuation import Switched
from llmrouter.common.generation import (
    Attempt,
    CacheLevel,
    CacheStatus,
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    Started,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmrouter.common.truncation import Adjustment
from llmrouter.common.wire import duration, seconds
from llmrouter.common.wire_tools import decode_pieces, encode_pieces
from llmrouter.v1 import generation_pb2 as pb

__all__ = [
    "CACHE_LEVEL",
    "CACHE_LEVEL_OUT",
    "decode_event",
    "decode_finish_reason",
    "decode_logprobs",
    "decode_timings",
    "decode_usage",
    "encode_event",
    "encode_finish_reason",
    "encode_logprobs",
    "encode_timings",
    "encode_usage",
]

_CACHE_STATUS = {
    pb.CACHE_STATUS_UNSPECIFIED: CacheStatus.BYPASSED,
    pb.CACHE_STATUS_BYPASSED: CacheStatus.BYPASSED,
    pb.CACHE_STATUS_MISS: CacheStatus.MISS,
    pb.CACHE_STATUS_HIT: CacheStatus.HIT,
    pb.CACHE_STATUS_UNAVAILABLE: CacheStatus.UNAVAILABLE,
    pb.CACHE_STATUS_JOINED: CacheStatus.JOINED,
    pb.CACHE_STATUS_STALE: CacheStatus.STALE,
    pb.CACHE_STATUS_SIMILAR: CacheStatus.SIMILAR,
}
_CACHE_STATUS_OUT = {value: key for key, value in _CACHE_STATUS.items()}
CACHE_LEVEL = {
    pb.CACHE_LEVEL_GATEWAY: CacheLevel.GATEWAY,
    pb.CACHE_LEVEL_MEMORY: CacheLevel.MEMORY,
    pb.CACHE_LEVEL_DISK: CacheLevel.DISK,
    pb.CACHE_LEVEL_SHARED: CacheLevel.SHARED,
}
CACHE_LEVEL_OUT: dict[CacheLevel | None, pb.CacheLevel.ValueType] = {
    None: pb.CACHE_LEVEL_UNSPECIFIED,
    **{value: key for key, value in CACHE_LEVEL.items()},
}
_FINISH_OUT = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.CANCELLED: pb.FINISH_REASON_CANCELLED,
    FinishReason.TOOL_CALLS: pb.FINISH_REASON_TOOL_CALLS,
}
_FINISH: dict[int, FinishReason] = {value: key for key, value in _FINISH_OUT.items()}


def encode_event(event: GenerationEvent) -> pb.GenerationEvent:
    """Return the proto of one event."""
    match event:
        case Delta(choice, text, tokens, logprobs):
            told = encode_logprobs(logprobs)
            calls = encode_pieces(event.tool_calls)
            delta = pb.Delta(
                choice=choice, text=text, tokens=tokens, logprobs=told, tool_calls=calls
            )
            return pb.GenerationEvent(delta=delta)
        case Started():
            return pb.GenerationEvent(
                started=pb.Started(
                    request_id=event.request_id,
                    model=event.model,
                    version=event.version,
                    reason=event.reason,
                    cache=_CACHE_STATUS_OUT[event.cache],
                    plan_id=event.plan_id,
                    prompt_tokens=event.prompt_tokens,
                    cached=CACHE_LEVEL_OUT[event.cached],
                    similarity=event.similarity,
                    dropped_messages=event.dropped_messages,
                )
            )
        case ChoiceFinished(choice, reason, stop):
            done = pb.ChoiceFinished(choice=choice, reason=_FINISH_OUT[reason], stop=stop)
            return pb.GenerationEvent(choice_finished=done)
        case Finished():
            return pb.GenerationEvent(finished=_encode_finished(event))
        case Switched():
            return pb.GenerationEvent(switched=pb.Switched(**asdict(event)))


def decode_event(event: pb.GenerationEvent) -> GenerationEvent | None:
    """Return one event; None for a kind that a newer peer may send."""
    match event.WhichOneof("event"):
        case "delta":
            delta = event.delta
            logprobs = decode_logprobs(delta.logprobs)
            calls = decode_pieces(delta.tool_calls)
            return Delta(delta.choice, delta.text, delta.tokens, logprobs, tool_calls=calls)
        case "started":
            start = event.started
            status = _CACHE_STATUS.get(start.cache, CacheStatus.BYPASSED)
            return Started(
                start.request_id,
                start.model,
                start.version,
                start.reason,
                status,
                start.plan_id,
                start.prompt_tokens,
                CACHE_LEVEL.get(start.cached),
                start.similarity,
                start.dropped_messages,
            )
        case "choice_finished":
            done = event.choice_finished
            return ChoiceFinished(done.choice, decode_finish_reason(done.reason), done.stop)
        case "finished":
            return _decode_finished(event.finished)
        case "switched":
            return _decode_switched(event.switched)
    return None


def encode_usage(usage: Usage) -> pb.Usage:
    """Return the proto of counted tokens."""
    return pb.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
    )


def decode_usage(usage: pb.Usage) -> Usage:
    """Return counted tokens."""
    return Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)


def encode_finish_reason(reason: FinishReason) -> pb.FinishReason.ValueType:
    """Return the proto of why a choice ended."""
    return _FINISH_OUT[reason]


def decode_finish_reason(reason: int) -> FinishReason:
    """Return why a choice ended; a value from a newer peer counts as STOP."""
    return _FINISH.get(reason, FinishReason.STOP)


def encode_logprobs(logprobs: Iterable[TokenLogprob]) -> list[pb.TokenLogprob]:
    """Return the protos of how likely tokens were."""
    return [
        pb.TokenLogprob(
            token_id=one.token_id,
            logprob=one.logprob,
            bytes=one.bytes,
            top_logprobs=[
                pb.TopLogprob(token_id=top.token_id, logprob=top.logprob, bytes=top.bytes)
                for top in one.top
            ],
        )
        for one in logprobs
    ]


def decode_logprobs(logprobs: Iterable[pb.TokenLogprob]) -> tuple[TokenLogprob, ...]:
    """Return how likely tokens were."""
    return tuple(
        TokenLogprob(
            one.token_id,
            one.logprob,
            one.bytes,
            tuple(TopLogprob(top.token_id, top.logprob, top.bytes) for top in one.top_logprobs),
        )
        for one in logprobs
    )


def encode_timings(times: Timings) -> pb.Timings:
    """Return the proto of where the time went."""
    return pb.Timings(
        queue=duration(times.queue),
        prefill=duration(times.prefill),
        decode=duration(times.decode),
        time_to_first_token=duration(times.time_to_first_token),
        total=duration(times.total),
    )


def decode_timings(times: pb.Timings) -> Timings:
    """Return where the time went."""
    return Timings(
        seconds(times.queue),
        seconds(times.prefill),
        seconds(times.decode),
        seconds(times.time_to_first_token),
        seconds(times.total),
    )


def _decode_switched(event: pb.Switched) -> Switched:
    return Switched(
        from_model=event.from_model,
        from_version=event.from_version,
        from_address=event.from_address,
        model=event.model,
        version=event.version,
        address=event.address,
        reason=event.reason,
        tokens=event.tokens,
    )


def _encode_finished(event: Finished) -> pb.Finished:
    return pb.Finished(
        usage=encode_usage(event.usage),
        timings=encode_timings(event.timings),
        attempts=[
            pb.Attempt(
                model=attempt.model,
                version=attempt.version,
                address=attempt.address,
                duration=duration(attempt.duration),
                error_reason=attempt.error_reason,
                error_message=attempt.error_message,
                usage=None if attempt.usage is None else encode_usage(attempt.usage),
                cost=attempt.cost,
                confidence=attempt.confidence,
                set_aside=attempt.set_aside,
                adjustment=_encode_adjustment(attempt.adjustment),
            )
            for attempt in event.attempts
        ],
        cost=event.cost,
    )


def _decode_finished(event: pb.Finished) -> Finished:
    return Finished(
        decode_usage(event.usage),
        decode_timings(event.timings),
        tuple(
            Attempt(
                model=attempt.model,
                version=attempt.version,
                address=attempt.address,
                duration=seconds(attempt.duration),
                error_reason=attempt.error_reason,
                error_message=attempt.error_message,
                usage=decode_usage(attempt.usage) if attempt.HasField("usage") else None,
                cost=attempt.cost,
                confidence=attempt.confidence if attempt.HasField("confidence") else None,
                set_aside=attempt.set_aside,
                adjustment=_decode_adjustment(attempt.adjustment)
                if attempt.HasField("adjustment")
                else None,
            )
            for attempt in event.attempts
        ),
        event.cost,
    )


def _encode_adjustment(one: Adjustment | None) -> pb.Adjustment | None:
    return None if one is None else pb.Adjustment(**asdict(one))


def _decode_adjustment(one: pb.Adjustment) -> Adjustment:
    return Adjustment(one.dropped_messages, one.max_tokens, one.low_priority)
