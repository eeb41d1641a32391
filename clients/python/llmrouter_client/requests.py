"""From keyword arguments to a GenerateRequest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from grpc import StatusCode

from llmrouter.v1 import generation_pb2
from llmrouter_client.errors import FieldViolation, LlmrouterError

__all__ = ["CacheMode", "Message", "Options", "Prompt", "ResponseFormat", "request_from"]

_COUNTS = {
    "top_k": (32, "0 to 1000000"),
    "max_tokens": (32, "1 to 1000000"),
    "min_tokens": (32, "0 to 1000000"),
    "n": (32, "1 to 16"),
    "top_logprobs": (32, "0 to 20"),
    "seed": (64, f"0 to {2**64 - 1}"),
}
"""Bits that the field of the proto holds, and the bounds that its comment gives."""

CacheMode: TypeAlias = Literal["off", "read", "write", "read-write", "refresh"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is `system`, `user` or `assistant`."""

    role: Literal["system", "user", "assistant"]
    text: str


Prompt: TypeAlias = str | Sequence[Message]


class ResponseFormat(TypedDict, total=False):
    """What an answer has to match, as exactly one of these."""

    json_object: Literal[True]
    """Any JSON object."""
    json_schema: Mapping[str, Any] | str
    """A JSON Schema, as data or as JSON text of at most 64 KiB."""
    regex: str
    """A regular expression for the whole answer, in the syntax of Rust's `regex`."""
    grammar: str
    """A context-free grammar in llguidance's dialect of Lark, from its rule `start`."""


class Options(TypedDict, total=False):
    """Keyword arguments of `generate` and `stream`; absent and None both take the default."""

    raw: bool
    """Give a prompt to the model as it is; by default it is one turn of the user."""
    model: str | None
    """A model name, `name@version` or alias; the selector chooses by default."""
    strategy: str | None
    """How the selector weighs: `balanced`, `quality-first`, `cost-optimized`, `speed-priority`."""
    temperature: float | None
    """0 to 2; 0 always picks the most likely token."""
    top_k: int | None
    """Draw from this many most likely tokens; 0 means all."""
    top_p: float | None
    """Draw from the smallest set of tokens with this probability mass."""
    seed: int | None
    """Makes the draws repeatable."""
    max_tokens: int | None
    """Tokens to generate at most."""
    stop: Sequence[str] | str | None
    """One or several strings that end the answer and are not part of it."""
    min_p: float | None
    """Drop tokens less likely than this share of the most likely one; 0 to 1."""
    repetition_penalty: float | None
    """Make tokens of prompt and answer less likely; 0.01 to 10, 1 is off."""
    presence_penalty: float | None
    """Taken off the logits of tokens that the answer has; -2 to 2."""
    frequency_penalty: float | None
    """Taken off the logits of tokens for each time the answer has them; -2 to 2."""
    logit_bias: Mapping[int, float] | None
    """Added to the logits of tokens, by their ids; each -100 to 100."""
    min_tokens: int | None
    """Tokens before which nothing ends the answer."""
    n: int | None
    """Answers to generate, 1 to 16; see `Answer.choices` and `Delta.choice`."""
    logprobs: bool | None
    """Tell how likely each token was, in `Delta.logprobs` and `Choice.logprobs`."""
    top_logprobs: int | None
    """Most likely tokens told beside each one, 0 to 20; needs `logprobs`."""
    response_format: ResponseFormat | None
    """What the answer has to match, such as `{"json_schema": {...}}`; it parses unless it was cut,
    as its finish reason says."""
    cache: CacheMode | bool | None
    """What the cache may do; True is `read-write`, False is `off`; `refresh` generates anew and
    takes the place of what is stored."""
    cache_ttl: float | None
    """Seconds a stored answer lives, 1 to 31536000."""
    cache_tags: Sequence[str] | None
    """Names to invalidate the stored answer by; at most 16, each 1 to 64 bytes."""
    cache_drawn: bool | None
    """Whether answers left to chance may be read, kept and shared as well."""
    cache_stale: bool | None
    """Whether an answer that has expired may stand in when no model can answer."""
    min_quality: float | None
    """Lowest acceptable quality, 0 to 1."""
    max_cost: float | None
    """Highest acceptable cost of this request in US dollars."""
    priority: Literal["low", "normal", "high"] | None
    """How urgent it is, `normal` by default; a higher class takes the slots of a lower one."""
    timeout: float | None
    """Seconds for the whole call, retries included; the client's by default."""


def request_from(prompt: Prompt, options: Options) -> generation_pb2.GenerateRequest:
    """Return the request.

    Raises:
        LlmrouterError: A value does not fit its field at all (a negative count, an unknown role).
    """
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise TypeError(f"unexpected option {unknown[0]!r}")
    _check(prompt, options)
    try:
        request = generation_pb2.GenerateRequest(
            sampling=_sampling(options),
            routing=_routing(options),
            cache=_cache(options),
            priority=_priority(options),
        )
        _set_input(request, prompt, raw=options.get("raw", False))
    except (ValueError, TypeError, OverflowError) as error:
        raise _refused("request", f"cannot be encoded: {error}") from None
    return request


