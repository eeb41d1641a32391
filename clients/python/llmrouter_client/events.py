"""What answers are made of, as frozen dataclasses; durations in seconds."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration

from llmrouter.v1 import gateway_pb2, generation_pb2, selector_pb2

__all__ = [
    "Adjustment",
    "Answer",
    "Attempt",
    "Choice",
    "ChoiceFinished",
    "Delta",
    "Event",
    "Finished",
    "Model",
    "Started",
    "Switched",
    "Timings",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
    "answer_from",
    "event_from",
    "model_from",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, counted by the engine."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in seconds by the server's clock."""

    queue: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    time_to_first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Adjustment:
    """How what a model was asked differs from what its caller asked."""

    dropped_messages: int = 0
    """Messages of the eldest turns that it did not read (`truncation`)."""
    max_tokens: int = 0
    """Tokens that it might generate at most; 0 where the caller's own bound held."""
    low_priority: bool = False
    """Whether it was asked at low priority because another one was over its rate limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One model tried; `error_reason` is empty for the one that answered."""

    model: str
    version: str
    address: str
    duration: float
    error_reason: str = ""
    error_message: str = ""
    usage: Usage | None = None
    """What was counted, of one that broke off or was set aside until then; None when it failed
    before it sent anything."""
    cost: float = 0.0
    """US dollars of what was counted."""
    confidence: float | None = None
    """How sure it was of its answer, 0 to 1; None where nobody asked."""
    set_aside: str = ""
    """Why its answer was not given although nothing was wrong with it; one phrase."""
    adjustment: Adjustment | None = None
    """How what it was asked differs from what was asked here; None where it does not."""


@dataclass(frozen=True, slots=True)
class Started:
    """First event of a stream: which model answers, and why."""

    request_id: str
    model: str
    version: str
    reason: str
    cache: str
    plan_id: str = ""
    prompt_tokens: int = 0
    level: str = ""
    """Where a cached answer was: `gateway`, `memory`, `disk` or `shared`; empty for others."""
    similarity: float = 0.0
    """How similar the question was whose answer this is, 0 to 1, where `cache` is `similar`."""
    dropped_messages: int = 0
    """Messages of the eldest turns that were left out so that the rest fits (`truncation`)."""

    @property
    def cached(self) -> bool:
        """Whether it comes from the cache, of this question or a similar one, expired or not."""
        return self.cache in ("hit", "similar", "stale")


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One of the most likely tokens in some place; `logprob` as in `TokenLogprob`."""

    token_id: int
    logprob: float
    bytes: builtins.bytes


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token and how likely it was.

    `logprob` is the natural logarithm of its probability before temperature, penalties and biases;
    `bytes` need not be whole UTF-8 characters.
    """

    token_id: int
    logprob: float
    bytes: builtins.bytes
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of one choice; `logprobs` of its tokens where the request asked."""

    text: str
    choice: int = 0
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """One choice is complete: `reason` is `stop`, `length` or `cancelled`."""

    choice: int
    reason: str
    stop: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """Another replica or model goes on with the answer whose model was lost; the text goes on."""

    from_model: str
    from_version: str
    from_address: str
    model: str
    version: str
    address: str
    reason: str
    """Why: a name of `ErrorReason`."""
    tokens: int
    """Of the answer, which had come by then."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event of a stream."""

    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    attempts: tuple[Attempt, ...] = ()
    cost: float = 0.0
    """US dollars of all attempts together."""


Event: TypeAlias = Started | Delta | ChoiceFinished | Finished | Switched


@dataclass(frozen=True, slots=True)
class Choice:
    """One whole choice of an answer."""

    text: str
    finish_reason: str
    stop: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `text` and `finish_reason` are those of the first choice."""

    text: str
    model: str
    version: str
    reason: str
    cached: bool
    finish_reason: str
    usage: Usage
    timings: Timings
    attempts: tuple[Attempt, ...]
    choices: tuple[Choice, ...] = ()
    cost: float = 0.0
    """US dollars of all attempts together."""
    plan_id: str = ""
    """By which it can be rated; see `AsyncClient.rate`."""
    cache: str = ""
    """What the cache did: `hit`, `similar`, `miss`, `joined`, `stale`, `bypassed` or
    `unavailable`."""
    level: str = ""
    """Where a cached answer was: `gateway`, `memory`, `disk` or `shared`; empty for others."""
    similarity: float = 0.0
    """How similar the question was whose answer this is, 0 to 1, where `cache` is `similar`."""
    dropped_messages: int = 0
    """Messages of the eldest turns that were left out so that the rest fits (`truncation`)."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model a request may be routed to; prices in US dollars per million tokens."""

    name: str
    version: str
    aliases: tuple[str, ...]
    quality: float
    input_price: float
    output_price: float
    context: int
    capabilities: tuple[str, ...]
    ready: bool


