"""Puts a gateway's limits together."""

from __future__ import annotations

from pathlib import Path

from llmrouter.gateway.limits.alerting import Alerting, Auditor
from llmrouter.gateway.limits.charges import LimitStore
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.limits.memory_store import MemoryStore
from llmrouter.gateway.limits.quota_file import QuotaFile
from llmrouter.gateway.limits.rules import RuleBook
from llmrouter.gateway.limits.settings import LimitSettings

__all__ = ["Limits"]


class Limits:
    """What has to be started and closed for a `Limiter` to count.

    Args:
        settings: The rules, and where counters are kept.
        data: The data directory.
        audit: Is told of alerts.
    """

    def __init__(self, settings: LimitSettings, data: Path, audit: Auditor) -> None:
        self.limiter: Limiter | None = None
        """None where there are no rules."""
        self._store: LimitStore | None = None
        if settings.rules:
            file = QuotaFile(settings.file or data / "limits.sqlite")
            self._store = MemoryStore(Alerting(audit), file)
            self.limiter = Limiter(RuleBook(settings.rules), self._store)

    @property
    def trouble(self) -> str:
        """What is wrong with the counters, in one sentence; empty while nothing is."""
        return "" if self._store is None else self._store.trouble

    async def start(self) -> None:
        """Take up what was counted before."""
        if self._store is not None:
            await self._store.start()

    async def close(self) -> None:
        """Keep what was counted. Safe to call twice."""
        if self._store is not None:
            await self._store.close()
