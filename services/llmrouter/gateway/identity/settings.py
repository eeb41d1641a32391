"""What can be configured of who may call."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from llmrouter.common.settings import Section
from llmrouter.gateway.identity.principal import CALLER_SCOPES, Scope

__all__ = ["HolderSettings", "IdentitySettings", "JwtSettings"]


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
    """Claim with the scopes, a list or text with blanks between; without it, all may generate,
    embed and list models."""
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


class HolderSettings(Section):
    """Whom a certificate stands for."""

    tenant: str = Field(default="default", min_length=1, max_length=128)
    """Owner of limits and of cached answers."""
    user: str = Field(default="", max_length=128)
    """End user within the tenant; may be empty."""
    scopes: tuple[Scope, ...] = tuple(sorted(CALLER_SCOPES))
    """What may be done."""
    models: tuple[str, ...] = Field(default=(), max_length=256)
    """Models and aliases that may be used; without any, all may be."""


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
    certificates: dict[str, HolderSettings] = Field(default={}, max_length=10_000)
    """Callers known by the certificates that `gateway.tls` has them show: by common name, DNS name
    or URI, such as a SPIFFE ID."""
    audit_file: Path | None = None
    """JSON lines of administrative acts and refusals; `audit.jsonl` in the data directory by
    default."""
    audit_max_bytes: int = Field(default=64 << 20, ge=1 << 16, le=1 << 40)
    """Bytes of the audit log at most."""
