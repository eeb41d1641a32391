"""A suite on three kinds of days, as the live page is told of it: the real messages, made up."""

from __future__ import annotations

import time

from llmrouter.common.bill import Bill
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Timings, Usage
from llmrouter.common.overview import Overview
from llmrouter.common.wire import duration
from llmrouter.gateway.limits.fullness import Fullest
from llmrouter.gateway.live.frame import frame_of
from llmrouter.gateway.live.recent import RecentRequests
from llmrouter.gateway.live.troubles import troubles_in
from llmrouter.gateway.record import RequestRecord
from llmrouter.v1 import cache_pb2, generation_pb2, inference_pb2, model_pb2
from llmrouter.v1 import selector_pb2 as pb

__all__ = ["EXPLAINED", "empty", "quiet", "ready", "stormy"]

_MIB = 1 << 20
_HERE, _THERE = "10.0.0.11:50054", "10.0.0.12:50054"
_OPEN, _CLOSED, _HALF = pb.BREAKER_STATE_OPEN, pb.BREAKER_STATE_CLOSED, pb.BREAKER_STATE_HALF_OPEN


def ready(seen, recent, rates=None, limits="", full=()):
    """Return what the page is sent."""
    frame = frame_of(seen, rates or {}, recent, full)
    return {**frame, "troubles": troubles_in(frame, limits), "every": 1}


def empty():
    """A suite that nobody has asked, without a model."""
    return ready(Overview(), RecentRequests())


def _model(name, version, quality, prices, recent, times, places, **errors):
    first, tail, per_second, cost = times
    seen = pb.ModelStatistics(
        attempts=recent[0] * 40 + 2, failures=recent[1] * 3,
        error_rate=recent[1] / max(1, recent[0]),
        tokens_per_second=per_second, cost=cost, errors=errors,
        recent=pb.RecentStatistics(attempts=recent[0], failures=recent[1]),
    )  # fmt: skip
    if first:
        seen.first_token.CopyFrom(pb.TimeDistribution(mean=duration(first), p95=duration(tail)))
    endpoints = [
        pb.CatalogEndpoint(address=address, load=load, breaker=breaker)
        for address, load, breaker in places
    ]
    serving = [one.address for one in endpoints if one.breaker != _OPEN]
    return pb.CatalogModel(
        name=name, version=version if serving else "", quality=quality, input_price=prices[0],
        output_price=prices[1], statistics=seen, endpoints=endpoints, addresses=serving,
    )  # fmt: skip


def _choice(number, order, reason, outcomes, at, excluded=0):
    return {
        "plan_id": f"plan-{number:04d}", "at": at, "tenant": "default", "strategy": "balanced",
        "mode": "first-of", "reason": reason,
        "order": [
            {"model": model, "version": version, "score": score,
             "verdicts": {"quality": score, "speed": 0.6, "cost": 0.8}}
            for model, version, score in order
        ],
        "exclusions": [{"model": "m", "version": "", "reason": "r"}] * excluded,
        "outcomes": [{"error_reason": one} for one in outcomes],
    }  # fmt: skip


def _record(number, model="", version="", outcome="OK", cache="miss", **more):
    cost = more.pop("cost", 0.0)
    bill = Bill(cost=cost)
    seconds = more.pop("seconds", 0.8)
    return RequestRecord(
        "chat", f"7f3a{number:04x}c1", more.pop("tenant", "default"), outcome, seconds, model,
        version, cache, f"plan-{number:04d}" if model or "asked" in more else "", bill=bill, **more,
    )  # fmt: skip


class _Clock:
    def __init__(self):
        self.now = time.time() - 300

    def __call__(self):
        return self.now


def _requests(stormy):
    clock = _Clock()
    recent = RecentRequests(clock)
    small, large = ("smollm2-135m-instruct-int8", "a41c9e0b"), ("large", "2f77d310")
    why = "smollm2-135m-instruct-int8 has the best score of 3: fast and cheap"
    for number in range(290):
        clock.now += 1
        bad = stormy and number > 200
        if number % 7 == 3:
            one = _record(
                number,
                *small,
                cache="hit",
                seconds=0.0021,
                usage=Usage(31, 58),
                reason=why,
                attempts=0,
                first_token=0.001,
            )
        elif bad and number % 4 == 1:
            one = _record(
                number,
                outcome="UPSTREAM_UNAVAILABLE",
                seconds=2.1,
                attempts=3,
                asked="large",
                reason="large was asked for",
            )
        elif number % 23 == 5:
            one = _record(number, outcome="RATE_LIMITED", seconds=0.0004, tenant="trial")
        elif number % 5 == 0 or (bad and number % 2):
            tries = 2 if bad else 1
            one = _record(
                number,
                *large,
                seconds=2.4 + (number % 11) / 8,
                usage=Usage(412, 230),
                cost=0.0041,
                attempts=tries,
                tenant="acme",
                reason="large is the only model of quality 0.8 and above",
                first_token=0.61,
                timings=Timings(0.12, 0.38, 1.6),
            )
        else:
            length = 0.4 + (number % 9) / 10
            one = _record(
                number,
                *small,
                seconds=length,
                usage=Usage(31, 64),
                cost=0.0000019,
                reason=why,
                attempts=1,
                first_token=0.06 + (number % 5) / 100,
                timings=Timings(0.01, 0.05, length - 0.1),
            )
        recent.ended(one)  # fmt: skip
    clock.now = time.time()
    return recent


