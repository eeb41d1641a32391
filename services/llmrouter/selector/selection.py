"""The choice itself: filter, score, pick. Pure: everything it looks at is passed in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RoutingWishes
from llmrouter.selector.catalog import LOADING_SECONDS, Catalog, Model, ServedModel
from llmrouter.selector.scoring import Component, Estimate, estimate, per_dollar, score
from llmrouter.selector.statistics import StatisticsBook
from llmrouter.selector.strategies import Strategy
from llmrouter.selector.tokenizer_book import TokenizerBook

__all__ = ["Candidate", "Exclusion", "Plan", "Selection", "select"]

Check = Callable[[Estimate], str]
"""Returns why a model may not answer; empty when it may."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What must be known of a request to choose its model."""

    request_id: str
    prompt_bytes: int
    """UTF-8 bytes the model is to read."""
    max_tokens: int = 0
    """0 when the caller set no limit."""
    capabilities: frozenset[str] = frozenset()
    wishes: RoutingWishes = field(default_factory=RoutingWishes)
    n: int = 1
    """Answers to one prompt, each of which costs its own tokens."""
    tried: frozenset[tuple[str, str, str]] = frozenset()
    """Model, version and address of those who have failed it; an empty address is all of them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model version that may answer."""

    model: str
    version: str
    address: str
    score: float
    components: tuple[Component, ...]
    estimated_cost: float
    """US dollars."""
    estimated_prompt_tokens: int
    probably_fits: bool = True
    """Whether its context holds the prompt, as estimated, and the answer."""
    away: str = ""
    """Why it cannot generate now, nor can any other; answers it gave may be kept. One phrase."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """One model that may not answer, and why."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Who answers, in which order, and why."""

    candidates: tuple[Candidate, ...]
    """The primary first; at least one."""
    exclusions: tuple[Exclusion, ...]
    strategy: str
    reason: str


def select(
    request: Selection,
    catalog: Catalog,
    strategy: Strategy,
    statistics: StatisticsBook,
    tokenizers: TokenizerBook,
    *,
    now: float,
    fallbacks: int = 2,
    expected_output_tokens: int = 256,
) -> Plan:
    """Choose a primary and its fallbacks; the same inputs give the same plan.

    Args:
        request: The sizes and wishes.
        catalog: The models at this moment.
        strategy: Gives weights and threshold.
        statistics: What has been observed of the models.
        tokenizers: What has been observed of their tokenizers.
        now: Seconds of the clock that both were fed with.
        fallbacks: Fallbacks at most.
        expected_output_tokens: Answer length assumed when the request sets no limit.

    Raises:
        RouterError: UNKNOWN_MODEL or MODEL_UNAVAILABLE for the model asked for,
            CONTEXT_TOO_LONG when no text of its size fits anywhere, NO_CANDIDATE when all are
            excluded; instead of these MODEL_UNAVAILABLE while a model good enough is loading.
    """
    wish = request.wishes.model
    known = catalog.resolve(wish, request.capabilities) if wish else catalog.models
    allowed = [model.without(request.tried) for model in known]
    answer = (request.max_tokens or expected_output_tokens) * request.n
    estimates = _estimates(request, allowed, statistics, tokenizers, answer, now)
    exclusions = _not_asked(catalog, allowed, wish)
    hope = any(_may_answer_soon(one, request, strategy) for one in allowed)
    fitting, refused = _filter(estimates, request, strategy, hope=hope)
    if not fitting:
        raise _no_candidate([*refused, *exclusions], hope=hope)
    fitting, gone = _without_away(fitting)
    exclusions += [*refused, *gone]
    ranked = _rank(fitting, strategy, request.max_tokens)
    kept = ranked[: fallbacks + 1]
    exclusions += [
        Exclusion(one.model, f"ranked {place} with score {one.score:.3f}; the plan is full")
        for place, one in enumerate(ranked[len(kept) :], len(kept) + 1)
    ]
    reason = _reason(kept, strategy, wish)
    return Plan(tuple(kept), tuple(exclusions), strategy.name, reason)


def _not_asked(catalog: Catalog, allowed: Sequence[Model], wish: str) -> list[Exclusion]:
    """Return the models that are out before anything is known of them."""
    asked_for = {model.key for model in allowed}
    others = [one for one in catalog.models if one.key not in asked_for]
    return [
        *(Exclusion(one.name, f"{wish} was asked for") for one in others),
        *(Exclusion(one.name, one.trouble) for one in allowed if not one.endpoints),
    ]


def _estimates(
    request: Selection,
    models: Sequence[Model],
    statistics: StatisticsBook,
    tokenizers: TokenizerBook,
    output_tokens: int,
    now: float,
) -> list[Estimate]:
    return [
        estimate(
            model,
            _endpoint(model, request.request_id),
            statistics.of(model.name, model.version),
            prompt_bytes=request.prompt_bytes,
            bytes_per_token=tokenizers.bytes_per_token(model.tokenizer, now),
            output_tokens=output_tokens,
            now=now,
        )
        for model in models
        if model.endpoints
    ]


def _endpoint(model: Model, request_id: str) -> ServedModel:
    """Return the least loaded endpoint; among equals a hash of the request decides."""
    least = min(served.load for served in model.endpoints)
    equals = [served for served in model.endpoints if served.load <= least]
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return equals[int.from_bytes(digest, "big") % len(equals)]


