"""Puts a gateway's limits together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llmrouter.gateway.limits.alerting import Alerting, Auditor
from llmrouter.gateway.limits.alerts import Alert
from llmrouter.gateway.limits.charges import LimitStore, Told
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.limits.memory_store import MemoryStore
from llmrouter.gateway.limits.quota_file import QuotaFile
from llmrouter.gateway.limits.rules import RuleBook
from llmrouter.gateway.limits.settings import LimitSettings
from llmrouter.gateway.limits.webhook import Webhook

__all__ = ["Limits"]


class Limits:
    """What has to be started and closed for a `Limiter` to count.

    Args:
        settings: The rules, and where counters are kept.
        data: The data directory.
        audit: Is told of alerts.
        listeners: As of `Alerting`.

    Raises:
        RouterError: STORE_FAILED when a file of the settings cannot be read.
    """

    def __init__(
        self,
        settings: LimitSettings,
        data: Path,
        audit: Auditor,
        listeners: Sequence[Callable[[Alert], None]] = (),
    ) -> None:
        self.limiter: Limiter | None = None
        """None where there are no rules."""
        self._settings = settings
        self._store: LimitStore | None = None
        self._webhook: Webhook | None = None
        if not settings.rules:
            return
        if settings.webhook is not None:
            self._webhook = Webhook(settings.webhook)
            listeners = (*listeners, self._webhook)
        self._store = _store(settings, data, Alerting(audit, listeners))
        self.limiter = Limiter(
            RuleBook(settings.rules), self._store, open_on_failure=settings.on_failure == "open"
        )

    @property
    def trouble(self) -> str:
        """What is wrong with the counters, and what follows; empty while nothing is."""
        if self._store is None or not self._store.trouble:
            return ""
        if self._settings.redis is None:
            return self._store.trouble
        follows = "let in uncounted" if self._settings.on_failure == "open" else "refused"
        return f"{self._store.trouble}: requests are {follows}"

    async def start(self) -> None:
        """Take up what was counted before."""
        if self._webhook is not None:
            await self._webhook.start()
        if self._store is not None:
            await self._store.start()

    async def close(self) -> None:
        """Keep what was counted, and send the alerts that wait. Safe to call twice."""
        if self._store is not None:
            await self._store.close()
        if self._webhook is not None:
            await self._webhook.close()


def _store(settings: LimitSettings, data: Path, told: Told) -> LimitStore:
    if settings.redis is not None:
        from llmrouter.gateway.limits.redis_store import RedisStore

        return RedisStore(settings.redis, told)
    return MemoryStore(told, QuotaFile(settings.file or data / "limits.sqlite"))
