"""The cache on the wire: decode, look up or store, encode."""

from __future__ import annotations

import logging
from typing import Any

from google.protobuf.message import DecodeError

from llmrouter.cache.settings import MAX_TTL_SECONDS, MIN_TTL_SECONDS, CacheSettings
from llmrouter.cache.tiers import Level, Tiers
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.wire import duration, seconds
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1.cache_pb2_grpc import CacheServiceServicer

__all__ = ["CacheServicer"]

KEY_BYTES = 32
_LEVELS = {Level.MEMORY: pb.CACHE_LEVEL_MEMORY, Level.DISK: pb.CACHE_LEVEL_DISK}
_log = logging.getLogger(__name__)


class CacheServicer(CacheServiceServicer):
    """Keeps answers and gives them back to the tenant that stored them."""

    def __init__(self, settings: CacheSettings, tiers: Tiers) -> None:
        """Compose the service; who opened `tiers` closes them."""
        self._settings = settings
        self._tiers = tiers

    async def Lookup(  # noqa: N802 - the proto's name
        self,
        request: pb.LookupRequest,
        context: Any,
    ) -> pb.LookupResponse:
        """Look an answer up; an answer that cannot be read any more is a miss."""
        hit = await self._tiers.lookup(_tenant(request.context.tenant), _key(request.key))
        if hit is None:
            return pb.LookupResponse()
        try:
            answer = pb.CachedAnswer.FromString(hit.payload)
        except DecodeError:
            _log.exception("a stored answer cannot be read")
            return pb.LookupResponse()
        return pb.LookupResponse(answer=answer, level=_LEVELS[hit.level], age=duration(hit.age))

    async def Store(  # noqa: N802 - the proto's name
        self,
        request: pb.StoreRequest,
        context: Any,
    ) -> pb.StoreResponse:
        """Keep an answer; acknowledged once the disk has it."""
        tenant, key = _tenant(request.context.tenant), _key(request.key)
        payload = self._payload(request)
        await self._tiers.store(tenant, key, payload, self._ttl(request))
        return pb.StoreResponse()

    async def GetStatistics(  # noqa: N802 - the proto's name
        self,
        request: pb.GetStatisticsRequest,
        context: Any,
    ) -> pb.GetStatisticsResponse:
        """Return sizes and counts, fastest level first."""
        levels = [
            pb.LevelStatistics(
                level=_LEVELS[level],
                entries=counts.entries,
                bytes=counts.bytes,
                max_bytes=counts.max_bytes,
                hits=counts.hits,
                misses=counts.misses,
                evictions=counts.evictions,
            )
            for level, counts in await self._tiers.counts()
        ]
        return pb.GetStatisticsResponse(levels=levels)

    def _payload(self, request: pb.StoreRequest) -> bytes:
        if not request.HasField("answer") or not request.answer.choices:
            raise invalid("answer.choices", "none given; an answer has at least one")
        size, most = request.answer.ByteSize(), self._settings.max_entry_bytes
        if size > most:
            raise RouterError(
                Reason.ENTRY_TOO_LARGE,
                f"the answer has {size} bytes, more than the cache's limit of {most} for one entry",
                metadata={"bytes": str(size), "max_bytes": str(most)},
            )
        return request.answer.SerializeToString()

    def _ttl(self, request: pb.StoreRequest) -> float:
        if not request.HasField("ttl"):
            return self._settings.default_ttl_seconds
        ttl = seconds(request.ttl)
        if not MIN_TTL_SECONDS <= ttl <= MAX_TTL_SECONDS:
            raise invalid("ttl", f"{ttl:g} s is not in 1 s to 365 days")
        return ttl


def _key(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise invalid("key", f"has {len(key)} bytes; it must have {KEY_BYTES}")
    return key


def _tenant(tenant: str) -> str:
    size = len(tenant.encode())
    if not 1 <= size <= 128:
        raise invalid("context.tenant", f"has {size} bytes; 1 to 128 are allowed")
    return tenant
