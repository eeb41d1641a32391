"""What can be configured of the ledger."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from llmrouter.common.settings import Section

__all__ = ["LedgerSettings"]


class LedgerSettings(Section):
    """What is kept of what requests cost."""

    file: Path | None = None
    """SQLite file; `ledger.sqlite` in the data directory by default."""
    keep_days: int = Field(default=92, ge=0, le=10_000)
    """Days that rows of requests are kept; 0: none."""
    keep_summary_days: int = Field(default=1096, ge=0, le=10_000)
    """Days that the sums of a day are kept, by tenant, user and model; 0: none, nor rows of
    requests."""
    max_bytes: int = Field(default=256 << 20, ge=1 << 20, le=1 << 40)
    """Bytes of the file at most; the oldest rows go first, then the oldest sums."""
