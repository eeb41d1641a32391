"""What can be configured of limits; without rules there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from llmrouter.common.redis_server import RedisSettings
from llmrouter.common.settings import Section
from llmrouter.gateway.limits.resources import LIMITS

__all__ = ["Dimension", "LimitSettings", "RuleSettings", "WebhookSettings"]

Dimension = Literal["key", "user", "tenant", "model", "endpoint"]
_Names = tuple[str, ...]


class RuleSettings(Section):
    """Limits, and whose they are."""

    name: str = Field(
        pattern=r"^[\w.-]+$",  # not {1,64}: its automaton takes 7 MiB
        max_length=64,
    )
    """Names the rule in errors, alerts and counters. Of several rules with one name only the first
    that fits a request counts, so that some can have other limits."""
    per: tuple[Dimension, ...] = Field(default=(), max_length=5)
    """Who has a count of their own: each key (or token or certificate), user, tenant, model,
    endpoint (`generate`, `embed`), or combination of them; without any, all that the rule fits
    share one."""
    keys: _Names = Field(default=(), max_length=1000)
    """Only these keys, by their ids."""
    users: _Names = Field(default=(), max_length=1000)
    """Only these users."""
    tenants: _Names = Field(default=(), max_length=1000)
    """Only these tenants."""
    models: _Names = Field(default=(), max_length=1000)
    """Only these models."""
    endpoints: tuple[Literal["generate", "embed"], ...] = ()
    """Only these endpoints."""
    requests_per_second: int | None = Field(default=None, ge=1, le=10**9)
    """Requests within any second."""
    requests_per_minute: int | None = Field(default=None, ge=1, le=10**9)
    """Requests within any minute."""
    requests_per_hour: int | None = Field(default=None, ge=1, le=10**9)
    """Requests within any hour."""
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10**12)
    """Tokens read and generated within any minute."""
    tokens_per_day: int | None = Field(default=None, ge=1, le=10**12)
    """Tokens of a day (UTC)."""
    tokens_per_month: int | None = Field(default=None, ge=1, le=10**12)
    """Tokens of a calendar month (UTC)."""
    dollars_per_day: float | None = Field(default=None, gt=0, le=1e6)
    """Budget of a day (UTC) in US dollars."""
    dollars_per_month: float | None = Field(default=None, gt=0, le=1e6)
    """Budget of a calendar month (UTC) in US dollars."""
    concurrent_streams: int | None = Field(default=None, ge=1, le=10**6)
    """Requests under way at once."""
    low_share: float = Field(default=1, ge=0, le=1)
    """How much of each limit requests of low priority may use; the rest is kept for others."""
    normal_share: float = Field(default=1, ge=0, le=1)
    """The same for requests of normal priority."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if all(getattr(self, name) is None for name in LIMITS):
            raise ValueError(f"limits nothing; set one of {', '.join(LIMITS)}")
        if len(set(self.per)) < len(self.per):
            twice = sorted({one for one in self.per if self.per.count(one) > 1})
            raise ValueError(f"per names {', '.join(twice)} twice; name each once")
        return self

    @property
    def by_model(self) -> bool:
        """Whether it depends on the model, so that it counts each try at one."""
        return "model" in self.per or bool(self.models)


class WebhookSettings(Section):
    """A web address that is told of alerts."""

    url: str = Field(max_length=2048)
    """Where alerts are posted to, as JSON: https, or http on this machine."""
    secret_file: Path
    """File with the secret under which they are signed (HMAC-SHA-256, `x-llmrouter-signature`), at
    least 16 bytes."""
    timeout_seconds: float = Field(default=5, gt=0, le=60)
    """Wait for one answer at most."""
    tries: int = Field(default=4, ge=1, le=10)
    """How often an alert is sent before it is given up."""

    @field_validator("url")
    @classmethod
    def _safe(cls, url: str) -> str:
        parts = urlsplit(url)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and here)):
            return url
        raise ValueError("must be an https URL: others could read or change what is sent")


class LimitSettings(Section):
    """How much callers may ask for and spend."""

    rules: tuple[RuleSettings, ...] = Field(default=(), max_length=1000)
    """Limits; a request has to keep all that fit it. Without any there are none."""
    assumed_answer_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    """Tokens that are reserved for an answer whose request sets no `max_tokens`."""
    file: Path | None = None
    """SQLite file of what was counted; `limits.sqlite` in the data directory by default."""
    redis: RedisSettings | None = None
    """A Redis or Valkey in which several gateways count together, in place of the file (`address`,
    `password_file`, …, as of `cache.shared`); absent, each counts alone."""
    on_failure: Literal["open", "closed"] = "open"
    """What becomes of requests while that server is away: `open` lets them in uncounted, `closed`
    refuses them."""
    webhook: WebhookSettings | None = None
    """Is told when 80 % and 100 % of a budget are spent, and when fewer than ten requests' cost is
    left; absent, the log and the audit log alone are."""

    @field_validator("rules")
    @classmethod
    def _names_of_one_kind(cls, rules: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
        kinds: dict[str, bool] = {}
        for rule in rules:
            if kinds.setdefault(rule.name, rule.by_model) != rule.by_model:
                raise ValueError(
                    f"of the rules named {rule.name}, some depend on the model and some do not; "
                    "give them two names"
                )
        return rules
