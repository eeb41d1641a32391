"""Bodies to the domain's requests.

The name of a model says how it is chosen: `auto` leaves it to the default strategy, `auto:STRATEGY`
to that one; every other name is a model's own.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.ensemble import EnsembleWish
from llmrouter.common.errors import invalid
from llmrouter.common.generation import (
    CacheWishes,
    FormatKind,
    GenerationRequest,
    Message,
    Priority,
    ResponseFormat,
    Role,
    RoutingWishes,
    SamplingOptions,
)
from llmrouter.common.replay_pace import ReplayPace
from llmrouter.common.tools import Tool, ToolCall, ToolChoice, ToolWishes
from llmrouter.gateway.http.fields import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    EnsembleFields,
    FormatFields,
    GenerationBody,
    TurnFields,
)
from llmrouter.gateway.http.fields_tools import NamedTool
from llmrouter.gateway.pacing import check_unpaced

__all__ = ["AUTO", "chat_request", "completion_requests", "embedding_request"]

AUTO = "auto"
_TIERS = {"flex": Priority.LOW, "priority": Priority.HIGH}
_MAX_SESSION_BYTES = 128
_UINT64 = (1 << 64) - 1


def chat_request(body: ChatBody) -> GenerationRequest:
    """Return what a chat asks.

    Raises:
        RouterError: INVALID_ARGUMENT where fields contradict each other.
    """
    tier = _TIERS.get(body.service_tier, Priority.NORMAL)
    return GenerationRequest(
        messages=tuple(_message(turn) for turn in body.messages),
        sampling=_sampling(
            body, _max_tokens(body), logprobs=body.logprobs, top_logprobs=body.top_logprobs
        ),
        routing=_routing(body, body.prompt_cache_key),
        cache=_cache(body),
        priority=body.priority or tier,
        tools=_tools(body),
    )


def completion_requests(body: CompletionBody) -> tuple[GenerationRequest, ...]:
    """Return what is asked of each prompt, in their order."""
    told = body.logprobs is not None
    sampling = _sampling(body, body.max_tokens, logprobs=told, top_logprobs=body.logprobs or 0)
    routing, cache = _routing(body, ""), _cache(body)
    return tuple(
        GenerationRequest(
            prompt=prompt,
            sampling=sampling,
            routing=routing,
            cache=cache,
            priority=body.priority or Priority.NORMAL,
        )
        for prompt in body.prompt
    )


def embedding_request(body: EmbeddingBody) -> EmbeddingRequest:
    """Return the texts to be turned into vectors."""
    model = "" if body.model == AUTO else body.model
    return EmbeddingRequest(tuple(body.input), model, body.truncate)


def _message(turn: TurnFields) -> Message:
    role = Role.SYSTEM if turn.role == "developer" else Role(turn.role)
    calls = tuple(
        ToolCall(one.id, one.function.name, one.function.arguments) for one in turn.tool_calls or ()
    )
    # Clients send no text, null or an empty one where the model only asked for tools.
    parts = tuple(part.text for part in turn.content if part.text or not calls)
    return Message(role, parts, calls, turn.tool_call_id or "")


def _tools(body: ChatBody) -> ToolWishes | None:
    if not body.tools:
        if body.tool_choice not in (None, "none", "auto"):
            raise invalid("tool_choice", "is given without tools; give tools or leave it out")
        return None
    tools = tuple(
        Tool(
            one.function.name,
            one.function.description or "",
            ""
            if one.function.parameters is None
            else json.dumps(one.function.parameters, ensure_ascii=False),
            one.function.strict,
        )
        for one in body.tools
    )
    if isinstance(body.tool_choice, NamedTool):
        named = body.tool_choice.function.name
        return ToolWishes(tools, ToolChoice.NAMED, named, body.parallel_tool_calls)
    choice = ToolChoice(body.tool_choice or "auto")
    return ToolWishes(tools, choice, parallel=body.parallel_tool_calls)


def _max_tokens(body: ChatBody) -> int | None:
    newer, older = body.max_completion_tokens, body.max_tokens
    if newer is not None and older is not None and newer != older:
        told = f"is {older} and max_completion_tokens is {newer}; give one of the two"
        raise invalid("max_tokens", told)
    return older if newer is None else newer


def _sampling(
    body: GenerationBody, max_tokens: int | None, *, logprobs: bool, top_logprobs: int
) -> SamplingOptions:
    return SamplingOptions(
        temperature=body.temperature,
        top_k=body.top_k,
        top_p=body.top_p,
        # OpenAI's seeds may be negative; ours are the same 64 bits without a sign.
        seed=None if body.seed is None else body.seed & _UINT64,
        max_tokens=max_tokens,
        stop=tuple(body.stop),
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=tuple(sorted(body.logit_bias.items())),
        min_tokens=body.min_tokens,
        n=body.n,
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        response_format=_format(body.response_format),
    )


def _format(wanted: FormatFields | None) -> ResponseFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    kind = FormatKind(wanted.type)
    if wanted.json_schema is not None:
        return ResponseFormat(kind, json.dumps(wanted.json_schema.schema_, ensure_ascii=False))
    return ResponseFormat(kind, wanted.regex or wanted.grammar or "")


def _routing(body: GenerationBody, conversation: str) -> RoutingWishes:
    wishes = body.routing
    model, strategy = _named(body.model, wishes.strategy)
    return RoutingWishes(
        model=model,
        strategy=strategy,
        min_quality=wishes.min_quality,
        max_cost=wishes.max_cost,
        tags=tuple(wishes.tags),
        max_latency=wishes.max_latency,
        max_time_to_first_token=wishes.max_time_to_first_token,
        # Whose requests belong together: as OpenAI uses these fields for its own caches.
        session=wishes.session or _short(conversation or body.user),
        no_exploration=wishes.no_exploration,
        min_confidence=wishes.min_confidence,
        switching=wishes.switching,
        truncation=wishes.truncation,
        ensemble=_ensemble(wishes.ensemble),
    )


def _short(conversation: str) -> str:
    """Return what tells a conversation from others: OpenAI sets no bound to its fields."""
    size = len(conversation.encode())
    return (
        conversation
        if size <= _MAX_SESSION_BYTES
        else hashlib.sha256(conversation.encode()).hexdigest()
    )


def _named(model: str, strategy: str) -> tuple[str, str]:
    if model == AUTO:
        return "", strategy
    chosen = model.removeprefix(f"{AUTO}:")
    if chosen == model:
        return model, strategy
    if not chosen or strategy not in ("", chosen):
        raise invalid("model", f"is {model!r}; it must be auto, auto:STRATEGY or a model's name")
    return "", chosen


def _cache(body: GenerationBody) -> CacheWishes:
    wishes = body.cache
    tags = tuple(sorted(set(wishes.tags)))
    allowed = wishes.drawn, wishes.stale, wishes.similar
    pace = _pace(wishes.pace)
    kept = CacheWishes(wishes.mode, wishes.ttl_seconds, tags, *allowed, pace)
    if not body.stream:
        check_unpaced(kept)
    return kept


def _pace(wish: Literal["original"] | float | None) -> ReplayPace | None:
    if wish is None:
        return None
    return ReplayPace() if wish == "original" else ReplayPace(wish)


def _ensemble(wish: EnsembleFields | None) -> EnsembleWish | None:
    return None if wish is None else EnsembleWish(wish.models, wish.election, wish.judge)
