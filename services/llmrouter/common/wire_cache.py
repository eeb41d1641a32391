"""Sizes, counts and savings of the cache to protos and back."""

from __future__ import annotations

from collections.abc import Iterable

from llmrouter.common.generation import CacheLevel
from llmrouter.common.memory_tier import TierCounts
from llmrouter.common.savings import HitKind, Saved, Spared
from llmrouter.common.wire import duration, seconds
from llmrouter.common.wire_event import CACHE_LEVEL, CACHE_LEVEL_OUT
from llmrouter.v1 import cache_pb2 as pb

__all__ = ["decode_counts", "decode_savings", "encode_level", "encode_savings"]

_KINDS = {
    pb.HIT_KIND_EXACT: HitKind.EXACT,
    pb.HIT_KIND_JOINED: HitKind.JOINED,
    pb.HIT_KIND_STALE: HitKind.STALE,
    pb.HIT_KIND_SIMILAR: HitKind.SIMILAR,
}
_KINDS_OUT = {value: key for key, value in _KINDS.items()}
_MAX_SAVINGS = 4_096


def encode_level(level: CacheLevel, counts: TierCounts) -> pb.LevelStatistics:
    """Return the message of a level's sizes and counts."""
    return pb.LevelStatistics(
        level=CACHE_LEVEL_OUT[level],
        entries=counts.entries,
        bytes=counts.bytes,
        max_bytes=counts.max_bytes,
        hits=counts.hits,
        misses=counts.misses,
        evictions=counts.evictions,
    )


def decode_counts(level: pb.LevelStatistics) -> TierCounts:
    """Return a level's sizes and counts."""
    return TierCounts(
        level.entries, level.bytes, level.max_bytes, level.hits, level.misses, level.evictions
    )


def encode_savings(rows: Iterable[tuple[Saved, Spared]]) -> list[pb.Savings]:
    """Return the messages of what was spared."""
    return [
        pb.Savings(
            tenant=saved.tenant,
            model=saved.model,
            level=CACHE_LEVEL_OUT[saved.level],
            kind=_KINDS_OUT[saved.kind],
            hits=spared.hits,
            prompt_tokens=spared.prompt_tokens,
            completion_tokens=spared.completion_tokens,
            cost=spared.cost,
            time=duration(spared.seconds),
        )
        for saved, spared in rows
    ]


def decode_savings(rows: Iterable[pb.Savings]) -> list[tuple[Saved, Spared]]:
    """Return what was spared; rows past the bound are dropped."""
    return [
        (
            Saved(
                row.tenant,
                row.model,
                CACHE_LEVEL.get(row.level),
                _KINDS.get(row.kind, HitKind.EXACT),
            ),
            Spared(row.hits, row.prompt_tokens, row.completion_tokens, row.cost, seconds(row.time)),
        )
        for row in list(rows)[:_MAX_SAVINGS]
    ]
