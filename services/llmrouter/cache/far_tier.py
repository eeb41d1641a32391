"""What is asked of the level behind memory: a disk, or a store that services share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from llmrouter.cache.record import Record
from llmrouter.common.generation import CacheLevel
from llmrouter.common.memory_tier import TierCounts

__all__ = ["FarTier"]


class FarTier(Protocol):
    """Records that outlive the process. Every method may raise RouterError: STORE_FAILED."""

    @property
    def level(self) -> CacheLevel:
        """Which level it is."""
        ...

    async def get(
        self, key: bytes, serves: Callable[[Record], bool], *, ahead: bool = False
    ) -> Record | None:
        """Return the record of a key, if it `serves`; a miss counts, unless it is `ahead`."""
        ...

    async def put(self, key: bytes, record: Record) -> None:
        """Keep a record; returns once it is there."""
        ...

    async def add_dictionary(self, raw: bytes) -> bool:
        """Keep what payloads may be packed with; return whether they may be from now on."""
        ...

    async def counts(self) -> TierCounts:
        """Return sizes and counts."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go."""
        ...
