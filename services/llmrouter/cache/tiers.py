"""Memory before a disk or a shared store: one lookup and one store over both levels."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmrouter.cache.compression import Codec, Packer
from llmrouter.cache.disk_tier import DiskTier
from llmrouter.cache.far_tier import FarTier
from llmrouter.cache.invalidations import Invalidations
from llmrouter.cache.record import Record, RecordError
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.store_facts import new_facts
from llmrouter.cache.versions import MemoryVersions, VersionBook
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import CacheLevel
from llmrouter.common.memory_tier import MemoryTier, TierCounts

__all__ = ["Hit", "Tiers", "open_tiers", "steady_clock"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer that was found."""

    payload: bytes
    level: CacheLevel
    age: float
    """Seconds since it was stored; 0 if the clock was set back since."""
    remaining: float
    """Seconds until it expires; negative once it has."""


class Tiers:
    """The levels of one cache service."""

    def __init__(
        self,
        memory: MemoryTier[Record],
        far: FarTier | None,
        invalidations: Invalidations,
        packer: Packer,
        clock: Callable[[], float],
        grace: float = 0.0,
    ) -> None:
        """Join levels.

        Args:
            memory: Its clock should be `clock`.
            far: The level behind it; None keeps answers in memory only.
            invalidations: Says which answers may no longer be served.
            packer: Packs what is kept.
            clock: Seconds since the epoch, because the disk outlives the process.
            grace: Seconds that answers are kept for bad days once they have expired.
        """
        self._memory = memory
        self._far = far
        self._invalidations = invalidations
        self._store_id = invalidations.store_id
        self._packer = packer
        self._clock = clock
        self._grace = grace
        self._training: asyncio.Task[None] | None = None

    async def lookup(self, place: bytes, *, stale: bool = False, ahead: bool = False) -> Hit | None:
        """Return the living answer of a stored key; one found behind memory moves there too.

        Args:
            place: What `stored_key` gave.
            stale: Whether one that has expired will do.
            ahead: Whether a miss is looked up again and does not count yet.

        Raises:
            RouterError: STORE_FAILED when it is not in memory and the level behind cannot be read,
                or when nobody knows which answers were invalidated.
        """
        serves = self._serves_late if stale else self._serves
        record, level = await self._find(place, serves, ahead=ahead)
        if record is None:
            return None
        try:
            payload = await self._packer.unpack(record.codec, record.payload)
        except RecordError as error:
            _log.warning("a stored answer cannot be used: %s", error)
            return None
        now = self._clock()
        return Hit(payload, level, max(0.0, now - record.stored_at), record.expires_at - now)

    async def target(self, question: bytes) -> bytes | None:
        """Return the place of the answer that was stored last for a question, expired or not.

        Args:
            question: As `store` was told.

        Raises:
            RouterError: As `lookup`.
        """
        record, _ = await self._find(question, self._serves_late)
        return None if record is None else record.payload

    async def store(
        self,
        place: bytes,
        payload: bytes,
        labels: Sequence[bytes],
        ttl_seconds: float,
        as_of: int = 0,
        question: bytes = b"",
    ) -> int:
        """Keep an answer; returns once the level behind memory, if there is one, has it.

        Args:
            place: What `stored_key` gave.
            payload: The answer.
            labels: What it can be invalidated by.
            ttl_seconds: How long it lives.
            as_of: The sequence that stood when its generation began; 0 takes that of now.
            question: Where the way to it is kept as well, which lives and dies with it; empty for
                nowhere.

        Returns:
            The sequence that it is kept under; it is not kept if it was invalidated since.

        Raises:
            RouterError: STORE_FAILED when the level behind memory cannot take it; memory does not
                have it either.
        """
        self._check_store()
        as_of = min(as_of or self._invalidations.sequence, self._invalidations.sequence)
        if not self._invalidations.living(labels, as_of):
            return as_of
        codec, packed = await self._packer.pack(payload)
        now = self._clock()
        record = Record(now, now + ttl_seconds, as_of, tuple(labels), codec, packed)
        kept = {place: record}
        if question:
            kept[question] = replace(record, codec=Codec.PLAIN, payload=place)
        if self._far is None:
            for where, one in kept.items():
                self._remember(where, one)
        else:
            # Together, so that a disk has both at once. Ways wait there until a bad day.
            await asyncio.gather(*(self._far.put(where, one) for where, one in kept.items()))
            self._remember(place, record)
        self._learn_from(payload)
        return as_of

    async def counts(self) -> tuple[tuple[CacheLevel, TierCounts], ...]:
        """Return each level's sizes and counts, fastest first.

        Raises:
            RouterError: STORE_FAILED when the level behind memory cannot be read.
        """
        memory = (CacheLevel.MEMORY, self._memory.counts())
        if self._far is None:
            return (memory,)
        return (memory, (self._far.level, await self._far.counts()))

    async def close(self) -> None:
        """Finish what was begun and close the level behind memory."""
        if self._training is not None:
            await self._training
        if self._far:
            await self._far.close()

    async def _find(
        self, place: bytes, serves: Callable[[Record], bool], *, ahead: bool = False
    ) -> tuple[Record | None, CacheLevel]:
        self._check_store()
        record, level = self._memory.get(place, serves, ahead=ahead), CacheLevel.MEMORY
        if record is None and self._far is not None:
            record, level = await self._far.get(place, serves, ahead=ahead), self._far.level
            if record is not None and place not in self._memory:
                self._remember(place, record)  # unless a store has overtaken this lookup
        return (record if record is not None and serves(record) else None), level

    def _check_store(self) -> None:
        """Let go of what another store's invalidations would have been about."""
        self._invalidations.check_heard()
        if self._invalidations.store_id != self._store_id:
            self._memory.clear()
            self._store_id = self._invalidations.store_id

    def _serves(self, record: Record) -> bool:
        lives = record.lives(self._clock())
        return lives and self._invalidations.living(record.labels, record.as_of)

    def _serves_late(self, record: Record) -> bool:
        lives = record.lives(self._clock(), self._grace)
        return lives and self._invalidations.living(record.labels, record.as_of)

    def _remember(self, place: bytes, record: Record) -> None:
        left = record.expires_at + self._grace - self._clock()
        self._memory.put(place, record, record.size, left)

    def _learn_from(self, payload: bytes) -> None:
        if self._packer.sample(payload):
            self._training = asyncio.ensure_future(self._train())

    async def _train(self) -> None:
        """Learn a dictionary, keep it where the payloads are, and only then pack with it."""
        dictionary = await self._packer.train()
        if dictionary is None:
            return
        try:
            if self._far is not None and not await self._far.add_dictionary(dictionary):
                return
        except RouterError as error:
            _log.warning("a dictionary could not be kept: %s", error)
            return
        self._packer.use(dictionary)


def steady_clock() -> Callable[[], float]:
    """Return a clock of seconds since the epoch that nobody can set back while it runs."""
    began, started = time.time(), time.monotonic()
    return lambda: began + time.monotonic() - started


async def open_tiers(
    settings: CacheSettings, answers: Path | None, clock: Callable[[], float]
) -> tuple[Tiers, Invalidations, VersionBook]:
    """Open the levels, with what goes by them.

    Args:
        settings: Their sizes.
        answers: Folder of the disk level; None keeps answers in memory only.
        clock: Seconds since the epoch.

    Raises:
        RouterError: STORE_FAILED when the disk folder cannot be used.
    """
    disk, facts = None, new_facts(clock())
    if answers is not None:
        disk = await DiskTier.open(answers, settings.disk_max_bytes, clock, settings.stale_seconds)
        try:
            facts = await disk.facts()
        except BaseException:
            await disk.close()
            raise
    invalidations = Invalidations(facts, disk)
    memory: MemoryTier[Record] = MemoryTier(settings.memory_max_bytes, clock)
    packer = Packer(facts.dictionaries)
    tiers = Tiers(memory, disk, invalidations, packer, clock, settings.stale_seconds)
    return tiers, invalidations, VersionBook(invalidations, disk or MemoryVersions())
