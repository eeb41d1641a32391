"""What is asked of the selector, and what it answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from llmrouter.common.generation import RoutingWishes
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import FREE, Prices
from llmrouter.common.prompt_features import PromptFeatures

__all__ = ["Candidate", "Component", "Exclusion", "Numbers", "Plan", "Selection", "Tried",
           "draw_of", "numbers_of"]  # fmt: skip


class Tried(NamedTuple):
    """A candidate of an earlier plan that has failed the request."""

    model: str
    version: str
    address: str
    """Empty stands for all its endpoints."""
    too_long: bool = False
    """Whether the prompt was too long there, and so is wherever the context is no larger."""


class Numbers(NamedTuple):
    """What stands for a request's fingerprints where its choice is made again; 64 bits each."""

    draw: int
    """What all of its draws are made from."""
    conversation: int | None
    """What prefers the conversation's own replica; None prefers no replica."""


class Selection(NamedTuple):
    """What must be known of a request to choose its model."""

    request_id: str
    prompt_bytes: int
    """UTF-8 bytes the model is to read."""
    max_tokens: int = 0
    """0 when the caller set no limit."""
    capabilities: frozenset[str] = frozenset()
    wishes: RoutingWishes = RoutingWishes()
    n: int = 1
    """Answers to one prompt, each of which costs its own tokens."""
    tenant: str = "default"
    user: str = ""
    question_key: bytes = b""
    """Fingerprint of the question, from which all draws are made; empty takes the request's id."""
    conversation_key: bytes = b""
    """Fingerprint of how the conversation began; empty prefers no replica."""
    tried: frozenset[Tried] = frozenset()
    """Who has failed it and may not be planned with again."""
    models: frozenset[str] = frozenset()
    """Models and aliases that may answer; empty allows all."""
    features: PromptFeatures | None = None
    """What is known of the prompt without its text; None where nothing is."""
    numbers: Numbers | None = None
    """Of a choice that is made again from its record; None makes them from the fingerprints."""


def draw_of(request: Selection) -> int:
    """Return the number that all of a request's draws are made from, 64 bits."""
    if request.numbers is not None:
        return request.numbers.draw
    return _number(request.question_key or request.request_id.encode())


def numbers_of(request: Selection) -> Numbers:
    """Return the numbers that stand for a request's fingerprints."""
    if request.numbers is not None:
        return request.numbers
    key = request.conversation_key
    return Numbers(draw_of(request), _number(key) if key else None)


def _number(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Component:
    """One scorer's verdict."""

    name: str
    value: float
    """0 to 1, higher is better."""
    weight: float
    explanation: str


class Candidate(NamedTuple):
    """One model version that may answer."""

    model: str
    version: str
    address: str
    score: float
    components: tuple[Component, ...]
    """Empty in a brief plan."""
    estimated_cost: float
    """US dollars."""
    estimated_prompt_tokens: int
    context: int = 0
    """Tokens of prompt and answer that fit at its address."""
    probably_fits: bool = True
    """Whether they hold the prompt, as estimated, and the answer."""
    prices: Prices = FREE
    away: str = ""
    """Why it cannot generate now, nor can any other; answers it gave may be kept. One phrase."""

    @property
    def endpoint(self) -> tuple[str, str, str]:
        """Model, version and address."""
        return self.model, self.version, self.address


class Exclusion(NamedTuple):
    """One model that may not answer, and why."""

    model: str
    reason: str
    version: str = ""
    """Empty while no endpoint serves it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who answers, in which order, and why."""

    candidates: tuple[Candidate, ...]
    """The primary first; at least one."""
    exclusions: tuple[Exclusion, ...]
    """Empty in a brief plan."""
    strategy: str
    reason: str
    shadows: tuple[Candidate, ...] = ()
    """Models that are to answer as well, for nobody."""
    mode: PlanMode = PlanMode.FIRST_OF
    hedge_after: float | None = None
    """Seconds without a first token after which the second is asked as well; None never does."""
