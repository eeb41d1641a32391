"""What a caller asks of the answer cache, and what it is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmrouter.common.replay_pace import ReplayPace

__all__ = ["CacheLevel", "CacheMode", "CacheStatus", "CacheWishes"]


class CacheMode(StrEnum):
    """What a caller wants of the answer cache."""

    OFF = "off"
    READ = "read"
    WRITE = "write"
    READ_WRITE = "read-write"
    REFRESH = "refresh"
    """Generates anew and takes the place of what is stored."""


class CacheStatus(StrEnum):
    """What the answer cache did for a request."""

    BYPASSED = "bypassed"
    """Not consulted: the wishes forbid it or the request is not deterministic."""
    MISS = "miss"
    HIT = "hit"
    UNAVAILABLE = "unavailable"
    """The cache service did not answer in time; the request went on without it."""
    JOINED = "joined"
    """The answer is that of an identical request that was in flight already."""
    STALE = "stale"
    """Degraded: no model could answer, and an answer that had expired stands in."""
    SIMILAR = "similar"
    """The answer comes from the cache, where it was given to a question that means the same."""


class CacheLevel(StrEnum):
    """Where an answer was found, from the nearest to the farthest."""

    GATEWAY = "gateway"
    """Memory of the gateway's own process."""
    MEMORY = "memory"
    """Memory of the cache service."""
    DISK = "disk"
    """Disk of the cache service."""
    SHARED = "shared"
    """A Redis or Valkey behind several cache services."""


@dataclass(frozen=True, slots=True)
class CacheWishes:
    """What a caller asks of the answer cache."""

    mode: CacheMode = CacheMode.READ_WRITE
    ttl_seconds: float = 0.0
    """How long a stored answer lives; 0 takes the configured default."""
    tags: tuple[str, ...] = ()
    """Names to invalidate the stored answer by; at most 16, sorted, each once, 1 to 64 bytes."""
    drawn: bool = False
    """Whether answers left to chance may be read, kept and shared as well."""
    stale: bool = False
    """Whether an answer that has expired may stand in when no model can answer."""
    similar: bool = False
    """Whether the answer to a question that means the same will do."""
    pace: ReplayPace | None = None
    """How fast a kept answer is streamed; None as fast as it is read."""