def quiet():
    """A suite that has enough to do, and does it."""
    return _day(stormy=False)


def stormy():
    """A suite on a bad day."""
    return _day(stormy=True)


def _day(*, stormy):
    now = time.time()
    broken = _OPEN if stormy else _CLOSED
    seen = Overview()
    small, large = ("smollm2-135m-instruct-int8", "a41c9e0b"), ("large", "2f77d310")
    mini = ("all-minilm-l6-v2-int8", "77aa01c2")
    seen.catalog = pb.ListCatalogResponse(models=[
        _model(*mini, 0.5, (0.005, 0), (4, 0), (0.004, 0.009, 0, 0.00001), [(_HERE, 0, _CLOSED)]),
        _model(*large, 0.86, (3, 12), (13, 0), (0.61, 1.4, 71, 0.412),
               [(_THERE, 0.6, _CLOSED)]),
        _model(*small, 0.41, (0.02, 0.02), (38, 9 if stormy else 0), (0.062, 0.118, 214, 0.00021),
               [(_HERE, 0.5, broken), (_THERE, 1.4, _HALF if stormy else _CLOSED)],
               **({"UPSTREAM_UNAVAILABLE": 27, "GENERATION_FAILED": 2} if stormy else {})),
        _model("smollm2-135m-instruct-fp32", "c0ffee11", 0.42, (0.04, 0.04),
               (0, 0), (0, 0, 0, 0), [] if stormy else [(_HERE, 0.0, _CLOSED)]),
    ])  # fmt: skip
    if stormy:
        seen.breakers = pb.ListBreakersResponse(breakers=[
            pb.Breaker(model=small[0], version=small[1], address=_HERE, state=_OPEN, failures=5,
                       retry_in=duration(12.4), last_error="UPSTREAM_UNAVAILABLE"),
            pb.Breaker(model=small[0], version=small[1], address=_THERE, state=_HALF, failures=5,
                       successes=1, last_error="GENERATION_FAILED"),
        ])  # fmt: skip
        told = "the cache did not answer within 2 s"
        seen.away["cache"] = RouterError(Reason.UPSTREAM_UNAVAILABLE, told)
        seen.away[_HERE] = RouterError(
            Reason.UPSTREAM_UNAVAILABLE, f"the inference service at {_HERE} is not reachable"
        )
    else:
        seen.levels = _levels()
    seen.nodes = _nodes(stormy)
    seen.rollouts = pb.ListRolloutsResponse(rollouts=[_rollout(small[0], stormy)])
    seen.costs = pb.ListCostsResponse(costs=[
        pb.Cost(kind="model", name="large", attempts=520, estimated=0.431, actual=0.412,
                prompt_tokens=214_000, completion_tokens=119_600),
        pb.Cost(kind="model", name=small[0], attempts=1610, estimated=0.00029, actual=0.00021,
                prompt_tokens=49_910, completion_tokens=103_040),
        pb.Cost(kind="tenant", name="acme", attempts=520, estimated=0.431, actual=0.412,
                prompt_tokens=214_000, completion_tokens=119_600),
        pb.Cost(kind="tenant", name="default", attempts=1610, estimated=0.00029, actual=0.00021,
                prompt_tokens=49_910, completion_tokens=103_040),
    ])  # fmt: skip
    why = f"{small[0]} has the best score of 3: fast and cheap"
    seen.choices = [
        _choice(
            number, [(*small, 0.79), (*large, 0.64)] if number % 3 else [(*large, 0.81)],
            why if number % 3 else "large is the only model of quality 0.8 and above",
            ["UPSTREAM_UNAVAILABLE", ""] if stormy and number % 2 else [""], now - (12 - number),
            excluded=1 if stormy else 0,
        )
        for number in range(12)
    ]  # fmt: skip
    rates = {(_THERE, *small): 412.0, (_HERE, *small): 388.0}
    share = 0.97 if stormy else 0.31
    full = [
        Fullest("trial tenants", "requests_per_minute", "tenant trial", share, "c", now),
        Fullest("acme", "dollars_per_month", "tenant acme", 0.412, "d", now),
    ]
    return ready(seen, _requests(stormy), rates, full=full)


