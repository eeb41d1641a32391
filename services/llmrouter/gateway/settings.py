"""What can be configured of the gateway; everything has a default."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llmrouter.common.addresses import Address
from llmrouter.common.listening import Dialling, Listening

__all__ = ["GatewaySettings"]


class GatewaySettings(Listening, Dialling):
    """Where the gateway listens, whom it asks and how long it waits."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=50051, ge=0, le=65535, description="Port; 0 takes a free one.")
    http_port: int | None = Field(
        default=8080, ge=0, le=65535, description="Port of the HTTP API; null has none."
    )
    http_max_body_bytes: int = Field(
        default=8 << 20, ge=1024, le=1 << 30, description="Largest body of a request over HTTP."
    )
    http_body_seconds: float = Field(
        default=30, gt=0, le=3600, description="Wait for the whole of a request over HTTP at most."
    )
    http_connections: int = Field(
        default=4096, ge=1, le=1 << 20, description="Connections over HTTP at most."
    )
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
    cache_memory_max_bytes: int = Field(
        default=32 << 20,
        ge=0,
        le=1 << 40,
        description="Bytes of answers in the gateway's own memory at most; 0 keeps none there.",
    )
    cache_lease_wait_seconds: float = Field(
        default=10,
        ge=0,
        le=3600,
        description="Wait for an answer that another gateway is generating at most; 0 generates at "
        "once.",
    )
    selector_timeout_seconds: float = Field(
        default=5, gt=0, le=60, description="Wait for one answer of the selector at most."
    )
    prompt_features: bool = Field(
        default=True,
        description="Whether the selector is told what prompts are like (561 bytes, no text), "
        "which learned routing needs.",
    )
    drain_grace_seconds: float = Field(
        default=30, ge=0, le=3600, description="Time that running requests have at shutdown."
    )

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.default_deadline_seconds > self.max_deadline_seconds:
            raise ValueError("default_deadline_seconds must not exceed max_deadline_seconds")
        return self
