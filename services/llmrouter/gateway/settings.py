"""What can be configured of the gateway; everything has a default."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llmrouter.common.addresses import Address
from llmrouter.common.settings import Section

__all__ = ["CascadeSettings", "GatewaySettings"]


class CascadeSettings(Section):
    """When the strategy `cascade` keeps a cheap model's answer."""

    threshold: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Least confidence of an answer that is kept; a request may ask for another.",
    )
    quantile: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Which of its tokens' probabilities is the confidence: 0 the lowest, 0.5 the "
        "median.",
    )
    least_tokens: int = Field(
        default=1, ge=0, le=1_000_000, description="Shorter answers are never kept."
    )


class GatewaySettings(Section):
    """Where the gateway listens, whom it asks and how long it waits."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=50051, ge=0, le=65535, description="Port; 0 takes a free one.")
    selector_address: Address = Field(
        default="127.0.0.1:50052", description="The selector, as `host:port`."
    )
    cache_address: Address = Field(
        default="127.0.0.1:50053", description="The cache, as `host:port`."
    )
    default_deadline_seconds: float = Field(
        default=300, gt=0, le=86400, description="Deadline of a request that comes without one."
    )
    max_deadline_seconds: float = Field(
        default=3600, gt=0, le=86400, description="Longest deadline a request may have."
    )
    cache_timeout_seconds: float = Field(
        default=0.5, gt=0, le=60, description="Wait for one look-up or store of the cache at most."
    )
    selector_timeout_seconds: float = Field(
        default=5, gt=0, le=60, description="Wait for one answer of the selector at most."
    )
    prompt_features: bool = Field(
        default=True,
        description="Whether the selector is told what prompts are like (561 bytes, no text), "
        "which learned routing needs.",
    )
    cascade: CascadeSettings = Field(
        default=CascadeSettings(), description="When a cascade goes on to the next model."
    )
    drain_grace_seconds: float = Field(
        default=30, ge=0, le=3600, description="Time that running requests have at shutdown."
    )

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.default_deadline_seconds > self.max_deadline_seconds:
            raise ValueError("default_deadline_seconds must not exceed max_deadline_seconds")
        return self
