"""What is known of a request once it is over, and who is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from llmrouter.common.bill import Bill
from llmrouter.common.generation import CacheStatus, Timings, Usage

__all__ = ["LONGEST_ASKED", "SPARED", "RequestObserver", "RequestRecord"]

LONGEST_ASKED = 256
"""Characters kept of a model's name as it was asked for. No model has a longer one, but a refused
request may hold megabytes, and records stay in memory."""

SPARED = frozenset({CacheStatus.HIT, CacheStatus.JOINED, CacheStatus.STALE, CacheStatus.SIMILAR})
"""What the cache does where nothing is generated for a request."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request, refused and failed ones included; never its text."""

    operation: str
    """`chat`, `text_completion` or `embeddings`; empty where it was refused unread."""
    request_id: str
    tenant: str
    outcome: str
    """`OK`, or the reason of its failure."""
    seconds: float
    """From the gateway's receipt to the end."""
    model: str = ""
    """Empty where none was found for it."""
    version: str = ""
    cache: str = ""
    """What the cache did; empty where it was not come to."""
    plan_id: str = ""
    reason: str = ""
    """Why this model, or the one that was to answer, in one sentence."""
    attempts: int = 0
    usage: Usage = field(default_factory=Usage)
    first_token: float | None = None
    """Seconds to the first text."""
    per_token: float | None = None
    """Seconds between two tokens after the first; None for fewer than two."""
    finish_reasons: tuple[str, ...] = ()
    timings: Timings | None = None
    """Where the time went, by the engine; None where it did not end well."""
    user: str = ""
    credential: str = ""
    """What proved who asked, such as `key 0123456789ab`."""
    bill: Bill | None = None
    """What it has used, which may grow still; None where nobody pays."""
    asked: str = ""
    """The model that was asked for by name, cut to `LONGEST_ASKED`; empty where the choice was the
    selector's."""


class RequestObserver(Protocol):
    """Is told of every request."""

    def ended(self, record: RequestRecord) -> None:
        """Take in that a request is over."""
        ...