def _levels():
    level = cache_pb2.LevelStatistics
    return cache_pb2.GetStatisticsResponse(
        levels=[
            level(level=generation_pb2.CACHE_LEVEL_GATEWAY, entries=412, bytes=3 * _MIB,
                  max_bytes=32 * _MIB, hits=380, misses=1900),
            level(level=generation_pb2.CACHE_LEVEL_MEMORY, entries=1240, bytes=21 * _MIB,
                  max_bytes=64 * _MIB, hits=210, misses=1690),
            level(level=generation_pb2.CACHE_LEVEL_DISK, entries=9120, bytes=188 * _MIB,
                  max_bytes=1024 * _MIB, hits=96, misses=1594, evictions=12),
        ],
        savings=[cache_pb2.Savings(tenant="default", model="large", hits=686, prompt_tokens=21_000,
                                   completion_tokens=40_120, cost=0.31, time=duration(1204))],
    )  # fmt: skip


def _nodes(stormy):
    def held(name, version, running, waiting, state=inference_pb2.MODEL_STATE_READY, error=""):
        load = inference_pb2.EngineStatistics(
            running=running, waiting=waiting, slots=16, prompt_tokens=49_000, reused_tokens=31_000,
            completion_tokens=103_040, cache_bytes=82 * _MIB, prefix_bytes=31 * _MIB,
            estimated_wait=duration(waiting * 0.12),
        )  # fmt: skip
        told = {"statistics": load} if state == inference_pb2.MODEL_STATE_READY else {}
        return inference_pb2.LoadedModel(
            name=name, version=version, state=state, error=error, **told
        )

    def node(pressure, used, *models):
        memory = model_pb2.MemoryStatus(
            pressure=pressure, used_bytes=used * _MIB, limit_bytes=8192 * _MIB,
            model_bytes=1210 * _MIB,
        )  # fmt: skip
        return model_pb2.ModelServiceListResponse(models=models, memory=memory, cpu=0.72)

    small, failed = "smollm2-135m-instruct-int8", inference_pb2.MODEL_STATE_FAILED
    well = node(model_pb2.MEMORY_PRESSURE_NONE, 3120, held(small, "a41c9e0b", 6, 0))
    if not stormy:
        return {_HERE: well, _THERE: node(model_pb2.MEMORY_PRESSURE_NONE, 2890,
                                          held(small, "a41c9e0b", 9, 0))}  # fmt: skip
    why = "tokenizer.json of large@next is not what was imported"
    return {
        _THERE: node(
            model_pb2.MEMORY_PRESSURE_CRITICAL, 7290, held(small, "a41c9e0b", 16, 31),
            held("large", "9d0e", 0, 0, failed, why),
        )
    }  # fmt: skip


def _rollout(model, stormy):
    state = pb.ROLLOUT_STATE_ROLLED_BACK if stormy else pb.ROLLOUT_STATE_RUNNING
    why = "8 % of 120 attempts on b7 failed; 5 % are allowed" if stormy else ""
    return pb.Rollout(
        spec=pb.RolloutSpec(model=model, old_version="a41c9e0b", new_version="b7d2f1aa",
                            stages=[0.1, 0.3, 0.7, 1.0]),
        state=state, stage=1, share=0.0 if stormy else 0.3, in_stage=duration(140),
        old_samples=pb.VersionSamples(attempts=921, failures=2),
        new_samples=pb.VersionSamples(attempts=120, failures=9 if stormy else 0), reason=why,
    )  # fmt: skip


def _part(name, value, weight, said):
    return {"name": name, "value": value, "weight": weight, "explanation": said}


EXPLAINED = {
    "plan": {
        "id": "plan-0001", "strategy": "balanced",
        "reason": "smollm2-135m-instruct-int8 has the best score of 3: fast and cheap",
        "candidates": [
            {"model": "smollm2-135m-instruct-int8", "version": "a41c9e0b", "score": 0.788,
             "estimated_cost": 0.0000021, "away": "", "components": [
                 _part("quality", 0.41, 0.3, "prior 0.42, int8 costs 0.01"),
                 _part("speed", 0.95, 0.3, "62 ms to the first token, 214 tokens/s"),
                 _part("cost", 0.99, 0.25, "$0.000002 of $0.0041"),
                 _part("load", 0.9, 0.15, "0.5 of 16 slots"),
             ]},
            {"model": "large", "version": "2f77d310", "score": 0.641, "estimated_cost": 0.0041,
             "away": "", "components": [
                 _part("quality", 0.86, 0.3, "prior 0.86"),
                 _part("speed", 0.6, 0.3, "610 ms to the first token, 71 tokens/s"),
                 _part("cost", 0.4, 0.25, "$0.0041, the dearest"),
                 _part("load", 0.7, 0.15, "0.6 of 16 slots"),
             ]},
        ],
        "exclusions": [{"model": "all-minilm-l6-v2-int8", "version": "77aa01c2",
                        "reason": "it makes vectors and cannot chat"}],
    },
    "record": {"at": 1_790_000_000.0, "outcomes": [
        {"model": "smollm2-135m-instruct-int8", "address": _HERE,
         "error_reason": "UPSTREAM_UNAVAILABLE", "time_to_first_token": None, "cost": 0.0},
        {"model": "large", "address": _THERE, "error_reason": "",
         "time_to_first_token": 0.61, "cost": 0.0041},
    ]},
}  # fmt: skip
"""A past choice, as `live/choices/…` explains it; the record is text there."""
