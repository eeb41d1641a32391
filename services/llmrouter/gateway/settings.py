"""What can be configured of the gateway; everything has a default."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llmrouter.common.addresses import Address
from llmrouter.common.continuation import Switching
from llmrouter.common.listening import Dialling, Listening
from llmrouter.common.settings import Section
from llmrouter.gateway.batching import MAX_CONCURRENCY
from llmrouter.gateway.identity.settings import IdentitySettings
from llmrouter.gateway.ledger.settings import LedgerSettings
from llmrouter.gateway.limits.settings import LimitSettings
from llmrouter.gateway.live.settings import LivePageSettings
from llmrouter.gateway.retrying import Backoff, BudgetPolicy
from llmrouter.gateway.safety.settings import SafetySettings

__all__ = ["CascadeSettings", "GatewaySettings", "RetrySettings", "SimilarSettings"]


class CascadeSettings(Section):
    """When the strategy `cascade` keeps a cheap model's answer."""

    threshold: float = Field(default=0.4, ge=0, le=1)
    """Least confidence of an answer that is kept, the probability of its least likely token; a
    request may ask for another."""
    spared: int = Field(default=1, ge=0, le=1000)
    """So many of its least likely tokens do not count, of each five at most one."""
    least_tokens: int = Field(default=1, ge=0, le=1_000_000)
    """Shorter answers are never kept."""


class RetrySettings(Section):
    """Tries beyond what a plan names (`gateway.retry:`): of models that failed, and hedges."""

    rounds: int = Field(default=3, ge=0, le=10)
    """How often a request waits and tries again whose models have all failed; 0 never."""
    initial_seconds: float = Field(default=0.05, gt=0, le=60)
    """First wait at most; each later one may be twice as long. Waits are drawn at random, from
    nothing to that."""
    max_seconds: float = Field(default=2, gt=0, le=300)
    """Any wait at most; a model that asks to be left alone for longer is not tried again."""
    ratio: float = Field(default=0.2, ge=0, le=1)
    """Further tries that a model gets at most, as a share of those planned there."""
    per_second: float = Field(default=10, ge=0, le=1e6)
    """Further tries beside those, per second and model."""
    burst: float = Field(default=100, ge=1, le=1e6)
    """Further tries of a model at once, at most."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.initial_seconds > self.max_seconds:
            raise ValueError(
                f"initial_seconds {self.initial_seconds:g} must not exceed max_seconds "
                f"{self.max_seconds:g}; lower the first or raise the second"
            )
        return self

    def backoff(self) -> Backoff:
        """Return the pauses."""
        return Backoff(self.rounds, self.initial_seconds, self.max_seconds)

    def budget(self) -> BudgetPolicy:
        """Return what a model's budget goes by."""
        return BudgetPolicy(self.ratio, self.per_second, self.burst)


class SimilarSettings(Section):
    """Answers to questions that mean the same (`gateway.similar:`), for callers that allow them."""

    embedder: str = Field(default="all-minilm-l6-v2-int8", max_length=256)
    """Model whose vectors are compared; empty takes the built-in one, which knows words alone and
    stands in while the model cannot be had."""
    min_similarity: float = Field(default=0.8, gt=0, le=1)
    """Least cosine of two questions by the model. The words of both must say the same besides."""
    min_similarity_of_words: float = Field(default=0.5, gt=0, le=1)
    """The same by the built-in one."""
    timeout_seconds: float = Field(default=0.5, gt=0, le=60)
    """Wait for a question's vector at most."""


class GatewaySettings(Listening, Dialling):
    """Where the gateway listens, whom it asks and how long it waits."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(default=50051, ge=0, le=65535)
    """Port; 0 takes a free one."""
    http_port: int | None = Field(default=8080, ge=0, le=65535)
    """Port of the HTTP API; null has none."""
    page: LivePageSettings = LivePageSettings()
    """The live page at `/` of the HTTP port."""
    http_max_body_bytes: int = Field(default=4 << 20, ge=1024, le=1 << 30)
    """Largest body of a request over HTTP."""
    http_body_seconds: float = Field(default=30, gt=0, le=3600)
    """Wait for the whole of a request over HTTP at most."""
    http_connections: int = Field(default=4096, ge=1, le=1 << 20)
    """Connections over HTTP at most."""
    selector_address: Address = "127.0.0.1:50052"
    """The selector, as `host:port`."""
    cache_address: Address = "127.0.0.1:50053"
    """The cache, as `host:port`."""
    default_deadline_seconds: float = Field(default=300, gt=0, le=86400)
    """Deadline of a request that comes without one."""
    max_deadline_seconds: float = Field(default=3600, gt=0, le=86400)
    """Longest deadline a request may have."""
    batch_concurrency: int = Field(default=8, ge=1, le=MAX_CONCURRENCY)
    """Questions of a batch that are answered at once, unless its call says."""
    conversation_max_bytes: int = Field(default=1 << 20, ge=1024, le=4 << 20)
    """Text of a conversation that is remembered; the eldest turns go first."""
    conversation_idle_seconds: float = Field(default=600, gt=0, le=86400)
    """Silence after which a conversation ends."""
    cache_timeout_seconds: float = Field(default=0.5, gt=0, le=60)
    """Wait for one look-up or store of the cache at most."""
    cache_memory_max_bytes: int = Field(default=32 << 20, ge=0, le=1 << 40)
    """Bytes of answers in the gateway's own memory at most; 0 keeps none there."""
    cache_lease_wait_seconds: float = Field(default=10, ge=0, le=3600)
    """Wait for an answer that another gateway is generating at most; 0 generates at once."""
    similar: SimilarSettings | None = None
    """Answers to questions that mean the same, for callers that allow them; absent, there are
    none."""
    selector_timeout_seconds: float = Field(default=5, gt=0, le=60)
    """Wait for one answer of the selector at most."""
    prompt_features: bool = True
    """Whether the selector is told what prompts are like (561 bytes, no text), which learned
    routing needs."""
    cascade: CascadeSettings = CascadeSettings()
    """When a cascade goes on to the next model."""
    retry: RetrySettings = RetrySettings()
    """Tries beyond what a plan names, and their budget."""
    switching: Switching = Switching.ANY
    """Who may go on with an answer that breaks off, at most: `any`, `same-version` or `off`."""
    drain_grace_seconds: float = Field(default=30, ge=0, le=3600)
    """Time that running requests have at shutdown."""

    safety: SafetySettings = SafetySettings()
    """What is looked for in questions and answers."""
    identity: IdentitySettings = IdentitySettings()
    """Who may call the gateway."""
    limits: LimitSettings = LimitSettings()
    """Limits and budgets of callers."""
    ledger: LedgerSettings = LedgerSettings()
    """Rows of requests and sums of days, with their costs."""

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.default_deadline_seconds > self.max_deadline_seconds:
            raise ValueError(
                f"default_deadline_seconds {self.default_deadline_seconds:g} must not exceed "
                f"max_deadline_seconds {self.max_deadline_seconds:g}; lower the first or raise the "
                "second"
            )
        return self

    def patience(self, left: float | None) -> float:
        """Return how many seconds a message may wait: as long as the request itself may last."""
        return (
            self.default_deadline_seconds if left is None else min(left, self.max_deadline_seconds)
        )
