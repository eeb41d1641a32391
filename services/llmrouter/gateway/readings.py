"""What metrics show of a gateway beside its requests: answers in its memory, and its limits."""

from __future__ import annotations

from llmrouter.common.generation import CacheLevel
from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.names import Name
from llmrouter.common.telemetry.tier_readings import tier_readings
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.near_cache import NearCache

__all__ = ["readings"]


async def readings(near: NearCache, limiter: Limiter | None) -> list[Reading]:
    """Return the values of this moment."""
    full = () if limiter is None else limiter.fullest()
    limits = [
        Reading(Name.LIMIT_USED, one.share, {"rule": one.rule, "limit": one.limit}) for one in full
    ]
    return [*tier_readings(CacheLevel.GATEWAY, near.counts()), *limits]
