"""Opens the levels of a cache service that shares its answers with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmrouter.cache.claims import Claims
from llmrouter.cache.compression import Packer
from llmrouter.cache.following import Following
from llmrouter.cache.leases import Leases
from llmrouter.cache.record import Record
from llmrouter.cache.settings import CacheSettings, SharedSettings
from llmrouter.cache.shared_invalidations import SharedInvalidations
from llmrouter.cache.shared_link import SharedLink
from llmrouter.cache.shared_store import SharedStore
from llmrouter.cache.tiers import Tiers
from llmrouter.cache.versions import VersionBook
from llmrouter.common.memory_tier import MemoryTier

__all__ = ["Sharing", "open_shared"]


@dataclass(frozen=True, slots=True)
class Sharing:
    """The levels, and what keeps them in step with those of other services."""

    tiers: Tiers
    invalidations: SharedInvalidations
    versions: VersionBook
    claims: Claims
    following: Following


def open_shared(
    settings: CacheSettings, shared: SharedSettings, clock: Callable[[], float]
) -> Sharing:
    """Return the levels; the server need not be there yet.

    Args:
        settings: The sizes of memory, and how long what has expired is kept.
        shared: Where the server is.
        clock: Seconds since the epoch.

    Raises:
        RouterError: STORE_FAILED when a file of the settings cannot be used.
    """
    link = SharedLink(shared)
    store = SharedStore(link, shared.prefix, clock, settings.stale_seconds)
    invalidations = SharedInvalidations(store)
    memory: MemoryTier[Record] = MemoryTier(settings.memory_max_bytes, clock)
    packer = Packer()
    tiers = Tiers(memory, store, invalidations, packer, clock, settings.stale_seconds)
    claims = Claims(Leases(), store)
    following = Following(store, invalidations, packer, claims)
    return Sharing(tiers, invalidations, VersionBook(invalidations, store), claims, following)
