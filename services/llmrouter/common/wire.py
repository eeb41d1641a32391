"""Domain values to protos and back: the only file that knows both for a generation."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import duration_pb2

from llmrouter.common.errors import invalid
from llmrouter.common.generation import (
    Attempt,
    CacheMode,
    CacheStatus,
    CacheWishes,
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    FormatKind,
    GenerationEvent,
    GenerationRequest,
    Message,
    Priority,
    RequestContext,
    ResponseFormat,
    Role,
    RoutingWishes,
    SamplingOptions,
    Started,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmrouter.v1 import generation_pb2 as pb

__all__ = [
    "decode_context",
    "decode_event",
    "decode_finish_reason",
    "decode_logprobs",
    "decode_request",
    "decode_usage",
    "duration",
    "encode_context",
    "encode_event",
    "encode_finish_reason",
    "encode_logprobs",
    "encode_request",
    "encode_usage",
    "seconds",
]

_ROLES = {pb.ROLE_SYSTEM: Role.SYSTEM, pb.ROLE_USER: Role.USER, pb.ROLE_ASSISTANT: Role.ASSISTANT}
_ROLES_OUT = {value: key for key, value in _ROLES.items()}
_CACHE_MODES = {
    pb.CACHE_MODE_UNSPECIFIED: CacheMode.READ_WRITE,
    pb.CACHE_MODE_OFF: CacheMode.OFF,
    pb.CACHE_MODE_READ: CacheMode.READ,
    pb.CACHE_MODE_WRITE: CacheMode.WRITE,
    pb.CACHE_MODE_READ_WRITE: CacheMode.READ_WRITE,
}
_CACHE_MODES_OUT = {value: key for key, value in _CACHE_MODES.items()}
_CACHE_STATUS = {
    pb.CACHE_STATUS_UNSPECIFIED: CacheStatus.BYPASSED,
    pb.CACHE_STATUS_BYPASSED: CacheStatus.BYPASSED,
    pb.CACHE_STATUS_MISS: CacheStatus.MISS,
    pb.CACHE_STATUS_HIT: CacheStatus.HIT,
    pb.CACHE_STATUS_UNAVAILABLE: CacheStatus.UNAVAILABLE,
}
_CACHE_STATUS_OUT = {value: key for key, value in _CACHE_STATUS.items()}
_FINISH = {
    pb.FINISH_REASON_STOP: FinishReason.STOP,
    pb.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    pb.FINISH_REASON_CANCELLED: FinishReason.CANCELLED,
}
_FINISH_OUT = {value: key for key, value in _FINISH.items()}
_PRIORITY = {
    pb.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb.PRIORITY_LOW: Priority.LOW,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_HIGH: Priority.HIGH,
}
_PRIORITY_OUT = {value: key for key, value in _PRIORITY.items()}


def duration(value: float) -> duration_pb2.Duration:
    """Return `value` seconds as a Duration."""
    result = duration_pb2.Duration()
    result.FromNanoseconds(round(value * 1e9))
    return result


def seconds(value: duration_pb2.Duration) -> float:
    """Return a Duration in seconds."""
    return value.seconds + value.nanos / 1e9


def decode_request(request: pb.GenerateRequest) -> GenerationRequest:
    """Return the question; bounds are checked by `validation.py`, enum values here.

    Raises:
        RouterError: INVALID_ARGUMENT naming a field whose value has no meaning.
    """
    return GenerationRequest(
        messages=tuple(
            _decode_message(message, index) for index, message in enumerate(request.chat.messages)
        ),
        prompt=request.prompt,
        sampling=_decode_sampling(request.sampling),
        routing=RoutingWishes(
            request.routing.model,
            request.routing.strategy,
            request.routing.min_quality,
            request.routing.max_cost,
        ),
        cache=_decode_cache(request.cache),
        priority=_decode_priority(request),
    )


def _decode_priority(request: pb.GenerateRequest) -> Priority:
    if request.priority not in _PRIORITY:
        raise invalid("priority", f"is {request.priority}; it must be a named Priority")
    return _PRIORITY[request.priority]


def encode_request(request: GenerationRequest) -> pb.GenerateRequest:
    """Return the proto of a question."""
    result = pb.GenerateRequest(
        routing=pb.RoutingWishes(
            model=request.routing.model,
            strategy=request.routing.strategy,
            min_quality=request.routing.min_quality,
            max_cost=request.routing.max_cost,
        ),
        cache=pb.CacheWishes(mode=_CACHE_MODES_OUT[request.cache.mode]),
        sampling=_encode_sampling(request.sampling),
        priority=_PRIORITY_OUT[request.priority],
    )
    if request.cache.ttl_seconds:
        result.cache.ttl.CopyFrom(duration(request.cache.ttl_seconds))
    if request.messages:
        for turn in request.messages:
            message = result.chat.messages.add(role=_ROLES_OUT[turn.role])
            for part in turn.parts:
                message.content.add(text=part)
    else:
        result.prompt = request.prompt
    return result


def decode_context(context: pb.RequestContext) -> RequestContext:
    """Return who asks."""
    return RequestContext(
        context.request_id,
        context.tenant or "default",
        context.user,
        _PRIORITY.get(context.priority, Priority.NORMAL),
    )


def encode_context(context: RequestContext) -> pb.RequestContext:
    """Return the proto of who asks."""
    return pb.RequestContext(
        request_id=context.request_id,
        tenant=context.tenant,
        user=context.user,
        priority=_PRIORITY_OUT[context.priority],
    )


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
    return _FINISH.get(reason, FinishReason.STOP)  # type: ignore[call-overload,no-any-return]


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


def encode_event(event: GenerationEvent) -> pb.GenerationEvent:
    """Return the proto of one event."""
    match event:
        case Delta(choice, text, tokens, logprobs):
            told = encode_logprobs(logprobs)
            delta = pb.Delta(choice=choice, text=text, tokens=tokens, logprobs=told)
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
                )
            )
        case ChoiceFinished(choice, reason, stop):
            done = pb.ChoiceFinished(choice=choice, reason=_FINISH_OUT[reason], stop=stop)
            return pb.GenerationEvent(choice_finished=done)
        case Finished():
            return pb.GenerationEvent(finished=_encode_finished(event))


def decode_event(event: pb.GenerationEvent) -> GenerationEvent | None:
    """Return one event; None for a kind that a newer peer may send."""
    match event.WhichOneof("event"):
        case "delta":
            delta = event.delta
            logprobs = decode_logprobs(delta.logprobs)
            return Delta(delta.choice, delta.text, delta.tokens, logprobs)
        case "started":
            start = event.started
            status = _CACHE_STATUS.get(start.cache, CacheStatus.BYPASSED)
            return Started(
                start.request_id, start.model, start.version, start.reason, status, start.plan_id
            )
        case "choice_finished":
            done = event.choice_finished
            return ChoiceFinished(done.choice, decode_finish_reason(done.reason), done.stop)
        case "finished":
            return _decode_finished(event.finished)
    return None


def _decode_message(message: pb.Message, index: int) -> Message:
    if message.role not in _ROLES:
        raise invalid(
            f"chat.messages[{index}].role",
            f"is {message.role}; it must be ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT",
        )
    for part_index, part in enumerate(message.content):
        if part.WhichOneof("kind") != "text":
            raise invalid(
                f"chat.messages[{index}].content[{part_index}]", "is empty; it must hold text"
            )
    return Message(_ROLES[message.role], tuple(part.text for part in message.content))


def _decode_sampling(options: pb.SamplingOptions) -> SamplingOptions:
    def given(name: str, default: object) -> object:
        return getattr(options, name) if options.HasField(name) else default  # type: ignore[arg-type]

    return SamplingOptions(
        temperature=given("temperature", 1.0),  # type: ignore[arg-type]
        top_k=given("top_k", 0),  # type: ignore[arg-type]
        top_p=given("top_p", 1.0),  # type: ignore[arg-type]
        seed=given("seed", None),  # type: ignore[arg-type]
        max_tokens=given("max_tokens", None),  # type: ignore[arg-type]
        stop=tuple(options.stop),
        min_p=given("min_p", 0.0),  # type: ignore[arg-type]
        repetition_penalty=given("repetition_penalty", 1.0),  # type: ignore[arg-type]
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        logit_bias=tuple(sorted(options.logit_bias.items())),
        min_tokens=options.min_tokens,
        n=given("n", 1),  # type: ignore[arg-type]
        logprobs=options.logprobs,
        top_logprobs=options.top_logprobs,
        response_format=_decode_format(options),
    )


def _decode_format(options: pb.SamplingOptions) -> ResponseFormat | None:
    if not options.HasField("response_format"):
        return None
    wanted = options.response_format
    kind = wanted.WhichOneof("kind")
    if kind is None:
        raise invalid("sampling.response_format", "is empty; set one kind of format")
    text = "" if kind == "json_object" else getattr(wanted, kind)
    return ResponseFormat(FormatKind(kind), text)


def _encode_format(wanted: ResponseFormat | None) -> pb.ResponseFormat | None:
    if wanted is None:
        return None
    if wanted.kind is FormatKind.JSON_OBJECT:
        return pb.ResponseFormat(json_object=pb.JsonObjectFormat())
    return pb.ResponseFormat(**{wanted.kind.value: wanted.text})  # type: ignore[arg-type]


def _encode_sampling(options: SamplingOptions) -> pb.SamplingOptions:
    return pb.SamplingOptions(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        max_tokens=options.max_tokens,
        stop=options.stop,
        min_p=options.min_p,
        repetition_penalty=options.repetition_penalty,
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        logit_bias=dict(options.logit_bias),
        min_tokens=options.min_tokens,
        n=options.n,
        logprobs=options.logprobs,
        top_logprobs=options.top_logprobs,
        response_format=_encode_format(options.response_format),
    )


def _decode_cache(wishes: pb.CacheWishes) -> CacheWishes:
    if wishes.mode not in _CACHE_MODES:
        raise invalid("cache.mode", f"is {wishes.mode}; it must be a named CacheMode")
    if wishes.HasField("ttl"):
        ttl = seconds(wishes.ttl)
        if not 1 <= ttl <= 365 * 86400:
            raise invalid("cache.ttl", f"is {ttl:g} s; it must be 1 second to 365 days")
        return CacheWishes(_CACHE_MODES[wishes.mode], ttl)
    return CacheWishes(_CACHE_MODES[wishes.mode])


def _encode_finished(event: Finished) -> pb.Finished:
    times = event.timings
    return pb.Finished(
        usage=encode_usage(event.usage),
        timings=pb.Timings(
            queue=duration(times.queue),
            prefill=duration(times.prefill),
            decode=duration(times.decode),
            time_to_first_token=duration(times.time_to_first_token),
            total=duration(times.total),
        ),
        attempts=[
            pb.Attempt(
                model=attempt.model,
                version=attempt.version,
                address=attempt.address,
                duration=duration(attempt.duration),
                error_reason=attempt.error_reason,
                error_message=attempt.error_message,
            )
            for attempt in event.attempts
        ],
    )


def _decode_finished(event: pb.Finished) -> Finished:
    times = event.timings
    return Finished(
        decode_usage(event.usage),
        Timings(
            seconds(times.queue),
            seconds(times.prefill),
            seconds(times.decode),
            seconds(times.time_to_first_token),
            seconds(times.total),
        ),
        tuple(
            Attempt(
                attempt.model,
                attempt.version,
                attempt.address,
                seconds(attempt.duration),
                attempt.error_reason,
                attempt.error_message,
            )
            for attempt in event.attempts
        ),
    )
