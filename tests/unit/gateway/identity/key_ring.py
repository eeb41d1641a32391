"""The keys of a gateway, in memory; it also hears of refusals."""

from __future__ import annotations

from typing import Any

from llmrouter.gateway.identity.api_keys import ApiKey, make


class KeyRing:
    secret = b"s" * 32

    def __init__(self) -> None:
        self.kept: dict[str, ApiKey] = {}
        self.refusals: list[dict[str, Any]] = []

    def find(self, identifier: str) -> ApiKey | None:
        return self.kept.get(identifier)

    def tell(self, act: str, **facts: object) -> None:
        self.refusals.append(facts)

    def new(self, **allows: Any) -> str:
        """Return the text of a new key."""
        key, text = make(self.secret, ApiKey("", "k", b"", 0.0, **allows))
        self.kept[key.id] = key
        return text

    def headers(self, **allows: Any) -> tuple[tuple[str, str], ...]:
        """Return what brings a new key."""
        return (("authorization", f"Bearer {self.new(**allows)}"),)
