"""What the links need of the cache service, as domain values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llmrouter.common.generation import CacheLevel, RequestContext
from llmrouter.common.memory_tier import TierCounts
from llmrouter.common.savings import Saved, Spared
from llmrouter.gateway.answers import Answer

__all__ = [
    "AnswerCache",
    "Found",
    "Keeping",
    "Lease",
    "LookedUp",
    "News",
    "SimilarCache",
    "SimilarQuestion",
    "WatchedCache",
]


class Lease(StrEnum):
    """Who may generate an answer that is missing."""

    NONE = "none"
    """Nobody asked for one, or there are none: generate as you like."""
    GRANTED = "granted"
    """We hold it: generate, then store or release."""
    HELD = "held"
    """Another gateway holds it, and its answer can be waited for."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer of the cache service."""

    answer: Answer
    level: CacheLevel
    remaining: float
    """Seconds until it expires; negative once it has."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What the cache service knows of a key."""

    found: Found | None = None
    sequence: int = 0
    """Invalidations so far."""
    lease: Lease = Lease.NONE


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an answer is to be kept."""

    tags: tuple[str, ...] = ()
    ttl_seconds: float = 0.0
    """0 takes the cache's default."""
    as_of: int = 0
    """Invalidations when its generation began; 0 takes those of now."""
    refresh: bool = False
    """Whether it takes the place of one that gateways may hold."""
    question: bytes = b""
    """What `asked_key` gave: it is found by that as well on bad days; empty for not."""


@dataclass(frozen=True, slots=True)
class News:
    """One message of the stream of invalidations."""

    sequence: int
    floor: int
    marks: tuple[tuple[bytes, int], ...] = ()
    session: str = ""
    """In the first message."""
    store_id: bytes = b""
    """In the first message."""
    default_ttl: float = 0.0
    """Seconds that answers live whose store names no time; in the first message."""
    more: bool = False
    """Whether the next message goes on with what happened before."""


@dataclass(frozen=True, slots=True)
class SimilarQuestion:
    """A question as it is compared with others."""

    partition: bytes
    """32 bytes: all that has to be equal, but for tenant and language."""
    text: str
    vector: Sequence[float]


class SimilarCache(Protocol):
    """Answers to similar questions; all raise RouterError when the cache does not do it in time."""

    async def find_similar(
        self, question: SimilarQuestion, min_similarity: float, context: RequestContext
    ) -> tuple[Found, float] | None:
        """Return the answer to a question that means the same, and how similar that is."""
        ...

    async def add_similar(
        self, question: SimilarQuestion, key: bytes, context: RequestContext
    ) -> None:
        """Let the question of a stored answer be found."""
        ...


class AnswerCache(Protocol):
    """Look-ups and stores; all raise RouterError when the cache does not do it in time."""

    async def lookup(self, key: bytes, session: str, context: RequestContext) -> LookedUp:
        """Return what is kept under `key`; on a miss ask for its lease, if there is a session."""
        ...

    async def look_ahead(self, key: bytes, context: RequestContext) -> LookedUp:
        """Return what is kept under `key`; a miss does not count yet: `lookup` comes after it."""
        ...

    async def stale(self, key: bytes, question: bytes, context: RequestContext) -> Found | None:
        """Return what is kept, though it may have expired.

        Args:
            key: The answer's key; empty where nobody can say who would answer.
            question: What `asked_key` gave: by it the answer is found that was stored last.
            context: Who asks.
        """
        ...

    async def wait(
        self, key: bytes, session: str, seconds: float, context: RequestContext
    ) -> LookedUp:
        """Wait for another's answer or for the lease, so many seconds at most."""
        ...

    async def store(
        self, key: bytes, answer: Answer, how: Keeping, session: str, context: RequestContext
    ) -> int:
        """Keep a complete answer and end the lease; return the sequence it is kept under."""
        ...

    async def release(self, key: bytes, session: str, context: RequestContext) -> None:
        """End the lease without an answer."""
        ...


class WatchedCache(Protocol):
    """What following the cache service needs of it."""

    def watch(self, store_id: bytes, after: int) -> AsyncIterator[News]:
        """Stream invalidations; raises RouterError when the stream breaks."""
        ...

    async def report(
        self, session: str, counts: TierCounts, rows: list[tuple[Saved, Spared]]
    ) -> None:
        """Tell what was answered here and what was spared."""
        ...

    async def tell_versions(
        self, known: Sequence[tuple[str, str]], selector: str
    ) -> list[tuple[str, str]]:
        """Tell all versions that a selector knows of some models; return those just replaced.

        Their answers are unusable from then on.
        """
        ...
