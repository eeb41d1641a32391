"""Records, marks and leases in a Redis or Valkey that several cache services share.

Names: `{prefix}:facts`, `:marks`, `:versions` and `:dictionary` lie in one slot of a cluster; the
answer and the lease of a key lie in one together. An answer's name has the store's identity in it,
so that none outlives a store whose marks were lost.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llmrouter.cache.claims import Claim
from llmrouter.cache.record import Record, RecordError
from llmrouter.cache.shared_link import SharedLink
from llmrouter.cache.store_facts import ordered_versions, packed_versions
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import CacheLevel
from llmrouter.common.invalidation import MAX_WATERMARKS
from llmrouter.common.memory_tier import TierCounts

__all__ = ["SharedNews", "SharedStore"]

_LEASE_MILLISECONDS = 3_000
"""How long a lease lasts unless it is renewed."""
_AT_ONCE = 4_096
_RENEWED_AT_ONCE = 256
"""Leases in one command; in a cluster each lies elsewhere and takes one of its own."""
_log = logging.getLogger(__name__)

# Marks that were lost raise the floor to the last of them. Numbers stay text: Lua would round them.
_CHECKED = """
local id, sequence, floor = unpack(redis.call('HMGET', KEYS[1], 'id', 'sequence', 'floor'))
if id and sequence ~= floor and redis.call('EXISTS', KEYS[2]) == 0 then
  floor = sequence
  redis.call('HSET', KEYS[1], 'floor', floor)
end
"""
_NEWS = (
    _CHECKED
    + """
if not id or id == ARGV[4] then
  id, sequence, floor = ARGV[1], ARGV[2], ARGV[2]
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  redis.call('HSET', KEYS[1], 'id', id, 'sequence', sequence, 'floor', floor)
end
local marks = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[3], '+inf', 'WITHSCORES',
                         'LIMIT', '0', ARGV[5])
return {id, sequence, floor, redis.call('EXISTS', KEYS[3]), marks}
"""
)
_INVALIDATE = (
    _CHECKED
    + """
if id ~= ARGV[1] then return false end
for at = 3, #ARGV do
  redis.call('HINCRBY', KEYS[1], 'sequence', 1)
  sequence = redis.call('HGET', KEYS[1], 'sequence')
  redis.call('ZADD', KEYS[2], sequence, ARGV[at])
