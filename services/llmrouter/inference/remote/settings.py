"""Settings of remote providers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llmrouter.common.capabilities import CHAT, COMPLETION, CONTINUATION, SAMPLING, TOOLS
from llmrouter.common.settings import Section

__all__ = ["ProviderSettings", "RemoteModelSettings"]


class RemoteModelSettings(Section):
    """One model of a provider."""

    name: str = Field(min_length=1, max_length=256, pattern=r"^[^@\s]+$")
    """What it is called here."""
    upstream: str = Field(default="", max_length=256)
    """What the provider calls it; empty for the same name."""
    context: int = Field(default=8192, ge=1, le=100_000_000)
    """Tokens of prompt and answer together."""
    max_tokens: int = Field(default=4096, ge=1, le=1_000_000)
    """Tokens of an answer at most, whatever a request asks for."""
    without: tuple[str, ...] = ()
    """What this model cannot do though its provider's API can, such as `logprobs` or `n`."""

    @field_validator("without")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = {CHAT, COMPLETION, CONTINUATION, TOOLS, *SAMPLING}
        for name in names:
            if name not in known:
                raise ValueError(f"knows no {name}; there are {', '.join(sorted(known))}")
        return names


class ProviderSettings(Section):
    """One provider: where it is, what it speaks and what it is trusted with."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """For logs and errors."""
    kind: Literal["openai", "anthropic"] = "openai"
    """What it speaks: OpenAI's API, as most do, or Anthropic's Messages."""
    base_url: str = Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$", max_length=2048)
    """Up to and with the version, such as `https://api.openai.com/v1`."""
    api_key_file: Path | None = None
    """File that holds the key; read at start."""
    api_key_variable: str = Field(default="", max_length=128)
    """Environment variable that holds the key, where there is no file."""
    extensions: Literal["none", "vllm", "llamacpp"] = "none"
    """What an `openai` server takes beyond OpenAI's own fields (`top_k`, `min_p`, …)."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name of the bound on an answer's tokens in chats; OpenAI's newest models want the second."""
    models: tuple[RemoteModelSettings, ...] = Field(min_length=1, max_length=1000)
    """Models to offer."""
    connect_seconds: float = Field(default=5, gt=0, le=300)
    """Wait for a connection at most."""
    first_byte_seconds: float = Field(default=60, gt=0, le=3600)
    """Wait for the beginning of an answer at most."""
    silence_seconds: float = Field(default=30, gt=0, le=3600)
    """Wait between two pieces of an answer at most."""
    max_concurrent: int = Field(default=64, ge=1, le=10_000)
    """Requests at once, for all its models together."""
    max_waiting: int = Field(default=256, ge=0, le=100_000)
    """Requests that may wait for their turn before RESOURCE_EXHAUSTED."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "anthropic" and self.extensions != "none":
            raise ValueError("extensions are for kind openai")
        if self.api_key_file is not None and self.api_key_variable:
            raise ValueError("api_key_file and api_key_variable are both given; give one")
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models has {', '.join(twice)} twice")
        return self
