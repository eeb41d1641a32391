"""What metrics show of a cache: the size of its levels, and how often they had the answer."""

from __future__ import annotations

from llmrouter.cache.tiers import Tiers
from llmrouter.common.telemetry.metering import Reading
from llmrouter.common.telemetry.tier_readings import tier_readings

__all__ = ["readings"]


async def readings(tiers: Tiers) -> list[Reading]:
    """Return the values of this moment; gateways tell those of their own level.

    Raises:
        RouterError: STORE_FAILED when the level behind memory cannot be read.
    """
    return [one for level in await tiers.counts() for one in tier_readings(*level)]
