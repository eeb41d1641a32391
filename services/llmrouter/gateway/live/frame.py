"""What one moment of the page shows, as plain data within bounds: numbers, names and reasons.

Times are seconds, amounts US dollars, shares 0 to 1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from llmrouter.common.overview import Overview, Rates
from llmrouter.common.telemetry.redaction import redacted_text
from llmrouter.common.wire import seconds
from llmrouter.gateway.limits.fullness import Fullest
from llmrouter.gateway.live.recent import CALLERS, STEP_SECONDS, RecentRequests
from llmrouter.gateway.record import RequestRecord
from llmrouter.v1 import cache_pb2, generation_pb2, inference_pb2, model_pb2
from llmrouter.v1 import selector_pb2 as pb

__all__ = ["MAX_CHOICES", "MAX_NODES", "frame_of"]

MAX_CHOICES, MAX_NODES = 12, 16
_MAX_MODELS, _MAX_ENDPOINTS, _MAX_LOADED = 64, 8, 64
_MAX_BREAKERS, _MAX_ROLLOUTS, _MAX_COSTS, _MAX_ERRORS = 32, 16, 8, 4
_MAX_REQUESTS = 40
_MAX_LIMITS = 16
_LONGEST_NAME, _LONGEST_SENTENCE = 96, 300


def frame_of(
    seen: Overview, rates: Rates, recent: RecentRequests, limits: Sequence[Fullest] = ()
) -> dict[str, Any]:
    """Return the frame of this moment.

    Args:
        seen: What the services said.
        rates: Tokens per second of loaded models.
        recent: What this gateway answered.
        limits: The fullest count of each limit.
    """
    return {
        "at": round(time.time(), 3),
        "away": {name: _said(error.message) for name, error in seen.away.items()},
        "degraded": _said(seen.catalog.degraded),
        "traffic": _traffic(recent),
        "models": _models(seen),
        "models_in_all": len(seen.catalog.models),
        "breakers": [_breaker(one) for one in seen.breakers.breakers[:_MAX_BREAKERS]],
        "nodes": [_node(name, node) for name, node in seen.nodes.items()],
        "engines": _engines(seen, rates),
        "rollouts": [_rollout(one) for one in seen.rollouts.rollouts[:_MAX_ROLLOUTS]],
        "cache": _cache(seen.levels),
        "costs": _costs(seen.costs.costs),
        "requests": [_request(at, one) for at, one in recent.newest(_MAX_REQUESTS)],
        "choices": [_choice(one) for one in reversed(seen.choices)],
        "limits": [_limit(one) for one in _fullest(limits)],
    }


def _fullest(limits: Sequence[Fullest]) -> list[Fullest]:
    return sorted(limits, key=lambda one: -one.share)[:_MAX_LIMITS]


def _traffic(recent: RecentRequests) -> dict[str, Any]:
    steps, first = recent.steps(), recent.first_token()
    told: dict[str, Any] = {
        name: [getattr(one, name) for one in steps]
        for name in ("requests", "failed", "refused", "spared", "tokens")
    }
    outcomes: dict[str, int] = {}
    for one in steps:
        for outcome, count in one.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    return told | {
        "cost": [round(one.cost, 9) for one in steps],
        "step": STEP_SECONDS,
        "outcomes": outcomes,
        "first_token": None if first is None else [_rounded(one) for one in first],
    }


def _models(seen: Overview) -> list[dict[str, Any]]:
    """Return the models; the busiest ones where there are too many."""
    scores = _scores(seen.choices)
    kept = sorted(seen.catalog.models, key=lambda one: -one.statistics.recent.attempts)
    kept = sorted(kept[:_MAX_MODELS], key=lambda one: (one.name, one.version))
    return [_model(one, scores.get((one.name, one.version))) for one in kept]


def _scores(choices: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return how each version was judged last: the newest choice that weighed it."""
    return {
        (one["model"], one["version"]): {
            "score": _rounded(one["score"]),
            "verdicts": {_name(name): _rounded(value) for name, value in one["verdicts"].items()},
        }
        for choice in choices
        for one in reversed(choice["order"])
    }


def _model(one: pb.CatalogModel, judged: dict[str, Any] | None) -> dict[str, Any]:
    now = one.statistics
    errors = sorted(now.errors.items(), key=lambda error: -error[1])[:_MAX_ERRORS]
    return {
        "name": _name(one.name),
        "version": _name(one.version),
        "ready": len(one.addresses),
        "quality": _rounded(one.quality),
        "prices": [one.input_price, one.output_price],
        "judged": judged,
        "attempts": now.attempts,
        "error_rate": _rounded(now.error_rate),
        "errors": {_name(reason): count for reason, count in errors},
        "recent": [now.recent.attempts, now.recent.failures, now.recent.completion_tokens],
        "first_token": _times(now.first_token),
        "per_second": _rounded(now.tokens_per_second),
        "cost": round(now.cost, 9),
        "endpoints": [_endpoint(place) for place in one.endpoints[:_MAX_ENDPOINTS]],
        "endpoints_in_all": len(one.endpoints),
    }


def _endpoint(one: pb.CatalogEndpoint) -> dict[str, Any]:
    return {
        "address": _name(one.address),
        "breaker": _word(pb.BreakerState.Name(one.breaker), "BREAKER_STATE_"),
        "load": _rounded(one.load),
        "draining": one.draining,
    }


def _breaker(one: pb.Breaker) -> dict[str, Any]:
    return {
        "model": _name(one.model),
        "address": _name(one.address),
        "state": _word(pb.BreakerState.Name(one.state), "BREAKER_STATE_"),
        "failures": one.failures,
        "retry_in": _rounded(seconds(one.retry_in)),
        "error": _name(one.last_error),
    }


