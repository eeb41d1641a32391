"""The bounds that stand as comments in the protos, checked in one place.

Violations are collected, so that a caller learns of several at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.ensemble import Election
from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.common.generation import (
    CacheMode,
    CacheWishes,
    FormatKind,
    GenerationRequest,
    RequestContext,
    ResponseFormat,
    RoutingWishes,
    SamplingOptions,
)
from llmrouter.common.replay_pace import MAX_TOKENS_PER_SECOND, MIN_TOKENS_PER_SECOND, ReplayPace
from llmrouter.common.validation_tools import tool_turn_violations, tool_violations

__all__ = [
    "MAX_MESSAGES",
    "MAX_TEXTS",
    "MAX_TEXT_BYTES",
    "validate",
    "validate_context",
    "validate_embedding",
    "validate_routing",
    "validate_tags",
]

MAX_TEXT_BYTES = 1 << 20
MAX_TEXTS = 256
"""Texts of one request for vectors."""
MAX_MESSAGES = 1000
_MAX_PARTS = 64
_MAX_STOPS = 16
_MAX_STOP_BYTES = 256
_MAX_NAME_BYTES = 256
_MAX_STRATEGY_BYTES = 64
_MAX_SESSION_BYTES = 128
_MAX_TAGS = 16
_MAX_TAG_BYTES = 64
_MAX_CEILING_SECONDS = 86_400
_MAX_COUNT = 1_000_000
_MAX_TTL_SECONDS = 365 * 86_400
_MAX_EMBEDDED_BYTES = 1 << 16
_MAX_ALL_EMBEDDED_BYTES = 4 << 20
_MAX_ANSWERS = 16
_MAX_TOP_LOGPROBS = 20
_MAX_BIASES = 1024
_MAX_BIAS = 100
_MAX_FORMAT_BYTES = 1 << 16
_MAX_ENSEMBLE = 8
_MAX_TOLD = 16
"""Violations told at most: all of them travel in one bounded header."""


def validate(request: GenerationRequest) -> None:
    """Check a question against its bounds.

    Raises:
        RouterError: INVALID_ARGUMENT with one violation per wrong field: value and bound.
    """
    options = request.sampling
    wishes = [*_routing(request.routing), *_cache(request.cache)]
    if request.routing.ensemble is not None and options.n > 1:
        told = f"is {options.n}; an ensemble gives one answer: leave n or the ensemble out"
        wishes.append(FieldViolation("sampling.n", told))
    tools = tool_violations(request)
    _refuse([*_input(request), *_sampling(options), *_shaping(options), *wishes, *tools])


def validate_context(context: RequestContext) -> None:
    """Check who asks: the gateway says it, but any neighbour can call.

    Raises:
        RouterError: INVALID_ARGUMENT with one violation per wrong field: size and bound.
    """
    found = []
    for name, text, least, most in (
        ("request_id", context.request_id, 1, 64),
        ("tenant", context.tenant, 1, 128),
        ("user", context.user, 0, 128),
    ):
        size = len(text.encode())
        if not least <= size <= most:
            bound = f"is {size} bytes; it must be {least} to {most}"
            found.append(FieldViolation(f"context.{name}", bound))
    _refuse(found)


def validate_routing(wishes: RoutingWishes) -> None:
    """Check what is asked of the selector.

    Raises:
        RouterError: INVALID_ARGUMENT with one violation per wrong field: value and bound.
    """
    _refuse(_routing(wishes))


def validate_tags(field: str, tags: Sequence[str]) -> None:
    """Check the names that answers are invalidated by.

    Raises:
        RouterError: INVALID_ARGUMENT with one violation per wrong tag: size and bound.
    """
    _refuse(_tags(field, tags))


def validate_embedding(request: EmbeddingRequest) -> None:
    """Check texts against their bounds.

    Raises:
        RouterError: INVALID_ARGUMENT with one violation per wrong field: value and bound.
    """
    found = _texts(request.texts)
    size = len(request.model.encode())
    if size > _MAX_NAME_BYTES:
        found.append(FieldViolation("model", f"is {size} bytes; at most {_MAX_NAME_BYTES}"))
    _refuse(found)


def _cache(wishes: CacheWishes) -> list[FieldViolation]:
    found = _tags("cache.tags", wishes.tags)
    if wishes.ttl_seconds and not 1 <= wishes.ttl_seconds <= _MAX_TTL_SECONDS:
        bound = f"is {wishes.ttl_seconds:g} s; it must be 1 second to 365 days"
        found.append(FieldViolation("cache.ttl", bound))
    return found if wishes.pace is None else [*found, *_pace(wishes.pace, wishes.mode)]


def _pace(pace: ReplayPace, mode: CacheMode) -> list[FieldViolation]:
    found, rate = [], pace.tokens_per_second
    if rate is not None and not MIN_TOKENS_PER_SECOND <= rate <= MAX_TOKENS_PER_SECOND:
        bound = f"is {rate:g}; it must be {MIN_TOKENS_PER_SECOND:g} to {MAX_TOKENS_PER_SECOND:g}"
        found.append(FieldViolation("cache.pace.tokens_per_second", bound))
    if mode not in (CacheMode.READ, CacheMode.READ_WRITE):
        told = f"is given with the mode {mode}, which reads nothing; leave one of the two out"
        found.append(FieldViolation("cache.pace", told))
    return found


def _tags(field: str, tags: Sequence[str]) -> list[FieldViolation]:
    if len(tags) > _MAX_TAGS:
        return [FieldViolation(field, f"has {len(tags)} tags; at most {_MAX_TAGS}")]
    found = []
    for index, tag in enumerate(tags):
        size = len(tag.encode())
        if not 1 <= size <= _MAX_TAG_BYTES:
            bound = f"is {size} bytes; 1 to {_MAX_TAG_BYTES}"
            found.append(FieldViolation(f"{field}[{index}]", bound))
    return found


def _texts(texts: tuple[str, ...]) -> list[FieldViolation]:
    if not texts:
        return [FieldViolation("texts", f"hold nothing; give 1 to {MAX_TEXTS}")]
    if len(texts) > MAX_TEXTS:
        return [FieldViolation("texts", f"are {len(texts)}; at most {MAX_TEXTS}")]
    found, total = [], 0
    for index, text in enumerate(texts):
        size = len(text.encode())
        total += size
        if not text.strip():
            found.append(FieldViolation(f"texts[{index}]", "is empty; it must hold text"))
        elif size > _MAX_EMBEDDED_BYTES:
            bound = f"is {size} bytes; at most {_MAX_EMBEDDED_BYTES}"
            found.append(FieldViolation(f"texts[{index}]", bound))
    if total > _MAX_ALL_EMBEDDED_BYTES:
        bound = f"have {total} bytes together; at most {_MAX_ALL_EMBEDDED_BYTES}"
        found.append(FieldViolation("texts", bound))
    return found


def _refuse(found: list[FieldViolation]) -> None:
    if found:
        message = "; ".join(f"{item.field} {item.description}" for item in found[:5])
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise RouterError(
            Reason.INVALID_ARGUMENT, message + more, violations=tuple(found[:_MAX_TOLD])
        )


def _input(request: GenerationRequest) -> list[FieldViolation]:
    if request.messages:
        return _messages(request)
    if not request.prompt:
        remedy = "is empty; give a prompt or at least one chat message"
        return [FieldViolation("prompt", remedy)]
    return _text("prompt", request.prompt)


def _messages(request: GenerationRequest) -> list[FieldViolation]:
    found = []
    if request.prompt:
        found.append(FieldViolation("prompt", "is given beside a chat; give one of the two"))
    count = len(request.messages)
    if count > MAX_MESSAGES:
        return [FieldViolation("chat.messages", f"has {count} turns; at most {MAX_MESSAGES}")]
    for index, turn in enumerate(request.messages):
        path = f"chat.messages[{index}].content"
        least = 0 if turn.tool_calls else 1
        if not least <= len(turn.parts) <= _MAX_PARTS:
            bound = f"has {len(turn.parts)} parts; {least} to {_MAX_PARTS}"
            found.append(FieldViolation(path, bound))
        found.extend(tool_turn_violations(f"chat.messages[{index}]", turn))
        for part_index, part in enumerate(turn.parts[:_MAX_PARTS]):
            found.extend(_text(f"{path}[{part_index}].text", part))
    if not any(part.strip() for turn in request.messages for part in turn.parts):
        found.append(FieldViolation("chat.messages", "hold no text; at least one must"))
    return found


def _text(path: str, text: str) -> list[FieldViolation]:
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        return [FieldViolation(path, f"is {size} bytes; at most {MAX_TEXT_BYTES}")]
    return []


def _sampling(options: SamplingOptions) -> list[FieldViolation]:
    found = []

    def check(name: str, value: object, ok: bool, bound: str) -> None:
        if not ok:
            found.append(FieldViolation(f"sampling.{name}", f"is {value}; it must be {bound}"))

    heat, mass = options.temperature, options.top_p
    check("temperature", heat, math.isfinite(heat) and 0 <= heat <= 2, "0 to 2")
    check("top_p", mass, math.isfinite(mass) and 0 < mass <= 1, "over 0 to 1")
    check("top_k", options.top_k, 0 <= options.top_k <= _MAX_COUNT, f"0 to {_MAX_COUNT}")
    tokens = 1 if options.max_tokens is None else options.max_tokens
    check("max_tokens", tokens, 1 <= tokens <= _MAX_COUNT, f"1 to {_MAX_COUNT}")
    count = len(options.stop)
    check("stop", count, count <= _MAX_STOPS, f"at most {_MAX_STOPS} strings")
    for index, stop in enumerate(options.stop[:_MAX_STOPS]):
        size = len(stop.encode())
        bound = f"1 to {_MAX_STOP_BYTES}"
        check(f"stop[{index}]", f"{size} bytes", 1 <= size <= _MAX_STOP_BYTES, bound)
    return found


def _shaping(options: SamplingOptions) -> list[FieldViolation]:
    found = []
    for name, value, low, high in (
        ("min_p", options.min_p, 0, 1),
        ("repetition_penalty", options.repetition_penalty, 0.01, 10),
        ("presence_penalty", options.presence_penalty, -2, 2),
        ("frequency_penalty", options.frequency_penalty, -2, 2),
        ("min_tokens", options.min_tokens, 0, _MAX_COUNT),
        ("n", options.n, 1, _MAX_ANSWERS),
        ("top_logprobs", options.top_logprobs, 0, _MAX_TOP_LOGPROBS),
    ):
        if not low <= value <= high:  # false for what is not a number
            bound = f"is {value}; it must be {low} to {high}"
            found.append(FieldViolation(f"sampling.{name}", bound))
    limit = options.max_tokens
    if limit is not None and _MAX_COUNT >= options.min_tokens > limit:
        told = f"is {options.min_tokens}; it must be at most max_tokens, {limit}"
        found.append(FieldViolation("sampling.min_tokens", told))
    if options.top_logprobs and not options.logprobs:
        told = f"is {options.top_logprobs}; it must be 0 unless logprobs is true"
        found.append(FieldViolation("sampling.top_logprobs", told))
    return [*found, *_bias(options.logit_bias), *_format(options.response_format)]


def _format(wanted: ResponseFormat | None) -> list[FieldViolation]:
    """Check the size alone; whether it can be followed is for the model's own compiler to say."""
    if wanted is None or wanted.kind is FormatKind.JSON_OBJECT:
        return []
    path = f"sampling.response_format.{wanted.kind.value}"
    size = len(wanted.text.encode())
    if not 1 <= size <= _MAX_FORMAT_BYTES:
        return [FieldViolation(path, f"is {size} bytes; it must be 1 to {_MAX_FORMAT_BYTES}")]
    if "\0" in wanted.text:
        place = wanted.text.index("\0")
        return [FieldViolation(path, f"has a NUL character at position {place}; leave it out")]
    return []


