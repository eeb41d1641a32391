"""The catalog, circuit breakers and costs with their live numbers, as protos."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from llmrouter.common.wire import duration
from llmrouter.selector.breakers import BreakerState
from llmrouter.selector.catalog import Model
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.sketch import TimeSketch
from llmrouter.v1 import selector_pb2 as pb

__all__ = ["encode_breakers", "encode_catalog", "encode_costs", "encode_versions"]

_MAX_COSTS = 1000
_STATES = {
    BreakerState.CLOSED: pb.BREAKER_STATE_CLOSED,
    BreakerState.OPEN: pb.BREAKER_STATE_OPEN,
    BreakerState.HALF_OPEN: pb.BREAKER_STATE_HALF_OPEN,
}


async def encode_catalog(selector: ModelSelector) -> pb.ListCatalogResponse:
    """Return all models in order of their names; others have their turn after each."""
    told = pb.ListCatalogResponse(
        strategies=sorted(selector.strategies),
        default_strategy=selector.settings.default_strategy,
        degraded="" if selector.store is None else selector.store.trouble,
    )
    for model in selector.live.view().catalog.models:
        told.models.append(_encode_model(selector, model, selector.clock()))
        await asyncio.sleep(0)
    return told


def encode_versions(selector: ModelSelector, name: str) -> pb.ListVersionsResponse:
    """Return the versions of all models, in order, as told by the selector of this name."""
    view = selector.live.view()
    # What requests go to that name no version: those that are meant, and what is rolled out.
    taking = {one.key for one in view.catalog.models} | selector.rollouts.sharing()
    taking -= selector.rollouts.left(view)
    known = {
        one.key: one.away or one.key not in taking for one in view.catalog.every if one.version
    }
    return pb.ListVersionsResponse(
        selector=name,
        versions=[
            pb.ModelVersion(model=model, version=version, away=known[model, version])
            for model, version in sorted(known)
        ],
    )


def encode_breakers(selector: ModelSelector) -> pb.ListBreakersResponse:
    """Return the breakers of endpoints that failed lately."""
    now = selector.clock()
    return pb.ListBreakersResponse(
        breakers=[
            pb.Breaker(
                model=key[0],
                version=key[1],
                address=key[2],
                state=_STATES[one.state(now)],
                failures=one.failures,
                successes=one.successes,
                retry_in=duration(one.retry_in(now)),
                last_error=one.last_error,
            )
            for key, one in selector.breakers.troubled()
        ]
    )


def encode_costs(selector: ModelSelector, kinds: tuple[str, ...]) -> pb.ListCostsResponse:
    """Return the accounts of these kinds, the dearest first."""
    return pb.ListCostsResponse(
        costs=[
            pb.Cost(
                kind=kind,
                name=name,
                plans=one.plans,
                attempts=one.attempts,
                estimated=one.estimated,
                actual=one.actual,
                prompt_tokens=one.prompt_tokens,
                cached_prompt_tokens=one.cached_prompt_tokens,
                completion_tokens=one.completion_tokens,
            )
            for kind in kinds
            for name, one in selector.costs.accounts(kind)[:_MAX_COSTS]
        ]
    )


def _encode_model(selector: ModelSelector, model: Model, now: float) -> pb.CatalogModel:
    return pb.CatalogModel(
        name=model.name,
        version="" if model.away else model.version,
        aliases=model.entry.aliases,
        quality=model.quality,
        input_price=model.prices.input,
        output_price=model.prices.output,
        cached_input_price=model.prices.cached,
        assumed_prices=model.prices.assumed,
        context=model.context,
        capabilities=sorted(model.capabilities),
        tags=model.entry.tags,
        addresses=[served.address for served in model.endpoints if served.ready],
        statistics=_encode_seen(selector, model, "", now),
        endpoints=list(_endpoints(selector, model, now)),
    )


def _endpoints(selector: ModelSelector, model: Model, now: float) -> Iterator[pb.CatalogEndpoint]:
    view = selector.live.view()
    for served in () if model.away else model.endpoints:
        key = (model.name, model.version, served.address)
        place = view.places.get(key)
        if place is None:  # it has gone since the first model was told
            continue
        yield pb.CatalogEndpoint(
            address=served.address,
            load=float(selector.live.loads.reported[place] / view.slots[place]),
            outstanding_tokens=int(selector.outstanding.tokens[place]),
            breaker=_STATES[selector.breakers.state(key, now)],
            statistics=_encode_seen(selector, model, served.address, now),
            draining=served.draining,
            context=served.context,
        )


def _encode_seen(
    selector: ModelSelector, model: Model, address: str, now: float
) -> pb.ModelStatistics:
    book, key = selector.statistics, (*model.key, address)
    told = pb.ModelStatistics(
        error_rate=book.error_rate(key, now),
        bytes_per_token=selector.tokenizers.bytes_per_token(model.tokenizer, now),
    )
    seen = book.seen(key)
    if seen is None:
        return told
    told.attempts, told.failures = seen.attempts, seen.failures
    told.prompt_tokens, told.completion_tokens = seen.prompt_tokens, seen.completion_tokens
    told.cost = seen.cost
    told.errors.update(seen.errors)
    recent = seen.recent.total(now)
    told.recent.attempts, told.recent.failures = int(recent.attempts), int(recent.failures)
    told.recent.completion_tokens = int(recent.completion_tokens)
    told.recent.cost = recent.cost
    for field, sketch in (
        (told.first_token, seen.first),
        (told.per_token, seen.per_token),
        (told.queue, seen.queue),
    ):
        _put(field, sketch, now)
    if told.HasField("first_token"):
        told.time_to_first_token.CopyFrom(told.first_token.mean)
    between = seen.per_token.distribution(now)
    if between is not None and between.mean > 0:
        told.tokens_per_second = 1 / between.mean
    return told


def _put(field: pb.TimeDistribution, sketch: TimeSketch, now: float) -> None:
    known = sketch.distribution(now)
    if known is not None:
        field.CopyFrom(
            pb.TimeDistribution(
                mean=duration(known.mean),
                mean_error=duration(known.error),
                median=duration(known.median),
                p95=duration(known.p95),
                p99=duration(known.p99),
                evidence=known.evidence,
            )
        )
