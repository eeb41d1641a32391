"""What metrics show of the selector: breakers, rollouts, costs, desired replicas, models."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.names import Name
from llmrouter.selector.breakers import BreakerState
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.rollouts import RolloutState
from llmrouter.selector.scale_watch import ScaleWatch

__all__ = ["readings"]

_BREAKERS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
_AT_ONCE = 1000
"""Accounts told before others have their turn on the event loop."""


async def readings(selector: ModelSelector, scaling: ScaleWatch) -> list[Reading]:
    """Return the values of this moment."""
    now = selector.clock()
    found = [*_breakers(selector, now), *_rollouts(selector, now), *_models(selector)]
    found += _scales(scaling)
    degraded = selector.store is not None and bool(selector.store.trouble)
    found.append(Reading(Name.STATE_DEGRADED, float(degraded)))
    tenants = selector.costs.accounts("tenant")
    for begin in range(0, len(tenants), _AT_ONCE):
        found += [
            Reading(Name.TENANT_COST, account.actual, {"tenant": tenant})
            for tenant, account in tenants[begin : begin + _AT_ONCE]
        ]
        await asyncio.sleep(0)
    return found


def _breakers(selector: ModelSelector, now: float) -> Iterator[Reading]:
    for (model, version, address), breaker in selector.breakers.troubled():
        labels = {"model": model, "version": version, "address": address}
        yield Reading(Name.BREAKER_STATE, _BREAKERS[breaker.state(now)], labels)


def _rollouts(selector: ModelSelector, now: float) -> Iterator[Reading]:
    for rollout in selector.rollouts.all(now):
        labels = {"model": rollout.spec.model, "version": rollout.spec.new}
        yield Reading(Name.ROLLOUT_SHARE, rollout.share, labels)
        yield Reading(Name.ROLLOUT_STAGE, rollout.stage, labels)
        for state in RolloutState:
            reached = float(rollout.state is state)
            yield Reading(Name.ROLLOUT_STATE, reached, {**labels, "state": state.value})


def _scales(scaling: ScaleWatch) -> Iterator[Reading]:
    for name, pool in scaling.pools.items():
        yield Reading(Name.DESIRED_REPLICAS, pool.desired, {"pool": name})
        yield Reading(Name.REPLICAS, pool.replicas, {"pool": name})
        for resource, load in pool.loads.items():
            yield Reading(Name.POOL_LOAD, load, {"pool": name, "resource": resource})
    for name, model in scaling.models.items():
        yield Reading(Name.MODEL_DESIRED_REPLICAS, model.desired, {"model": name})


def _models(selector: ModelSelector) -> Iterator[Reading]:
    view = selector.live.view()
    for model in view.catalog.models:
        labels = {"model": model.name, "version": model.version}
        yield Reading(Name.QUALITY, model.quality, labels)
    waiting: Counter[str] = Counter()
    for (name, _, _), place in view.places.items():
        waiting[name] += int(selector.outstanding.tokens[place])
    for name, tokens in waiting.items():
        yield Reading(Name.OUTSTANDING, tokens, {"model": name})
    for name, account in selector.costs.accounts("model"):
        yield Reading(Name.COST, account.actual, {"model": name})
