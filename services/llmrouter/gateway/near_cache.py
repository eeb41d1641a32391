"""The gateway's own level of answers: it serves only while it hears what becomes unusable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llmrouter.common.answer_key import stored_key
from llmrouter.common.invalidation import LABEL_BYTES, LABEL_OVERHEAD, Watermarks, answer_labels
from llmrouter.common.memory_tier import MemoryTier, TierCounts
from llmrouter.gateway.answer_cache import News
from llmrouter.gateway.answers import Answer

__all__ = ["Moment", "NearCache"]

_HEARD_SECONDS = 0.75
"""How long the last news counts; the cache service says something every 250 ms."""


class Moment(NamedTuple):
    """Which invalidations are known."""

    store_id: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class _Held:
    answer: Answer
    labels: tuple[bytes, ...]
    as_of: int


class NearCache:
    """Answers in this process, bounded in bytes. For one event loop."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin empty and without news, serving nothing.

        Args:
            max_bytes: Bytes held at most; 0 holds nothing.
            clock: Seconds; never goes backwards.
        """
        self._tier: MemoryTier[_Held] = MemoryTier(max_bytes, clock)
        self._marks = Watermarks()
        self._clock = clock
        self._heard_until = 0.0
        self.session = ""
        """The session with the cache service; empty while there is none."""
        self.store_id = b""
        """The store whose invalidations are known."""
        self.sequence = 0
        """Invalidations of that store so far."""
        self.default_ttl = 0.0
        """Seconds that answers live whose store names no time."""

    @property
    def hears(self) -> bool:
        """Whether nothing can have become unusable unheard for longer than a moment."""
        return self._clock() < self._heard_until

    @property
    def moment(self) -> Moment:
        """Which invalidations are known now."""
        return Moment(self.store_id, self.sequence)

    def living(
        self,
        tenant: str,
        key: bytes,
        model: str,
        version: str,
        tags: Sequence[str],
        began: Moment,
    ) -> bool:
        """Return whether nothing that was heard makes an answer unusable that is still being made.

        Args:
            tenant: Whose it is.
            key: Its key.
            model: Who answers.
            version: Which version of it.
            tags: What else it can be invalidated by.
            began: What was known when its generation began.
        """
        if began == self.moment:
            return True
        labels = answer_labels(stored_key(tenant, key), tenant, model, version, tags)
        return began.store_id == self.store_id and self._marks.living(labels, began.sequence)

    def get(self, tenant: str, key: bytes, *, ahead: bool = False) -> Answer | None:
        """Return the living answer of a tenant's key; a miss counts, unless it is `ahead`."""
        if not self.hears:
            return None
        place = stored_key(tenant, key)
        held = self._tier.get(place, ahead=ahead)
        if held is None:
            return None
        if not self._marks.living(held.labels, held.as_of):
            self._tier.remove(place)
            return None
        return held.answer

    def put(
        self,
        tenant: str,
        key: bytes,
        answer: Answer,
        tags: Sequence[str],
        ttl_seconds: float,
        as_of: int,
    ) -> bool:
        """Keep an answer.

        Args:
            tenant: Whose it is.
            key: Its key.
            answer: It.
            tags: What it can be invalidated by, beside key, tenant and model.
            ttl_seconds: How long it lives.
            as_of: The sequence that stood when it was looked up, or its generation began.

        Returns:
            Whether `get` finds it now.
        """
        if not self.hears:
            return False
        place = stored_key(tenant, key)
        labels = answer_labels(place, tenant, answer.model, answer.version, tags)
        if not self._marks.living(labels, as_of):
            return False
        size = answer.size + len(labels) * (LABEL_BYTES + LABEL_OVERHEAD)
        return self._tier.put(place, _Held(answer, labels, as_of), size, ttl_seconds)

    def hear(self, news: News) -> None:
        """Take in one message of the stream of invalidations."""
        if news.session:
            self.session = news.session
            self.default_ttl = news.default_ttl
            if news.store_id != self.store_id:
                self._tier.clear()
                self._marks = Watermarks()
                self.store_id = news.store_id
        self._marks.raise_floor(news.floor)
        for label, sequence in news.marks:
            self._marks.mark(label, sequence)
        if news.more:
            return
        self.sequence = news.sequence
        self._heard_until = self._clock() + _HEARD_SECONDS

    def lost(self) -> None:
        """Note that the stream broke: nothing is served until it is there again."""
        self.session = ""
        self._heard_until = 0.0

    def counts(self) -> TierCounts:
        """Return sizes and counts."""
        return self._tier.counts()
