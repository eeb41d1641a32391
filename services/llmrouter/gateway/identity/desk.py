"""Composes who knows the callers of a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrouter.gateway.identity.audit import AuditTrail
from llmrouter.gateway.identity.authentication import Identity
from llmrouter.gateway.identity.key_book import KeyBook
from llmrouter.gateway.identity.places import audit_file, key_store
from llmrouter.gateway.identity.principal import Principal
from llmrouter.gateway.identity.settings import IdentitySettings

if TYPE_CHECKING:
    from llmrouter.gateway.identity.jwks_book import JwksBook

__all__ = ["Desk"]


class Desk:
    """What has to be started and closed for an `Identity` to know anybody.

    Args:
        settings: Who may call.
        data: The data directory.
    """

    def __init__(self, settings: IdentitySettings, data: Path) -> None:
        self.audit = AuditTrail(audit_file(settings, data))
        self._keys = KeyBook(key_store(settings, data))
        self._provider: JwksBook | None = None
        tokens = None
        if settings.jwt is not None:
            from llmrouter.gateway.identity.jwks_book import JwksBook
            from llmrouter.gateway.identity.tokens import TokenVerifier

            self._provider = JwksBook(settings.jwt.jwks, settings.jwt.refresh_seconds)
            tokens = TokenVerifier(self._provider.find, settings.jwt)
        holders = {
            name: Principal(
                one.tenant,
                one.user,
                frozenset(one.scopes),
                frozenset(one.models),
                f"certificate {name}",
            )
            for name, one in settings.certificates.items()
        }
        self.identity = Identity(self._keys, settings.anonymous, self.audit, tokens, holders)

    async def start(self) -> None:
        """Read the keys, and follow them."""
        await self._keys.start()
        if self._provider is not None:
            await self._provider.start()

    async def close(self) -> None:
        """Stop following, and write what is left of the audit log. Safe to call twice."""
        await self._keys.close()
        if self._provider is not None:
            await self._provider.close()
        await self.audit.close()
