"""The selector's choice as the gateway sees it, and the interface of the links behind planning."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Usage,
)
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import FREE, Prices

__all__ = [
    "Candidate",
    "Outcome",
    "Plan",
    "PlannedGenerator",
    "PlannedRequest",
    "Replanner",
    "Tried",
]

_AWAY_SECONDS = 1.0
"""When to ask again for a model that is away."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model version that may answer, and where it runs."""

    model: str
    version: str
    address: str
    context: int = 0
    """Tokens of prompt and answer that fit there."""
    away: str = ""
    """Why it cannot generate now, in one phrase; answers that it gave before may be kept."""
    cost: float = 0.0
    """Estimated cost of the request in US dollars."""
    prices: Prices = FREE
    prompt_tokens: int = 0
    """Estimated tokens of the prompt; 0 where nobody estimated."""
    score: float = 0.0
    """How well it suits, as its strategy has it; the more the better."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate that has failed a request."""

    candidate: Candidate
    too_long: bool = False
    """Whether the prompt was too long there."""
    sent: bool = False
    """Whether a part of its answer was sent, which others must go on with."""
    again: bool = False
    """Whether it may be planned with again: what was wrong with it may have passed."""

    def fails_too(self, other: Candidate) -> bool:
        """Whether another candidate must fail as it did: what is too long here is so there."""
        mine = self.candidate
        same = (other.model, other.version) == (mine.model, mine.version)
        return self.too_long and same and other.context <= mine.context


@dataclass(frozen=True, slots=True)
class Plan:
    """Who answers, in which order, and why."""

    id: str
    candidates: tuple[Candidate, ...]
    """The primary first, then the fallbacks; at least one."""
    reason: str = ""
    """One sentence for people: why the primary."""
    mode: PlanMode = PlanMode.FIRST_OF
    shadows: tuple[Candidate, ...] = ()
    """Models that are to answer as well, for nobody."""
    hedge_after: float | None = None
    """Seconds without a first token after which the next one is asked as well; None never does."""

    def check_served(self) -> None:
        """Refuse to carry out a plan with models that are away.

        Raises:
            RouterError: MODEL_UNAVAILABLE, with a time to ask again.
        """
        first = self.candidates[0]
        if first.away:
            raise RouterError(
                Reason.MODEL_UNAVAILABLE,
                f"{first.model} cannot serve now: {first.away}",
                metadata={"model": first.model},
                retry_after=_AWAY_SECONDS,
            )


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A question whose models are chosen."""

    request: GenerationRequest
    plan: Plan
    question: bytes = b""
    """Fingerprint of all that is asked, whoever answers; empty when no answer may be shared."""
    key: bytes = b""
    """Fingerprint of the answer of the plan's first model; empty when it may not be shared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt went, for the selector's statistics."""

    candidate: Candidate
    error_reason: str = ""
    """Empty when it answered."""
    time_to_first_token: float | None = None
    """Seconds from the call to the first delta; None when there was none."""
    time_per_token: float | None = None
    """Mean seconds between tokens after the first; None for fewer than two."""
    usage: Usage | None = None
    prompt_bytes: int = 0
    queue_time: float | None = None
    """Seconds of waiting for a slot, by the engine's clock; None when it failed."""
    waited: float | None = None
    """Seconds that a first delta was waited for that never came."""


class PlannedGenerator(Protocol):
    """What `Generator` is before planning, these links are after it."""

    def generate(
        self, planned: PlannedRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Answer a planned request as a stream of events.

        Raises:
            RouterError: The request failed; nothing follows.
        """
        ...


class Replanner(Protocol):
    """What is needed of the selector where one plan is not enough."""

    async def select(
        self, request: GenerationRequest, context: RequestContext, tried: tuple[Tried, ...]
    ) -> Plan:
        """Return a plan without those that were `tried`.

        Raises:
            RouterError: There is none.
        """
        ...
