"""Checksums and sizes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["file_sha256", "file_sizes", "folder_sha256", "folder_version"]

_VERSION_DIGITS = 12


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's contents as 64 lower-case hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Return 64 hex digits of a hash over the names and contents of all files below `folder`."""
    digest = hashlib.sha256()
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        name = file.relative_to(folder).as_posix()
        digest.update(f"{name}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()


def folder_version(folder: Path) -> str:
    """Return the first 12 digits of `folder_sha256`."""
    return folder_sha256(folder)[:_VERSION_DIGITS]


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of every file below `folder` by its path in it."""
    return {
        one.relative_to(folder).as_posix(): one.stat().st_size
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    }