def _check(prompt: Prompt, options: Options) -> None:
    """Refuse what does not fit its field at all; the gateway judges the rest.

    Raises:
        LlmrouterError: Naming field, value and bound.
    """
    try:
        turns = [prompt] if isinstance(prompt, str) else list(prompt)
    except TypeError:
        raise _refused("prompt", "is neither a string nor messages") from None
    for turn in turns:
        text = turn if isinstance(turn, str) else getattr(turn, "text", None)
        if not isinstance(text, str):
            raise _refused("prompt", f"holds {type(turn).__name__}; give a string or messages")
        if not _is_unicode(text):
            raise _refused("prompt", "is not UTF-8 text; decode it from its own encoding first")
    for name, (bits, bounds) in _COUNTS.items():
        value = options.get(name)
        if isinstance(value, int) and not 0 <= value < 1 << bits:
            raise _refused(f"sampling.{name}", f"is {value}; it must be {bounds}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(field: str, what: str) -> LlmrouterError:
    return LlmrouterError(
        "INVALID_ARGUMENT",
        f"{field} {what}",
        code=StatusCode.INVALID_ARGUMENT,
        violations=(FieldViolation(field, what),),
    )


def _set_input(request: generation_pb2.GenerateRequest, prompt: Prompt, *, raw: bool) -> None:
    if raw:
        if not isinstance(prompt, str):
            raise TypeError("raw takes one prompt, not messages")
        request.prompt = prompt
        return
    turns = [Message("user", prompt)] if isinstance(prompt, str) else prompt
    request.chat.SetInParent()
    for turn in turns:
        role = generation_pb2.Role.Value(f"ROLE_{turn.role.upper()}")
        request.chat.messages.add(role=role).content.add(text=turn.text)


def _sampling(options: Options) -> generation_pb2.SamplingOptions:
    stop = options.get("stop")
    return generation_pb2.SamplingOptions(
        temperature=options.get("temperature"),
        top_k=options.get("top_k"),
        top_p=options.get("top_p"),
        seed=options.get("seed"),
        max_tokens=options.get("max_tokens"),
        stop=[stop] if isinstance(stop, str) else stop or (),
        min_p=options.get("min_p"),
        repetition_penalty=options.get("repetition_penalty"),
        presence_penalty=options.get("presence_penalty"),
        frequency_penalty=options.get("frequency_penalty"),
        logit_bias=options.get("logit_bias") or {},
        min_tokens=options.get("min_tokens"),
        n=options.get("n"),
        logprobs=options.get("logprobs"),
        top_logprobs=options.get("top_logprobs"),
        response_format=_format(options.get("response_format")),
    )


def _format(wanted: ResponseFormat | None) -> generation_pb2.ResponseFormat | None:
    if wanted is None:
        return None
    kinds = sorted(wanted)
    if len(kinds) != 1 or kinds[0] not in ResponseFormat.__annotations__:
        known = ", ".join(ResponseFormat.__annotations__)
        raise _refused("sampling.response_format", f"has {kinds}; it must have one of {known}")
    if "json_object" in wanted:
        return generation_pb2.ResponseFormat(json_object=generation_pb2.JsonObjectFormat())
    if "json_schema" in wanted:
        schema = wanted["json_schema"]
        text = schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False)
        return generation_pb2.ResponseFormat(json_schema=text)
    if "regex" in wanted:
        return generation_pb2.ResponseFormat(regex=wanted["regex"])
    return generation_pb2.ResponseFormat(grammar=wanted["grammar"])


def _routing(options: Options) -> generation_pb2.RoutingWishes:
    return generation_pb2.RoutingWishes(
        model=options.get("model") or "",
        strategy=options.get("strategy") or "",
        min_quality=options.get("min_quality") or 0.0,
        max_cost=options.get("max_cost") or 0.0,
    )


def _priority(options: Options) -> generation_pb2.Priority.ValueType:
    name = options.get("priority") or "normal"
    return generation_pb2.Priority.Value(f"PRIORITY_{name.upper()}")


def _cache(options: Options) -> generation_pb2.CacheWishes:
    wish = options.get("cache")
    if isinstance(wish, bool):
        wish = "read-write" if wish else "off"
    name = "UNSPECIFIED" if wish is None else wish.upper().replace("-", "_")
    tags = options.get("cache_tags") or ()
    if isinstance(tags, str):
        raise _refused("cache.tags", f"is the text {tags!r}; give a list of names")
    wishes = generation_pb2.CacheWishes(
        mode=generation_pb2.CacheMode.Value(f"CACHE_MODE_{name}"),
        tags=tags,
        drawn=bool(options.get("cache_drawn")),
        stale=bool(options.get("cache_stale")),
    )
    ttl = options.get("cache_ttl")
    if ttl is not None:
        wishes.ttl.FromNanoseconds(round(ttl * 1e9))
    return wishes