def event_from(event: generation_pb2.GenerationEvent) -> Event | None:
    """Return the typed event; None for a kind this client does not know."""
    kind = event.WhichOneof("event")
    if kind == "started":
        return _started(event.started)
    if kind == "delta":
        delta = event.delta
        return Delta(delta.text, delta.choice, delta.tokens, _logprobs(delta.logprobs))
    if kind == "choice_finished":
        end = event.choice_finished
        return ChoiceFinished(end.choice, _finish_reason(end.reason), end.stop)
    if kind == "finished":
        return _finished(event.finished)
    if kind == "switched":
        return _switched(event.switched)
    return None


def answer_from(response: gateway_pb2.GenerateResponse) -> Answer:
    """Return the typed answer."""
    started, finished = _started(response.started), _finished(response.finished)
    choices = tuple(
        Choice(one.text, _finish_reason(one.reason), one.stop, _logprobs(one.logprobs))
        for one in response.choices
    )
    first = choices[0] if choices else Choice("", "unspecified")
    return Answer(
        text=first.text,
        model=started.model,
        version=started.version,
        reason=started.reason,
        cached=started.cached,
        finish_reason=first.finish_reason,
        usage=finished.usage,
        timings=finished.timings,
        attempts=finished.attempts,
        choices=choices,
        cost=finished.cost,
        plan_id=started.plan_id,
        cache=started.cache,
        level=started.level,
        similarity=started.similarity,
        dropped_messages=started.dropped_messages,
    )


def model_from(model: selector_pb2.CatalogModel) -> Model:
    """Return the typed catalog entry."""
    return Model(
        name=model.name,
        version=model.version,
        aliases=tuple(model.aliases),
        quality=model.quality,
        input_price=model.input_price,
        output_price=model.output_price,
        context=model.context,
        capabilities=tuple(model.capabilities),
        ready=bool(model.addresses),
    )


def _logprobs(logprobs: Iterable[generation_pb2.TokenLogprob]) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            one.token_id,
            one.logprob,
            one.bytes,
            tuple(TopLogprob(top.token_id, top.logprob, top.bytes) for top in one.top_logprobs),
        )
        for one in logprobs
    )


def _started(started: generation_pb2.Started) -> Started:
    known = generation_pb2.CacheStatus.DESCRIPTOR.values_by_number.get(started.cache)
    cache = known.name.removeprefix("CACHE_STATUS_").lower() if known else "unspecified"
    found = generation_pb2.CacheLevel.DESCRIPTOR.values_by_number.get(started.cached)
    level = found.name.removeprefix("CACHE_LEVEL_").lower() if found and started.cached else ""
    return Started(
        started.request_id,
        started.model,
        started.version,
        started.reason,
        cache,
        started.plan_id,
        started.prompt_tokens,
        level,
        started.similarity,
        started.dropped_messages,
    )


def _adjustment(one: generation_pb2.Adjustment) -> Adjustment:
    return Adjustment(one.dropped_messages, one.max_tokens, one.low_priority)


def _switched(event: generation_pb2.Switched) -> Switched:
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


def _finish_reason(reason: int) -> str:
    known = generation_pb2.FinishReason.DESCRIPTOR.values_by_number.get(reason)
    return known.name.removeprefix("FINISH_REASON_").lower() if known else "unspecified"


def _finished(finished: generation_pb2.Finished) -> Finished:
    timings = finished.timings
    return Finished(
        _usage(finished.usage),
        Timings(
            _seconds(timings.queue),
            _seconds(timings.prefill),
            _seconds(timings.decode),
            _seconds(timings.time_to_first_token),
            _seconds(timings.total),
        ),
        tuple(
            Attempt(
                model=one.model,
                version=one.version,
                address=one.address,
                duration=_seconds(one.duration),
                error_reason=one.error_reason,
                error_message=one.error_message,
                usage=_usage(one.usage) if one.HasField("usage") else None,
                cost=one.cost,
                confidence=one.confidence if one.HasField("confidence") else None,
                set_aside=one.set_aside,
                adjustment=_adjustment(one.adjustment) if one.HasField("adjustment") else None,
            )
            for one in finished.attempts
        ),
        finished.cost,
    )


def _usage(usage: generation_pb2.Usage) -> Usage:
    return Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
