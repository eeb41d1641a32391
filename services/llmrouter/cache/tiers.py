"""Memory before disk: one lookup and one store over both levels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from llmrouter.cache.disk_tier import DiskTier
from llmrouter.cache.record import Record, stored_key
from llmrouter.cache.settings import CacheSettings
from llmrouter.common.memory_tier import MemoryTier, TierCounts

__all__ = ["Hit", "Level", "Tiers", "open_tiers"]


class Level(StrEnum):
    """Where an answer was found."""

    MEMORY = "memory"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer that was found."""

    payload: bytes
    level: Level
    age: float
    """Seconds since it was stored; 0 if the clock was set back since."""


class Tiers:
    """The levels of one cache service."""

    def __init__(
        self, memory: MemoryTier, disk: DiskTier | None, clock: Callable[[], float] = time.time
    ) -> None:
        """Join levels.

        Args:
            memory: Its clock should be `clock`.
            disk: None keeps answers in memory only.
            clock: Seconds since the epoch, because the disk outlives the process.
        """
        self._memory = memory
        self._disk = disk
        self._clock = clock

    async def lookup(self, tenant: str, key: bytes) -> Hit | None:
        """Return the living answer of a tenant's key; one found on disk moves to memory too.

        Raises:
            RouterError: STORE_FAILED when it is not in memory and the disk cannot be read.
        """
        place = stored_key(tenant, key)
        packed = self._memory.get(place)
        if packed is not None:
            return self._hit(Record.unpack(place, packed), Level.MEMORY)
        record = await self._disk.get(place) if self._disk else None
        if record is None:
            return None
        if place not in self._memory:  # a store may have overtaken this lookup
            self._remember(place, record)
        return self._hit(record, Level.DISK)

    async def store(self, tenant: str, key: bytes, payload: bytes, ttl_seconds: float) -> None:
        """Keep an answer; returns once the disk, if there is one, has it.

        Raises:
            RouterError: STORE_FAILED when the disk cannot take it; memory does not have it either.
        """
        place = stored_key(tenant, key)
        now = self._clock()
        record = Record(now, now + ttl_seconds, payload)
        if self._disk:
            await self._disk.put(place, record)
        self._remember(place, record)

    async def counts(self) -> tuple[tuple[Level, TierCounts], ...]:
        """Return each level's sizes and counts, fastest first.

        Raises:
            RouterError: STORE_FAILED when the disk cannot be read.
        """
        memory = (Level.MEMORY, self._memory.counts())
        return (memory, (Level.DISK, await self._disk.counts())) if self._disk else (memory,)

    async def close(self) -> None:
        """Close the disk level."""
        if self._disk:
            await self._disk.close()

    def _remember(self, place: bytes, record: Record) -> None:
        self._memory.put(place, record.pack(place), record.expires_at - self._clock())

    def _hit(self, record: Record, level: Level) -> Hit:
        return Hit(record.payload, level, max(0.0, self._clock() - record.stored_at))


async def open_tiers(
    settings: CacheSettings, answers: Path | None, clock: Callable[[], float] = time.time
) -> Tiers:
    """Open the levels.

    Args:
        settings: Their sizes.
        answers: Folder of the disk level; None keeps answers in memory only.
        clock: Seconds since the epoch.

    Raises:
        RouterError: STORE_FAILED when the disk folder cannot be used.
    """
    disk = None
    if answers is not None:
        disk = await DiskTier.open(answers, settings.disk_max_bytes, clock)
    return Tiers(MemoryTier(settings.memory_max_bytes, clock), disk, clock)
