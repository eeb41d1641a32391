"""Tells of budgets that run out: in the log, the audit log, and to whoever else listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

import structlog

from llmrouter.gateway.limits.alerts import Alert, AlertKind

__all__ = ["Alerting", "Auditor"]

_SENTENCES = {
    AlertKind.NEARLY_SPENT: "80 % of a budget are spent",
    AlertKind.SPENT: "a budget is spent",
    AlertKind.FEW_LEFT: "what is left of a budget holds fewer than ten requests",
}
_log = structlog.get_logger("llmrouter.gateway.limits")


class Auditor(Protocol):
    """Where alerts are kept."""

    def tell(self, act: str, **facts: object) -> None:
        """Keep one act."""
        ...


class Alerting:
    """Passes each alert on to all who listen.

    Args:
        audit: The audit log.
        listeners: Others who hear of it, such as metrics and a webhook; they must not wait.
    """

    def __init__(self, audit: Auditor, listeners: Sequence[Callable[[Alert], None]] = ()) -> None:
        self._audit, self._listeners = audit, tuple(listeners)

    def __call__(self, alert: Alert) -> None:
        """Tell of one alert."""
        facts = asdict(alert)
        kind = facts.pop("kind").value
        _log.warning(_SENTENCES[alert.kind], alert=kind, **facts)
        self._audit.tell(f"budget.{kind}", **facts)
        for listener in self._listeners:
            listener(alert)
