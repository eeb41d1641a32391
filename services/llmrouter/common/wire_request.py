"""Questions to protos and back: the only file that knows both."""

from __future__ import annotations

from typing import Literal, TypeVar

from llmrouter.common.errors import invalid
from llmrouter.common.generation import (
    CacheMode,
    CacheWishes,
    FormatKind,
    GenerationRequest,
    Message,
    Priority,
    ResponseFormat,
    Role,
    SamplingOptions,
)
from llmrouter.common.replay_pace import ReplayPace
from llmrouter.common.validation import MAX_MESSAGES
from llmrouter.common.wire import PRIORITY, PRIORITY_OUT, duration, seconds
from llmrouter.common.wire_routing import decode_routing, encode_routing
from llmrouter.common.wire_tools import decode_calls, decode_tools, encode_calls, encode_tools
from llmrouter.v1 import generation_pb2 as pb

__all__ = ["decode_request", "encode_request"]

T = TypeVar("T")
_Optional = Literal[
    "temperature", "top_k", "top_p", "seed", "max_tokens", "min_p", "repetition_penalty", "n"
]
"""Fields of SamplingOptions whose absence is told from their zero."""
_ROLES = {
    pb.ROLE_SYSTEM: Role.SYSTEM,
    pb.ROLE_USER: Role.USER,
    pb.ROLE_ASSISTANT: Role.ASSISTANT,
    pb.ROLE_TOOL: Role.TOOL,
}
_ROLES_OUT = {value: key for key, value in _ROLES.items()}
_CACHE_MODES = {
    pb.CACHE_MODE_UNSPECIFIED: CacheMode.READ_WRITE,
    pb.CACHE_MODE_OFF: CacheMode.OFF,
    pb.CACHE_MODE_READ: CacheMode.READ,
    pb.CACHE_MODE_WRITE: CacheMode.WRITE,
    pb.CACHE_MODE_READ_WRITE: CacheMode.READ_WRITE,
    pb.CACHE_MODE_REFRESH: CacheMode.REFRESH,
}
_CACHE_MODES_OUT = {value: key for key, value in _CACHE_MODES.items()}


def decode_request(request: pb.GenerateRequest) -> GenerationRequest:
    """Return the question; bounds are checked by `validation.py`, enum values here.

    Raises:
        RouterError: INVALID_ARGUMENT naming a field whose value has no meaning.
    """
    turns = len(request.chat.messages)
    if turns > MAX_MESSAGES:  # before each of them costs time
        raise invalid("chat.messages", f"has {turns} turns; at most {MAX_MESSAGES}")
    return GenerationRequest(
        messages=tuple(
            _decode_message(message, index) for index, message in enumerate(request.chat.messages)
        ),
        prompt=request.prompt,
        sampling=_decode_sampling(request.sampling),
        routing=decode_routing(request.routing),
        cache=_decode_cache(request.cache),
        priority=_decode_priority(request),
        tools=decode_tools(request),
    )


def encode_request(request: GenerationRequest) -> pb.GenerateRequest:
    """Return the proto of a question."""
    result = pb.GenerateRequest(
        routing=encode_routing(request.routing),
        cache=pb.CacheWishes(
            mode=_CACHE_MODES_OUT[request.cache.mode],
            tags=request.cache.tags,
            drawn=request.cache.drawn,
            stale=request.cache.stale,
            similar=request.cache.similar,
            pace=_encode_pace(request.cache.pace),
        ),
        sampling=_encode_sampling(request.sampling),
        priority=PRIORITY_OUT[request.priority],
        tools=encode_tools(request.tools),
    )
    if request.cache.ttl_seconds:
        result.cache.ttl.CopyFrom(duration(request.cache.ttl_seconds))
    if request.messages:
        for turn in request.messages:
            message = result.chat.messages.add(
                role=_ROLES_OUT[turn.role],
                tool_calls=encode_calls(turn.tool_calls),
                tool_call_id=turn.tool_call_id,
            )
            for part in turn.parts:
                message.content.add(text=part)
    else:
        result.prompt = request.prompt
    return result


def _decode_message(message: pb.Message, index: int) -> Message:
    if message.role not in _ROLES:
        raise invalid(
            f"chat.messages[{index}].role",
            f"is {message.role}; it must be ROLE_SYSTEM, _USER, _ASSISTANT or _TOOL",
        )
    for part_index, part in enumerate(message.content):
        if part.WhichOneof("kind") != "text":
            raise invalid(
                f"chat.messages[{index}].content[{part_index}]", "is empty; it must hold text"
            )
    return Message(
        _ROLES[message.role],
        tuple(part.text for part in message.content),
        decode_calls(message.tool_calls),
        message.tool_call_id,
    )


def _given(options: pb.SamplingOptions, name: _Optional, default: T) -> T:
    value: T = getattr(options, name)
    return value if options.HasField(name) else default


def _decode_sampling(options: pb.SamplingOptions) -> SamplingOptions:
    return SamplingOptions(
        temperature=_given(options, "temperature", 1.0),
        top_k=_given(options, "top_k", 0),
        top_p=_given(options, "top_p", 1.0),
        seed=_given(options, "seed", None),
        max_tokens=_given(options, "max_tokens", None),
        stop=tuple(options.stop),
        min_p=_given(options, "min_p", 0.0),
        repetition_penalty=_given(options, "repetition_penalty", 1.0),
        presence_penalty=options.presence_penalty,
        frequency_penalty=options.frequency_penalty,
        logit_bias=tuple(sorted(options.logit_bias.items())),
        min_tokens=options.min_tokens,
        n=_given(options, "n", 1),
        logprobs=options.logprobs,
        top_logprobs=options.top_logprobs,
        response_format=_decode_format(options),
    )


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
    encoded = pb.ResponseFormat()
    setattr(encoded, wanted.kind.value, wanted.text)
    return encoded


def _decode_cache(wishes: pb.CacheWishes) -> CacheWishes:
    if wishes.mode not in _CACHE_MODES:
        raise invalid("cache.mode", f"is {wishes.mode}; it must be a named CacheMode")
    ttl = 0.0
    if wishes.HasField("ttl"):
        ttl = seconds(wishes.ttl)
        if not 1 <= ttl <= 365 * 86400:
            raise invalid("cache.ttl", f"is {ttl:g} s; it must be 1 second to 365 days")
    tags = tuple(sorted(set(wishes.tags)))
    mode = _CACHE_MODES[wishes.mode]
    pace = _decode_pace(wishes)
    return CacheWishes(mode, ttl, tags, wishes.drawn, wishes.stale, wishes.similar, pace)


def _decode_pace(wishes: pb.CacheWishes) -> ReplayPace | None:
    if not wishes.HasField("pace"):
        return None
    match wishes.pace.WhichOneof("pace"):
        case "tokens_per_second":
            return ReplayPace(wishes.pace.tokens_per_second)
        case "original" if wishes.pace.original:
            return ReplayPace()
    raise invalid("cache.pace", "names no pace; set original to true, or tokens_per_second")


def _encode_pace(pace: ReplayPace | None) -> pb.ReplayPace | None:
    if pace is None:
        return None
    if pace.tokens_per_second is None:
        return pb.ReplayPace(original=True)
    return pb.ReplayPace(tokens_per_second=pace.tokens_per_second)


def _decode_priority(request: pb.GenerateRequest) -> Priority:
    if request.priority not in PRIORITY:
        raise invalid("priority", f"is {request.priority}; it must be a named Priority")
    return PRIORITY[request.priority]
