"""What can be configured of the live page."""

from __future__ import annotations

from pydantic import Field

from llmrouter.common.settings import Section

__all__ = ["LivePageSettings"]


class LivePageSettings(Section):
    """The page at `/` of the HTTP port (`gateway.page:`); it reads and changes nothing."""

    enabled: bool = True
    """Whether there is one."""
    watchers: int = Field(default=16, ge=1, le=256)
    """Pages that are kept up to date at once at most."""
    interval_seconds: float = Field(default=1, ge=0.2, le=60)
    """Time between two looks at the suite, one for all pages; without a page nobody looks."""
