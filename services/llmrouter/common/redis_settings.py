"""Where a Redis or Valkey server is, for services that keep their state in one."""

from __future__ import annotations

from pydantic import Field, SecretStr

from llmrouter.common.addresses import Address
from llmrouter.common.settings import Section

__all__ = ["RedisSettings"]


class RedisSettings(Section):
    """A Redis or Valkey server."""

    address: Address | None = Field(
        default=None, description="The server, as `host:port`; absent uses none."
    )
    database: int = Field(default=0, ge=0, le=1_000_000, description="Its number there.")
    username: str = Field(default="", max_length=256, description="Empty takes the default user.")
    password: SecretStr | None = Field(default=None, description="Of that user.")
    tls: bool = Field(default=False, description="Whether the connection is encrypted.")
    prefix: str = Field(
        default="llmrouter",
        min_length=1,
        max_length=64,
        description="What the names of all keys begin with; those of one suite share it.",
    )
    timeout_seconds: float = Field(
        default=2.0, gt=0, le=60, description="Wait for one answer at most."
    )
