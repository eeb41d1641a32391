"""What metrics show of a cache: the size of its levels, and how often they had the answer."""

from __future__ import annotations

from llmrouter.cache.tiers import Tiers
from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.names import Name

__all__ = ["readings"]


async def readings(tiers: Tiers) -> list[Reading]:
    """Return the values of this moment.

    Raises:
        RouterError: STORE_FAILED when the disk cannot be read.
    """
    return [
        Reading(name, value, {"level": level.value})
        for level, counts in await tiers.counts()
        for name, value in (
            (Name.CACHE_HITS, counts.hits),
            (Name.CACHE_MISSES, counts.misses),
            (Name.CACHE_EVICTIONS, counts.evictions),
            (Name.CACHE_ENTRIES, counts.entries),
            (Name.CACHE_SIZE, counts.bytes),
            (Name.CACHE_LIMIT, counts.max_bytes),
        )
    ]