def _filter(
    estimates: Sequence[Estimate], request: Selection, strategy: Strategy, *, hope: bool
) -> tuple[list[Estimate], list[Exclusion]]:
    """Split by what speaks against a model.

    Of the context only what no text of its size could fit speaks against it: inference counts
    exactly. A prompt that fits none is refused, unless there is `hope` for one that is loading.
    """
    checks: tuple[Check, ...] = (
        lambda one: _lacks(one, request.capabilities),
        lambda one: _too_poor(one, _floor(request, strategy)),
        lambda one: _too_dear(one, request.wishes.max_cost),
        _too_small,
    )
    refused: list[Exclusion] = []
    fitting: list[Estimate] = []
    small: list[Estimate] = []
    for one in estimates:
        failed = next((check for check in checks if check(one)), None)
        if failed is None:
            fitting.append(one)
            continue
        refused.append(Exclusion(one.model.name, failed(one)))
        if failed is _too_small:
            small.append(one)
    if small and not fitting and not hope:
        raise _too_long(small)
    return fitting, refused


def _without_away(fitting: list[Estimate]) -> tuple[list[Estimate], list[Exclusion]]:
    """Leave out models that are away, unless there are no others."""
    here = [one for one in fitting if not one.model.away]
    if not here:
        return fitting, []
    away = [one.model for one in fitting if one.model.away]
    return here, [Exclusion(model.name, model.trouble) for model in away]


def _may_answer_soon(model: Model, request: Selection, strategy: Strategy) -> bool:
    return model.loading and model.quality >= _floor(request, strategy)


def _floor(request: Selection, strategy: Strategy) -> float:
    """Return the quality below which a model may not answer."""
    return max(request.wishes.min_quality, strategy.min_quality)


def _lacks(one: Estimate, capabilities: frozenset[str]) -> str:
    missing = sorted(capabilities - one.model.capabilities)
    return f"it cannot do {', '.join(missing)}" if missing else ""


def _too_poor(one: Estimate, min_quality: float) -> str:
    if one.model.quality >= min_quality:
        return ""
    return f"quality {one.model.quality:.3f} is below the required {min_quality:.3f}"


def _too_dear(one: Estimate, max_cost: float) -> str:
    if max_cost <= 0 or one.cost <= max_cost:
        return ""
    return f"estimated cost ${one.cost:.3g} is above the ceiling ${max_cost:.3g}"


def _too_small(one: Estimate) -> str:
    if one.fewest_prompt_tokens <= one.model.context:
        return ""
    return f"context {one.model.context} is too small: {_at_least(one)}"


def _at_least(one: Estimate) -> str:
    return f"the prompt has at least {one.fewest_prompt_tokens} tokens"


def _probably_fits(one: Estimate, max_tokens: int) -> bool:
    return one.prompt_tokens + max(1, max_tokens) <= one.model.context


def _rank(estimates: Sequence[Estimate], strategy: Strategy, max_tokens: int) -> list[Candidate]:
    """Return them by score; those whose context is probably too small come last."""
    best = max(per_dollar(one) for one in estimates)
    ranked = []
    for one in estimates:
        components = score(one, strategy, best)
        ranked.append(
            Candidate(
                model=one.model.name,
                version=one.model.version,
                address=one.endpoint.address,
                score=sum(part.weight * part.value for part in components),
                components=components,
                estimated_cost=one.cost,
                estimated_prompt_tokens=one.prompt_tokens,
                probably_fits=_probably_fits(one, max_tokens),
                away=one.model.trouble if one.model.away else "",
            )
        )
    return sorted(
        ranked, key=lambda one: (not one.probably_fits, -one.score, one.model, one.version)
    )


def _reason(kept: Sequence[Candidate], strategy: Strategy, wish: str) -> str:
    first = kept[0]
    if first.away:
        return f"{first.model} cannot serve now: {first.away}; only kept answers can be given"
    if wish and len(kept) == 1:
        return f"{first.model} was asked for" + (f" as {wish}" if wish != first.model else "")
    scored = f"{first.model} has the best score for {strategy.name}, {first.score:.4f}"
    if len(kept) == 1:
        return f"{scored}; no other model may answer"
    if first.probably_fits and not kept[1].probably_fits:
        return f"{scored}, of those whose context probably holds the prompt"
    parts = zip(first.components, kept[1].components, strict=True)
    lead, name = max(((a.value - b.value) * a.weight, a.name) for a, b in parts)
    because = f", ahead by {name}" if lead > 0 else ""
    return f"{scored} against {kept[1].score:.4f} of {kept[1].model}{because}"


def _too_long(small: Sequence[Estimate]) -> RouterError:
    largest = max(small, key=lambda one: (one.model.context, one.model.name))
    return RouterError(
        Reason.CONTEXT_TOO_LONG,
        f"{_at_least(largest)}, more than the context of {largest.model.context} of "
        f"{largest.model.name}",
        metadata={
            "prompt_tokens": str(largest.fewest_prompt_tokens),
            "context": str(largest.model.context),
            "model": largest.model.name,
        },
    )


def _no_candidate(exclusions: Sequence[Exclusion], *, hope: bool) -> RouterError:
    """Return the error; with hope for a model that is loading, asking again later can help."""
    told = "; ".join(f"{one.model}: {one.reason}" for one in exclusions[:5])
    more = f"; and {len(exclusions) - 5} more" if len(exclusions) > 5 else ""
    return RouterError(
        Reason.MODEL_UNAVAILABLE if hope else Reason.NO_CANDIDATE,
        f"no model may answer: {told}{more}" if told else "no model may answer: there is none",
        metadata={"excluded": str(len(exclusions))},
        retry_after=LOADING_SECONDS if hope else None,
    )
