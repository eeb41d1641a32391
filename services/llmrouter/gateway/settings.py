"""What can be configured of the gateway; everything has a default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from llmrouter.common.addresses import Address
from llmrouter.common.listening import Listening
from llmrouter.common.settings import Section

__all__ = ["GatewaySettings", "IdentitySettings", "JwtSettings"]


class JwtSettings(Section):
    """JSON Web Tokens of one identity provider."""

    jwks: str = Field(min_length=1, max_length=2048)
    """The provider's JSON Web Key Set: a file, or an https URL (http on this machine)."""
    issuer: str = Field(min_length=1, max_length=512)
    """What the claim `iss` must be."""
    audience: str = Field(min_length=1, max_length=512)
    """What the claim `aud` must have."""
    user_claim: str = Field(default="sub", min_length=1, max_length=128)
    """Claim that names the user."""
    tenant_claim: str | None = Field(default=None, min_length=1, max_length=128)
    """Claim that names the tenant; without it, all are the tenant `default`."""
    scope_claim: str | None = Field(default=None, min_length=1, max_length=128)
    """Claim with the scopes, a list or text with blanks between; without it, all have all."""
    scope_prefix: str = Field(default="", max_length=128)
    """What stands before our scopes there, such as `llmrouter:`."""
    models_claim: str | None = Field(default=None, min_length=1, max_length=128)
    """Claim with the models and aliases that may be used; without it, all may be."""
    leeway_seconds: float = Field(default=30, ge=0, le=600)
    """How far the provider's clock may be off."""
    refresh_seconds: float = Field(default=300, ge=1, le=86_400)
    """Seconds between two looks at the key set; an unknown key has it looked at sooner."""

    @field_validator("jwks")
    @classmethod
    def _safe(cls, place: str) -> str:
        parts = urlsplit(place)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme in ("", "https") or (parts.scheme == "http" and here):
            return place
        raise ValueError("must be a file, or an https URL: who reads it on the way could forge it")


class IdentitySettings(Section):
    """Who may call, and what is kept of it."""

    anonymous: Literal["never", "loopback", "always"] = "loopback"
    """From where callers without a credential are let in, as tenant `default`: from nowhere, from
    this machine, or from everywhere. In staging and production it is `never` unless set."""
    key_store: Path | None = None
    """SQLite file of the API keys; `keys.sqlite` in the data directory by default."""
    hash_secret_file: Path | None = None
    """File with the secret under which keys are hashed, at least 16 bytes; by default one beside
    the keys, made with the first key."""
    jwt: JwtSettings | None = None
    """JSON Web Tokens are taken as well as keys; without it they are not."""
    audit_file: Path | None = None
    """JSON lines of administrative acts and refusals; `audit.jsonl` in the data directory by
    default."""
    audit_max_bytes: int = Field(
        default=64 << 20, ge=1 << 16, le=1 << 40, description="Bytes of the audit log at most."
    )


class GatewaySettings(Listening):
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

    identity: IdentitySettings = Field(
        default=IdentitySettings(), description="Who may call the gateway."
    )

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.default_deadline_seconds > self.max_deadline_seconds:
            raise ValueError("default_deadline_seconds must not exceed max_deadline_seconds")
        return self