end
local extra = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[2])
if extra > 0 then
  local gone = redis.call('ZPOPMIN', KEYS[2], extra)
  redis.call('HSET', KEYS[1], 'floor', gone[#gone])
end
return sequence
"""
)
_TAKE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1 + redis.call('EXISTS', KEYS[2])
"""
_RENEW = """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('PEXPIRE', key, ARGV[2]) end
end
return 1
"""
_DROP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class SharedNews:
    """What the store tells at once."""

    id: bytes
    sequence: int
    floor: int
    has_dictionary: bool
    marks: tuple[tuple[bytes, int], ...]

    @property
    def more(self) -> bool:
        """Whether there may be more marks than were told."""
        return len(self.marks) == _AT_ONCE


class SharedStore:
    """The farthest level, in place of a disk."""

    level = CacheLevel.SHARED

    def __init__(
        self, link: SharedLink, prefix: str, clock: Callable[[], float], grace: float = 0.0
    ) -> None:
        """Begin without an identity; the first news bring it.

        Args:
            link: The way to it.
            prefix: Begins every name.
            clock: Seconds since the epoch.
            grace: Seconds that records are worth keeping once they have expired.
        """
        self._link = link
        self._prefix = prefix.encode()
        self._clock = clock
        self._grace = grace
        self._owner = uuid.uuid4().hex
        self._id = b""
        self._hits = 0
        self._misses = 0

    async def news(self, after: int, renouncing: bytes = b"") -> SharedNews:
        """Return what was invalidated after a sequence; an empty store is given an identity.

        Args:
            after: The last sequence that is known.
            renouncing: An identity that cannot be trusted any more: the store gets another.

        Raises:
            RouterError: STORE_FAILED.
        """
        fresh = (uuid.uuid4().bytes, int(self._clock() * 1e6))
        names = tuple(map(self._fact, (b"facts", b"marks", b"dictionary", b"versions")))
        told = await self._link.probe(
            lambda client: client.eval(_NEWS, 4, *names, *fresh, after, renouncing, _AT_ONCE)
        )
        identity, sequence, floor, has_dictionary, flat = told
        marks = tuple((flat[at], int(flat[at + 1])) for at in range(0, len(flat), 2))
        self._id = identity
        return SharedNews(identity, int(sequence), int(floor), bool(has_dictionary), marks)

    async def invalidate(self, labels: Sequence[bytes]) -> int:
        """Note marks, all or none; return the number of the last.

        Raises:
            RouterError: STORE_FAILED when it cannot, or the store has become another.
        """
        names = (self._fact(b"facts"), self._fact(b"marks"))
        sequence = await self._link.ask(
            lambda client: client.eval(_INVALIDATE, 2, *names, self._id, MAX_WATERMARKS, *labels)
        )
        if sequence is None:
            message = "the shared store was emptied; the invalidation can be made again"
            raise RouterError(Reason.STORE_FAILED, message, retry_after=1.0)
        return int(sequence)

    async def get(
        self, key: bytes, serves: Callable[[Record], bool], *, ahead: bool = False
    ) -> Record | None:
        """Return the record of a key, if it `serves`; a miss counts, unless it is `ahead`.

        Raises:
            RouterError: STORE_FAILED.
        """
        name = self._name(key, b"answer")
        data = await self._link.ask(lambda client: client.get(name))
        record = None
        if data is not None:
            try:
                record = Record.unpack(key, data)
            except RecordError as error:
                _log.error("dropped an answer of %s: %s", self._link.address, error)
                await self._link.ask(lambda client: client.delete(name))
        if record is None or not serves(record):
            self._misses += not ahead
            return None
        self._hits += 1
        return record

    async def put(self, key: bytes, record: Record) -> None:
        """Keep a record; returns once the server has it.

        Raises:
            RouterError: STORE_FAILED.
        """
        name, data = self._name(key, b"answer"), record.pack(key)
        left = max(1, round((record.expires_at + self._grace - self._clock()) * 1000))
        await self._link.ask(lambda client: client.set(name, data, px=left))

    async def take(self, key: bytes) -> Claim:
        """Take the lease of a key for this service.

        Raises:
            RouterError: STORE_FAILED.
        """
        names = (self._name(key, b"lease"), self._name(key, b"answer"))
        return Claim(
            await self._link.ask(
                lambda client: client.eval(_TAKE, 2, *names, self._owner, _LEASE_MILLISECONDS)
            )
        )

    async def renew(self, keys: Sequence[bytes]) -> None:
        """Make leases of this service last.

        Raises:
            RouterError: STORE_FAILED.
        """
        names = [self._name(key, b"lease") for key in keys]
        most = 1 if self._link.cluster else _RENEWED_AT_ONCE
        for at in range(0, len(names), most):
            await self._renew(names[at : at + most])

    async def _renew(self, names: list[bytes]) -> None:
        ours = (self._owner, _LEASE_MILLISECONDS)
        await self._link.ask(lambda client: client.eval(_RENEW, len(names), *names, *ours))

    async def drop(self, key: bytes) -> None:
        """End a lease of this service.

        Raises:
            RouterError: STORE_FAILED.
        """
        name = self._name(key, b"lease")
        await self._link.ask(lambda client: client.eval(_DROP, 1, name, self._owner))

    async def dictionary(self) -> bytes | None:
        """Return what payloads are packed with; None while there is nothing.

        Raises:
            RouterError: STORE_FAILED.
        """
        found: bytes | None = await self._link.ask(
            lambda client: client.get(self._fact(b"dictionary"))
        )
        return found

    async def add_dictionary(self, raw: bytes) -> bool:
        """Keep a dictionary, unless another service has kept one: the first is everyone's.

        Returns:
            False: it is used, here as elsewhere, once the news tell of it.

        Raises:
            RouterError: STORE_FAILED.
        """
        name = self._fact(b"dictionary")
        await self._link.ask(lambda client: client.set(name, raw, nx=True))
        return False

    async def versions(self) -> dict[str, frozenset[str]]:
        """Return the versions that are remembered by model, what was noted longest ago first.

        Raises:
            RouterError: STORE_FAILED.
        """
        name = self._fact(b"versions")
        lying: dict[bytes, bytes] = await self._link.ask(lambda client: client.hgetall(name))
        return ordered_versions(lying.values())

    async def note_versions(
        self, changed: Mapping[str, frozenset[str]], forgotten: Sequence[str]
    ) -> None:
        """Remember the versions of models; arguments as those of `LmdbStore.note_versions`.

        Raises:
            RouterError: STORE_FAILED.
        """
        name = self._fact(b"versions")
        values = {model: packed_versions(model, known) for model, known in changed.items()}
        if values:
            await self._link.ask(lambda client: client.hset(name, mapping=values))
        if forgotten:
            await self._link.ask(lambda client: client.hdel(name, *forgotten))

    async def counts(self) -> TierCounts:
        """Return the hits and misses of this service; the store is no one's alone to measure."""
        return TierCounts(hits=self._hits, misses=self._misses)

    async def close(self) -> None:
        """Close the connections; the store stays."""
        await self._link.close()

    def _fact(self, name: bytes) -> bytes:
        return b"{%b}:%b" % (self._prefix, name)

    def _name(self, key: bytes, kind: bytes) -> bytes:
        identity = self._id.hex()[:8].encode()
        return b"%b:%b:{%b}:%b" % (self._prefix, identity, key.hex().encode(), kind)
