"""What metrics show of one level of the cache, whoever holds it."""

from __future__ import annotations

from llmrouter.common.generation import CacheLevel
from llmrouter.common.memory_tier import TierCounts
from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.names import Name

__all__ = ["tier_readings"]


def tier_readings(level: CacheLevel, counts: TierCounts) -> list[Reading]:
    """Return its size, and how often it had the answer."""
    labels = {"level": level.value}
    return [
        Reading(Name.CACHE_HITS, counts.hits, labels),
        Reading(Name.CACHE_MISSES, counts.misses, labels),
        Reading(Name.CACHE_EVICTIONS, counts.evictions, labels),
        Reading(Name.CACHE_ENTRIES, counts.entries, labels),
        Reading(Name.CACHE_SIZE, counts.bytes, labels),
        Reading(Name.CACHE_LIMIT, counts.max_bytes, labels),
    ]
