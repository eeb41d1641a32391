"""What metrics show of a gateway beside its requests: the answers in its own memory."""

from __future__ import annotations

from llmrouter.common.generation import CacheLevel
from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.tier_readings import tier_readings
from llmrouter.gateway.near_cache import NearCache

__all__ = ["readings"]


async def readings(near: NearCache) -> list[Reading]:
    """Return the values of this moment."""
    return tier_readings(CacheLevel.GATEWAY, near.counts())
