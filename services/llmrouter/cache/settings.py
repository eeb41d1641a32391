"""What can be configured of the cache; everything has a default."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from llmrouter.common.listening import Listening
from llmrouter.common.redis_server import RedisSettings

__all__ = ["MAX_TTL_SECONDS", "MIN_TTL_SECONDS", "CacheSettings", "SharedSettings"]

MIN_TTL_SECONDS = 1.0
MAX_TTL_SECONDS = 365 * 86_400.0
_MIN_ON_DISK = 4 << 20
_ENTRIES_ON_DISK = 64
"""Largest answers that the disk store must hold: LMDB keeps each in pages that lie together, and a
store of a few would have to drop nearly everything to find so many."""


class SharedSettings(RedisSettings):
    """A Redis or Valkey that keeps answers in place of the disk (`cache.shared:`)."""

    cluster: bool = False
    """Whether it is a cluster; `address` is any of its nodes."""
    timeout_seconds: float = Field(default=0.025, gt=0, le=1)
    """Wait for one command at most; two stand in the way of a request."""

    @model_validator(mode="after")
    def _one_database(self) -> Self:
        if self.cluster and self.database:
            raise ValueError(f"database {self.database} must be 0: a cluster has no other")
        return self


class CacheSettings(Listening):
    """Settings of the cache (`cache:` in the file)."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(default=50053, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    drain_grace_seconds: float = Field(default=5, ge=0, le=3600)
    """Time that running calls have at shutdown."""
    memory_max_bytes: int = Field(default=64 << 20, ge=0, le=1 << 40)
    """Bytes of answers in memory at most."""
    disk_path: Path | None = None
    """Folder of the disk store; by default `answers` in the data directory."""
    disk_max_bytes: int = Field(default=1 << 30, ge=0, le=1 << 44)
    """Bytes of the disk store at most, 4 MiB or more; 0 keeps answers in memory only."""
    shared: SharedSettings | None = None
    """A Redis or Valkey to keep answers in, instead of on disk, and to share them with other cache
    services."""
    similar_max_entries: int = Field(default=100_000, ge=0, le=10_000_000)
    """Questions that others may be compared with at most, some 2 KB on disk each; 0 keeps none."""
    default_ttl_seconds: float = Field(default=3600.0, ge=MIN_TTL_SECONDS, le=MAX_TTL_SECONDS)
    """How long an answer lives when its store names no time."""
    stale_seconds: float = Field(default=86_400.0, ge=0, le=MAX_TTL_SECONDS)
    """How long an expired answer is kept to stand in when no model can answer."""
    max_entry_bytes: int = Field(default=1 << 20, ge=1024, le=4 << 20)
    """Bytes of one answer at most."""

    @model_validator(mode="after")
    def _entry_fits_disk(self) -> Self:
        least = max(_MIN_ON_DISK, self.max_entry_bytes * _ENTRIES_ON_DISK)
        if 0 < self.disk_max_bytes < least:
            raise ValueError(
                f"disk_max_bytes {self.disk_max_bytes} must be 0 or at least {least}: 4 MiB, and "
                f"{_ENTRIES_ON_DISK} times max_entry_bytes {self.max_entry_bytes}"
            )
        return self