def _bias(entries: tuple[tuple[int, float], ...]) -> list[FieldViolation]:
    if len(entries) > _MAX_BIASES:
        told = f"has {len(entries)} entries; at most {_MAX_BIASES}"
        return [FieldViolation("sampling.logit_bias", told)]
    found = []
    for token, bias in entries:
        path = f"sampling.logit_bias[{token}]"
        if not 0 <= token < 1 << 31:
            found.append(FieldViolation(path, "names no token; ids are 0 to 2147483647"))
        if not -_MAX_BIAS <= bias <= _MAX_BIAS:
            bound = f"is {bias}; it must be {-_MAX_BIAS} to {_MAX_BIAS}"
            found.append(FieldViolation(path, bound))
    return found


def _routing(wishes: RoutingWishes) -> list[FieldViolation]:
    found = []
    for name, text, bound in (
        ("model", wishes.model, _MAX_NAME_BYTES),
        ("strategy", wishes.strategy, _MAX_STRATEGY_BYTES),
        ("session", wishes.session, _MAX_SESSION_BYTES),
    ):
        size = len(text.encode())
        if size > bound:
            found.append(FieldViolation(f"routing.{name}", f"is {size} bytes; at most {bound}"))
    if not 0 <= wishes.min_quality <= 1:
        found.append(FieldViolation("routing.min_quality", f"is {wishes.min_quality}; 0 to 1"))
    if not (math.isfinite(wishes.max_cost) and wishes.max_cost >= 0):
        found.append(FieldViolation("routing.max_cost", f"is {wishes.max_cost}; 0 or more"))
    for name, ceiling in (
        ("max_latency", wishes.max_latency),
        ("max_time_to_first_token", wishes.max_time_to_first_token),
    ):
        if not 0 <= ceiling <= _MAX_CEILING_SECONDS:
            told = f"is {ceiling} s; 0 to {_MAX_CEILING_SECONDS}"
            found.append(FieldViolation(f"routing.{name}", told))
    if not 0 <= wishes.min_confidence <= 1:
        told = f"is {wishes.min_confidence}; 0 to 1"
        found.append(FieldViolation("routing.min_confidence", told))
    return [*found, *_tags("routing.tags", wishes.tags), *_ensemble(wishes)]


def _ensemble(wishes: RoutingWishes) -> list[FieldViolation]:
    wish, found = wishes.ensemble, []
    if wish is None:
        return []
    if not 2 <= wish.models <= _MAX_ENSEMBLE:
        told = f"is {wish.models}; it must be 2 to {_MAX_ENSEMBLE}"
        found.append(FieldViolation("routing.ensemble.models", told))
    size = len(wish.judge.encode())
    if size > _MAX_NAME_BYTES:
        told = f"is {size} bytes; at most {_MAX_NAME_BYTES}"
        found.append(FieldViolation("routing.ensemble.judge", told))
    if wish.election is Election.JUDGE and not wish.judge:
        told = "is empty; name the model that judges"
        found.append(FieldViolation("routing.ensemble.judge", told))
    if wish.election is not Election.JUDGE and wish.judge:
        told = f"is given with an election by {wish.election}; leave it out, or elect by judge"
        found.append(FieldViolation("routing.ensemble.judge", told))
    if wishes.model:
        told = f"is given beside the model {wishes.model!r}; leave one of the two out"
        found.append(FieldViolation("routing.ensemble", told))
    return found
