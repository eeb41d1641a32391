"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["file_sha256"]


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's contents as 64 lower-case hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
