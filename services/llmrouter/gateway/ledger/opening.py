"""Where the ledger is, for the gateway and for those who read it."""

from __future__ import annotations

from pathlib import Path

from llmrouter.gateway.ledger.ledger import Ledger
from llmrouter.gateway.ledger.ledger_file import LedgerFile
from llmrouter.gateway.ledger.settings import LedgerSettings

__all__ = ["ledger_path", "open_ledger"]


def ledger_path(settings: LedgerSettings, data: Path) -> Path:
    """Return the file; `data` is the data directory."""
    return settings.file or data / "ledger.sqlite"


def open_ledger(settings: LedgerSettings, data: Path) -> Ledger | None:
    """Return the ledger, to be started; None where nothing is kept. `data` as above."""
    if not settings.keep_summary_days:
        return None
    return Ledger(LedgerFile(ledger_path(settings, data), settings))