def _node(name: str, node: model_pb2.ModelServiceListResponse) -> dict[str, Any]:
    memory = node.memory
    return {
        "address": _name(name),
        "pressure": _word(model_pb2.MemoryPressure.Name(memory.pressure), "MEMORY_PRESSURE_"),
        "used": memory.used_bytes,
        "limit": memory.limit_bytes,
        "models": memory.model_bytes,
        "cpu": _rounded(node.cpu),
    }


def _engines(seen: Overview, rates: Rates) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for node, one in seen.held():
        if one.state == inference_pb2.MODEL_STATE_UNLOADED or len(told) >= _MAX_LOADED:
            continue
        now, rate = one.statistics, rates.get((node, one.name, one.version))
        asked = now.prompt_tokens + now.reused_tokens
        told.append({
            "node": _name(node),
            "model": _name(one.name),
            "version": _name(one.version),
            "state": _word(inference_pb2.ModelState.Name(one.state), "MODEL_STATE_"),
            "error": _said(one.error),
            "running": now.running,
            "waiting": now.waiting,
            "slots": now.slots,
            "wait": _rounded(seconds(now.estimated_wait)),
            "per_second": None if rate is None else _rounded(rate),
            "cache": now.cache_bytes + now.prefix_bytes + now.parked_bytes,
            "reused": _rounded(now.reused_tokens / asked) if asked else None,
        })  # fmt: skip
    return told


def _rollout(one: pb.Rollout) -> dict[str, Any]:
    return {
        "model": _name(one.spec.model),
        "old": _name(one.spec.old_version),
        "new": _name(one.spec.new_version),
        "state": _word(pb.RolloutState.Name(one.state), "ROLLOUT_STATE_"),
        "stages": list(one.spec.stages),
        "stage": one.stage,
        "share": _rounded(one.share),
        "in_stage": _rounded(seconds(one.in_stage)),
        "samples": [[side.attempts, side.failures] for side in (one.old_samples, one.new_samples)],
        "reason": _said(one.reason),
    }


def _cache(told: cache_pb2.GetStatisticsResponse) -> dict[str, Any]:
    return {
        "levels": [
            {
                "level": _word(generation_pb2.CacheLevel.Name(one.level), "CACHE_LEVEL_"),
                "entries": one.entries,
                "bytes": one.bytes,
                "limit": one.max_bytes,
                "hits": one.hits,
                "misses": one.misses,
                "evictions": one.evictions,
            }
            for one in told.levels
        ],
        "saved": {
            "requests": sum(one.hits for one in told.savings),
            "tokens": sum(one.prompt_tokens + one.completion_tokens for one in told.savings),
            "cost": round(sum(one.cost for one in told.savings), 9),
            "seconds": _rounded(sum(seconds(one.time) for one in told.savings)),
        },
    }


def _costs(costs: Iterable[pb.Cost]) -> dict[str, list[dict[str, Any]]]:
    told: dict[str, list[dict[str, Any]]] = {"model": [], "tenant": []}
    for one in costs:
        rows = told.get(one.kind)
        if rows is not None and len(rows) < _MAX_COSTS:
            rows.append({
                "name": _name(one.name),
                "attempts": one.attempts,
                "estimated": round(one.estimated, 9),
                "spent": round(one.actual, 9),
                "tokens": one.prompt_tokens + one.completion_tokens,
            })  # fmt: skip
    return told


def _request(at: float, one: RequestRecord) -> dict[str, Any]:
    times, bill = one.timings, one.bill
    return {
        "at": round(at, 3),
        "id": redacted_text(one.request_id),
        "tenant": _name(one.tenant),
        "kind": one.operation,
        "outcome": one.outcome,
        "refused": one.outcome in CALLERS,
        "model": _name(one.model),
        "version": _name(one.version),
        "asked": _name(redacted_text(one.asked)),
        "cache": one.cache,
        "plan": one.plan_id,
        "reason": _said(one.reason),
        "attempts": one.attempts,
        "tokens": [one.usage.prompt_tokens, one.usage.completion_tokens],
        "cost": None if bill is None else round(bill.cost, 9),
        "seconds": _rounded(one.seconds),
        "first_token": None if one.first_token is None else _rounded(one.first_token),
        "times": None
        if times is None
        else [_rounded(each) for each in (times.queue, times.prefill, times.decode)],
    }


def _choice(one: dict[str, Any]) -> dict[str, Any]:
    first = one["order"][0] if one["order"] else {}
    return {
        "at": one["at"],
        "plan": one["plan_id"],
        "tenant": _name(one["tenant"]),
        "strategy": _name(one["strategy"]),
        "mode": one["mode"],
        "model": _name(first.get("model", "")),
        "score": _rounded(first.get("score", 0.0)),
        "reason": _said(one["reason"]),
        "candidates": len(one["order"]),
        "excluded": len(one["exclusions"]),
        "outcomes": [_name(each["error_reason"]) for each in one["outcomes"][:_MAX_ERRORS]],
    }


def _limit(one: Fullest) -> dict[str, Any]:
    return {
        "rule": _name(one.rule),
        "limit": one.limit,
        "subject": _name(one.subject),
        "share": _rounded(one.share),
    }


def _times(one: pb.TimeDistribution) -> list[float] | None:
    """Return mean and 95th percentile; nothing before the first observation."""
    mean = seconds(one.mean)
    return [_rounded(mean), _rounded(seconds(one.p95))] if mean else None


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _rounded(value: float) -> float:
    return round(value, 4)


def _name(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def _said(text: str) -> str:
    return text if len(text) <= _LONGEST_SENTENCE else text[: _LONGEST_SENTENCE - 1] + "…"
